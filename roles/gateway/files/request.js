// Which model a request's body asks for, as its engine will read it too.

// Deeper than 31 levels njs reads no JSON.
const TOO_DEEP = /too deep/;
// More than that many things named model are no request, and looking for them takes time.
const MOST_NAMED = 64;

// Reading a large body of very many small parts would keep this worker from its other requests.
const LARGE = 1 << 20;
const MOST_PARTS = 1000000;
const SAMPLES = 128;
const SAMPLE = 256;

// About how many values a text has, from samples where no client can expect them.
function parts(text) {
    let found = 0;
    for (let i = 0; i < SAMPLES; i++) {
        const from = Math.floor(Math.random() * (text.length - SAMPLE));
        found += text.slice(from, from + SAMPLE).split(/[,:[{]/).length - 1;
    }
    return found * text.length / (SAMPLES * SAMPLE);
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
        text = decoded(r);
    } catch (error) {
        // It came in so many small pieces that it did not fit its buffer, and older njs reads no file.
        return {refused: 'request_too_large'};
    }
    if (text === undefined) {
        return {refused: 'not_utf8'};
    }
    if (text.length > LARGE && parts(text) > MOST_PARTS) {
        return {refused: 'too_many_parts'};
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
