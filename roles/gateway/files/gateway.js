// The gateway's script: who asks, for which model, and what came of it.
// `config` is gateway.json, read once by nginx. Neither it nor a log has a client's key.
import hashing from 'crypto';
import tokens from 'tokens.js';
import request from 'request.js';
import meter from 'meter.js';

// Longer ones are not keys, and hashing megabytes for strangers is work.
const LONGEST_KEY = 4096;
// A name in the log; whatever a client writes there.
const LONGEST_NAME = 128;

const own = tokens.own;

// The client that a key stands for, or nothing.
function key_client(r) {
    const key = tokens.bearer(r);
    if (!key || key.length > LONGEST_KEY) {
        return '';
    }
    return own(config.keys, hashing.createHash('sha256').update(key).digest('hex')) || '';
}

// What opens the door: a key, the monitoring network, or what looks like a token and is verified before anything is read.
function opened(r) {
    if (r.variables.key_client) {
        return 'key';
    }
    if (r.uri.startsWith('/.')) {
        return '';
    }
    if (r.variables.monitor === '1' && /^\/(health$|metrics(\/|$))/.test(r.uri)) {
        return 'network';
    }
    return config.tokens && tokens.looks_like_one(tokens.bearer(r)) ? 'token' : '';
}

// What a genuine token says of itself, for the audit log.
function told(claim) {
    return typeof claim === 'string' ? claim.slice(0, LONGEST_NAME) : '';
}

// The answer to nginx's auth_request.
async function admit(r) {
    const v = r.variables;
    if (v.opened !== 'token') {
        r.return(204);
        return;
    }
    const found = await tokens.client(r, config.tokens);
    v.token_subject = told(found.subject);
    v.token_id = told(found.id);
    if (found.name) {
        v.token_client = found.name;
        r.return(204);
    } else {
        v.refused = found.refused;
        r.return(found.status);
    }
}

function refuse(r, code, model) {
    const error = config.errors[code];
    r.variables.refused = code;
    r.headersOut['Content-Type'] = 'application/json';
    const message = error.message.replace('{model}', () => JSON.stringify(model)).replace('{path}', () => r.uri);
    r.return(error.status, JSON.stringify({error: {message: message, type: error.type, code: code, param: model === undefined ? null : 'model'}}));
}

// Whether the path knows the method; if not, that is the answer.
function known_method(r) {
    const methods = r.variables.methods;
    if (methods.split(', ').indexOf(r.method) >= 0) {
        return true;
    }
    r.variables.allow = methods;
    refuse(r, 'method_not_allowed');
    return false;
}

function may_use(r, model) {
    const models = config.clients[r.variables.client].models;
    return models === null || own(models, model) === true;
}

// To the engines behind the model that is asked, or not.
function route(r) {
    if (!known_method(r)) {
        return;
    }
    const v = r.variables;
    const path = v.api_path;
    let asked = {model: v.asked_model, reports: true};
    if (asked.model === undefined && r.method !== 'GET') {
        asked = request.read(r);
        if (asked.refused) {
            refuse(r, asked.refused);
            return;
        }
    }
    let target;
    if (asked.model === undefined) {
        target = config.pathways[path];
    } else {
        v.model = asked.model.slice(0, LONGEST_NAME);
        target = own(config.models, asked.model);
        if (!target) {
            refuse(r, 'model_not_found', v.model);
            return;
        }
        if (!may_use(r, asked.model)) {
            refuse(r, 'model_not_allowed', asked.model);
            return;
        }
        const methods = own(config.paths[target], path);
        if (!methods || !own(methods, r.method)) {
            refuse(r, 'not_for_this_model', asked.model);
            return;
        }
    }
    v.route = target;
    // The path as the engine's data has it, not as the client spelt it.
    v.engine_path = path.replace('{model}', () => asked.model);
    r.internalRedirect(asked.reports ? '@engine_counted' : '@engine');
}

function card(model) {
    return {id: model, object: 'model', created: 0, owned_by: 'airgap'};
}

function reply(r, data) {
    r.headersOut['Content-Type'] = 'application/json';
    r.return(200, JSON.stringify(data));
}

function models(r) {
    if (known_method(r)) {
        reply(r, {object: 'list', data: Object.keys(config.models).filter(name => may_use(r, name)).map(card)});
    }
}

function model(r) {
    if (!known_method(r)) {
        return;
    }
    const name = r.variables.asked_model;
    r.variables.model = name.slice(0, LONGEST_NAME);
    if (!own(config.models, name)) {
        refuse(r, 'model_not_found', r.variables.model);
    } else if (!may_use(r, name)) {
        refuse(r, 'model_not_allowed', name);
    } else {
        reply(r, card(name));
    }
}

function health(r) {
    if (known_method(r)) {
        reply(r, {status: 'ok'});
    }
}

function nothing(r) {
    refuse(r, 'not_found');
}

// Who may see the metrics; for everyone else there are none.
function monitors(r) {
    const client = r.variables.client;
    if (r.variables.monitor === '1' || (client && config.clients[client].metrics)) {
        return known_method(r);
    }
    refuse(r, 'not_found');
    return false;
}

function metrics(r) {
    if (monitors(r)) {
        r.headersOut['Content-Type'] = 'text/plain; version=0.0.4; charset=utf-8';
        r.return(200, meter.exposition(r));
    }
}

function engine_metrics(r) {
    if (monitors(r)) {
        r.internalRedirect('@metrics');
    }
}

// A fault of this script is told in the audit log, since nginx's own log is silent about requests.
function guarded(handler) {
    return r => {
        try {
            handler(r);
        } catch (error) {
            r.variables.refused = 'gateway_error: ' + String(error.message).slice(0, LONGEST_NAME);
            r.return(500);
        }
    };
}

export default {
    key_client, opened, admit,
    route: guarded(route), models: guarded(models), model: guarded(model), health: guarded(health), nothing: guarded(nothing),
    metrics: guarded(metrics), engine_metrics: guarded(engine_metrics),
    usage: meter.usage, counted: meter.counted, told_path: meter.told_path,
};
