// One request and its answer over fetch, with an end to patience. It is never sent twice here.
import { BadAnswer, BadInput, BrokenOff, HutchError, NoAnswer, TooSlow, Unreachable, failure } from './errors.js';
const MAX_ANSWER_CHARS = 256 << 20;
const AWAY = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']);
const NO_CONNECTION = new Set(['UND_ERR_CONNECT_TIMEOUT', 'ETIMEDOUT']);
const SILENT = new Set(['UND_ERR_HEADERS_TIMEOUT', 'UND_ERR_BODY_TIMEOUT']);
const CERTIFICATE = /^(?:CERT_|ERR_TLS_|ERR_SSL_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/;
export class Exchange {
    #link;
    #controller = new AbortController();
    #signal;
    #leave = () => this.#controller.abort();
    #timer;
    #isTooSlow = false;
    #response;
    constructor(link, signal) {
        this.#link = link;
        this.#signal = signal;
        signal?.addEventListener('abort', this.#leave);
    }
    /** Send, and wait for the head of an answer of success. Throws what another one tells, or the signal's reason. */
    static async open(link, call, signal, content) {
        signal?.throwIfAborted();
        const exchange = new Exchange(link, signal);
        try {
            await exchange.#send(call, content);
            return exchange;
        }
        catch (error) {
            exchange.close();
            throw exchange.#told(error);
        }
    }
    async #send(call, content) {
        const headers = this.#link.key ? { Authorization: `Bearer ${this.#link.key}` } : {};
        const init = { method: call.method, headers, redirect: 'manual', signal: this.#controller.signal };
        if (call.body !== undefined) {
            headers['Content-Type'] = 'application/json';
            init.body = json(call.body);
        }
        else if (content)
            Object.assign(init, content(() => this.#touch()));
        this.#touch();
        this.#response = await this.#link.fetch(this.#link.url + call.path, init);
        if (!this.#response.ok)
            throw failure(this.#response.status, this.#response.headers, await this.text());
    }
    /** The whole answer. */
    async text() {
        const parts = [];
        let chars = 0;
        for await (const part of this.parts()) {
            parts.push(part);
            chars += part.length;
            if (chars > MAX_ANSWER_CHARS)
                throw new BadAnswer(`the server's answer has more than ${MAX_ANSWER_CHARS >> 20} MiB`);
        }
        return parts.join('');
    }
    /** The answer's text as it comes. Leaving the loop closes the connection. */
    async *parts() {
        const reader = this.#response?.body?.getReader();
        const decoder = new TextDecoder();
        try {
            while (reader) {
                this.#touch();
                const { done, value } = await reader.read();
                clearTimeout(this.#timer); // what the program does with it is not the server's silence
                if (done)
                    break;
                yield decoder.decode(value, { stream: true });
            }
            const rest = decoder.decode();
            if (rest)
                yield rest;
        }
        catch (error) {
            throw this.#told(error);
        }
        finally {
            this.close();
        }
    }
    get response() {
        return this.#response;
    }
    /** Leave. Nothing is read any more. */
    close() {
        clearTimeout(this.#timer);
        this.#signal?.removeEventListener('abort', this.#leave);
        this.#controller.abort();
    }
    #touch() {
        clearTimeout(this.#timer);
        if (!Number.isFinite(this.#link.timeoutS) || this.#controller.signal.aborted)
            return;
        const timeoutMs = Math.min(this.#link.timeoutS * 1000, 2 ** 31 - 1); // what a timer can take
        this.#timer = setTimeout(() => {
            this.#isTooSlow = true;
            this.#controller.abort();
        }, timeoutMs);
    }
    /** fetch's errors as Hutch's. */
    #told(error) {
        if (this.#signal?.aborted)
            return this.#signal.reason;
        for (let cause = error; cause instanceof Error; cause = cause.cause)
            if (cause instanceof HutchError)
                return cause; // so of a file that cannot be read
        const where = this.#link.url;
        const { code, message } = causeOf(error);
        if (this.#isTooSlow || SILENT.has(code)) {
            const hint = 'Give the client a longer timeoutS, or look at `hutch ps`.';
            return new TooSlow(this.#isTooSlow ? `the server at ${where} was silent for ${this.#link.timeoutS} s` : `the server at ${where} was silent: ${message}`, hint, error);
        }
        if (NO_CONNECTION.has(code))
            return new NoAnswer(`nothing at ${where} took the connection`, 'Look at the address.', error);
        if (AWAY.has(code) || CERTIFICATE.test(code)) {
            const hint = 'Start it with `hutch serve`, or name another address in HUTCH_HOST or baseUrl.';
            return new Unreachable(`could not connect to a hutch server at ${where}: ${message}`, hint, error);
        }
        return new BrokenOff(`the server at ${where} broke off: ${message}`, 'Send the request again; `hutch logs` may tell why.', error);
    }
}
/** Why fetch failed: the code and the text of the innermost cause. */
function causeOf(error) {
    let cause = error;
    while (cause.cause instanceof Error)
        cause = cause.cause;
    const inner = (cause.errors?.[0] ?? cause); // one for each address of a name
    return { code: String(inner.code ?? ''), message: String(inner.message || inner.code || error) };
}
function json(body) {
    try {
        return JSON.stringify(body, (name, value) => {
            if (typeof value === 'number' && !Number.isFinite(value))
                throw new TypeError(`${name} is ${value}`);
            return value;
        });
    }
    catch (error) {
        throw new BadInput(`the request cannot be written as JSON: ${error.message}`, '', error);
    }
}
