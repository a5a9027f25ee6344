// The service in front of a member that the benchmark drives: Put over gRPC, and nothing else, by
// hand, for the same reason as the client (put-connection.ts). grpc-js would spend 70 µs of
// processor time on a call, twice as much as the member does; and in weft a proposal comes from the
// store in the same process, not over gRPC. Any gRPC client may call it: whatever the path says, a
// call is a Put.

import { createServer, type Server, type Socket } from 'node:net'
import * as h2 from './http2-frames.ts'

/** Bytes of one message, and of what a client may send before it must be told to go on. */
const MESSAGE_BYTES_MAX = 1 << 20
const WINDOW = 2 ** 30
const INITIAL_WINDOW_SIZE = 4
const UNAVAILABLE = '14'

export type Put = (key: Uint8Array, value: Uint8Array) => Promise<number>

const OK_HEADERS = h2.headerBlock({ ':status': '200', 'content-type': 'application/grpc' })
const OK_TRAILERS = h2.headerBlock({ 'grpc-status': '0' })

export function servePuts(address: string, put: Put): Promise<Server> {
  const [host, port] = address.split(':')
  const server = createServer({ noDelay: true }, (socket) => new PutStream(socket, put))
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(Number(port), host, () => resolve(server))
  })
}

class PutStream {
  readonly #out: h2.TurnWriter
  readonly #socket: Socket
  readonly #put: Put
  readonly #bodies = new Map<number, Buffer[]>()
  #preface = h2.PREFACE.length
  #used = 0

  constructor(socket: Socket, put: Put) {
    this.#socket = socket
    this.#put = put
    this.#out = new h2.TurnWriter(socket)
    const frames = new h2.FrameReader((type, flags, stream, body) =>
      this.#take(type, flags, stream, body),
    )
    socket.on('data', (chunk) => {
      const skipped = Math.min(this.#preface, chunk.length)
      this.#preface -= skipped
      frames.push(chunk.subarray(skipped))
    })
    socket.on('error', () => socket.destroy())
    const settings = Buffer.alloc(6)
    settings.writeUInt16BE(INITIAL_WINDOW_SIZE, 0)
    settings.writeUInt32BE(WINDOW, 2)
    this.#out.write(h2.frame(h2.SETTINGS, 0, 0, settings))
    this.#grant(WINDOW)
  }

  #grant(bytes: number): void {
    const body = Buffer.alloc(4)
    body.writeUInt32BE(bytes)
    this.#out.write(h2.frame(h2.WINDOW_UPDATE, 0, 0, body))
  }

  #take(type: number, flags: number, stream: number, body: Buffer): void {
    if (type === h2.SETTINGS && (flags & h2.ACK) === 0) {
      this.#out.write(h2.frame(h2.SETTINGS, h2.ACK, 0, Buffer.alloc(0)))
    } else if (type === h2.PING && (flags & h2.ACK) === 0) {
      this.#out.write(h2.frame(h2.PING, h2.ACK, 0, body))
    } else if (type === h2.DATA) {
      this.#used += body.length
      if (this.#used > WINDOW / 2) {
        this.#grant(this.#used)
        this.#used = 0
      }
      const parts = this.#bodies.get(stream) ?? []
      parts.push(body)
      if ((flags & h2.END_STREAM) === 0) {
        this.#bodies.set(stream, parts)
        return
      }
      this.#bodies.delete(stream)
      this.#call(stream, parts.length === 1 ? body : Buffer.concat(parts))
    }
  }

  #call(stream: number, message: Buffer): void {
    const request = message.length > MESSAGE_BYTES_MAX ? null : readPut(message)
    if (request === null) {
      this.#socket.destroy()
      return
    }
    this.#put(request.key, request.value).then(
      () => {
        this.#out.write(
          h2.frame(h2.HEADERS, h2.END_HEADERS, stream, OK_HEADERS),
          h2.frame(h2.DATA, 0, stream, Buffer.alloc(h2.MESSAGE_HEAD_BYTES)),
          h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, OK_TRAILERS),
        )
      },
      (error: Error) => {
        const block = h2.headerBlock({
          ':status': '200',
          'content-type': 'application/grpc',
          'grpc-status': UNAVAILABLE,
          'grpc-message': error.message.slice(0, 100),
        })
        this.#out.write(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, stream, block))
      },
    )
  }
}

/** The key and the value of a PutRequest: fields 1 and 2, both bytes. Null for anything else. */
function readPut(message: Buffer): { key: Uint8Array; value: Uint8Array } | null {
  let at = h2.MESSAGE_HEAD_BYTES
  const fields = new Map<number, Uint8Array>()
  while (at < message.length) {
    const tag = message[at++]!
    let length = 0
    for (let shift = 0; ; shift += 7) {
      const byte = message[at++]
      if (byte === undefined || shift > 21) return null
      length |= (byte & 0x7f) << shift
      if (byte < 0x80) break
    }
    if ((tag & 7) !== 2 || at + length > message.length) return null
    fields.set(tag >> 3, message.subarray(at, at + length))
    at += length
  }
  const [key, value] = [fields.get(1), fields.get(2)]
  return key === undefined || value === undefined ? null : { key, value }
}
