// A Hutch server, asked from a program.
import { urlOf, variable } from './address.js'
import { contentOf, digestOf, type Source } from './blobs.js'
import * as calls from './calls.js'
import type { Call, StreamCall } from './calls.js'
import { BadInput, BrokenOff, NotFound, TooSlow, TurnedAway, Unreachable, failure } from './errors.js'
import { Exchange, type Content, type Link } from './exchange.js'
import { Fields } from './fields.js'
import type * as results from './results.js'
import { retriesOf, waitS, type Retries } from './retries.js'
import type * as settings from './settings.js'

export interface ClientSettings {
  /** The server; else HUTCH_HOST, else OLLAMA_HOST, else this machine. */
  baseUrl?: string
  /** The key that it needs; else HUTCH_API_KEY, else OLLAMA_API_KEY. */
  apiKey?: string
  /** How long the server may be silent, in seconds. fetch itself gives up after 300, which is what there is where nothing is said. */
  timeoutS?: number
  /** For when the server is away or busy. */
  retries?: Partial<Retries>
  /** Another fetch, which may have a longer patience or a proxy. */
  fetch?: typeof fetch
}

export class Client {
  readonly #link: Link
  readonly #retries: Retries

  /** Throws BadInput for settings that cannot be. */
  constructor(said: ClientSettings = {}) {
    const key = said.apiKey ?? variable('HUTCH_API_KEY', 'OLLAMA_API_KEY')
    if (!/^[\x20-\x7e]*$/.test(key)) throw new BadInput('the API key has a character that no header can carry', 'Look at HUTCH_API_KEY.')
    const timeoutS = said.timeoutS ?? 300
    if (!(timeoutS > 0)) throw new BadInput('timeoutS: it must be more than 0', 'Infinity waits as long as fetch does.')
    const url = urlOf(said.baseUrl ?? variable('HUTCH_HOST', 'OLLAMA_HOST'))
    this.#link = { url, key, timeoutS, fetch: said.fetch ?? ((...words) => globalThis.fetch(...words)) }
    this.#retries = retriesOf(said.retries ?? {})
  }

  /** Answer a conversation; a text alone is what the user says. */
  chat(model: string, messages: string | readonly settings.Message[], said: settings.ChatSettings = {}): Promise<results.Answer> {
    const { signal, ...rest } = said
    return this.#ask(calls.answering('/api/chat', calls.chat(model, messages, rest, false)), signal)
  }

  /** Answer a conversation piece by piece. */
  chatStream(model: string, messages: string | readonly settings.Message[], said: settings.ChatSettings = {}): AsyncGenerator<results.Answer> {
    const { signal, ...rest } = said
    return this.#stream(calls.answeringStream('/api/chat', calls.chat(model, messages, rest, true)), signal)
  }

  /** Complete a prompt. */
  generate(model: string, prompt: string, said: settings.GenerateSettings = {}): Promise<results.Answer> {
    const { signal, ...rest } = said
    return this.#ask(calls.answering('/api/generate', calls.generate(model, prompt, rest, false)), signal)
  }

  /** Complete a prompt piece by piece. */
  generateStream(model: string, prompt: string, said: settings.GenerateSettings = {}): AsyncGenerator<results.Answer> {
    const { signal, ...rest } = said
    return this.#stream(calls.answeringStream('/api/generate', calls.generate(model, prompt, rest, true)), signal)
  }

  /** Turn each text into a vector of unit length. */
  embed(model: string, texts: string | readonly string[], said: settings.EmbedSettings = {}): Promise<results.Embeddings> {
    const { signal, ...rest } = said
    return this.#ask(calls.embed(model, texts, rest), signal)
  }

  /** Put documents in the order in which they answer a query. */
  rerank(model: string, query: string, documents: readonly string[], said: settings.RerankSettings = {}): Promise<results.Ranking> {
    const { signal, ...rest } = said
    return this.#ask(calls.rerank(model, query, documents, rest), signal)
  }

  /** Have a task done, such as 'summarize', by the fields that it takes. */
  task(name: string, said: settings.TaskSettings = {}): Promise<results.TaskResult> {
    const { signal, ...rest } = said
    return this.#ask(calls.task(name, rest), signal)
  }

  /** Answer in the words of OpenAI's Responses: the server keeps the answer, and the next can go on from it. */
  respond(model: string, given: string | readonly object[], said: settings.RespondSettings = {}): Promise<results.ModelResponse> {
    const { signal, ...rest } = said
    return this.#ask(calls.respond(model, given, rest), signal)
  }

  /** The same as events; the last one has the whole response. */
  respondStream(model: string, given: string | readonly object[], said: settings.RespondSettings = {}): AsyncGenerator<results.ResponseEvent> {
    const { signal, ...rest } = said
    return this.#stream(calls.respondStream(model, given, rest), signal)
  }

  /** The models that the server has, the newest first. */
  list(said: settings.Asking = {}): Promise<readonly results.Model[]> {
    return this.#ask(calls.list(), said.signal)
  }

  /** The models that are loaded. */
  ps(said: settings.Asking = {}): Promise<readonly results.Running[]> {
    return this.#ask(calls.ps(), said.signal)
  }

  /** Everything about a model; `verbose` with its tensors and long metadata in `raw`. */
  show(model: string, said: settings.ShowSettings = {}): Promise<results.Description> {
    const { signal, ...rest } = said
    return this.#ask(calls.show(model, rest), signal)
  }

