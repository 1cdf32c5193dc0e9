// Streams of JSON objects, cut out of bytes as they come: one object a line, or server-sent events.
import { BadAnswer, BrokenOff, HutchError, toldFailure } from './errors.js'
import { Fields } from './fields.js'

export const MAX_LINE_CHARS = 16 << 20

/** Takes text, and gives the objects that are whole. */
export interface Pieces {
  /** The objects that this text ends. Throws what an object with `error` tells, and BadAnswer. */
  feed(text: string): Generator<Fields>
  /** Nothing more comes: a last object that no line feed ended. Throws BrokenOff in the middle of one. */
  end(): Generator<Fields>
}

/** Cuts text into lines at line feeds alone: an answer may hold every other sign that Unicode ends lines with. */
class Cutter {
  #begun: string[] = []
  #chars = 0;

  *lines(text: string): Generator<string> {
    const parts = text.split('\n')
    const rest = parts.pop()!
    for (const part of parts) {
      const line = this.#begun.join('') + part
      this.#begun = []
      this.#chars = 0
      yield line
    }
    if (rest) this.#begun.push(rest)
    this.#chars += rest.length
    if (this.#chars > MAX_LINE_CHARS) throw new BadAnswer(`the server sent a line of more than ${MAX_LINE_CHARS >> 20} MiB`)
  }

  get rest(): string {
    return this.#begun.join('').trim()
  }
}

/** One JSON object a line. */
export class Lines implements Pieces {
  readonly #cutter = new Cutter();

  *feed(text: string): Generator<Fields> {
    for (const line of this.#cutter.lines(text)) if (line.trim()) yield checked(Fields.parse(line))
  }

  *end(): Generator<Fields> {
    const isObject = this.#cutter.rest.startsWith('{')
    try {
      yield* this.feed('\n')
    } catch (error) {
      if (isObject && error instanceof BadAnswer) throw new BrokenOff("the server's answer ended in the middle of a line", '', error)
      throw error
    }
  }
}

/** Server-sent events whose data are JSON objects with a type in them, each on one line. */
export class ServerEvents implements Pieces {
  readonly #cutter = new Cutter();

  *feed(text: string): Generator<Fields> {
    for (const line of this.#cutter.lines(text)) {
      const [, name = '', value = ''] = /^([^:\r]*):?([^]*)$/.exec(line) ?? []
      if (name === 'data' && value.trim() !== '[DONE]') {
        const event = Fields.parse(value)
        if (event.text('type') === 'error') throw toldFailure({ error: event.raw })
        yield checked(event)
      } else if (!['', 'event', 'id', 'retry', 'data'].includes(name)) {
        throw new BadAnswer(`the server sent what is no event: ${line.slice(0, 80)}`)
      }
    }
  }

  *end(): Generator<Fields> {
    if (this.#cutter.rest) throw new BrokenOff("the server's answer ended in the middle of an event")
  }
}

function checked(told: Fields): Fields {
  const said = told.raw['error']
  if (said !== undefined && said !== null) throw toldFailure(told.raw, HutchError)
  return told
}
