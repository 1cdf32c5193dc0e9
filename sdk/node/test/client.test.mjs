// What each method sends and makes of the answer, and servers that are away, busy, slow, broken, or no Hutch at all.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, it } from 'node:test'
import * as hutch from '../dist/index.js'
import { urlOf } from '../dist/address.js'
import { contentOf } from '../dist/blobs.js'
import { takeBlob } from '../dist/calls.js'
import { Exchange } from '../dist/exchange.js'
import { HTML_502, freePort, lines, scripted, told } from './server.mjs'

const { Client } = hutch
const DONE = { done: true, done_reason: 'stop', prompt_eval_count: 3, eval_count: 2, eval_duration: 500_000_000 }
const PIECE = { message: { content: 'Hi' }, done: false, status: 'x' }
const BUSY = { error: 'the queue is full', code: 'busy', hint: 'Ask later.' }
let script
before(async () => { script = await scripted() })
after(() => script.close())

const client = (said = {}) => new Client({ baseUrl: script.url, apiKey: '', timeoutS: 5, retries: { firstS: 0.01 }, ...said })
const sent = () => { const { method, path, body } = script.asked[0]; return [method, path, body.length ? JSON.parse(body) : null] }
async function all(stream) {
  const pieces = []
  for await (const piece of stream) pieces.push(piece)
  return pieces
}