  /** Fetch a model, and resolve when it is there. */
  pull(model: string, said: settings.TransferSettings = {}): Promise<void> {
    return finish(this.pullStream(model, said))
  }

  /** Fetch a model, telling how far it is. */
  pullStream(model: string, said: settings.TransferSettings = {}): AsyncGenerator<results.Progress> {
    const { signal, ...rest } = said
    return this.#stream(calls.progress('/api/pull', model, rest), signal)
  }

  /** Send a model to the registry that its name says, and resolve when it is there. */
  push(model: string, said: settings.TransferSettings = {}): Promise<void> {
    return finish(this.pushStream(model, said))
  }

  /** Send a model to the registry that its name says, telling how far it is. */
  pushStream(model: string, said: settings.TransferSettings = {}): AsyncGenerator<results.Progress> {
    const { signal, ...rest } = said
    return this.#stream(calls.progress('/api/push', model, rest), signal)
  }

  /** Make a model, and resolve when it is made. */
  create(model: string, said: settings.CreateSettings): Promise<void> {
    return finish(this.createStream(model, said))
  }

  /** Make a model, telling how far it is. */
  createStream(model: string, said: settings.CreateSettings): AsyncGenerator<results.Progress> {
    const { signal, ...rest } = said
    return this.#stream(calls.progress('/api/create', model, rest), signal)
  }

  /** Give a model a second name. */
  copy(source: string, destination: string, said: settings.Asking = {}): Promise<void> {
    return this.#ask(calls.copy(source, destination), said.signal)
  }

  /** Delete a model, unloading it first. */
  delete(model: string, said: settings.Asking = {}): Promise<void> {
    return this.#ask(calls.remove(model), said.signal)
  }

  /** Load a model, and resolve when it is ready. */
  load(model: string, said: settings.LoadSettings = {}): Promise<void> {
    const { signal, ...rest } = said
    return this.#ask(calls.load(model, rest), signal)
  }

  /** Unload a model. */
  unload(model: string, said: settings.Asking = {}): Promise<void> {
    return this.#ask(calls.load(model, { keep_alive: 0 }), said.signal)
  }

  /** Whether the server has a file of this digest (`sha256:…`). */
  async hasBlob(digest: string, said: settings.Asking = {}): Promise<boolean> {
    try {
      await this.#ask(calls.hasBlob(digest), said.signal)
      return true
    } catch (error) {
      if (error instanceof NotFound) return false
      throw error
    }
  }

  /** Bring a file (where it is, or its bytes) to the server unless it has it; the digest, for `create`. */
  async createBlob(source: Source, said: settings.Asking = {}): Promise<string> {
    const digest = await digestOf(source)
    if (!(await this.hasBlob(digest, said))) await this.#ask(calls.takeBlob(digest), said.signal, contentOf(source))
    return digest
  }

  /** Whether the server can answer requests now. Does not reject because it is away, slow or not ready. */
  async health(said: settings.Asking = {}): Promise<results.Health> {
    try {
      await this.#ask(calls.ready(), said.signal)
      return { is_ready: true, problem: '' }
    } catch (error) {
      if (error instanceof Unreachable || error instanceof TooSlow || error instanceof TurnedAway) {
        return { is_ready: false, problem: error.message }
      }
      throw error
    }
  }

  /** The versions of the server. */
  version(said: settings.Asking = {}): Promise<results.Version> {
    return this.#ask(calls.version(), said.signal)
  }

  async #ask<T>(call: Call<T>, signal?: AbortSignal, content?: Content): Promise<T> {
    const exchange = await this.#open(call, signal, content)
    const text = await exchange.text()
    if ((call.read as unknown) === calls.nothing && !text.trim()) return call.read(new Fields({}))
    const fields = Fields.parse(text)
    if (fields.raw['error'] && !('id' in fields.raw)) throw failure(exchange.response.status, exchange.response.headers, text) // a 200 that hides a failure
    return call.read(fields)
  }

  async *#stream<T>(call: StreamCall<T>, signal?: AbortSignal): AsyncGenerator<T> {
    const exchange = await this.#open(call, signal)
    const pieces = call.pieces()
    let isWhole = false
    function* read(all: Generator<Fields>): Generator<T> {
      for (const fields of all) {
        const piece = call.read(fields)
        isWhole ||= call.isLast(piece)
        yield piece
      }
    }
    for await (const part of exchange.parts()) yield* read(pieces.feed(part))
    yield* read(pieces.end())
    if (!isWhole) throw new BrokenOff("the server's answer broke off before its end", 'Look at `hutch logs`.')
  }

  /** Send until the server takes it. */
  async #open(call: Call<unknown>, signal?: AbortSignal, content?: Content): Promise<Exchange> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await Exchange.open(this.#link, call, signal, content)
      } catch (error) {
        const pauseS = waitS(this.#retries, error, call.repeat, attempt)
        if (pauseS === undefined) throw error
        await pause(pauseS, signal)
      }
    }
  }
}

async function finish(steps: AsyncGenerator<unknown>): Promise<void> {
  for await (const _ of steps);
}

function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', leave)
      resolve()
    }, seconds * 1000)
    if (signal?.aborted) leave()
    else signal?.addEventListener('abort', leave, { once: true })
  })
}
