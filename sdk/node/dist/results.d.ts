import { Fields, type Raw } from './fields.js';
import type { Message } from './settings.js';
export interface ToolCall {
    readonly name: string;
    readonly arguments: Raw;
    readonly id: string;
}
export interface TokenLogprob {
    readonly token: string;
    readonly logprob: number;
    readonly top: readonly TokenLogprob[];
}
export interface Usage {
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly total_s: number;
    readonly load_s: number;
    readonly prompt_s: number;
    readonly decode_s: number;
}
/** An answer to a conversation or a prompt; of a stream one piece of it, the last of which is `done`. */
export interface Answer {
    readonly model: string;
    readonly text: string;
    readonly thinking: string;
    readonly tool_calls: readonly ToolCall[];
    readonly logprobs: readonly TokenLogprob[];
    readonly done: boolean;
    readonly done_reason: string;
    readonly usage: Usage;
    readonly context: readonly number[];
    /** The answer as a message, for a conversation that goes on. */
    readonly message: Message;
    readonly raw: Raw;
}
export interface Embeddings {
    readonly model: string;
    readonly vectors: readonly (readonly number[])[];
    readonly usage: Usage;
}
export interface Ranking {
    readonly model: string;
    /** The best first: a document's place in the request, and how well it answers the query. */
    readonly results: readonly {
        readonly index: number;
        readonly score: number;
    }[];
    readonly prompt_tokens: number;
}
/** What a task gave, by its fields, such as `summary`. `usage` is empty where no model was asked. */
export interface TaskResult {
    readonly fields: Raw;
    readonly usage: Usage;
}
/** An answer of `/v1/responses`. Its `id` is what the next one calls `previous_response_id`. */
export interface ModelResponse {
    readonly id: string;
    readonly model: string;
    readonly status: string;
    readonly text: string;
    readonly tool_calls: readonly ToolCall[];
    readonly prompt_tokens: number;
    readonly completion_tokens: number;
    readonly raw: Raw;
}
/** An event of a streamed response: the text that it adds, and with the last one the whole response. */
export interface ResponseEvent {
    readonly type: string;
    readonly text: string;
    readonly response: ModelResponse | undefined;
    readonly raw: Raw;
}
/** A step of a pull, a push or a creation; of a file also how much of it is done. */
export interface Progress {
    readonly status: string;
    readonly digest: string;
    readonly total_bytes: number;
    readonly completed_bytes: number;
}
export interface Details {
    readonly format: string;
    readonly family: string;
    readonly parameter_size: string;
    readonly quantization: string;
    readonly parent_model: string;
}
export interface Model {
    readonly name: string;
    readonly digest: string;
    readonly size_bytes: number;
    readonly modified_at: Date | undefined;
    readonly details: Details;
    readonly capabilities: readonly string[];
    readonly raw: Raw;
}
/** A model that is loaded. `num_busy` of its `num_slots` answer now, `num_queued` requests wait for one. */
export interface Running {
    readonly name: string;
    readonly digest: string;
    readonly size_bytes: number;
    readonly context_length: number;
    readonly expires_at: Date | undefined;
    readonly details: Details;
    readonly engine: string;
    readonly state: string;
    readonly pid: number;
    readonly num_slots: number;
    readonly num_busy: number;
    readonly num_queued: number;
    readonly raw: Raw;
}
/** Everything about a model. `info` are the metadata of its file. */
export interface Description {
    readonly details: Details;
    readonly capabilities: readonly string[];
    readonly parameters: string;
    readonly template: string;
    readonly system: string;
    readonly license: string;
    readonly modelfile: string;
    readonly info: Raw;
    readonly raw: Raw;
}
/** Hutch's version ('' where it is another server), and that of the Ollama API that it speaks. */
export interface Version {
    readonly hutch: string;
    readonly api: string;
}
/** Whether the server can answer requests, and if not, why. */
export interface Health {
    readonly is_ready: boolean;
    readonly problem: string;
}
export declare function answerOf(reply: Fields): Answer;
export declare function embeddingsOf(reply: Fields): Embeddings;
export declare function rankingOf(reply: Fields): Ranking;
export declare function taskResultOf(reply: Fields): TaskResult;
export declare function responseOf(reply: Fields): ModelResponse;
export declare function eventOf(event: Fields): ResponseEvent;
export declare function progressOf(step: Fields): Progress;
export declare function modelOf(row: Fields): Model;
export declare function runningOf(row: Fields): Running;
export declare function descriptionOf(reply: Fields): Description;
export declare function versionOf(reply: Fields): Version;
/** The rows of a list of models. */
export declare function rowsOf(reply: Fields): Fields[];
