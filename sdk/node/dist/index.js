export { Client } from './client.js';
export { BadAnswer, BadInput, BrokenOff, Busy, Conflict, EngineFailed, Forbidden, HutchError, NoAnswer, NoRoom, NotFound, OverLimit, SourceFailed, TooLate, TooSlow, TurnedAway, Unanswered, Unauthenticated, Unreachable, } from './errors.js';