describe('calls', () => {
  it('answers a conversation, which goes on with its message', async () => {
    const call = { id: 'c1', function: { index: 0, name: 'weather', arguments: { city: 'Oslo' } } }
    script.plays(told({ model: 'm', message: { content: 'Hi', thinking: 'Hm', tool_calls: [call] }, ...DONE }))
    const answer = await client().chat('m', 'Hello', { options: { seed: 1 }, keep_alive: '5m', signal: new AbortController().signal })
    const messages = [{ role: 'user', content: 'Hello' }]
    assert.deepEqual(sent(), ['POST', '/api/chat', { model: 'm', messages, stream: false, options: { seed: 1 }, keep_alive: '5m' }])
    assert.equal(answer.text, 'Hi')
    assert.equal(answer.usage.decode_s, 0.5)
    assert.deepEqual(answer.message, {
      role: 'assistant', content: 'Hi', thinking: 'Hm',
      tool_calls: [{ id: 'c1', function: { name: 'weather', arguments: { city: 'Oslo' } } }],
    })
    await client().chat('m', [...messages, answer.message])
    assert.deepEqual(JSON.parse(script.asked[1].body).messages[1], answer.message)
  })

  it('streams, however the bytes are cut', async () => {
    const bytes = Buffer.from('{"message":{"content":"é\u2028"},"done":false}\r\n\n{"message":{"content":""},"done":true}')
    script.plays({ pieces: [...bytes].flatMap((byte) => [Buffer.from([byte]), 0.001]) })
    assert.deepEqual((await all(client().chatStream('m', 'hi'))).map((piece) => piece.text), ['é\u2028', ''])
    script.plays(lines({ response: 'a', done: false }, { response: '', context: [1, 2], ...DONE }))
    const pieces = await all(client().generateStream('m', 'p', { system: 's', images: [Buffer.from('png'), 'cG5n'] }))
    assert.deepEqual(pieces.at(-1).context, [1, 2])
    assert.deepEqual(sent()[2], { model: 'm', prompt: 'p', system: 's', images: ['cG5n', 'cG5n'], stream: true })
  })

  it('embeds and ranks', async () => {
    script.plays(told({ embeddings: [[1, 0.5]], prompt_eval_count: 4 }))
    assert.deepEqual((await client().embed('m', ['a'], { dimensions: 2 })).vectors, [[1, 0.5]])
    assert.deepEqual(sent(), ['POST', '/api/embed', { model: 'm', input: ['a'], dimensions: 2 }])
    script.plays(told({ results: [{ index: 1, relevance_score: 2 }], usage: { prompt_tokens: 9 } }))
    assert.deepEqual((await client().rerank('m', 'q', ['a', 'b'], { top_n: 1 })).results, [{ index: 1, score: 2 }])
    assert.deepEqual(sent()[2], { model: 'm', query: 'q', documents: ['a', 'b'], top_n: 1 })
  })

  it('does tasks', async () => {
    script.plays(told({ summary: 'Short.', model: 'm', eval_count: 2 }))
    const done = await client().task('summarize', { model: 'm', text: 'Long.', max_words: 9 })
    assert.deepEqual(sent(), ['POST', '/api/tasks/summarize', { model: 'm', text: 'Long.', max_words: 9 }])
    assert.deepEqual([done.fields.summary, done.usage.completion_tokens], ['Short.', 2])
    for (const image of [new Uint8Array([112, 110, 103]), 'cG5n']) {
      script.plays(told({ text: '', lines: [] }))
      await client().task('ocr', { image })
      assert.deepEqual(sent()[2], { image: 'cG5n' })
    }
    script.plays(told({ error: "there is no task 'a/b'", code: 'not_found' }, 404))
    await assert.rejects(client().task('a/b'), hutch.NotFound)
    assert.equal(sent()[1], '/api/tasks/a%2Fb')
  })

  it('responds', async () => {
    const output = [
      { type: 'reasoning', content: [{ text: 'Hm' }] },
      { type: 'message', content: [{ text: 'Hi' }] },
      { type: 'function_call', status: 'completed', call_id: 'c1', name: 'f', arguments: '{"a":1}' },
    ]
    script.plays(told({ id: 'r', status: 'completed', error: null, output, usage: { input_tokens: 3 } }))
    const response = await client().respond('m', 'hello', { previous_response_id: 'q' })
    assert.deepEqual([response.id, response.text, response.prompt_tokens], ['r', 'Hi', 3])
    assert.deepEqual(response.tool_calls, [{ name: 'f', arguments: { a: 1 }, id: 'c1' }])
    script.plays({ pieces: [
      'event: x\ndata: {"type":"response.output_text.delta","delta":"H"}\n\n: note\n\n',
      'data:{"type":"response.completed","response":{"id":"r","status":"completed"}}\n\n',
    ] })
    const events = await all(client().respondStream('m', 'hello'))
    assert.equal(events[0].text, 'H')
    assert.equal(events[1].response.id, 'r')
  })

  it('lists and shows models', async () => {
    const row = { name: 'm:latest', size: 5, modified_at: '2026-01-02T03:04:05.123456Z', details: { quantization_level: 'Q4_0' } }
    script.plays(told({ models: [row] }))
    const [model] = await client().list()
    assert.deepEqual([model.name, model.size_bytes, model.details.quantization], ['m:latest', 5, 'Q4_0'])
    assert.equal(model.modified_at.toISOString(), '2026-01-02T03:04:05.123Z')
    script.plays(told({ models: [{ ...row, slots: 4, queued: 1, state: 'ready' }] }))
    const [running] = await client().ps()
    assert.deepEqual([running.num_slots, running.num_queued, running.state], [4, 1, 'ready'])
    script.plays(told({ details: {}, capabilities: ['completion'], model_info: { a: 1 } }))
    const shown = await client().show('m', { verbose: true })
    assert.deepEqual([shown.capabilities, shown.info], [['completion'], { a: 1 }])
    assert.deepEqual(sent()[2], { model: 'm', verbose: true })
  })

  for (const method of ['pull', 'push', 'create']) {
    it(`tells the progress of ${method}`, async () => {
      script.plays(lines({ status: 'x', digest: 'd', total: 9, completed: 3 }, { status: 'success' }))
      const [step] = await all(client()[`${method}Stream`]('m', {}))
      assert.deepEqual(step, { status: 'x', digest: 'd', total_bytes: 9, completed_bytes: 3 })
      assert.deepEqual(sent(), ['POST', `/api/${method}`, { model: 'm', stream: true }])
      assert.equal(await client()[method]('m', {}), undefined)
    })
  }

  it('copies, deletes, loads and unloads', async () => {
    const wanted = [
      [['copy', 'a', 'b'], ['POST', '/api/copy', { source: 'a', destination: 'b' }]],
      [['delete', 'a'], ['DELETE', '/api/delete', { model: 'a' }]],
      [['load', 'a'], ['POST', '/api/generate', { model: 'a', stream: false }]],
      [['unload', 'a'], ['POST', '/api/generate', { model: 'a', stream: false, keep_alive: 0 }]],
    ]
    for (const [[method, ...words], request] of wanted) {
      script.plays({})
      assert.equal(await client()[method](...words), undefined)
      assert.deepEqual(sent(), request)
    }
  })

  it('brings a file where it is missing', async () => {
    const data = Buffer.alloc(3 << 20, 'x')
    const file = join(mkdtempSync(join(tmpdir(), 'hutch-')), 'x')
    writeFileSync(file, data)
    for (const source of [file, data]) {
      script.plays({ status: 404 }, { status: 201 })
      assert.equal(await client().createBlob(source), `sha256:${createHash('sha256').update(data).digest('hex')}`)
      assert.deepEqual(script.asked.map((asked) => asked.method), ['HEAD', 'POST'])
      assert.ok(script.asked[1].body.equals(data))
      script.plays({})
      await client().createBlob(source)
      assert.equal(script.asked.length, 1)
    }
    await assert.rejects(client().createBlob(`${file}none`), hutch.BadInput)
    const link = { url: script.url, key: '', timeoutS: 5, fetch }
    await assert.rejects(Exchange.open(link, takeBlob('x'), undefined, contentOf(`${file}gone`)), hutch.BadInput) // meanwhile
  })

  it('tells versions and health', async () => {
    script.plays(told({ version: '0.33.0', hutch: '0.1.0' }))
    assert.deepEqual(await client().version(), { hutch: '0.1.0', api: '0.33.0' })
    assert.ok((await client().health()).is_ready)
    script.plays(told({ error: 'the server is shutting down', code: 'not_ready' }, 503))
    assert.deepEqual(await client().health(), { is_ready: false, problem: 'the server is shutting down' })
    assert.equal(script.asked.length, 1)
  })
})

