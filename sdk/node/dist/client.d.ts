import { type Source } from './blobs.js';
import type * as results from './results.js';
import { type Retries } from './retries.js';
import type * as settings from './settings.js';
export interface ClientSettings {
    /** The server; else HUTCH_HOST, else OLLAMA_HOST, else this machine. */
    baseUrl?: string;
    /** The key that it needs; else HUTCH_API_KEY, else OLLAMA_API_KEY. */
    apiKey?: string;
    /** How long the server may be silent, in seconds. fetch itself gives up after 300, which is what there is where nothing is said. */
    timeoutS?: number;
    /** For when the server is away or busy. */
    retries?: Partial<Retries>;
    /** Another fetch, which may have a longer patience or a proxy. */
    fetch?: typeof fetch;
}
export declare class Client {
    #private;
    /** Throws BadInput for settings that cannot be. */
    constructor(said?: ClientSettings);
    /** Answer a conversation; a text alone is what the user says. */
    chat(model: string, messages: string | readonly settings.Message[], said?: settings.ChatSettings): Promise<results.Answer>;
    /** Answer a conversation piece by piece. */
    chatStream(model: string, messages: string | readonly settings.Message[], said?: settings.ChatSettings): AsyncGenerator<results.Answer>;
    /** Complete a prompt. */
    generate(model: string, prompt: string, said?: settings.GenerateSettings): Promise<results.Answer>;
    /** Complete a prompt piece by piece. */
    generateStream(model: string, prompt: string, said?: settings.GenerateSettings): AsyncGenerator<results.Answer>;
    /** Turn each text into a vector of unit length. */
    embed(model: string, texts: string | readonly string[], said?: settings.EmbedSettings): Promise<results.Embeddings>;
    /** Put documents in the order in which they answer a query. */
    rerank(model: string, query: string, documents: readonly string[], said?: settings.RerankSettings): Promise<results.Ranking>;
    /** Have a task done, such as 'summarize', by the fields that it takes. */
    task(name: string, said?: settings.TaskSettings): Promise<results.TaskResult>;
    /** Answer in the words of OpenAI's Responses: the server keeps the answer, and the next can go on from it. */
    respond(model: string, given: string | readonly object[], said?: settings.RespondSettings): Promise<results.ModelResponse>;
    /** The same as events; the last one has the whole response. */
    respondStream(model: string, given: string | readonly object[], said?: settings.RespondSettings): AsyncGenerator<results.ResponseEvent>;
    /** The models that the server has, the newest first. */
    list(said?: settings.Asking): Promise<readonly results.Model[]>;
    /** The models that are loaded. */
    ps(said?: settings.Asking): Promise<readonly results.Running[]>;
    /** Everything about a model; `verbose` with its tensors and long metadata in `raw`. */
    show(model: string, said?: settings.ShowSettings): Promise<results.Description>;
    /** Fetch a model, and resolve when it is there. */
    pull(model: string, said?: settings.TransferSettings): Promise<void>;
    /** Fetch a model, telling how far it is. */
    pullStream(model: string, said?: settings.TransferSettings): AsyncGenerator<results.Progress>;
    /** Send a model to the registry that its name says, and resolve when it is there. */
    push(model: string, said?: settings.TransferSettings): Promise<void>;
    /** Send a model to the registry that its name says, telling how far it is. */
    pushStream(model: string, said?: settings.TransferSettings): AsyncGenerator<results.Progress>;
    /** Make a model, and resolve when it is made. */
    create(model: string, said: settings.CreateSettings): Promise<void>;
    /** Make a model, telling how far it is. */
    createStream(model: string, said: settings.CreateSettings): AsyncGenerator<results.Progress>;
    /** Give a model a second name. */
    copy(source: string, destination: string, said?: settings.Asking): Promise<void>;
    /** Delete a model, unloading it first. */
    delete(model: string, said?: settings.Asking): Promise<void>;
    /** Load a model, and resolve when it is ready. */
    load(model: string, said?: settings.LoadSettings): Promise<void>;
    /** Unload a model. */
    unload(model: string, said?: settings.Asking): Promise<void>;
    /** Whether the server has a file of this digest (`sha256:…`). */
    hasBlob(digest: string, said?: settings.Asking): Promise<boolean>;
    /** Bring a file (where it is, or its bytes) to the server unless it has it; the digest, for `create`. */
    createBlob(source: Source, said?: settings.Asking): Promise<string>;
    /** Whether the server can answer requests now. Does not reject because it is away, slow or not ready. */
    health(said?: settings.Asking): Promise<results.Health>;
    /** The versions of the server. */
    version(said?: settings.Asking): Promise<results.Version>;
}
