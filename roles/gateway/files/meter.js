// What is counted: the tokens that an engine reports, and the requests. No content is kept.

// A stream is looked at for this many pieces: each costs its request some memory until it ends.
const MOST_PIECES = 32768;
// An engine's report is shorter.
const REPORT = 1024;
// Inside a JSON text its quotes are escaped, so no answer can fake it.
const SIGN = '"usage"';
const BEGINNING = /^"usage"\s*(:\s*(\{|$)|$)/;
const PROMPT = /"(?:prompt|input)_tokens"\s*:\s*(\d{1,12})[,}\s]/;
const COMPLETION = /"(?:completion|output)_tokens"\s*:\s*(\d{1,12})[,}\s]/;
const LINE_END = 10;
const MOST_COUNTERS = 100000;
// Of a path in the log.
const LONGEST_PATH = 512;
const DAY = 86400000;

// njs makes these anew for each request.
let pieces = 0;
// What may be the beginning of a report, when a piece ended in it.
let rest = '';

function usage(r, data, flags) {
    if (data.length) {
        look(r, data);
    }
    r.sendBuffer(data, flags);
    if (++pieces >= MOST_PIECES) {
        r.done();
    }
}

function look(r, data) {
    let text = rest;
    rest = '';
    if (!text) {
        const begins = data.lastIndexOf(SIGN);
        if (begins < 0) {
            // An event ends with its line. Other answers are cut anywhere.
            if (data[data.length - 1] !== LINE_END) {
                rest = data.toString('utf8', Math.max(0, data.length - SIGN.length + 1));
            }
            return;
        }
        text = data.toString('utf8', begins);
    } else {
        text += data.toString('utf8');
    }
    const begins = text.lastIndexOf(SIGN);
    if (begins < 0) {
        rest = text.slice(1 - SIGN.length);
        return;
    }
    text = text.slice(begins, begins + REPORT);
    if (!BEGINNING.test(text)) {
        return;
    }
    const prompt = PROMPT.exec(text);
    const completion = COMPLETION.exec(text);
    if (prompt) {
        r.variables.prompt_tokens = prompt[1];
    }
    if (completion) {
        r.variables.completion_tokens = completion[1];
    }
    if (!(prompt && completion) && text.length < REPORT) {
        rest = text;
    }
}

function add(labels, number) {
    try {
        ngx.shared.counters.incr(JSON.stringify(labels), number, 0);
    } catch (error) {
        // The zone is full: a figure is lost, and no answer.
    }
}

// Whether the audit log has a line for it. Who has no key could else fill the log until journald drops the lines of others.
// A day has so many lines for all of them, and a quarter of these for one address; the others are counted.
function has_a_line(r) {
    const v = r.variables;
    if (v.client || v.opened === 'network') {
        return true;
    }
    const counters = ngx.shared.counters;
    const today = Math.floor(Date.now() / DAY);
    // Of IPv6 a network of 64 bits is one address.
    const address = r.rawVariables.binary_remote_addr.slice(0, 8).toString('hex');
    try {
        // The first step over the limit is remembered; an address that is over its own takes nothing from the others.
        if (ngx.shared.strangers.incr(today + ' ' + address, 1, 0) <= Math.ceil(config.strangers / 4)
            && counters.incr(JSON.stringify(['strangers', today]), 1, 0) <= config.strangers) {
            return true;
        }
    } catch (error) {
        // A zone is full: no line.
    }
    add(['unlogged_total'], 1);
    add(['untold'], 1);
    return false;
}

// How many had no line since the last line that said so.
function untold() {
    const key = '["untold"]';
    const number = ngx.shared.counters.get(key);
    if (number) {
        add(['untold'], -number);
    }
    return number || 0;
}

// nginx asks for this when it writes the line of the audit log.
function counted(r) {
    const v = r.variables;
    const model = v.route ? v.model || '' : '';
    add(['requests_total', v.client, model, v.status], 1);
    if (v.refused) {
        add(['refused_total', v.client, v.refused], 1);
    }
    if (v.prompt_tokens) {
        add(['prompt_tokens_total', v.client, model], Number(v.prompt_tokens));
    }
    if (v.completion_tokens) {
        add(['completion_tokens_total', v.client, model], Number(v.completion_tokens));
    }
    const first = v.route ? parseFloat(String(v.upstream_header_time).split(/[,:] */).pop()) : NaN;
    if (!isNaN(first)) {
        add(['first_byte_seconds_sum', model], first);
        add(['first_byte_seconds_count', model], 1);
        add(['duration_seconds_sum', model], Number(v.request_time));
        add(['duration_seconds_count', model], 1);
    }
    if (!has_a_line(r)) {
        return '';
    }
    v.unlogged = untold();
    return '1';
}

// nginx would write bytes that are no UTF-8 into the audit log as they are, and a megabyte of control characters as six.
// journald and pipes take a line in one piece up to some kilobytes.
function told_path(r) {
    const path = r.uri || '';
    const told = path.slice(0, LONGEST_PATH).replace(/[\x00-\x1f\x7f]/g, '\ufffd');
    return path.length > LONGEST_PATH ? told + '\u2026' : told;
}

const KINDS = [
    ['requests_total', 'counter', 'Requests by client, model and status.', ['client', 'model', 'status']],
    ['refused_total', 'counter', 'Requests that the gateway refused, by client and reason.', ['client', 'reason']],
    ['unlogged_total', 'counter', 'Requests without a valid key that had no line of their own in the audit log.', []],
    ['prompt_tokens_total', 'counter', 'Tokens of prompts, as engines report them.', ['client', 'model']],
    ['completion_tokens_total', 'counter', 'Tokens of answers, as engines report them.', ['client', 'model']],
    ['first_byte_seconds_sum', 'counter', 'Seconds until engines answered, by model.', ['model']],
    ['first_byte_seconds_count', 'counter', 'Requests that engines answered, by model.', ['model']],
    ['duration_seconds_sum', 'counter', 'Seconds that these requests took, by model.', ['model']],
    ['duration_seconds_count', 'counter', 'These requests, by model.', ['model']],
];
const GAUGES = ['active', 'reading', 'writing', 'waiting'];

function quoted(text) {
    return '"' + String(text).replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n') + '"';
}

// In the text format of Prometheus.
function exposition(r) {
    const lines = {};
    ngx.shared.counters.items(MOST_COUNTERS).forEach(item => {
        const labels = JSON.parse(item[0]);
        const kind = KINDS.filter(known => known[0] === labels[0])[0];
        if (kind) {
            const told = kind[3].map((name, index) => name + '=' + quoted(labels[index + 1])).join(',');
            lines[kind[0]] = lines[kind[0]] || [];
            lines[kind[0]].push('airgap_gateway_' + kind[0] + (told ? '{' + told + '} ' : ' ') + item[1]);
        }
    });
    const text = [];
    KINDS.forEach(kind => {
        if (lines[kind[0]]) {
            text.push('# HELP airgap_gateway_' + kind[0] + ' ' + kind[2], '# TYPE airgap_gateway_' + kind[0] + ' ' + kind[1]);
            lines[kind[0]].sort().forEach(line => text.push(line));
        }
    });
    text.push('# HELP airgap_gateway_connections Connections of clients by state.', '# TYPE airgap_gateway_connections gauge');
    GAUGES.forEach(state => text.push('airgap_gateway_connections{state="' + state + '"} ' + r.variables['connections_' + state]));
    return text.join('\n') + '\n';
}

export default {usage, counted, told_path, exposition};
