// TCP ping-pong of 64 bytes: the same tool for every contestant.
//
//   node ping-pong.ts serve PORT
//   node ping-pong.ts ask ADDRESS PORT SECONDS     -> {"p50": µs, "p99": µs, "count": n}
//
// It calls the C library's blocking read and write directly, because an event loop on either end
// would add more than the path that is measured. A figure is half a round trip.

import { isIPv6 } from 'node:net'
import process from 'node:process'
import koffi from 'koffi'
import { quantile } from '../statistics.ts'

const SIZE = 64
/** Round trips before the clock starts: caches, neighbour entries and the peer's tunnel warm up. */
const WARM_UP = 500
/** Room for the longest measurement: 300 s at 5 µs would be 60 million; the list stops here. */
const SAMPLES_MAX = 4_000_000

const AF_INET = 2
const AF_INET6 = 10
const SOCK_STREAM = 1
const SOL_SOCKET = 1
const SO_REUSEADDR = 2
const IPPROTO_TCP = 6
const TCP_NODELAY = 1

const libc = koffi.load(null)
const socket = libc.func('int socket(int, int, int)')
const bind = libc.func('int bind(int, const uint8_t*, uint32_t)')
const listen = libc.func('int listen(int, int)')
const accept = libc.func('int accept(int, void*, void*)')
const connect = libc.func('int connect(int, const uint8_t*, uint32_t)')
const setsockopt = libc.func('int setsockopt(int, int, int, const int32_t*, uint32_t)')
const read = libc.func('intptr_t read(int, void*, size_t)')
const write = libc.func('intptr_t write(int, const void*, size_t)')
const close = libc.func('int close(int)')

function check(result: number, what: string): number {
  if (result < 0) throw new Error(`${what}: errno ${koffi.errno()}`)
  return result
}

/** struct sockaddr_in or sockaddr_in6 in network order. */
function socketAddress(address: string, port: number): Buffer {
  if (!isIPv6(address)) {
    const bytes = Buffer.alloc(16)
    bytes.writeUInt16LE(AF_INET, 0)
    bytes.writeUInt16BE(port, 2)
    for (const [i, part] of address.split('.').entries()) bytes[4 + i] = Number(part)
    return bytes
  }
  const bytes = Buffer.alloc(28)
  bytes.writeUInt16LE(AF_INET6, 0)
  bytes.writeUInt16BE(port, 2)
  const [left, right] = address.split('::') as [string, string | undefined]
  const words = (text: string): string[] => (text === '' ? [] : text.split(':'))
  for (const [i, word] of words(left).entries())
    bytes.writeUInt16BE(Number.parseInt(word, 16), 8 + 2 * i)
  const tail = words(right ?? '')
  for (const [i, word] of tail.entries()) {
    bytes.writeUInt16BE(Number.parseInt(word, 16), 24 - 2 * tail.length + 2 * i)
  }
  return bytes
}

function noDelay(fd: number): void {
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, Int32Array.of(1), 4)
}

/** Reads one whole message. Returns false when the other end has closed. */
function readWhole(fd: number, buffer: Buffer): boolean {
  for (let have = 0; have < SIZE; ) {
    const got = read(fd, have === 0 ? buffer : buffer.subarray(have), SIZE - have)
    if (got <= 0) return false
    have += got
  }
  return true
}

function serve(port: number): void {
  const listener = check(socket(AF_INET, SOCK_STREAM, 0), 'socket')
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, Int32Array.of(1), 4)
  const address = socketAddress('0.0.0.0', port)
  check(bind(listener, address, address.length), 'bind')
  check(listen(listener, 8), 'listen')
  process.stdout.write('listening\n')
  const buffer = Buffer.alloc(SIZE)
  for (;;) {
    const fd = check(accept(listener, null, null), 'accept')
    noDelay(fd)
    while (readWhole(fd, buffer)) write(fd, buffer, SIZE)
    close(fd)
  }
}

function ask(address: string, port: number, seconds: number): void {
  const target = socketAddress(address, port)
  const fd = check(socket(isIPv6(address) ? AF_INET6 : AF_INET, SOCK_STREAM, 0), 'socket')
  check(connect(fd, target, target.length), 'connect')
  noDelay(fd)
  const buffer = Buffer.alloc(SIZE)
  const samples = new Float64Array(SAMPLES_MAX)
  let count = -WARM_UP
  const end = performance.now() + seconds * 1000
  for (let start = performance.now(); start < end && count < SAMPLES_MAX; count++) {
    write(fd, buffer, SIZE)
    if (!readWhole(fd, buffer)) throw new Error('the other end has closed')
    const now = performance.now()
    if (count >= 0) samples[count] = ((now - start) * 1000) / 2
    start = now
  }
  const taken = Array.from(samples.subarray(0, Math.max(count, 0)))
  const report = { p50: quantile(taken, 0.5), p99: quantile(taken, 0.99), count: taken.length }
  process.stdout.write(`${JSON.stringify(report)}\n`)
}

const [verb, ...rest] = process.argv.slice(2)
if (verb === 'serve') serve(Number(rest[0]))
else ask(rest[0] ?? '127.0.0.1', Number(rest[1]), Number(rest[2]))
