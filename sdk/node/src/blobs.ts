// The bytes of a file that is brought to a server.
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { Readable } from 'node:stream'
import { BadInput } from './errors.js'
import type { Body, Content } from './exchange.js'

/** Where a file is, or its bytes. */
export type Source = string | URL | Uint8Array

/** `sha256:` and the digest. Throws BadInput where the file cannot be read. */
export async function digestOf(source: Source): Promise<string> {
  const hash = createHash('sha256')
  for await (const block of blocks(source)) hash.update(block)
  return `sha256:${hash.digest('hex')}`
}

/** The file as the body of a request. */
export function contentOf(source: Source): Content {
  return (touch) => {
    async function* moving(): AsyncGenerator<Uint8Array> {
      for await (const block of blocks(source)) {
        touch()
        yield block
      }
    }
    return { body: Readable.toWeb(Readable.from(moving(), { objectMode: false })) as unknown as Body, duplex: 'half' }
  }
}

async function* blocks(source: Source): AsyncGenerator<Uint8Array> {
  if (source instanceof Uint8Array) {
    yield source
    return
  }
  try {
    yield* createReadStream(source, { highWaterMark: 1 << 20 }) as AsyncIterable<Uint8Array>
  } catch (error) {
    throw new BadInput(`${String(source)} cannot be read: ${(error as Error).message}`, '', error)
  }
}
