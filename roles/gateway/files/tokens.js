// JSON Web Tokens: RS256 and ES256 against the keys of gateway.json, without asking anybody.

const ALGORITHMS = {
    RS256: {name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256'},
    ES256: {name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256'},
};
const JWT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

function own(object, name) {
    return Object.prototype.hasOwnProperty.call(object, name) ? object[name] : undefined;
}

// The key or token; clients of Anthropic's API have another header for it.
function bearer(r) {
    const stated = r.headersIn['Authorization'];
    if (stated === undefined) {
        return r.headersIn['X-Api-Key'] || '';
    }
    const found = /^bearer +([^ ]+)$/i.exec(stated);
    return found ? found[1] : '';
}

function looks_like_one(text) {
    return text.startsWith('eyJ') && JWT.test(text);
}

function decoded(part) {
    const data = JSON.parse(new TextDecoder('utf-8', {fatal: true}).decode(Buffer.from(part, 'base64url')));
    if (data === null || typeof data !== 'object' || Array.isArray(data)) {
        throw new TypeError('no object');
    }
    return data;
}

// The key that the header means; alg is the key's own, never the header's alone.
function chosen(header, keys) {
    let found;
    for (let i = 0; i < keys.length; i++) {
        if (keys[i].alg === header.alg && (header.kid === undefined || keys[i].kid === header.kid)) {
            if (found) {
                return undefined;
            }
            found = keys[i];
        }
    }
    return found;
}

async function verified(text, key) {
    const parts = text.split('.');
    const algorithm = ALGORITHMS[key.alg];
    const imported = await crypto.subtle.importKey('jwk', Object.assign({}, key.jwk), algorithm, false, ['verify']);
    return crypto.subtle.verify(algorithm, imported, Buffer.from(parts[2], 'base64url'), Buffer.from(parts[0] + '.' + parts[1]));
}

// Why a token that is genuine is no good here, or nothing.
function wrong(claims, settings) {
    const now = Date.now() / 1000;
    if (typeof claims.exp !== 'number' || now > claims.exp + settings.leeway) {
        return 'token_expired';
    }
    if (claims.nbf !== undefined && (typeof claims.nbf !== 'number' || now < claims.nbf - settings.leeway)) {
        return 'token_not_yet_valid';
    }
    if (claims.iss !== settings.issuer) {
        return 'token_issuer';
    }
    const audience = Array.isArray(claims.aud) ? claims.aud : [claims.aud];
    return audience.some(one => typeof one === 'string' && own(settings.audience, one)) ? '' : 'token_audience';
}

function has(claims, name, value) {
    const claim = own(claims, name);
    return Array.isArray(claim) ? claim.indexOf(value) >= 0 : claim !== undefined && typeof claim !== 'object' && String(claim) === value;
}

// Scopes are one string with spaces (RFC 9068), or a list.
function scopes(claims) {
    const stated = claims.scope === undefined ? claims.scp : claims.scope;
    return Array.isArray(stated) ? stated : String(stated === undefined ? '' : stated).split(' ');
}

// {name} of the client, or {status, refused}; of a genuine token also its subject and id.
async function client(r, settings) {
    const text = bearer(r);
    let claims;
    try {
        const parts = text.split('.');
        const header = decoded(parts[0]);
        const key = header.crit === undefined ? chosen(header, settings.keys) : undefined;
        if (!key) {
            return {status: 401, refused: 'token_key'};
        }
        if (!await verified(text, key)) {
            return {status: 401, refused: 'token_signature'};
        }
        claims = decoded(parts[1]);
    } catch (error) {
        return {status: 401, refused: 'token_unreadable'};
    }
    const about = {subject: claims.sub, id: claims.jti};
    const why = wrong(claims, settings);
    if (why) {
        return Object.assign(about, {status: 401, refused: why});
    }
    const given = scopes(claims);
    if (!Object.keys(settings.scopes).every(scope => given.indexOf(scope) >= 0)) {
        return Object.assign(about, {status: 403, refused: 'token_scope'});
    }
    for (let i = 0; i < settings.clients.length; i++) {
        const wanted = settings.clients[i].claims;
        if (Object.keys(wanted).every(name => has(claims, name, wanted[name]))) {
            return Object.assign(about, {name: settings.clients[i].name});
        }
    }
    return Object.assign(about, {status: 403, refused: 'token_client'});
}

export default {own, bearer, looks_like_one, client};
