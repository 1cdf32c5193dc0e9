/** An error for people: `message` says what is wrong, `hint` what to do next. */
export declare class HutchError extends Error {
    /** The status of the answer; where none came, the one that the kind of error stands for. */
    httpStatus: number;
    readonly hint: string;
    constructor(message: string, hint?: string, cause?: unknown);
}
/** What was asked is wrong in itself. */
export declare class BadInput extends HutchError {
    httpStatus: number;
}
/** No key came with the request, or one that is not known. */
export declare class Unauthenticated extends HutchError {
    httpStatus: number;
}
/** This key may not do this. */
export declare class Forbidden extends HutchError {
    httpStatus: number;
}
/** There is no such model or file. */
export declare class NotFound extends HutchError {
    httpStatus: number;
}
/** The name is taken by something else, or another process is at work on it. */
export declare class Conflict extends HutchError {
    httpStatus: number;
}
/** The server's disk or memory cannot hold what was asked for. */
export declare class NoRoom extends HutchError {
    httpStatus: number;
}
/** A place to pull from is down, or delivered something else. */
export declare class SourceFailed extends HutchError {
    httpStatus: number;
}
/** A worker died, hung, or could not load its model. */
export declare class EngineFailed extends HutchError {
    httpStatus: number;
}
/** The model wrote, and what it wrote is no whole answer. */
export declare class Unanswered extends HutchError {
    httpStatus: number;
}
/** Too many requests wait already; this one was not begun. */
export declare class Busy extends HutchError {
    httpStatus: number;
    /** What `Retry-After` said, in seconds; 0 where it said nothing. */
    retryAfterS: number;
}
/** The request could not begin by the deadline that it named. */
export declare class TooLate extends Busy {
}
/** The key has had what it may have in a minute; this request was not begun. */
export declare class OverLimit extends Busy {
    httpStatus: number;
}
/** 429 or 503, without Hutch's own word that the request was not begun: it may come from a proxy. */
export declare class TurnedAway extends Busy {
}
/** No server listens at the address. */
export declare class Unreachable extends HutchError {
    httpStatus: number;
}
/** Nothing at the address took the connection in time. */
export declare class NoAnswer extends Unreachable {
}
/** The server was silent for longer than the client's `timeoutS`. */
export declare class TooSlow extends HutchError {
    httpStatus: number;
}
/** The connection, or the stream, ended before the answer did. */
export declare class BrokenOff extends HutchError {
    httpStatus: number;
}
/** What came back is not what a Hutch server sends. */
export declare class BadAnswer extends HutchError {
    httpStatus: number;
}
type Kind = new (message: string, hint?: string) => HutchError;
export declare const BEHIND = "A proxy in between may have answered: look at its log, and at the server's address.";
/** The error that an answer with such a status is. */
export declare function failure(status: number, headers: Headers, body: string): HutchError;
/** The error that an object with `error` in it tells, by its code where that is known. */
export declare function toldFailure(told: Record<string, unknown>, otherwise?: Kind): HutchError;
/** The error for text where a JSON object should be. */
export declare function badJson(text: string): BadAnswer;
export declare function isObject(value: unknown): value is Record<string, unknown>;
export {};
