// The demo's service: a small HTTP server that says who it is and whom it saw, and asks others if
// it is told to.
//
//   node demo-web.ts NAME [PORT [URL...]]
//
//   GET /           "web.1 saw 192.168.11.4\n"; with URLs also what each of them answered
//   GET /marker     the same with a sentence that must never be seen on the underlay
//   GET /bulk/MB    that many megabytes, to measure throughput
//
// On SIGTERM it takes no more connections, answers what it has begun, and ends.

import { createServer, get, type ServerResponse } from 'node:http'
import { hostname } from 'node:os'
import process from 'node:process'

/** What a listener on the underlay looks for; the demo's sniffer searches for these bytes. */
export const MARKER = 'weft-demo: this sentence must not be readable on the underlay'

const PIECE: Buffer = Buffer.alloc(1 << 18, `${MARKER}\n`)
const MEGABYTE = 1 << 20
const BULK_MB_MAX = 100_000
const ASK_TIMEOUT_MS = 2000

/** Sends `left` bytes as fast as the connection takes them. */
function pour(response: ServerResponse, left: number): void {
  let rest = left
  const more = (): void => {
    while (rest > 0) {
      const size = Math.min(rest, PIECE.length)
      rest -= size
      if (!response.write(size === PIECE.length ? PIECE : PIECE.subarray(0, size))) {
        response.once('drain', more)
        return
      }
    }
    response.end()
  }
  more()
}

/** An IPv4 client of a dual-stack socket is shown as IPv4. */
function plain(address: string | undefined): string {
  return (address ?? '?').replace(/^::ffff:/, '')
}

/** What another service answers, in one line. */
function ask(url: string): Promise<string> {
  return new Promise((resolve) => {
    const request = get(url, { agent: false, timeout: ASK_TIMEOUT_MS }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (piece: string) => {
        text += piece
      })
      response.on('end', () => resolve(text.split('\n')[0]!))
      response.on('error', () => resolve('broke off'))
    })
    request.on('timeout', () => request.destroy(new Error('no answer in time')))
    request.on('error', (error) => resolve(error.message))
  })
}

export function serve(
  name: string,
  port: number,
  others: readonly string[],
  onListening: () => void,
): void {
  const server = createServer(async (request, response) => {
    const bulk = /^\/bulk\/(\d{1,6})$/.exec(request.url ?? '')
    if (bulk) {
      const size = Math.min(Number(bulk[1]), BULK_MB_MAX) * MEGABYTE
      response.setHeader('content-length', size)
      pour(response, size)
      return
    }
    const saw = `${name} saw ${plain(request.socket.remoteAddress)}\n`
    const asked = await Promise.all(others.map(async (url) => `${url} ${await ask(url)}\n`))
    const text = `${saw}${asked.join('')}`
    response.end(request.url === '/marker' ? `${MARKER}\n${text}` : text)
  })
  server.listen(port, '::', onListening)
  process.on('SIGTERM', () => {
    server.close(() => process.exit(0))
    server.closeIdleConnections()
  })
}

if (import.meta.main) {
  const [name, port, ...others] = process.argv.slice(2)
  const own = hostname().startsWith(`${name}.`) ? hostname() : (name ?? 'web')
  serve(own, Number(port ?? 80), others, () => process.stdout.write('listening\n'))
}
