// The demo's service: a small HTTP server that says who it is and whom it saw.
//
//   node demo-web.ts NAME [PORT]
//
//   GET /           "web1 saw 192.168.11.4\n"
//   GET /marker     the same with a sentence that must never be seen on the underlay
//   GET /bulk/MB    that many megabytes, to measure throughput

import { createServer, type ServerResponse } from 'node:http'
import process from 'node:process'

/** What a listener on the underlay looks for; the demo's sniffer searches for these bytes. */
export const MARKER = 'weft-demo: this sentence must not be readable on the underlay'

const PIECE: Buffer = Buffer.alloc(1 << 18, `${MARKER}\n`)
const MEGABYTE = 1 << 20
const BULK_MB_MAX = 100_000

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

export function serve(name: string, port: number, onListening: () => void): void {
  const server = createServer((request, response) => {
    const bulk = /^\/bulk\/(\d{1,6})$/.exec(request.url ?? '')
    if (bulk) {
      const size = Math.min(Number(bulk[1]), BULK_MB_MAX) * MEGABYTE
      response.setHeader('content-length', size)
      pour(response, size)
      return
    }
    const saw = `${name} saw ${plain(request.socket.remoteAddress)}\n`
    response.end(request.url === '/marker' ? `${MARKER}\n${saw}` : saw)
  })
  server.listen(port, '::', onListening)
}

if (import.meta.main) {
  const [name, port] = process.argv.slice(2)
  serve(name ?? 'web', Number(port ?? 80), () => process.stdout.write('listening\n'))
}