describe('settings', () => {
  const before = { ...process.env }
  afterEach(() => { process.env = { ...before } })

  it('reads an address as the command line does', () => {
    const cases = JSON.parse(readFileSync(new URL('../../../tests/data/addresses.json', import.meta.url), 'utf8'))
    for (const [text, url] of Object.entries(cases)) assert.equal(urlOf(text), url, text)
  })

  it('takes address and key from the environment', async () => {
    Object.assign(process.env, { HUTCH_HOST: script.url, OLLAMA_HOST: 'nowhere:1', HUTCH_API_KEY: 'k' })
    script.plays(told({ models: [] }))
    assert.deepEqual(await new Client().list(), [])
    assert.equal(script.asked[0].headers.authorization, 'Bearer k')
    delete process.env.HUTCH_HOST
    process.env.OLLAMA_HOST = script.url
    assert.deepEqual(await new Client({ apiKey: '' }).list(), [])
    assert.equal(script.asked[1].headers.authorization, undefined)
  })

  for (const said of [{ baseUrl: 'ftp://x' }, { baseUrl: 'a@b' }, { baseUrl: 'a b' }, { apiKey: 'a\nb' }, { timeoutS: 0 }, { timeoutS: NaN }, { retries: { times: -1 } }]) {
    it(`refuses ${JSON.stringify(said)}`, () => assert.throws(() => new Client(said), hutch.BadInput))
  }

  for (const value of [NaN, Infinity, 1n]) {
    it(`does not send ${value}`, async () => {
      script.plays(told(DONE))
      await assert.rejects(client().chat('m', 'hi', { options: { temperature: value } }), hutch.BadInput)
      assert.equal(script.asked.length, 0)
    })
  }
})

