// What calls give back: the names of the Python client, with durations in seconds (`_s`) and sizes in bytes (`_bytes`).
import { Fields, type Raw } from './fields.js'
import type { Message } from './settings.js'

export interface ToolCall {
  readonly name: string
  readonly arguments: Raw
  readonly id: string
}

export interface TokenLogprob {
  readonly token: string
  readonly logprob: number
  readonly top: readonly TokenLogprob[]
}

export interface Usage {
  readonly prompt_tokens: number
  readonly completion_tokens: number
  readonly total_s: number
  readonly load_s: number
  readonly prompt_s: number
  readonly decode_s: number
}

/** An answer to a conversation or a prompt; of a stream one piece of it, the last of which is `done`. */
export interface Answer {
  readonly model: string
  readonly text: string
  readonly thinking: string
  readonly tool_calls: readonly ToolCall[]
  readonly logprobs: readonly TokenLogprob[]
  readonly done: boolean
  readonly done_reason: string
  readonly usage: Usage
  readonly context: readonly number[]
  /** The answer as a message, for a conversation that goes on. */
  readonly message: Message
  readonly raw: Raw
}

export interface Embeddings {
  readonly model: string
  readonly vectors: readonly (readonly number[])[]
  readonly usage: Usage
}

export interface Ranking {
  readonly model: string
  /** The best first: a document's place in the request, and how well it answers the query. */
  readonly results: readonly { readonly index: number; readonly score: number }[]
  readonly prompt_tokens: number
}

/** What a task gave, by its fields, such as `summary`. `usage` is empty where no model was asked. */
export interface TaskResult {
  readonly fields: Raw
  readonly usage: Usage
}

/** An answer of `/v1/responses`. Its `id` is what the next one calls `previous_response_id`. */
export interface ModelResponse {
  readonly id: string
  readonly model: string
  readonly status: string
  readonly text: string
  readonly tool_calls: readonly ToolCall[]
  readonly prompt_tokens: number
  readonly completion_tokens: number
  readonly raw: Raw
}

/** An event of a streamed response: the text that it adds, and with the last one the whole response. */
export interface ResponseEvent {
  readonly type: string
  readonly text: string
  readonly response: ModelResponse | undefined
  readonly raw: Raw
}

/** A step of a pull, a push or a creation; of a file also how much of it is done. */
export interface Progress {
  readonly status: string
  readonly digest: string
  readonly total_bytes: number
  readonly completed_bytes: number
}

export interface Details {
  readonly format: string
  readonly family: string
  readonly parameter_size: string
  readonly quantization: string
  readonly parent_model: string
}

export interface Model {
  readonly name: string
  readonly digest: string
  readonly size_bytes: number
  readonly modified_at: Date | undefined
  readonly details: Details
  readonly capabilities: readonly string[]
  readonly raw: Raw
}

/** A model that is loaded. `num_busy` of its `num_slots` answer now, `num_queued` requests wait for one. */
export interface Running {
  readonly name: string
  readonly digest: string
  readonly size_bytes: number
  readonly context_length: number
  readonly expires_at: Date | undefined
  readonly details: Details
  readonly engine: string
  readonly state: string
  readonly pid: number
  readonly num_slots: number
  readonly num_busy: number
  readonly num_queued: number
  readonly raw: Raw
}

/** Everything about a model. `info` are the metadata of its file. */
export interface Description {
  readonly details: Details
  readonly capabilities: readonly string[]
  readonly parameters: string
  readonly template: string
  readonly system: string
  readonly license: string
  readonly modelfile: string
  readonly info: Raw
  readonly raw: Raw
}

/** Hutch's version ('' where it is another server), and that of the Ollama API that it speaks. */
export interface Version {
  readonly hutch: string
  readonly api: string
}

/** Whether the server can answer requests, and if not, why. */
export interface Health {
  readonly is_ready: boolean
  readonly problem: string
}

export function answerOf(reply: Fields): Answer {
  reply.needs('done')
  const message = reply.inner('message')
  const said = Object.keys(message.raw).length ? message : reply
  const text = message.text('content') + reply.text('response')
  const thinking = said.text('thinking')
  const tool_calls = said.inners('tool_calls').map((call) => {
    const called = call.inner('function')
    return { name: called.text('name'), arguments: called.inner('arguments').raw, id: call.text('id') }
  })
  return {
    model: reply.text('model'),
    text,
    thinking,
    tool_calls,
    logprobs: reply.inners('logprobs').map(logprobOf),
    done: reply.flag('done'),
    done_reason: reply.text('done_reason'),
    usage: usageOf(reply),
    context: reply.numbers('context'),
    message: {
      role: 'assistant',
      content: text,
      ...(thinking ? { thinking } : {}),
      ...(tool_calls.length ? { tool_calls: tool_calls.map(({ id, ...called }) => ({ id, function: called })) } : {}),
    },
    raw: reply.raw,
  }
}

