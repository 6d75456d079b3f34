// A client is known by the SHA-256 of its key, so that neither the configuration nor a log has the key.
import crypto from 'crypto';

// Longer ones are not keys, and hashing megabytes for strangers is work.
const LONGEST = 4096;

function key_sha256(r) {
    const header = r.headersIn['Authorization'];
    if (!header || header.length > LONGEST) {
        return '';
    }
    const bearer = /^bearer +([^ ]+)$/i.exec(header);
    return bearer ? crypto.createHash('sha256').update(bearer[1]).digest('hex') : '';
}

export default { key_sha256 };
