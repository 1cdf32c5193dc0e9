export type { Source } from './blobs.js';
export { Client, type ClientSettings } from './client.js';
export { BadAnswer, BadInput, BrokenOff, Busy, Conflict, EngineFailed, Forbidden, HutchError, NoAnswer, NoRoom, NotFound, OverLimit, SourceFailed, TooLate, TooSlow, TurnedAway, Unanswered, Unauthenticated, Unreachable, } from './errors.js';
export type * from './results.js';
export type { Retries } from './retries.js';
export type * from './settings.js';