function logprobOf(entry: Fields): TokenLogprob {
  return { token: entry.text('token'), logprob: entry.number('logprob'), top: entry.inners('top_logprobs').map(logprobOf) }
}

function usageOf(reply: Fields): Usage {
  const seconds = (name: string): number => reply.number(name) / 1e9
  return {
    prompt_tokens: reply.number('prompt_eval_count'),
    completion_tokens: reply.number('eval_count'),
    total_s: seconds('total_duration'),
    load_s: seconds('load_duration'),
    prompt_s: seconds('prompt_eval_duration'),
    decode_s: seconds('eval_duration'),
  }
}

export function embeddingsOf(reply: Fields): Embeddings {
  reply.needs('embeddings')
  return { model: reply.text('model'), vectors: reply.vectors('embeddings'), usage: usageOf(reply) }
}

export function rankingOf(reply: Fields): Ranking {
  reply.needs('results')
  const results = reply.inners('results').map((each) => ({ index: each.number('index'), score: each.number('relevance_score') }))
  return { model: reply.text('model'), results, prompt_tokens: reply.inner('usage').number('prompt_tokens') }
}

export function taskResultOf(reply: Fields): TaskResult {
  return { fields: reply.raw, usage: usageOf(reply) }
}

export function responseOf(reply: Fields): ModelResponse {
  reply.needs('id', 'status')
  const output = reply.inners('output')
  const usage = reply.inner('usage')
  const parts = output.filter((item) => item.text('type') === 'message').flatMap((item) => item.inners('content'))
  const called = output.filter((item) => item.text('type') === 'function_call' && item.text('status') === 'completed')
  return {
    id: reply.text('id'),
    model: reply.text('model'),
    status: reply.text('status'),
    text: parts.map((part) => part.text('text')).join(''),
    tool_calls: called.map((item) => ({
      name: item.text('name'),
      arguments: Fields.parse(item.text('arguments') || '{}').raw,
      id: item.text('call_id'),
    })),
    prompt_tokens: usage.number('input_tokens'),
    completion_tokens: usage.number('output_tokens'),
    raw: reply.raw,
  }
}

export function eventOf(event: Fields): ResponseEvent {
  event.needs('type')
  const type = event.text('type')
  const isLast = type === 'response.completed' || type === 'response.incomplete'
  return {
    type,
    text: type === 'response.output_text.delta' ? event.text('delta') : '',
    response: isLast ? responseOf(event.inner('response')) : undefined,
    raw: event.raw,
  }
}

export function progressOf(step: Fields): Progress {
  step.needs('status')
  return {
    status: step.text('status'),
    digest: step.text('digest'),
    total_bytes: step.number('total'),
    completed_bytes: step.number('completed'),
  }
}

function detailsOf(details: Fields): Details {
  return {
    format: details.text('format'),
    family: details.text('family'),
    parameter_size: details.text('parameter_size'),
    quantization: details.text('quantization_level'),
    parent_model: details.text('parent_model'),
  }
}

export function modelOf(row: Fields): Model {
  row.needs('name')
  return {
    name: row.text('name'),
    digest: row.text('digest'),
    size_bytes: row.number('size'),
    modified_at: row.time('modified_at'),
    details: detailsOf(row.inner('details')),
    capabilities: row.texts('capabilities'),
    raw: row.raw,
  }
}

export function runningOf(row: Fields): Running {
  row.needs('name')
  return {
    name: row.text('name'),
    digest: row.text('digest'),
    size_bytes: row.number('size'),
    context_length: row.number('context_length'),
    expires_at: row.time('expires_at'),
    details: detailsOf(row.inner('details')),
    engine: row.text('engine'),
    state: row.text('state'),
    pid: row.number('pid'),
    num_slots: row.number('slots'),
    num_busy: row.number('busy'),
    num_queued: row.number('queued'),
    raw: row.raw,
  }
}

export function descriptionOf(reply: Fields): Description {
  reply.needs('details')
  return {
    details: detailsOf(reply.inner('details')),
    capabilities: reply.texts('capabilities'),
    parameters: reply.text('parameters'),
    template: reply.text('template'),
    system: reply.text('system'),
    license: reply.text('license'),
    modelfile: reply.text('modelfile'),
    info: reply.inner('model_info').raw,
    raw: reply.raw,
  }
}

export function versionOf(reply: Fields): Version {
  reply.needs('version')
  return { hutch: reply.text('hutch'), api: reply.text('version') }
}

/** The rows of a list of models. */
export function rowsOf(reply: Fields): Fields[] {
  reply.needs('models')
  return reply.inners('models')
}
