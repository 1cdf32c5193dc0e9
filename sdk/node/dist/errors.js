// Everything that can go wrong, as one tree.
//
// HutchError
//   BadInput           a request, a name or a setting           400
//   Unauthenticated    no key, or a wrong one                   401
//   Forbidden          this key may not                         403
//   NotFound           no such model or file                    404
//   Conflict           the name is taken, or in use             409
//   NoRoom             disk or memory does not suffice          507
//   SourceFailed       a place to pull from did not deliver     502
//   EngineFailed       a worker died, or cannot load            502
//   Unanswered         a model wrote no whole answer            422
//   Busy               the queue is full                        503
//     TooLate          it could not begin by its deadline       503
//     OverLimit        this key has used up its minute          429
//     TurnedAway       429 or 503 of something in between
//   Unreachable        no server listens                        503
//     NoAnswer         nothing took the connection in time
//   TooSlow            silent for longer than timeoutS          504
//   BrokenOff          the answer ended before its end          502
//   BadAnswer          not what a Hutch server sends            502
/** An error for people: `message` says what is wrong, `hint` what to do next. */
export class HutchError extends Error {
    /** The status of the answer; where none came, the one that the kind of error stands for. */
    httpStatus = 500;
    hint;
    constructor(message, hint = '', cause) {
        super(message, cause === undefined ? undefined : { cause });
        this.name = new.target.name;
        this.hint = hint;
    }
}
/** What was asked is wrong in itself. */
export class BadInput extends HutchError {
    httpStatus = 400;
}
/** No key came with the request, or one that is not known. */
export class Unauthenticated extends HutchError {
    httpStatus = 401;
}
/** This key may not do this. */
export class Forbidden extends HutchError {
    httpStatus = 403;
}
/** There is no such model or file. */
export class NotFound extends HutchError {
    httpStatus = 404;
}
/** The name is taken by something else, or another process is at work on it. */
export class Conflict extends HutchError {
    httpStatus = 409;
}
/** The server's disk or memory cannot hold what was asked for. */
export class NoRoom extends HutchError {
    httpStatus = 507;
}
/** A place to pull from is down, or delivered something else. */
export class SourceFailed extends HutchError {
    httpStatus = 502;
}
/** A worker died, hung, or could not load its model. */
export class EngineFailed extends HutchError {
    httpStatus = 502;
}
/** The model wrote, and what it wrote is no whole answer. */
export class Unanswered extends HutchError {
    httpStatus = 422;
}
/** Too many requests wait already; this one was not begun. */
export class Busy extends HutchError {
    httpStatus = 503;
    /** What `Retry-After` said, in seconds; 0 where it said nothing. */
    retryAfterS = 0;
}
/** The request could not begin by the deadline that it named. */
export class TooLate extends Busy {
}
/** The key has had what it may have in a minute; this request was not begun. */
export class OverLimit extends Busy {
    httpStatus = 429;
}
/** 429 or 503, without Hutch's own word that the request was not begun: it may come from a proxy. */
export class TurnedAway extends Busy {
}
/** No server listens at the address. */
export class Unreachable extends HutchError {
    httpStatus = 503;
}
/** Nothing at the address took the connection in time. */
export class NoAnswer extends Unreachable {
}
/** The server was silent for longer than the client's `timeoutS`. */
export class TooSlow extends HutchError {
    httpStatus = 504;
}
/** The connection, or the stream, ended before the answer did. */
export class BrokenOff extends HutchError {
    httpStatus = 502;
}
/** What came back is not what a Hutch server sends. */
export class BadAnswer extends HutchError {
    httpStatus = 502;
}
export const BEHIND = "A proxy in between may have answered: look at its log, and at the server's address.";
const BY_CODE = {
    bad_input: BadInput, bad_format: BadInput, not_built: BadInput, context_length_exceeded: BadInput,
    unauthenticated: Unauthenticated, forbidden: Forbidden, refused: Forbidden, not_found: NotFound, model_not_found: NotFound,
    conflict: Conflict, no_room: NoRoom, source_failed: SourceFailed, engine_failed: EngineFailed, unanswered: Unanswered, busy: Busy,
    deadline_exceeded: TooLate, rate_limit_exceeded: OverLimit,
};
const BY_STATUS = {
    400: BadInput, 401: Unauthenticated, 403: Forbidden, 404: NotFound, 409: Conflict, 413: BadInput,
    429: TurnedAway, 503: TurnedAway, 507: NoRoom,
};
/** The error that an answer with such a status is. */
export function failure(status, headers, body) {
    const told = object(body);
    let error;
    if ('error' in told) {
        error = toldFailure(told, BY_STATUS[status] ?? HutchError);
    }
    else {
        const place = headers.get('location');
        const hint = place === null ? BEHIND : `It points to ${place.slice(0, 200)}.`;
        error = new (BY_STATUS[status] ?? BadAnswer)(`the server answered with status ${status}${shown(body)}`, hint);
    }
    error.httpStatus = status;
    if (error instanceof Busy)
        error.retryAfterS = retryAfterS(headers.get('retry-after') ?? '');
    return error;
}
/** The error that an object with `error` in it tells, by its code where that is known. */
export function toldFailure(told, otherwise = HutchError) {
    const said = told['error'];
    const inner = isObject(said) ? said : { ...told, message: said }; // as OpenAI writes it, or as Ollama
    const code = String(inner['code']);
    const kind = Object.hasOwn(BY_CODE, code) ? BY_CODE[code] : otherwise;
    return new kind(String(inner['message'] || 'the server names no reason'), String(inner['hint'] ?? ''));
}
/** The error for text where a JSON object should be. */
export function badJson(text) {
    return new BadAnswer(`the server sent what is no JSON object${shown(text)}`, BEHIND);
}
export function isObject(value) {
    return typeof value === 'object' && value !== null && !Array.isArray(value);
}
function object(body) {
    try {
        const value = JSON.parse(body);
        return isObject(value) ? value : {};
    }
    catch {
        return {}; // then the status alone tells what it is
    }
}
/** The beginning of an answer's text, without the tags of a web page. */
function shown(text) {
    const plain = text.slice(0, 16384).replace(/<(?:style|script)\b[^]*?<\/(?:style|script)>|<[^>]*>/gi, ' ');
    const words = plain.split(/\s+/).filter(Boolean).join(' ');
    return words ? `: ${words.slice(0, 200)}` : '';
}
/** The seconds that `Retry-After` says, as a number or a date. */
function retryAfterS(text) {
    if (!text.trim())
        return 0;
    const number = Number(text);
    const waitS = Number.isNaN(number) ? (Date.parse(text) - Date.now()) / 1000 : number;
    return Number.isFinite(waitS) ? Math.ceil(Math.max(0, waitS)) : 0;
}
