// A Hutch server, asked from a program.
import { urlOf, variable } from './address.js';
import { contentOf, digestOf } from './blobs.js';
import * as calls from './calls.js';
import { BadInput, BrokenOff, NotFound, TooSlow, TurnedAway, Unreachable, failure } from './errors.js';
import { Exchange } from './exchange.js';
import { Fields } from './fields.js';
import { retriesOf, waitS } from './retries.js';
export class Client {
    #link;
    #retries;
    /** Throws BadInput for settings that cannot be. */
    constructor(said = {}) {
        const key = said.apiKey ?? variable('HUTCH_API_KEY', 'OLLAMA_API_KEY');
        if (!/^[\x20-\x7e]*$/.test(key))
            throw new BadInput('the API key has a character that no header can carry', 'Look at HUTCH_API_KEY.');
        const timeoutS = said.timeoutS ?? 300;
        if (!(timeoutS > 0))
            throw new BadInput('timeoutS: it must be more than 0', 'Infinity waits as long as fetch does.');
        const url = urlOf(said.baseUrl ?? variable('HUTCH_HOST', 'OLLAMA_HOST'));
        this.#link = { url, key, timeoutS, fetch: said.fetch ?? ((...words) => globalThis.fetch(...words)) };
        this.#retries = retriesOf(said.retries ?? {});
    }
    /** Answer a conversation; a text alone is what the user says. */
    chat(model, messages, said = {}) {
        const { signal, ...rest } = said;
        return this.#ask(calls.answering('/api/chat', calls.chat(model, messages, rest, false)), signal);
    }
    /** Answer a conversation piece by piece. */
    chatStream(model, messages, said = {}) {
        const { signal, ...rest } = said;
        return this.#stream(calls.answeringStream('/api/chat', calls.chat(model, messages, rest, true)), signal);
    }
    /** Complete a prompt. */
    generate(model, prompt, said = {}) {
        const { signal, ...rest } = said;
        return this.#ask(calls.answering('/api/generate', calls.generate(model, prompt, rest, false)), signal);
    }
    /** Complete a prompt piece by piece. */
    generateStream(model, prompt, said = {}) {
        const { signal, ...rest } = said;
        return this.#stream(calls.answeringStream('/api/generate', calls.generate(model, prompt, rest, true)), signal);
    }
    /** Turn each text into a vector of unit length. */
    embed(model, texts, said = {}) {
        const { signal, ...rest } = said;
        return this.#ask(calls.embed(model, texts, rest), signal);
    }
    /** Put documents in the order in which they answer a query. */
    rerank(model, query, documents, said = {}) {
        const { signal, ...rest } = said;
        return this.#ask(calls.rerank(model, query, documents, rest), signal);
    }
    /** Have a task done, such as 'summarize', by the fields that it takes. */
    task(name, said = {}) {
        const { signal, ...rest } = said;
        return this.#ask(calls.task(name, rest), signal);
    }
    /** Answer in the words of OpenAI's Responses: the server keeps the answer, and the next can go on from it. */
    respond(model, given, said = {}) {
        const { signal, ...rest } = said;
        return this.#ask(calls.respond(model, given, rest), signal);
    }
    /** The same as events; the last one has the whole response. */
    respondStream(model, given, said = {}) {
        const { signal, ...rest } = said;
        return this.#stream(calls.respondStream(model, given, rest), signal);
    }
    /** The models that the server has, the newest first. */
    list(said = {}) {
        return this.#ask(calls.list(), said.signal);
    }
    /** The models that are loaded. */
    ps(said = {}) {
        return this.#ask(calls.ps(), said.signal);
    }
    /** Everything about a model; `verbose` with its tensors and long metadata in `raw`. */
    show(model, said = {}) {
        const { signal, ...rest } = said;
        return this.#ask(calls.show(model, rest), signal);
    }
    /** Fetch a model, and resolve when it is there. */
    pull(model, said = {}) {
        return finish(this.pullStream(model, said));
    }
    /** Fetch a model, telling how far it is. */
    pullStream(model, said = {}) {
        const { signal, ...rest } = said;
        return this.#stream(calls.progress('/api/pull', model, rest), signal);
    }
    /** Send a model to the registry that its name says, and resolve when it is there. */
    push(model, said = {}) {
        return finish(this.pushStream(model, said));
    }
    /** Send a model to the registry that its name says, telling how far it is. */
    pushStream(model, said = {}) {
        const { signal, ...rest } = said;
        return this.#stream(calls.progress('/api/push', model, rest), signal);
    }
    /** Make a model, and resolve when it is made. */
    create(model, said) {
        return finish(this.createStream(model, said));
    }
    /** Make a model, telling how far it is. */
    createStream(model, said) {
        const { signal, ...rest } = said;
        return this.#stream(calls.progress('/api/create', model, rest), signal);
    }
    /** Give a model a second name. */
    copy(source, destination, said = {}) {
        return this.#ask(calls.copy(source, destination), said.signal);
    }
    /** Delete a model, unloading it first. */
    delete(model, said = {}) {
        return this.#ask(calls.remove(model), said.signal);
    }
    /** Load a model, and resolve when it is ready. */
    load(model, said = {}) {
        const { signal, ...rest } = said;
        return this.#ask(calls.load(model, rest), signal);
    }
    /** Unload a model. */
    unload(model, said = {}) {
        return this.#ask(calls.load(model, { keep_alive: 0 }), said.signal);
    }
    /** Whether the server has a file of this digest (`sha256:…`). */
    async hasBlob(digest, said = {}) {
        try {
            await this.#ask(calls.hasBlob(digest), said.signal);
            return true;
        }
        catch (error) {
            if (error instanceof NotFound)
                return false;
            throw error;
        }
    }
    /** Bring a file (where it is, or its bytes) to the server unless it has it; the digest, for `create`. */
    async createBlob(source, said = {}) {
        const digest = await digestOf(source);
        if (!(await this.hasBlob(digest, said)))
            await this.#ask(calls.takeBlob(digest), said.signal, contentOf(source));
        return digest;
    }
    /** Whether the server can answer requests now. Does not reject because it is away, slow or not ready. */
    async health(said = {}) {
        try {
            await this.#ask(calls.ready(), said.signal);
            return { is_ready: true, problem: '' };
        }
        catch (error) {
            if (error instanceof Unreachable || error instanceof TooSlow || error instanceof TurnedAway) {
                return { is_ready: false, problem: error.message };
            }
            throw error;
        }
    }
    /** The versions of the server. */
    version(said = {}) {
        return this.#ask(calls.version(), said.signal);
    }
    async #ask(call, signal, content) {
        const exchange = await this.#open(call, signal, content);
        const text = await exchange.text();
        if (call.read === calls.nothing && !text.trim())
            return call.read(new Fields({}));
        const fields = Fields.parse(text);
        if (fields.raw['error'] && !('id' in fields.raw))
            throw failure(exchange.response.status, exchange.response.headers, text); // a 200 that hides a failure
        return call.read(fields);
    }
    async *#stream(call, signal) {
        const exchange = await this.#open(call, signal);
        const pieces = call.pieces();
        let isWhole = false;
        function* read(all) {
            for (const fields of all) {
                const piece = call.read(fields);
                isWhole ||= call.isLast(piece);
                yield piece;
            }
        }
        for await (const part of exchange.parts())
            yield* read(pieces.feed(part));
        yield* read(pieces.end());
        if (!isWhole)
            throw new BrokenOff("the server's answer broke off before its end", 'Look at `hutch logs`.');
    }
    /** Send until the server takes it. */
    async #open(call, signal, content) {
        for (let attempt = 0;; attempt++) {
            try {
                return await Exchange.open(this.#link, call, signal, content);
            }
            catch (error) {
                const pauseS = waitS(this.#retries, error, call.repeat, attempt);
                if (pauseS === undefined)
                    throw error;
                await pause(pauseS, signal);
            }
        }
    }
}
async function finish(steps) {
    for await (const _ of steps)
        ;
}
function pause(seconds, signal) {
    return new Promise((resolve, reject) => {
        const leave = () => {
            clearTimeout(timer);
            reject(signal?.reason);
        };
        const timer = setTimeout(() => {
            signal?.removeEventListener('abort', leave);
            resolve();
        }, seconds * 1000);
        if (signal?.aborted)
            leave();
        else
            signal?.addEventListener('abort', leave, { once: true });
    });
}
