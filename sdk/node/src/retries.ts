// When a request is sent again, and after how long. Nothing here waits.
import { BadInput, Busy, NoAnswer, OverLimit, Unreachable } from './errors.js'

/** `refused` repeats what was certainly not begun: without a connection, or where Hutch itself says it is busy. */
export type Repeat = 'always' | 'refused' | 'never'

/**
 * How often a request that was turned away is sent again: when nobody listens, and on 429 and 503. The pause doubles from
 * `firstS` on, up to `longestS`, and is cut by chance to between half and all of it. A `Retry-After` is waited for in full;
 * one longer than `longestS` ends the attempts at once.
 */
export interface Retries {
  readonly times: number
  readonly firstS: number
  readonly longestS: number
}

/** Fill in what is not said: three times, from 0.25 s, up to 30 s. Throws BadInput. */
export function retriesOf(said: Partial<Retries>): Retries {
  const whole = { times: 3, firstS: 0.25, longestS: 30, ...said }
  for (const name of ['times', 'firstS', 'longestS'] as const) {
    if (!(whole[name] >= 0)) throw new BadInput(`retries.${name}: it must be a number, and not negative`)
  }
  return whole
}

/** The seconds before the attempt after number `attempt` (from 0); undefined where there is to be none. */
export function waitS(retries: Retries, error: unknown, repeat: Repeat, attempt: number): number | undefined {
  if (attempt >= retries.times || repeat === 'never') return undefined
  let toldS = 0
  const isRefused = error instanceof Busy && (error.constructor === Busy || error.constructor === OverLimit)
  if (isRefused || (error instanceof Busy && repeat === 'always')) toldS = error.retryAfterS
  else if (!(error instanceof Unreachable) || error instanceof NoAnswer) return undefined
  if (toldS > retries.longestS) return undefined
  return toldS + Math.min(retries.firstS * 2 ** attempt, retries.longestS) * (0.5 + Math.random() / 2)
}
