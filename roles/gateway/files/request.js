// Which model a request's body asks for, as its engine will read it too.

// Deeper than this njs reads no JSON.
const TOO_DEEP = /too deep/;

// {model, reports} or {refused}.
function read(r) {
    let bytes;
    try {
        bytes = r.requestBuffer;
    } catch (error) {
        // It came in so many small pieces that it did not fit its buffer, and older njs reads no file.
        return {refused: 'request_too_large'};
    }
    if (!bytes || !bytes.length) {
        return {refused: 'not_json'};
    }
    let text;
    try {
        // A byte order mark stays, and is then no JSON.
        text = new TextDecoder('utf-8', {fatal: true, ignoreBOM: true}).decode(bytes);
    } catch (error) {
        return {refused: 'not_utf8'};
    }
    // Parsers differ in which of two equal names counts. So each "model" is renamed, and then there must be one at the top.
    // Clients cannot guess the id of their request.
    const mark = 'model ' + r.variables.request_id + ' ';
    let count = 0;
    const marked = text.replace(/"model"(\s*:)/g, (whole, colon) => '"' + mark + count++ + '"' + colon);
    let data;
    try {
        data = JSON.parse(marked);
    } catch (error) {
        return {refused: TOO_DEEP.test(error.message) ? 'too_deep' : 'not_json'};
    }
    if (data === null || typeof data !== 'object' || Array.isArray(data)) {
        return {refused: 'not_json'};
    }
    const named = [];
    const names = Object.keys(data);
    for (let i = 0; i < names.length; i++) {
        if (names[i].startsWith(mark)) {
            named.push(names[i]);
        } else if (names[i].toLowerCase() === 'model') {
            // Some engines do not mind the case, and one with escapes is the same name to all of them.
            return {refused: 'model_ambiguous'};
        }
    }
    if (named.length > 1) {
        return {refused: 'model_ambiguous'};
    }
    const model = named.length ? data[named[0]] : undefined;
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