describe('errors', () => {
  const cases = [
    [400, { error: 'no', code: 'context_length_exceeded' }, hutch.BadInput],
    [401, { error: 'no', code: 'unauthenticated' }, hutch.Unauthenticated],
    [404, { error: { message: 'no', code: 'model_not_found' } }, hutch.NotFound],
    [404, { error: 'no' }, hutch.NotFound],
    [500, { error: 'no', code: 'toString' }, hutch.HutchError],
    [502, { error: 'no', code: 'engine_failed', hint: 'Again.' }, hutch.EngineFailed],
    [507, { error: 'no', code: 'no_room' }, hutch.NoRoom],
  ]
  for (const [status, body, kind] of cases) {
    it(`tells ${status} ${JSON.stringify(body)}`, async () => {
      script.plays(told(body, status))
      for (const ask of [() => client().chat('m', 'hi'), () => all(client().chatStream('m', 'hi'))]) {
        await assert.rejects(ask, (error) => {
          assert.equal(error.constructor, kind)
          assert.deepEqual([error.message, error.hint, error.httpStatus, error.name], ['no', body.hint ?? '', status, kind.name])
          return true
        })
      }
      assert.equal(script.asked.length, 2)
    })
  }

  it('tells that the server is away', async () => {
    for (const host of ['127.0.0.1', 'localhost']) {
      const away = client({ baseUrl: `${host}:${await freePort()}` })
      await assert.rejects(away.list(), (error) => error instanceof hutch.Unreachable && /hutch serve/.test(error.hint))
      await assert.rejects(all(away.pullStream('m')), hutch.Unreachable)
      assert.equal((await away.health()).is_ready, false)
    }
  })

  for (const status of [500, 502, 504]) {
    it(`tells what a proxy says with ${status}, and does not ask again`, async () => {
      script.plays({ status, pieces: [HTML_502] })
      await assert.rejects(client().chat('m', 'hi'), (error) => {
        assert.equal(error.constructor, hutch.BadAnswer)
        assert.match(error.message, new RegExp(`status ${status}: 502 Bad Gateway Bad Gateway`))
        assert.equal(error.httpStatus, status)
        return true
      })
      assert.equal(script.asked.length, 1)
    })
  }

  it('tells a redirection and does not follow it', async () => {
    script.plays({ status: 301, headers: { Location: 'https://elsewhere/' } })
    await assert.rejects(client().list(), (error) => error instanceof hutch.BadAnswer && error.hint.includes('https://elsewhere/'))
  })

  for (const body of [HTML_502, '', '[1]', '"x"', '{}{}', Buffer.from([0xff, 0xfe]), '['.repeat(100_000)]) {
    it(`does not take ${String(body).slice(0, 20)} for an answer`, async () => {
      script.plays({ pieces: [body, '\n'] })
      await assert.rejects(client().list(), hutch.BadAnswer)
      await assert.rejects(all(client().chatStream('m', 'hi')), body ? hutch.BadAnswer : hutch.BrokenOff)
    })
  }

  for (const [method, words, body] of [
    ['list', [], {}], ['ps', [], { status: 'ok' }], ['chat', ['m', 'hi'], { status: 'ok' }], ['embed', ['m', 'hi'], { data: [] }],
    ['rerank', ['m', 'q', []], {}], ['respond', ['m', 'hi'], { choices: [] }], ['pull', ['m'], { ok: true }], ['version', [], {}], ['show', ['m'], {}],
    ['list', [], { models: 5 }], ['list', [], { models: [5] }], ['list', [], { models: [{ name: 5 }] }],
    ['list', [], { models: [{ modified_at: 'yesterday' }] }], ['chat', ['m', 'hi'], { message: 'hi' }],
    ['chat', ['m', 'hi'], { message: { content: ['hi'] } }], ['embed', ['m', 'hi'], { embeddings: [['x']] }], ['show', ['m'], { details: {}, capabilities: [1] }],
  ]) {
    it(`does not take ${JSON.stringify(body)} for the answer of ${method}`, async () => {
      script.plays(told(body))
      await assert.rejects(client()[method](...words), hutch.BadAnswer)
    })
  }

  const unfinished = {
    connection: { ...lines(PIECE), breaks: true }, end: lines(PIECE), nothing: {},
    line: { pieces: [JSON.stringify(PIECE) + '\n', '{"message": {"con'] },
  }
  for (const [name, reply] of Object.entries(unfinished)) {
    it(`tells that a stream has no end: ${name}`, async () => {
      script.plays(reply)
      await assert.rejects(all(client().chatStream('m', 'hi')), hutch.BrokenOff)
      await assert.rejects(client().pull('m'), hutch.BrokenOff)
      assert.equal(script.asked.length, 2)
    })
  }

  it('gives what came before an error', async () => {
    script.plays(lines(PIECE, { error: 'the worker ended', code: 'engine_failed', hint: 'Again.' }))
    const got = []
    await assert.rejects(async () => {
      for await (const piece of client().chatStream('m', 'hi')) got.push(piece.text)
    }, (error) => error instanceof hutch.EngineFailed && error.hint === 'Again.')
    assert.deepEqual(got, ['Hi'])
    script.plays({ pieces: ['event: error\ndata: {"type":"error","code":"engine_failed","message":"the worker ended"}\n\n'] })
    await assert.rejects(all(client().respondStream('m', 'hi')), hutch.EngineFailed)
    script.plays(told({ error: 'no', code: 'engine_failed' }))
    await assert.rejects(client().chat('m', 'hi'), hutch.EngineFailed)
  })

  it('does not take an answer that is not done for a whole one', async () => {
    script.plays(told(PIECE))
    await assert.rejects(client().chat('m', 'hi'), hutch.BrokenOff)
  })

  it('does not read a line without end', async () => {
    script.plays({ pieces: Array(80).fill('x'.repeat(1 << 20)) })
    const before = script.left
    await assert.rejects(all(client().chatStream('m', 'hi')), /a line of more than 16 MiB/)
    while (script.left === before) await new Promise((resolve) => setTimeout(resolve, 10))
  })
})

