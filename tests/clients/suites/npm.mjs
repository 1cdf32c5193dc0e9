// The npm package `ollama` against a Hutch server: every method that an application calls.
import assert from 'node:assert/strict'
import { Ollama } from 'ollama'

const client = new Ollama({ host: process.env.OLLAMA_HOST })
const options = { num_predict: 16, temperature: 0 }
const messages = [{ role: 'user', content: 'Why is the sky blue?' }]

const generated = await client.generate({ model: 'llama3.2', prompt: 'Why is the sky blue?', options })
assert.ok(generated.response && generated.done && generated.context.length)

let text = ''
let last
for await (const part of await client.generate({ model: 'llama3.2', prompt: 'Hello', stream: true, options })) {
  text += part.response
  last = part
}
assert.ok(text && last.done && last.eval_count)

const said = await client.chat({ model: 'llama3.2', messages, options })
assert.equal(said.message.role, 'assistant')
assert.ok(said.message.content)

text = ''
for await (const part of await client.chat({ model: 'llama3.2', messages, stream: true, options })) text += part.message.content
assert.ok(text)

const schema = { type: 'object', properties: { colour: { type: 'string', maxLength: 20 } }, required: ['colour'] }
const shaped = await client.chat({ model: 'llama3.2', messages, format: schema, options: { ...options, num_predict: 64 } })
assert.equal(typeof JSON.parse(shaped.message.content).colour, 'string')

const stream = await client.chat({ model: 'llama3.2', messages, stream: true, options: { num_predict: 2000 } })
setTimeout(() => stream.abort(), 300)
await assert.rejects(async () => { for await (const _ of stream); }, { name: 'AbortError' })

const embedded = await client.embed({ model: 'all-minilm', input: ['one', 'two'] })
assert.deepEqual(embedded.embeddings.map((row) => row.length), [384, 384])
assert.equal((await client.embeddings({ model: 'all-minilm', prompt: 'one' })).embedding.length, 384)

assert.ok((await client.list()).models.some((model) => model.name === 'llama3.2:latest'))
assert.ok((await client.ps()).models.length)
assert.ok((await client.show({ model: 'llama3.2' })).details.family)
assert.equal((await client.create({ model: 'mario', from: 'llama3.2', system: 'You are Mario.' })).status, 'success')
await client.copy({ source: 'mario', destination: 'luigi' })
await client.delete({ model: 'luigi' })
await assert.rejects(client.show({ model: 'luigi' }), /not found/)
assert.ok((await client.version()).version)
console.log('ok')
