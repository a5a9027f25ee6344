// What the tests share: a socket with its own memory, waiting for readiness, sending and
// collecting.

import type { Test } from 'tap'
import { BatchSocket, type BatchSocketOptions } from './batch-socket.ts'
import { type PinnedMemory, POLLIN, pin, sysPoll } from './libc.ts'

const RECEIVE_COUNT = 8
const RECEIVE_SIZE = 65_536

/** Offset of the memory that End.put and the tests send from. */
export const SEND_AT: number = RECEIVE_COUNT * RECEIVE_SIZE

/** net.core.rmem_max of a host as it comes: more than this no test may count on. */
export const HOST_BUFFER_BYTES = 212_992

export interface End {
  memory: PinnedMemory
  socket: BatchSocket
}

/** A socket bound to all addresses, or as the options say; closed when the test ends. */
export function openEnd(test: Test, options: Partial<BatchSocketOptions> = {}): End {
  const memory = pin(SEND_AT + (1 << 20))
  const receive = { at: 0, count: RECEIVE_COUNT, size: RECEIVE_SIZE }
  const socket = new BatchSocket({
    memory,
    receive,
    bufferBytes: HOST_BUFFER_BYTES,
    ...options,
  })
  test.teardown(() => socket.close())
  return { memory, socket }
}

const pollfd = pin(8)

/** Waits until `fd` is readable, a second at most. */
export function readable(fd: number): boolean {
  pollfd.view.setInt32(0, fd, true)
  pollfd.view.setUint16(4, POLLIN, true)
  return sysPoll(pollfd.address, 1, 1000) === 1
}

/** Fills [at, at + length) with bytes that tell where they came from. */
export function fillPattern(memory: PinnedMemory, at: number, length: number, seed: number): void {
  for (let i = 0; i < length; i++) memory.bytes[at + i] = (i * 31 + (i >> 8) * 7 + seed) & 0xff
}

/** Receives until `count` datagrams are in or none comes for a second. Cut by the merged size. */
export function collect(end: End, count: number): Buffer[] {
  const { memory, socket } = end
  const datagrams: Buffer[] = []
  while (datagrams.length < count && readable(socket.fd)) {
    const n = socket.receiving.receive()
    if (n < 0) throw new Error(`receive() returned ${n}`)
    for (let i = 0; i < n; i++) {
      const size = socket.receiving.size(i)
      const step = socket.receiving.segmentSize(i)
      let at = 0
      do {
        const from = socket.receiving.at(i) + at
        datagrams.push(Buffer.from(memory.bytes.slice(from, from + Math.min(step, size - at))))
        at += step
      } while (at < size)
    }
  }
  return datagrams
}

/** Appends one range as one message. Returns what flush() returns. */
export function sendOne(end: End, endpoint: number, at: number, length: number): number {
  const message = end.socket.sending.begin(endpoint)
  if (message < 0 || !end.socket.sending.append(message, at, length)) throw new Error('no room')
  return end.socket.sending.flush()
}
