import type { Content } from './exchange.js';
/** Where a file is, or its bytes. */
export type Source = string | URL | Uint8Array;
/** `sha256:` and the digest. Throws BadInput where the file cannot be read. */
export declare function digestOf(source: Source): Promise<string>;
/** The file as the body of a request. */
export declare function contentOf(source: Source): Content;
