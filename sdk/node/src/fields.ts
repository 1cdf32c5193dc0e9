// One JSON object of an answer, whose fields are checked as they are asked for.
import { BEHIND, BadAnswer, badJson, isObject } from './errors.js'

export type Raw = Record<string, unknown>

/** The object, and where it stands in the answer. A field of another type throws BadAnswer. */
export class Fields {
  readonly raw: Raw
  readonly #where: string

  constructor(raw: unknown, where = '') {
    if (!isObject(raw)) throw new BadAnswer(`the server's answer has no object at ${where || 'its top'}`)
    this.raw = raw
    this.#where = where
  }

  /** Read the object that this text holds. */
  static parse(text: string): Fields {
    let raw: unknown
    try {
      raw = JSON.parse(text)
    } catch {
      throw badJson(text)
    }
    if (!isObject(raw)) throw badJson(text)
    return new Fields(raw)
  }

  /** Throw BadAnswer for an object of something else: one that lacks what it would always have. */
  needs(...names: string[]): void {
    for (const name of names) {
      if ((this.raw[name] ?? null) === null) throw new BadAnswer(`the server's answer has no field '${name}'`, BEHIND)
    }
  }

  text(name: string): string {
    return this.#field(name, (value) => typeof value === 'string', '')
  }

  number(name: string): number {
    return this.#field(name, (value) => typeof value === 'number', 0)
  }

  flag(name: string): boolean {
    return this.#field(name, (value) => typeof value === 'boolean', false)
  }

  /** A moment; undefined where there is none. */
  time(name: string): Date | undefined {
    const text = this.text(name)
    if (!text) return undefined
    const date = new Date(text)
    if (Number.isNaN(date.getTime())) throw this.#wrong(name)
    return date
  }

  /** An object, an empty one where there is none. */
  inner(name: string): Fields {
    return new Fields(this.#field(name, isObject, {}), this.#at(name))
  }

  /** The objects of a list. */
  inners(name: string): Fields[] {
    return this.items(name).map((each, i) => new Fields(each, `${this.#at(name)}.${i}`))
  }

  /** A list as it came, an empty one where there is none. */
  items(name: string): unknown[] {
    return this.#field(name, (value) => Array.isArray(value), [] as unknown[])
  }

  texts(name: string): string[] {
    const items = this.items(name)
    if (!items.every((each) => typeof each === 'string')) throw this.#wrong(name)
    return items as string[]
  }

  numbers(name: string): number[] {
    const items = this.items(name)
    if (!items.every((each) => typeof each === 'number')) throw this.#wrong(name)
    return items as number[]
  }

  /** The rows of numbers in a field. */
  vectors(name: string): number[][] {
    const rows = this.items(name)
    if (!rows.every((row) => Array.isArray(row) && row.every((each) => typeof each === 'number'))) throw this.#wrong(name)
    return rows as number[][]
  }

  #field<T>(name: string, isRight: (value: unknown) => boolean, otherwise: T): T {
    const value = this.raw[name]
    if (value === undefined || value === null) return otherwise
    if (!isRight(value)) throw this.#wrong(name)
    return value as T
  }

  #at(name: string): string {
    return this.#where ? `${this.#where}.${name}` : name
  }

  #wrong(name: string): BadAnswer {
    return new BadAnswer(`the server's answer has something else than was expected at ${this.#at(name)}`)
  }
}
