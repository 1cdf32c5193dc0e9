// The bytes of a file that is brought to a server.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { BadInput } from './errors.js';
/** `sha256:` and the digest. Throws BadInput where the file cannot be read. */
export async function digestOf(source) {
    const hash = createHash('sha256');
    for await (const block of blocks(source))
        hash.update(block);
    return `sha256:${hash.digest('hex')}`;
}
/** The file as the body of a request. */
export function contentOf(source) {
    return (touch) => {
        async function* moving() {
            for await (const block of blocks(source)) {
                touch();
                yield block;
            }
        }
        return { body: Readable.toWeb(Readable.from(moving(), { objectMode: false })), duplex: 'half' };
    };
}
async function* blocks(source) {
    if (source instanceof Uint8Array) {
        yield source;
        return;
    }
    try {
        yield* createReadStream(source, { highWaterMark: 1 << 20 });
    }
    catch (error) {
        throw new BadInput(`${String(source)} cannot be read: ${error.message}`, '', error);
    }
}
