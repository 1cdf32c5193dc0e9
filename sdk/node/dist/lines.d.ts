import { Fields } from './fields.js';
export declare const MAX_LINE_CHARS: number;
/** Takes text, and gives the objects that are whole. */
export interface Pieces {
    /** The objects that this text ends. Throws what an object with `error` tells, and BadAnswer. */
    feed(text: string): Generator<Fields>;
    /** Nothing more comes: a last object that no line feed ended. Throws BrokenOff in the middle of one. */
    end(): Generator<Fields>;
}
/** One JSON object a line. */
export declare class Lines implements Pieces {
    #private;
    feed(text: string): Generator<Fields>;
    end(): Generator<Fields>;
}
/** Server-sent events whose data are JSON objects with a type in them, each on one line. */
export declare class ServerEvents implements Pieces {
    #private;
    feed(text: string): Generator<Fields>;
    end(): Generator<Fields>;
}
