/** `refused` repeats what was certainly not begun: without a connection, or where Hutch itself says it is busy. */
export type Repeat = 'always' | 'refused' | 'never';
/**
 * How often a request that was turned away is sent again: when nobody listens, and on 429 and 503. The pause doubles from
 * `firstS` on, up to `longestS`, and is cut by chance to between half and all of it. A `Retry-After` is waited for in full;
 * one longer than `longestS` ends the attempts at once.
 */
export interface Retries {
    readonly times: number;
    readonly firstS: number;
    readonly longestS: number;
}
/** Fill in what is not said: three times, from 0.25 s, up to 30 s. Throws BadInput. */
export declare function retriesOf(said: Partial<Retries>): Retries;
/** The seconds before the attempt after number `attempt` (from 0); undefined where there is to be none. */
export declare function waitS(retries: Retries, error: unknown, repeat: Repeat, attempt: number): number | undefined;
