import type { Fields } from './fields.js';
import { type Pieces } from './lines.js';
import * as results from './results.js';
import type { Repeat } from './retries.js';
import type * as settings from './settings.js';
/** One request, and what makes the result of its answer. */
export interface Call<T> {
    readonly method: 'GET' | 'HEAD' | 'POST' | 'DELETE';
    readonly path: string;
    readonly read: (reply: Fields) => T;
    readonly body?: object;
    readonly repeat: Repeat;
}
/** A request whose answer comes in pieces. */
export interface StreamCall<T> extends Call<T> {
    readonly pieces: () => Pieces;
    readonly isLast: (piece: T) => boolean;
}
/** For answers that have nothing to tell. */
export declare const nothing: () => void;
export declare function chat(model: string, messages: string | readonly settings.Message[], said: object, stream: boolean): object;
export declare function generate(model: string, prompt: string, said: settings.GenerateSettings, stream: boolean): object;
export declare function answering(path: string, body: object): Call<results.Answer>;
export declare function answeringStream(path: string, body: object): StreamCall<results.Answer>;
export declare function embed(model: string, texts: string | readonly string[], said: object): Call<results.Embeddings>;
export declare function rerank(model: string, query: string, documents: readonly string[], said: object): Call<results.Ranking>;
export declare function task(name: string, said: {
    image?: settings.Image;
}): Call<results.TaskResult>;
/** Not repeated at will, for each answer is kept. */
export declare function respond(model: string, input: string | readonly object[], said: object): Call<results.ModelResponse>;
export declare function respondStream(model: string, input: string | readonly object[], said: object): StreamCall<results.ResponseEvent>;
export declare function list(): Call<readonly results.Model[]>;
export declare function ps(): Call<readonly results.Running[]>;
export declare function show(model: string, said: object): Call<results.Description>;
export declare function progress(path: '/api/pull' | '/api/push' | '/api/create', model: string, said: object): StreamCall<results.Progress>;
export declare function copy(source: string, destination: string): Call<void>;
/** A second time it would not be found. */
export declare function remove(model: string): Call<void>;
/** A prompt that is empty. */
export declare function load(model: string, said: object): Call<void>;
export declare function hasBlob(digest: string): Call<void>;
/** Its bytes are not part of the call. */
export declare function takeBlob(digest: string): Call<void>;
/** What it says now is what was asked, so it is asked once. */
export declare function ready(): Call<void>;
export declare function version(): Call<results.Version>;
