// What a server was asked last, and answered, in each test of Node.js that failed: as JSON, in $RECORD. Imported before a suite.
import { writeFileSync } from 'node:fs'
import { after, afterEach } from 'node:test'

const failed = {}
const send = globalThis.fetch
let last = {}

globalThis.fetch = async (address, options) => {
  const reply = await send(address, options)
  const sent = JSON.parse(options?.body ?? '{}')
  const kept = {
    path: new URL(address.url ?? address).pathname,
    prompt: sent.messages ?? sent.input ?? sent.prompt,
    tools: (sent.tools ?? []).map((tool) => (tool.function ?? tool).name),
    output: '',
  }
  last = kept
  reply.clone().text().then((text) => (kept.output = text), () => {}) // a stream that is left has no end
  return reply
}

afterEach((test) => {
  if (!test.passed) failed[test.name] = last
  last = {}
})
after(() => writeFileSync(process.env.RECORD, JSON.stringify(failed)))
