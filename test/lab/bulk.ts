// Bulk TCP whose content is checked: both ends make the bytes of a stream from its seed, hash what
// they send and what they get, and the client compares. Both directions run at the same time over
// one connection.
//
//   client -> server   {"up": bytes, "down": bytes, "seed": n} and a line feed, then `up` bytes
//   server -> client   `down` bytes, then the hash of what it got, 64 characters

import { createCipheriv, createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server, type Socket, connect as tcpConnect } from 'node:net'

export interface BulkOrder {
  /** Bytes from the client and from the server. */
  readonly up: number
  readonly down: number
  readonly seed: number
}

export interface BulkResult {
  /** Both streams arrived as they were sent. */
  readonly whole: boolean
  readonly seconds: number
}

const PIECE_BYTES = 1 << 16
const HASH_CHARACTERS = 64
const ZEROS: Buffer = Buffer.alloc(PIECE_BYTES)

/** Writes `size` bytes that follow from `seed`; returns their hash. */
async function pour(socket: Socket, size: number, seed: number): Promise<string> {
  const key = createHash('sha256').update(`${seed}`).digest()
  const stream = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
  const hash = createHash('sha256')
  for (let left = size; left > 0; left -= PIECE_BYTES) {
    const piece = stream.update(left < PIECE_BYTES ? ZEROS.subarray(0, left) : ZEROS)
    hash.update(piece)
    if (!socket.write(piece)) await once(socket, 'drain')
  }
  return hash.digest('hex')
}

/** Takes bytes off a socket: first a line or a number of bytes, then what is left. */
class Reader {
  private readonly pieces: AsyncIterator<Buffer>
  private rest: Buffer = Buffer.alloc(0)

  constructor(socket: Socket) {
    this.pieces = socket[Symbol.asyncIterator]()
  }

  private async more(): Promise<Buffer> {
    if (this.rest.length > 0) return this.rest
    const { value, done } = await this.pieces.next()
    if (done === true) throw new Error('the connection ended early')
    return value
  }

  async line(): Promise<string> {
    let text = Buffer.alloc(0)
    for (;;) {
      const piece = await this.more()
      const end = piece.indexOf(10)
      text = Buffer.concat([text, end < 0 ? piece : piece.subarray(0, end)])
      this.rest = end < 0 ? Buffer.alloc(0) : piece.subarray(end + 1)
      if (end >= 0) return text.toString()
    }
  }

  /** Hash of the next `size` bytes. */
  async hash(size: number): Promise<string> {
    const hash = createHash('sha256')
    for (let left = size; left > 0; ) {
      const piece = await this.more()
      const mine = piece.subarray(0, left)
      hash.update(mine)
      left -= mine.length
      this.rest = piece.subarray(mine.length)
    }
    return hash.digest('hex')
  }

  async text(size: number): Promise<string> {
    let text = ''
    while (text.length < size) {
      text += (await this.more()).toString('latin1')
      this.rest = Buffer.alloc(0)
    }
    return text
  }
}

async function answer(socket: Socket): Promise<void> {
  const reader = new Reader(socket)
  const order = JSON.parse(await reader.line()) as BulkOrder
  const [hash] = await Promise.all([
    reader.hash(order.up),
    pour(socket, order.down, order.seed + 1),
  ])
  socket.end(hash)
}

/** A server of bulk transfers on every address, both families. */
export async function bulkServer(port: number): Promise<Server> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    answer(socket).catch(() => socket.destroy())
  })
  server.listen(port, '::')
  await once(server, 'listening')
  return server
}

/** One transfer. Throws when it breaks or takes longer than `timeoutMs`. */
export async function bulk(
  address: string,
  port: number,
  order: BulkOrder,
  timeoutMs: number,
): Promise<BulkResult> {
  const startMs = performance.now()
  const socket = tcpConnect({ host: address, port })
  const late = (): void => {
    socket.destroy(new Error(`bulk TCP took over ${timeoutMs} ms`))
  }
  const deadline = setTimeout(late, timeoutMs)
  try {
    await once(socket, 'connect')
    socket.write(`${JSON.stringify(order)}\n`)
    const reader = new Reader(socket)
    const down = Promise.all([pour(socket, order.up, order.seed), reader.hash(order.down)])
    const [sent, got] = await down
    const seen = await reader.text(HASH_CHARACTERS)
    const whole = seen === sent && got === (await hashOf(order.down, order.seed + 1))
    return { whole, seconds: (performance.now() - startMs) / 1000 }
  } finally {
    clearTimeout(deadline)
    socket.destroy()
  }
}

/** Hash of the stream that pour() would send. */
async function hashOf(size: number, seed: number): Promise<string> {
  return pour({ write: () => true } as unknown as Socket, size, seed)
}
