// Each thing that a client can ask, as a value: what is sent, how the answer is read, when it may be sent again.
import { BrokenOff } from './errors.js'
import type { Fields } from './fields.js'
import { Lines, ServerEvents, type Pieces } from './lines.js'
import * as results from './results.js'
import type { Repeat } from './retries.js'
import type * as settings from './settings.js'

/** One request, and what makes the result of its answer. */
export interface Call<T> {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'DELETE'
  readonly path: string
  readonly read: (reply: Fields) => T
  readonly body?: object
  readonly repeat: Repeat
}

/** A request whose answer comes in pieces. */
export interface StreamCall<T> extends Call<T> {
  readonly pieces: () => Pieces
  readonly isLast: (piece: T) => boolean
}

/** For answers that have nothing to tell. */
export const nothing = (): void => undefined

export function chat(model: string, messages: string | readonly settings.Message[], said: object, stream: boolean): object {
  const given = typeof messages === 'string' ? [{ role: 'user', content: messages }] : messages
  return { model, messages: given.map(withImages), ...said, stream }
}

export function generate(model: string, prompt: string, said: settings.GenerateSettings, stream: boolean): object {
  return { model, prompt, ...withImages(said), stream }
}

export function answering(path: string, body: object): Call<results.Answer> {
  return { method: 'POST', path, read: wholeOf, body, repeat: 'always' }
}

export function answeringStream(path: string, body: object): StreamCall<results.Answer> {
  return { ...answering(path, body), read: results.answerOf, pieces: () => new Lines(), isLast: (piece) => piece.done }
}

export function embed(model: string, texts: string | readonly string[], said: object): Call<results.Embeddings> {
  return { method: 'POST', path: '/api/embed', read: results.embeddingsOf, body: { model, input: texts, ...said }, repeat: 'always' }
}

export function rerank(model: string, query: string, documents: readonly string[], said: object): Call<results.Ranking> {
  const body = { model, query, documents, ...said }
  return { method: 'POST', path: '/v1/rerank', read: results.rankingOf, body, repeat: 'always' }
}

export function task(name: string, said: { image?: settings.Image }): Call<results.TaskResult> {
  const body = said.image === undefined ? said : { ...said, image: base64Of(said.image) }
  return { method: 'POST', path: `/api/tasks/${encodeURIComponent(name)}`, read: results.taskResultOf, body, repeat: 'always' }
}

/** Not repeated at will, for each answer is kept. */
export function respond(model: string, input: string | readonly object[], said: object): Call<results.ModelResponse> {
  return { method: 'POST', path: '/v1/responses', read: results.responseOf, body: { model, input, ...said }, repeat: 'refused' }
}

export function respondStream(model: string, input: string | readonly object[], said: object): StreamCall<results.ResponseEvent> {
  return {
    ...respond(model, input, { ...said, stream: true }),
    read: results.eventOf,
    pieces: () => new ServerEvents(),
    isLast: (event) => event.response !== undefined,
  }
}

export function list(): Call<readonly results.Model[]> {
  return { method: 'GET', path: '/api/tags', read: (reply) => results.rowsOf(reply).map(results.modelOf), repeat: 'always' }
}

export function ps(): Call<readonly results.Running[]> {
  return { method: 'GET', path: '/api/ps', read: (reply) => results.rowsOf(reply).map(results.runningOf), repeat: 'always' }
}

export function show(model: string, said: object): Call<results.Description> {
  return { method: 'POST', path: '/api/show', read: results.descriptionOf, body: { model, ...said }, repeat: 'always' }
}

export function progress(path: '/api/pull' | '/api/push' | '/api/create', model: string, said: object): StreamCall<results.Progress> {
  return {
    method: 'POST',
    path,
    read: results.progressOf,
    body: { model, ...said, stream: true },
    repeat: 'always',
    pieces: () => new Lines(),
    isLast: (step) => step.status === 'success',
  }
}

export function copy(source: string, destination: string): Call<void> {
  return { method: 'POST', path: '/api/copy', read: nothing, body: { source, destination }, repeat: 'always' }
}

/** A second time it would not be found. */
export function remove(model: string): Call<void> {
  return { method: 'DELETE', path: '/api/delete', read: nothing, body: { model }, repeat: 'refused' }
}

/** A prompt that is empty. */
export function load(model: string, said: object): Call<void> {
  return { method: 'POST', path: '/api/generate', read: nothing, body: { model, stream: false, ...said }, repeat: 'always' }
}

export function hasBlob(digest: string): Call<void> {
  return { method: 'HEAD', path: `/api/blobs/${encodeURIComponent(digest)}`, read: nothing, repeat: 'always' }
}

/** Its bytes are not part of the call. */
export function takeBlob(digest: string): Call<void> {
  return { method: 'POST', path: `/api/blobs/${digest}`, read: nothing, repeat: 'always' }
}

/** What it says now is what was asked, so it is asked once. */
export function ready(): Call<void> {
  return { method: 'GET', path: '/readyz', read: nothing, repeat: 'never' }
}

export function version(): Call<results.Version> {
  return { method: 'GET', path: '/api/version', read: results.versionOf, repeat: 'always' }
}

function wholeOf(reply: Fields): results.Answer {
  const answer = results.answerOf(reply)
  if (!answer.done) throw new BrokenOff("the server's answer broke off before its end")
  return answer
}

function withImages<T extends { images?: readonly settings.Image[] }>(said: T): T {
  if (said.images === undefined) return said
  return { ...said, images: said.images.map(base64Of) }
}

function base64Of(image: settings.Image): string {
  return typeof image === 'string' ? image : Buffer.from(image).toString('base64')
}
