// Which model a request's body asks for, as its engine will read it too.

// Deeper than 31 levels njs reads no JSON.
const TOO_DEEP = /too deep/;
// More than that many things named model are no request, and looking for them takes time.
const MOST_NAMED = 64;

// JSON.parse takes ninety times the bytes of many small things, and meanwhile this worker serves nobody else.
// Prompts, images and sounds are few and long strings; tokens as numbers are some six bytes each.
const SMALL = 1 << 18;
const MOST_OUTSIDE = 1 << 21;
const MOST_STRINGS = 20000;
// Quotes, and the backslashes before them: each costs a step.
const MOST_STEPS = 2000000;
const BACKSLASH = 92;

// Whether a body is more work to read than a request can be. It walks from quote to quote, so what is long costs nothing.
function too_many_parts(bytes) {
    if (bytes.length <= SMALL) {
        return false;
    }
    let outside = 0;
    let strings = 0;
    let steps = 0;
    let from = 0;
    for (;;) {
        const begin = bytes.indexOf('"', from);
        outside += (begin < 0 ? bytes.length : begin) - from;
        if (outside > MOST_OUTSIDE || strings > MOST_STRINGS) {
            return true;
        }
        if (begin < 0) {
            return false;
        }
        let end = begin;
        let backslashes;
        do {
            end = bytes.indexOf('"', end + 1);
            if (end < 0) {
                // The parser will say what is wrong.
                return false;
            }
            backslashes = 0;
            while (bytes[end - 1 - backslashes] === BACKSLASH) {
                backslashes++;
                if (++steps > MOST_STEPS) {
                    return true;
                }
            }
            if (++steps > MOST_STEPS) {
                return true;
            }
        } while (backslashes % 2);
        strings++;
        from = end + 1;
    }
}

// The body as text, or undefined. njs puts U+FFFD for what is no UTF-8, which is quick; only then is it looked at closely.
function decoded(r) {
    const text = r.requestText;
    if (text.includes('\ufffd')) {
        try {
            new TextDecoder('utf-8', {fatal: true}).decode(r.requestBuffer);
        } catch (error) {
            return undefined;
        }
    }
    return text;
}

// Whether "model" may stand twice as a name, be it with escapes.
function more_than_one(text) {
    const name = /"model"\s*:/g;
    return (name.test(text) && name.test(text)) || text.includes('\\u006');
}

// The text with each name "model" replaced by the mark and a number, or undefined.
function renamed(text, mark) {
    const name = /"model"\s*:/g;
    const pieces = [];
    let from = 0;
    let found;
    while ((found = name.exec(text))) {
        if (pieces.length >= 2 * MOST_NAMED) {
            return undefined;
        }
        pieces.push(text.slice(from, found.index), '"' + mark + pieces.length + '":');
        from = name.lastIndex;
    }
    pieces.push(text.slice(from));
    return pieces.join('');
}

// {model, reports} or {refused}.
function read(r) {
    // An engine might read something else than what stands here.
    if ((r.headersIn['Content-Encoding'] || 'identity').toLowerCase() !== 'identity') {
        return {refused: 'encoded_body'};
    }
    let text;
    try {
        // Nothing that was sent is nothing here.
        if (!r.requestBuffer || !r.requestBuffer.length) {
            return {refused: 'not_json'};
        }
        if (too_many_parts(r.requestBuffer)) {
            return {refused: 'too_many_parts'};
        }
        text = decoded(r);
    } catch (error) {
        // It came in so many small pieces that it did not fit its buffer, and older njs reads no file.
        return {refused: 'request_too_large'};
    }
    if (text === undefined) {
        return {refused: 'not_utf8'};
    }
    // Parsers differ in which of two equal names counts. So where there may be two, each "model" gets another name,
    // which no client can guess, and one of them is to be at the top.
    let name = 'model';
    if (more_than_one(text)) {
        name = 'model ' + r.variables.request_id + ' ';
        text = renamed(text, name);
        if (text === undefined) {
            return {refused: 'model_ambiguous'};
        }
    }
    let data;
    try {
        data = JSON.parse(text);
    } catch (error) {
        return {refused: TOO_DEEP.test(error.message) ? 'too_deep' : 'not_json'};
    }
    if (data === null || typeof data !== 'object' || Array.isArray(data)) {
        return {refused: 'not_json'};
    }
    const all = Object.keys(data);
    let model;
    for (let i = 0; i < all.length; i++) {
        if (all[i].startsWith(name) && (name !== 'model' || all[i] === name)) {
            if (model !== undefined) {
                return {refused: 'model_ambiguous'};
            }
            model = data[all[i]];
        } else if (all[i].toLowerCase() === 'model') {
            // Some engines do not mind the case, and one with escapes is the same name to all of them.
            return {refused: 'model_ambiguous'};
        }
    }
    if (typeof model !== 'string' || !model) {
        return {refused: 'model_missing'};
    }
    return {model: model, reports: reports(r.uri, data)};
}

// Whether the answer will tell its tokens. A stream of completions does so only when asked, and needs no looking at otherwise.
function reports(path, data) {
    const options = data.stream_options;
    return !data.stream || !/\/completions$/.test(path) || !!(options && options.include_usage);
}

export default {read};
