// HTTP/2 frames (RFC 9113, section 4) as far as unary gRPC calls need them, for both ends of the
// benchmark: the client that drives everybody (put-connection.ts) and the service in front of
// weft's members (put-server.ts).
//
//   frame     u24 length, u8 type, u8 flags, u32 stream, body
//   message   u8 compressed, u32 length, protobuf                                        (gRPC)
//
// Left out, as nobody here needs it: padding, priorities, continuation, push.

import type { Socket } from 'node:net'

export const PREFACE: string = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
export const FRAME_BYTES: number = 9
export const DATA: number = 0
export const HEADERS: number = 1
export const RST_STREAM: number = 3
export const SETTINGS: number = 4
export const PING: number = 6
export const GOAWAY: number = 7
export const WINDOW_UPDATE: number = 8
export const END_STREAM: number = 1
export const ACK: number = 1
export const END_HEADERS: number = 4
/** Compression flag and length before a gRPC message. */
export const MESSAGE_HEAD_BYTES: number = 5

export function frame(type: number, flags: number, stream: number, body: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_BYTES + body.length)
  bytes.writeUIntBE(body.length, 0, 3)
  bytes[3] = type
  bytes[4] = flags
  bytes.writeUInt32BE(stream, 5)
  bytes.set(body, FRAME_BYTES)
  return bytes
}

/** Literal fields without indexing (RFC 7541, section 6.2.2), no Huffman coding. */
export function headerBlock(fields: Readonly<Record<string, string>>): Buffer {
  const text = (value: string): Buffer =>
    Buffer.concat([Buffer.from([value.length]), Buffer.from(value)])
  return Buffer.concat(
    Object.entries(fields).map(([name, value]) =>
      Buffer.concat([Buffer.from([0]), text(name), text(value)]),
    ),
  )
}

/** Cuts a stream of bytes into frames. */
export class FrameReader {
  readonly #take: (type: number, flags: number, stream: number, body: Buffer) => void
  #rest: Buffer = Buffer.alloc(0)

  constructor(take: (type: number, flags: number, stream: number, body: Buffer) => void) {
    this.#take = take
  }

  push(chunk: Buffer): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    while (bytes.length >= FRAME_BYTES) {
      const end = FRAME_BYTES + bytes.readUIntBE(0, 3)
      if (bytes.length < end) break
      const stream = bytes.readUInt32BE(5) & 0x7fff_ffff
      this.#take(bytes[3]!, bytes[4]!, stream, bytes.subarray(FRAME_BYTES, end))
      bytes = bytes.subarray(end)
    }
    this.#rest = bytes
  }
}

/** Writes at once what one turn of the event loop had to say. */
export class TurnWriter {
  readonly #socket: Socket
  #pieces: Buffer[] = []

  constructor(socket: Socket) {
    this.#socket = socket
  }

  write(...pieces: Buffer[]): void {
    if (this.#pieces.length === 0) {
      queueMicrotask(() => {
        const all = Buffer.concat(this.#pieces)
        this.#pieces = []
        this.#socket.write(all)
      })
    }
    this.#pieces.push(...pieces)
  }
}
