// When a request is sent again, and after how long. Nothing here waits.
import { BadInput, Busy, NoAnswer, OverLimit, Unreachable } from './errors.js';
/** Fill in what is not said: three times, from 0.25 s, up to 30 s. Throws BadInput. */
export function retriesOf(said) {
    const whole = { times: 3, firstS: 0.25, longestS: 30, ...said };
    for (const name of ['times', 'firstS', 'longestS']) {
        if (!(whole[name] >= 0))
            throw new BadInput(`retries.${name}: it must be a number, and not negative`);
    }
    return whole;
}
/** The seconds before the attempt after number `attempt` (from 0); undefined where there is to be none. */
export function waitS(retries, error, repeat, attempt) {
    if (attempt >= retries.times || repeat === 'never')
        return undefined;
    let toldS = 0;
    const isRefused = error instanceof Busy && (error.constructor === Busy || error.constructor === OverLimit);
    if (isRefused || (error instanceof Busy && repeat === 'always'))
        toldS = error.retryAfterS;
    else if (!(error instanceof Unreachable) || error instanceof NoAnswer)
        return undefined;
    if (toldS > retries.longestS)
        return undefined;
    return toldS + Math.min(retries.firstS * 2 ** attempt, retries.longestS) * (0.5 + Math.random() / 2);
}
