// A server on loopback that answers each request by a script, down to the byte.
import { createServer } from 'node:http'

export const HTML_502 = '<html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>'

/** JSON in one piece. */
export const told = (body, status = 200, headers = {}) => ({ status, headers, pieces: [JSON.stringify(body)] })
/** One JSON object a line. */
export const lines = (...objects) => ({ pieces: objects.map((each) => JSON.stringify(each) + '\n') })

/** Replies in order, the last of them for ever; a piece that is a number is a pause in seconds. */
export async function scripted() {
  const script = { replies: [], asked: [], left: 0, url: '', plays }
  function plays(...replies) {
    script.replies = replies
    script.asked = []
  }
  const server = createServer(async (request, response) => {
    const parts = []
    for await (const part of request) parts.push(part)
    script.asked.push({ method: request.method, path: request.url, headers: request.headers, body: Buffer.concat(parts), atMs: Date.now() })
    const reply = script.replies[Math.min(script.asked.length, script.replies.length) - 1]
    response.on('close', () => { if (!response.writableFinished) script.left++ })
    response.setMaxListeners(0)
    response.writeHead(reply.status ?? 200, { Connection: 'close', ...reply.headers })
    response.flushHeaders()
    for (const piece of request.method === 'HEAD' ? [] : reply.pieces ?? []) {
      if (response.destroyed) return
      if (typeof piece === 'number') await new Promise((resolve) => setTimeout(resolve, piece * 1000))
      else if (!response.write(piece)) await Promise.race(['drain', 'close'].map((name) => new Promise((resolve) => response.once(name, resolve))))
    }
    if (reply.breaks) response.destroy()
    else response.end()
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  script.url = `http://127.0.0.1:${server.address().port}`
  script.close = () => new Promise((resolve) => { server.close(resolve); server.closeAllConnections() })
  return script
}

/** A port that nobody listens on. */
export async function freePort() {
  const server = createServer()
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}