describe('patience', () => {
  for (const status of [429, 503]) {
    it(`asks again after ${status}`, async () => {
      for (const [last, ask] of [
        [told(DONE), () => client().chat('m', 'hi')],
        [lines(DONE), () => all(client().chatStream('m', 'hi'))],
        [lines({ status: 'success' }), () => client().pull('m')],
      ]) {
        script.plays(told(BUSY, status), { status, pieces: [HTML_502] }, last)
        await ask()
        assert.equal(script.asked.length, 3)
      }
    })
  }

  it('tells the error after the last attempt', async () => {
    script.plays(told(BUSY, 503))
    await assert.rejects(client().list(), (error) => error.constructor === hutch.Busy && error.hint === 'Ask later.')
    assert.equal(script.asked.length, 4)
    script.plays(told(BUSY, 503))
    await assert.rejects(client({ retries: { times: 0 } }).list(), hutch.Busy)
    assert.equal(script.asked.length, 1)
  })

  it('takes what is over a limit for not begun, and what was too late for too late', async () => {
    script.plays(told({ error: 'no', code: 'rate_limit_exceeded' }, 429), told({ id: 'r', status: 'completed' }))
    await client().respond('m', 'hi')
    assert.equal(script.asked.length, 2)
    script.plays(told({ error: 'no', code: 'rate_limit_exceeded' }, 429))
    await assert.rejects(client().respond('m', 'hi'), hutch.OverLimit)
    script.plays(told({ error: 'no', code: 'deadline_exceeded' }, 503))
    await assert.rejects(client().respond('m', 'hi'), hutch.TooLate)
    assert.equal(script.asked.length, 1)
  })

  for (const [method, words] of [['delete', ['m']], ['respond', ['m', 'hi']]]) {
    it(`repeats ${method} only where it was not begun`, async () => {
      script.plays({ status: 503, pieces: [HTML_502] })
      await assert.rejects(client()[method](...words), hutch.TurnedAway)
      assert.equal(script.asked.length, 1)
      script.plays(told(BUSY, 503), told({ id: 'r', status: 'completed' }))
      await client()[method](...words)
      assert.equal(script.asked.length, 2)
    })
  }

  it('waits for Retry-After, unless that is too long', async () => {
    script.plays(told(BUSY, 503, { 'Retry-After': '1' }), told({ models: [] }))
    await client().list()
    const [first, second] = script.asked
    assert.ok(second.atMs - first.atMs >= 990, `${second.atMs - first.atMs} ms`)
    script.plays(told(BUSY, 503, { 'Retry-After': '3600' }))
    await assert.rejects(client().list(), (error) => error.retryAfterS === 3600)
    assert.equal(script.asked.length, 1)
    for (const text of ['soon', '-5', 'Wed, 21 Oct 2015 07:28:00 GMT']) {
      script.plays(told(BUSY, 503, { 'Retry-After': text }), told({ models: [] }))
      await client().list()
    }
  })

  it('ends when the server is silent', async () => {
    script.plays({ pieces: [JSON.stringify(PIECE) + '\n', 1, '{}'] })
    const impatient = client({ timeoutS: 0.2 })
    await assert.rejects(impatient.chat('m', 'hi'), /silent for 0.2 s/)
    await assert.rejects(all(impatient.chatStream('m', 'hi')), hutch.TooSlow)
    script.plays({ pieces: [1, '{}'] })
    assert.equal((await impatient.health()).is_ready, false)
  })

  it('does not end a stream that is slow, or whose program is', async () => {
    script.plays({ pieces: [...Array(4).fill([0.2, JSON.stringify(PIECE) + '\n']).flat(), JSON.stringify(DONE) + '\n'] })
    let count = 0
    for await (const _ of client({ timeoutS: 0.6 }).chatStream('m', 'hi')) {
      if (++count === 1) await new Promise((resolve) => setTimeout(resolve, 1000))
    }
    assert.equal(count, 5)
  })

  it('ends when it is aborted: before, in a call, in a pause, in mid-stream', async () => {
    await assert.rejects(client().list({ signal: AbortSignal.abort() }), { name: 'AbortError' })
    script.plays({ pieces: [JSON.stringify(PIECE) + '\n', ...Array(500).fill([0.02, ' '.repeat(65536)]).flat()] })
    await assert.rejects(client().chat('m', 'hi', { signal: AbortSignal.timeout(100) }), { name: 'TimeoutError' })
    const controller = new AbortController()
    const before = script.left
    await assert.rejects(async () => {
      for await (const _ of client().chatStream('m', 'hi', { signal: controller.signal })) controller.abort()
    }, { name: 'AbortError' })
    while (script.left === before) await new Promise((resolve) => setTimeout(resolve, 10))
    script.plays(told(BUSY, 503, { 'Retry-After': '20' }))
    await assert.rejects(client().list({ signal: AbortSignal.timeout(100) }), { name: 'TimeoutError' })
  })

  it('closes the connection when a stream is left', async () => {
    script.plays({ pieces: [JSON.stringify(PIECE) + '\n', ...Array(500).fill([0.02, ' '.repeat(65536)]).flat()] })
    const before = script.left
    for await (const _ of client().chatStream('m', 'hi')) break
    while (script.left === before) await new Promise((resolve) => setTimeout(resolve, 10))
  })
})
