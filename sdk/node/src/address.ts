// A server's address, read as OLLAMA_HOST is read: any part may be missing.
import { BadInput } from './errors.js'

const DEFAULT_PORT = 11434
const EVERYWHERE: Record<string, string> = { '': '127.0.0.1', '0.0.0.0': '127.0.0.1', '::': '::1' }

/** The first of these environment variables that is set, without spaces and quotes around it. */
export function variable(...names: string[]): string {
  for (const name of names) {
    const value = bare(process.env[name] ?? '')
    if (value) return value
  }
  return ''
}

/** The URL of a server without a slash at its end; where it listens on every interface, of this machine. Throws BadInput. */
export function urlOf(text: string): string {
  const said = bare(text)
  const cut = said.lastIndexOf('://')
  let scheme = cut < 0 ? '' : said.slice(0, cut)
  if (!['', 'http', 'https'].includes(scheme)) throw new BadInput(`invalid address '${said}'`, 'Write host:port or http://host:port.')
  const rest = cut < 0 ? said : said.slice(cut + 3)
  const [place = '', ...folders] = rest.split('/')
  if (place.includes('@')) throw new BadInput('an address holds no user or password', 'Put the key in HUTCH_API_KEY.')
  let defaultPort = { http: 80, https: 443 }[scheme] ?? DEFAULT_PORT
  if (!scheme && place === 'ollama.com') [scheme, defaultPort] = ['https', 443]
  const match = /^\[(.*)\](?::(-?\d*))?$|^([^:]*):(-?\d*)$/.exec(place)
  const host = match ? match[1] ?? match[3] ?? '' : place
  const port = (match && (match[2] ?? match[4])) ?? ''
  const number = /^\d+$/.test(port) && Number(port) <= 65535 ? Number(port) : defaultPort
  const named = EVERYWHERE[host] ?? host
  const path = `/${folders.join('/')}`.replace(/\/+$/, '')
  const url = `${scheme || 'http'}://${named.includes(':') ? `[${named}]` : named}:${number}${path}`
  if (!URL.canParse(url)) throw new BadInput(`invalid address '${said}'`, 'Write host:port or http://host:port.')
  return url
}

function bare(text: string): string {
  return text.trim().replace(/^["']+|["']+$/g, '').trim()
}
