// The `openai` package of npm against a Hutch server.
import assert from 'node:assert/strict'
import test from 'node:test'
import OpenAI from 'openai'
import { zodResponseFormat } from 'openai/helpers/zod'
import { z } from 'zod'

const client = new OpenAI({ baseURL: `${process.env.OLLAMA_HOST}/v1`, apiKey: 'none', maxRetries: 0, timeout: 100_000 })
const [model, tooled] = ['smollm2:135m', 'llama3.1']
const messages = [{ role: 'user', content: 'Say hi.' }]
const short = { model, messages, max_tokens: 8, temperature: 0 }
const parameters = {
  type: 'object',
  properties: { location: { type: 'string', maxLength: 20 } },
  required: ['location'],
  additionalProperties: false,
}
const tools = [{ type: 'function', function: { name: 'get_weather', parameters } }]

test('models', async () => {
  const names = []
  for await (const each of client.models.list()) names.push(each.id)
  assert(names.includes(model))
  assert.equal((await client.models.retrieve(model)).object, 'model')
})

test('chat', async () => {
  const reply = await client.chat.completions.create({ ...short, n: 2 })
  assert.equal(reply.choices.length, 2)
  assert(reply.choices[0].message.content)
})

test('chat streams', async () => {
  const whole = await client.chat.completions.create(short)
  const stream = await client.chat.completions.create({ ...short, stream: true, stream_options: { include_usage: true } })
  let text = ''
  let last
  for await (const part of stream) {
    text += part.choices[0]?.delta.content ?? ''
    last = part
  }
  assert.equal(text, whole.choices[0].message.content)
  assert(last.usage.completion_tokens > 0)
})

test('the helper of streams', async () => {
  const stream = client.chat.completions.stream(short)
  assert((await stream.finalContent()).length > 0)
})

test('a stream is left', async () => {
  const stream = await client.chat.completions.create({ ...short, max_tokens: 1000, stream: true })
  for await (const part of stream) {
    if (part.choices[0].delta.content) break
  }
  assert(stream.controller.signal.aborted)
})

test('an answer is parsed', async () => {
  const form = zodResponseFormat(z.object({ is_good: z.boolean(), count: z.number().int() }), 'verdict')
  const reply = await client.chat.completions.parse({ ...short, max_tokens: 200, response_format: form })
  assert.equal(typeof reply.choices[0].message.parsed.is_good, 'boolean')
})

test('a tool is called', async () => {
  const asked = { ...short, model: tooled, max_tokens: 100, tools, tool_choice: 'required' }
  const [call] = (await client.chat.completions.create(asked)).choices[0].message.tool_calls
  assert.equal(call.function.name, 'get_weather')
  assert(JSON.parse(call.function.arguments).location)
  const streamed = await client.chat.completions.stream(asked).finalChatCompletion()
  assert.equal(streamed.choices[0].message.tool_calls[0].function.name, 'get_weather')
})

test('tools are run', async () => {
  const runner = client.chat.completions.runTools(
    {
      ...short,
      model: tooled,
      max_tokens: 100,
      tool_choice: { type: 'function', function: { name: 'get_weather' } },
      tools: [{ type: 'function', function: { name: 'get_weather', parameters, parse: JSON.parse, function: () => 'Sunny.' } }],
    },
    { maxChatCompletions: 1 },
  )
  await runner.done()
  assert(runner.messages.some((each) => each.role === 'tool' && each.content === 'Sunny.'))
})

test('completions', async () => {
  const reply = await client.completions.create({ model, prompt: 'One, two,', max_tokens: 4, echo: true, logprobs: 1 })
  assert(reply.choices[0].text.startsWith('One, two,'))
  assert.equal(reply.choices[0].logprobs.token_logprobs[0], null)
})

test('embeddings', async () => {
  const reply = await client.embeddings.create({ model: 'embedder', input: ['a hare', 'a rabbit'] })
  assert.equal(reply.data.length, 2)
  assert(reply.data[0].embedding.length > 1)
  assert(Math.abs(reply.data[0].embedding.reduce((sum, x) => sum + x * x, 0) - 1) < 1e-3)
})

test('responses', async () => {
  const reply = await client.responses.create({ model, input: 'Say hi.', max_output_tokens: 16 })
  assert(reply.output_text)
  assert.equal((await client.responses.retrieve(reply.id)).id, reply.id)
  await client.responses.delete(reply.id)
  await assert.rejects(client.responses.retrieve(reply.id), OpenAI.NotFoundError)
})

test('responses stream', async () => {
  const stream = client.responses.stream({ model, input: 'Say hi.', max_output_tokens: 16 })
  assert((await stream.finalResponse()).output_text)
})

test('what is wrong is told', async () => {
  await assert.rejects(client.chat.completions.create({ ...short, temperature: 9 }), (error) => error.param === 'temperature')
  await assert.rejects(client.chat.completions.create({ ...short, model: 'nobody-has-this' }), OpenAI.NotFoundError)
})
