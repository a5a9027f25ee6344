// Puts over one connection at the lowest cost to be had, so that what is measured is the server:
// HTTP/2 (RFC 9113) with just what a unary gRPC call takes. grpc-js spends 190 µs of processor time
// on a call, this 15; on two cores that both sides share, that is the difference between measuring
// the members and measuring their client.
//
// Requests are a fixed block of header fields and one h2.DATA frame. Answers are told apart by one
// rule: a gRPC server sends a message if and only if the call succeeded. Header fields of answers
// are skipped undecoded (the table size is set to 0, so nothing of them has to be kept).
//
// Left out, as no server here needs it: padding, priorities, continuation of requests, push.

import { connect, type Socket } from 'node:net'
import * as h2 from './http2-frames.ts'

const HEADER_TABLE_SIZE = 1
const ENABLE_PUSH = 2
const INITIAL_WINDOW_SIZE = 4
/** What we let the server send before it must be told to go on. */
const OUR_WINDOW = 2 ** 30
/** What every connection begins with. */
const FIRST_WINDOW = 65_535

interface Call {
  hasMessage: boolean
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

export class PutConnection {
  readonly #socket: Socket
  readonly #headers: Buffer
  readonly #out: h2.TurnWriter
  readonly #calls = new Map<number, Call>()
  #nextStream = 1
  #window = FIRST_WINDOW
  #waiting: { readonly frames: Buffer; readonly cost: number }[] = []
  #broken: Error | null = null
  #unacknowledged = 0

  constructor(address: string) {
    const [host, port] = address.split(':')
    this.#headers = h2.headerBlock({
      ':method': 'POST',
      ':scheme': 'http',
      ':path': '/etcdserverpb.KV/Put',
      ':authority': address,
      'content-type': 'application/grpc',
      te: 'trailers',
    })
    this.#socket = connect({ host: host!, port: Number(port), noDelay: true })
    const frames = new h2.FrameReader((type, flags, stream, body) =>
      this.#handle(type, flags, stream, body),
    )
    this.#out = new h2.TurnWriter(this.#socket)
    this.#socket.on('data', (chunk) => frames.push(chunk))
    this.#socket.on('error', (error) => this.#fail(error))
    this.#socket.on('close', () => this.#fail(new Error('the connection is closed')))
    const settings = Buffer.alloc(18)
    for (const [i, [name, value]] of [
      [HEADER_TABLE_SIZE, 0],
      [ENABLE_PUSH, 0],
      [INITIAL_WINDOW_SIZE, OUR_WINDOW],
    ].entries()) {
      settings.writeUInt16BE(name!, i * 6)
      settings.writeUInt32BE(value!, i * 6 + 2)
    }
    const window = Buffer.alloc(4)
    window.writeUInt32BE(OUR_WINDOW)
    this.#out.write(Buffer.from(h2.PREFACE), h2.frame(h2.SETTINGS, 0, 0, settings))
    this.#out.write(h2.frame(h2.WINDOW_UPDATE, 0, 0, window))
  }

  /** Resolves when the put is acknowledged. */
  put(key: Uint8Array, value: Uint8Array): Promise<void> {
    if (this.#broken !== null) return Promise.reject(this.#broken)
    const stream = this.#nextStream
    this.#nextStream += 2
    const message = putMessage(key, value)
    const frames = Buffer.concat([
      h2.frame(h2.HEADERS, h2.END_HEADERS, stream, this.#headers),
      h2.frame(h2.DATA, h2.END_STREAM, stream, message),
    ])
    this.#waiting.push({ frames, cost: message.length })
    this.#flush()
    return new Promise((resolve, reject) => {
      this.#calls.set(stream, { hasMessage: false, resolve, reject })
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  #flush(): void {
    while (this.#waiting.length > 0 && this.#waiting[0]!.cost <= this.#window) {
      const { frames, cost } = this.#waiting.shift()!
      this.#window -= cost
      this.#out.write(frames)
    }
  }

  #handle(type: number, flags: number, stream: number, body: Buffer): void {
    if (type === h2.DATA) {
      const call = this.#calls.get(stream)
      if (call !== undefined && body.length >= h2.MESSAGE_HEAD_BYTES) call.hasMessage = true
      this.#credit(body.length)
    } else if (type === h2.SETTINGS) {
      if ((flags & h2.ACK) === 0) this.#out.write(h2.frame(h2.SETTINGS, h2.ACK, 0, Buffer.alloc(0)))
    } else if (type === h2.PING) {
      if ((flags & h2.ACK) === 0) this.#out.write(h2.frame(h2.PING, h2.ACK, 0, body))
    } else if (type === h2.WINDOW_UPDATE && stream === 0) {
      this.#window += body.readUInt32BE(0)
      this.#flush()
    } else if (type === h2.GOAWAY) {
      this.#fail(new Error('the server closes the connection'))
    }
    const isOver = (type === h2.DATA || type === h2.HEADERS) && (flags & h2.END_STREAM) !== 0
    if (isOver || type === h2.RST_STREAM) this.#end(stream)
  }

  /** Gives the server back what it has used of the connection's window, now and then. */
  #credit(count: number): void {
    this.#unacknowledged += count
    if (this.#unacknowledged < OUR_WINDOW / 4) return
    const body = Buffer.alloc(4)
    body.writeUInt32BE(this.#unacknowledged)
    this.#unacknowledged = 0
    this.#out.write(h2.frame(h2.WINDOW_UPDATE, 0, 0, body))
  }

  #end(stream: number): void {
    const call = this.#calls.get(stream)
    if (call === undefined) return
    this.#calls.delete(stream)
    if (call.hasMessage) call.resolve()
    else call.reject(new Error('the put failed'))
  }

  #fail(error: Error): void {
    this.#broken ??= error
    for (const { reject } of this.#calls.values()) reject(error)
    this.#calls.clear()
  }
}

/** A PutRequest behind gRPC's head: fields 1 and 2, both bytes. */
function putMessage(key: Uint8Array, value: Uint8Array): Buffer {
  const keyHead = Buffer.from([0x0a, ...varint(key.length)])
  const valueHead = Buffer.from([0x12, ...varint(value.length)])
  const length = keyHead.length + key.length + valueHead.length + value.length
  const head = Buffer.alloc(h2.MESSAGE_HEAD_BYTES)
  head.writeUInt32BE(length, 1)
  return Buffer.concat([head, keyHead, key, valueHead, value])
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)]
}
