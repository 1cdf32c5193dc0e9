// Vercel's `ai` with its provider for servers that speak OpenAI's API, against a Hutch server.
import assert from 'node:assert/strict'
import test from 'node:test'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { embed, embedMany, generateObject, generateText, stepCountIs, streamObject, streamText, tool } from 'ai'
import { z } from 'zod'

const hutch = createOpenAICompatible({
  name: 'hutch',
  baseURL: `${process.env.OLLAMA_HOST}/v1`,
  includeUsage: true,
  supportsStructuredOutputs: true,
})
const [model, tooled] = [hutch('smollm2:135m'), hutch('llama3.1')]
const short = { model, prompt: 'Say hi.', maxOutputTokens: 8, temperature: 0, maxRetries: 0 }
const schema = z.object({ is_good: z.boolean(), count: z.number().int() })
const weather = tool({
  description: 'The weather at a place',
  inputSchema: z.object({ location: z.string().max(20) }),
  execute: async () => 'Sunny.',
})

test('a text', async () => {
  const { text, usage, finishReason } = await generateText(short)
  assert(text)
  assert(usage.outputTokens > 0)
  assert(['stop', 'length'].includes(finishReason))
})

test('a text with a system message, by completions too', async () => {
  assert((await generateText({ ...short, system: 'Be short.' })).text)
  assert((await generateText({ ...short, model: hutch.completionModel('smollm2:135m') })).text)
})

test('a stream', async () => {
  const stream = streamText(short)
  let text = ''
  for await (const piece of stream.textStream) text += piece
  assert.equal(text, (await generateText(short)).text)
  assert((await stream.usage).outputTokens > 0)
})

test('a stream is left', async () => {
  const leaving = new AbortController()
  const stream = streamText({ ...short, maxOutputTokens: 1000, abortSignal: leaving.signal })
  for await (const piece of stream.textStream) if (piece) leaving.abort()
})

test('an object', async () => {
  const { object } = await generateObject({ ...short, schema, maxOutputTokens: 200 })
  assert.equal(typeof object.is_good, 'boolean')
})

test('an object as it grows', async () => {
  const stream = streamObject({ ...short, schema, maxOutputTokens: 200 })
  for await (const _ of stream.partialObjectStream);
  assert.equal(typeof (await stream.object).is_good, 'boolean')
})

test('a tool is called and answered', async () => {
  const asked = { ...short, model: tooled, maxOutputTokens: 100, tools: { weather }, toolChoice: 'required', stopWhen: stepCountIs(1) }
  const { toolCalls, toolResults } = await generateText(asked)
  assert.equal(toolCalls[0].toolName, 'weather')
  assert.equal(toolResults[0].output, 'Sunny.')
})

test('a tool is called in a stream', async () => {
  const asked = { ...short, model: tooled, maxOutputTokens: 100, tools: { weather }, toolChoice: { type: 'tool', toolName: 'weather' } }
  assert.equal((await streamText({ ...asked, stopWhen: stepCountIs(1) }).toolCalls)[0].toolName, 'weather')
})

test('vectors', async () => {
  const vectors = hutch.textEmbeddingModel('embedder')
  assert((await embed({ model: vectors, value: 'a hare' })).embedding.length > 1)
  assert.equal((await embedMany({ model: vectors, values: ['a hare', 'a rabbit'] })).embeddings.length, 2)
})

test('what is wrong is told', async () => {
  await assert.rejects(generateText({ ...short, model: hutch('nobody-has-this') }), /not found/)
})
