// What calls take beside their first words, by the API's names.

/** A picture: base64 as it stands, or its bytes. */
export type Image = string | Uint8Array
export type Schema = Record<string, unknown>
export type Tool = Record<string, unknown>

/** How a model is loaded and how its tokens are chosen, by Ollama's names. */
export interface Options {
  num_ctx?: number
  num_batch?: number
  num_gpu?: number
  main_gpu?: number
  hardware?: string
  use_mmap?: boolean
  num_thread?: number
  draft_num_predict?: number
  num_keep?: number
  seed?: number
  num_predict?: number
  top_k?: number
  top_p?: number
  min_p?: number
  typical_p?: number
  repeat_last_n?: number
  temperature?: number
  repeat_penalty?: number
  presence_penalty?: number
  frequency_penalty?: number
  stop?: readonly string[]
}

export interface MessageCall {
  id?: string
  function: { name: string; arguments: Record<string, unknown> }
}

/** One turn of a conversation. A result of a tool has the role "tool". */
export interface Message {
  role: 'system' | 'user' | 'assistant' | 'tool'
  content?: string
  thinking?: string
  images?: readonly Image[]
  tool_calls?: readonly MessageCall[]
  tool_name?: string
  tool_call_id?: string
}

/** What every call takes. Aborting it rejects with the signal's reason, and stops the server's work on the call. */
export interface Asking {
  signal?: AbortSignal
}

/** `keep_alive` is how long the model stays: seconds, or "5m"; -1 is for ever. */
export interface LoadSettings extends Asking {
  options?: Options
  keep_alive?: number | string
}

interface Answering extends LoadSettings {
  /** "json", or a JSON Schema that the answer keeps to. */
  format?: 'json' | Schema
  think?: boolean | 'low' | 'medium' | 'high' | 'max'
  logprobs?: boolean
  top_logprobs?: number
  truncate?: boolean
  shift?: boolean
}

export interface ChatSettings extends Answering {
  tools?: readonly Tool[]
}

export interface GenerateSettings extends Answering {
  system?: string
  template?: string
  suffix?: string
  context?: readonly number[]
  raw?: boolean
  images?: readonly Image[]
}

export interface EmbedSettings extends LoadSettings {
  dimensions?: number
  truncate?: boolean
}

export interface RerankSettings extends Asking {
  top_n?: number
}

/** What a task takes is its own; `GET /api/tasks` tells. */
export interface TaskSettings extends LoadSettings {
  model?: string
  text?: string
  image?: Image
  [field: string]: unknown
}

/** What `/v1/responses` takes, by OpenAI's names. */
export interface RespondSettings extends Asking {
  instructions?: string
  previous_response_id?: string
  max_output_tokens?: number
  temperature?: number
  top_p?: number
  tools?: readonly Tool[]
  tool_choice?: string | Record<string, unknown>
  parallel_tool_calls?: boolean
  text?: Record<string, unknown>
  reasoning?: Record<string, unknown>
  truncation?: string
  metadata?: Record<string, string>
  store?: boolean
}

export interface ShowSettings extends Asking {
  verbose?: boolean
}

/** `insecure` allows plain HTTP and unknown certificates. */
export interface TransferSettings extends Asking {
  insecure?: boolean
}

/** What a model is made of: another one (`from`), or files by name and digest (`createBlob` gives it). */
export interface CreateSettings extends Asking {
  from?: string
  files?: Record<string, string>
  adapters?: Record<string, string>
  draft_files?: Record<string, string>
  documents?: Record<string, string>
  system?: string
  template?: string
  parameters?: Record<string, unknown>
  messages?: readonly Message[]
  license?: string | readonly string[]
  renderer?: string
  parser?: string
  requires?: string
  info?: Record<string, unknown>
  quantize?: string
  draft_quantize?: string
}
