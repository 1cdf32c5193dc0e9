// The client against a real server at HUTCH_HOST that has the model TEST_MODEL. It makes models and removes them.
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { BadInput, Client, NotFound } from '../dist/index.js'

const model = process.env.TEST_MODEL
const skip = !model && 'TEST_MODEL names no model'
const options = { num_predict: 8, temperature: 0 }

it('asks', { skip }, async () => {
  const client = new Client()
  assert.ok((await client.health()).is_ready)
  assert.ok((await client.version()).hutch)
  assert.ok((await client.list()).some((each) => each.name === model))
  const answer = await client.chat(model, 'Count to three.', { options })
  assert.ok(answer.text && answer.usage.completion_tokens <= 8)
  let text = ''
  for await (const piece of client.chatStream(model, 'Count to three.', { options })) text += piece.text
  assert.equal(text, answer.text)
  assert.ok(['stop', 'length'].includes((await client.generate(model, 'Hi', { options })).done_reason))
  if ((await client.show(model)).details.format === 'gguf') {
    const [first, second] = (await client.embed(model, ['a', 'b'])).vectors
    assert.ok(first.length > 0 && first.length === second.length)
  } else await assert.rejects(client.embed(model, ['a', 'b']), BadInput)
  const response = await client.respond(model, 'Hi', { max_output_tokens: 8 })
  let last
  for await (const event of client.respondStream(model, 'And?', { previous_response_id: response.id, max_output_tokens: 8 })) last = event
  assert.ok(last.response.id)
})

it('manages', { skip }, async () => {
  const client = new Client()
  await client.load(model, { keep_alive: '10m' })
  assert.equal((await client.ps())[0].state, 'ready')
  assert.ok((await client.show(model)).capabilities.includes('completion'))
  const steps = []
  for await (const step of client.createStream('mario', { from: model, system: 'You are Mario.' })) steps.push(step.status)
  assert.equal(steps.at(-1), 'success')
  await client.copy('mario', 'luigi')
  assert.equal((await client.show('luigi')).system, 'You are Mario.')
  await client.delete('mario')
  await client.delete('luigi')
  await assert.rejects(client.show('luigi'), NotFound)
  const digest = await client.createBlob(Buffer.from('another file'))
  assert.ok(await client.hasBlob(digest))
  await client.unload(model)
  assert.deepEqual(await client.ps(), [])
})

it('stops the model when it is aborted', { skip }, async () => {
  const client = new Client()
  const controller = new AbortController()
  await assert.rejects(async () => {
    for await (const _ of client.chatStream(model, 'Tell a story.', { options: { num_predict: 4000 }, signal: controller.signal })) controller.abort()
  }, { name: 'AbortError' })
  const deadline = Date.now() + 5000
  while ((await client.ps())[0].num_busy) assert.ok(Date.now() < deadline)
})
