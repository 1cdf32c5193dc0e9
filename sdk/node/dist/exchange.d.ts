import type { Call } from './calls.js';
/** A server's address, the key for it, and how patient its client is. */
export interface Link {
    readonly url: string;
    readonly key: string;
    readonly timeoutS: number;
    readonly fetch: typeof fetch;
}
/** Makes a body anew for each attempt; calling `touch` tells that it moves. */
export type Content = (touch: () => void) => {
    body: Body;
    duplex: 'half';
};
export type Body = NonNullable<RequestInit['body']>;
export declare class Exchange {
    #private;
    private constructor();
    /** Send, and wait for the head of an answer of success. Throws what another one tells, or the signal's reason. */
    static open(link: Link, call: Call<unknown>, signal?: AbortSignal, content?: Content): Promise<Exchange>;
    /** The whole answer. */
    text(): Promise<string>;
    /** The answer's text as it comes. Leaving the loop closes the connection. */
    parts(): AsyncGenerator<string>;
    get response(): {
        status: number;
        headers: Headers;
    };
    /** Leave. Nothing is read any more. */
    close(): void;
}
