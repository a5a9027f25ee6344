// Sending in batches, against the real kernel: segmentation, its fallbacks, limits, refusals.

import { GCProfiler } from 'node:v8'
import fc from 'fast-check'
import t from 'tap'
import { setOption } from './batch-socket.ts'
import { IP_RECVERR, IPPROTO_IP, SOL_UDP } from './libc.ts'
import { PAYLOAD_SIZE_MAX_V4, PAYLOAD_SIZE_MAX_V6 } from './limits.ts'
import { collect, type End, fillPattern, openEnd, SEND_AT, sendOne } from './test-support.ts'

const SOL_SOCKET = 1
/** Without UDP checksums the kernel answers UDP_SEGMENT with EINVAL: a refusal on demand. */
const SO_NO_CHECK = 11
/** The same for IPv6, and leave to receive such datagrams. */
const UDP_NO_CHECK6_TX = 101
const UDP_NO_CHECK6_RX = 102

/** The plain twin of segmentation: what a receiver must see. */
function cut(end: End, at: number, length: number, segmentSize: number): Buffer[] {
  const datagrams: Buffer[] = []
  for (let from = 0; from < length; from += segmentSize) {
    const to = Math.min(from + segmentSize, length)
    datagrams.push(Buffer.from(end.memory.bytes.slice(at + from, at + to)))
  }
  return datagrams
}

function sendSegmented(end: End, peer: number, length: number, segmentSize: number): number {
  const message = end.socket.sending.begin(peer)
  end.socket.sending.segment(message, segmentSize)
  if (!end.socket.sending.append(message, SEND_AT, length)) throw new Error('no room')
  return end.socket.sending.flush()
}

for (const host of ['127.0.0.1', '::1']) {
  for (const gso of [true, false]) {
    for (const gro of [true, false]) {
      const title = `${host}, gso ${gso}, gro ${gro}: datagrams arrive as plain cutting has them`
      t.test(title, (t) => {
        let sender: End
        let receiver: End
        try {
          sender = openEnd(t, { gso, address: host })
          receiver = openEnd(t, { gro, address: host })
        } catch (error) {
          t.comment(`${host} cannot be had: ${(error as Error).message}`)
          return t.end()
        }
        t.equal(receiver.socket.features.gro, gro)
        t.equal(sender.socket.features.gso, gso)
        fillPattern(sender.memory, SEND_AT, 65_536, 3)
        const peer = sender.socket.endpoint(host, receiver.socket.port)
        const shape = fc.record({
          segmentSize: fc.integer({ min: 1, max: 1500 }),
          segments: fc.integer({ min: 1, max: 43 }),
          shorter: fc.nat(),
          pieces: fc.array(fc.integer({ min: 1, max: 4000 }), { minLength: 1, maxLength: 20 }),
        })
        const property = fc.property(shape, ({ segmentSize, segments, shorter, pieces }) => {
          const length = segmentSize * segments - (shorter % segmentSize)
          const message = sender.socket.sending.begin(peer)
          sender.socket.sending.segment(message, segmentSize)
          // In pieces; every other one is appended apart from its neighbour only in time.
          let at = 0
          for (let i = 0; at < length; i++) {
            const piece = Math.min(pieces[i % pieces.length]!, length - at)
            if (!sender.socket.sending.append(message, SEND_AT + at, piece)) return false
            at += piece
          }
          if (sender.socket.sending.flush() !== 0) return false
          const expected = cut(sender, SEND_AT, length, segmentSize)
          const got = collect(receiver, expected.length)
          return (
            Buffer.concat(got).equals(Buffer.concat(expected)) && got.length === expected.length
          )
        })
        fc.assert(property, { numRuns: 60 })
        const { datagramsSent, bytesSent } = sender.socket.counters
        const { datagramsReceived, bytesReceived, messagesReceived } = receiver.socket.counters
        t.equal(datagramsReceived, datagramsSent)
        t.equal(bytesReceived, bytesSent)
        if (gso && gro) t.ok(messagesReceived < datagramsReceived, 'merged messages were seen')
        if (!gso) t.ok(sender.socket.counters.gsoFallbacks > 0)
        else t.equal(sender.socket.counters.gsoFallbacks, 0)
        t.end()
      })
    }
  }
}

t.test('datagrams scattered over the memory, whole and in pieces', (t) => {
  for (const gso of [true, false]) {
    const sender = openEnd(t, { gso })
    const receiver = openEnd(t)
    fillPattern(sender.memory, SEND_AT, 100_000, 9)
    const peer = sender.socket.endpoint('127.0.0.1', receiver.socket.port)
    const message = sender.socket.sending.begin(peer)
    sender.socket.sending.segment(message, 100)
    // 40 + 60, then 250 in one range, then 50: four datagrams of 100.
    const ranges = [
      [5000, 40],
      [7000, 60],
      [90_000, 250],
      [300, 50],
    ] as const
    const bytes: Buffer[] = []
    for (const [at, length] of ranges) {
      t.ok(sender.socket.sending.append(message, SEND_AT + at, length))
      bytes.push(Buffer.from(sender.memory.bytes.slice(SEND_AT + at, SEND_AT + at + length)))
    }
    t.equal(sender.socket.sending.flush(), 0)
    const whole = Buffer.concat(bytes)
    const expected = [0, 1, 2, 3].map((i) => whole.subarray(i * 100, i * 100 + 100))
    t.same(collect(receiver, 4), expected)
  }
  t.end()
})

t.test('a batch is full at its messages, a message at its ranges, bytes and segments', (t) => {
  const { socket } = openEnd(t, { sendMessages: 2, sendRanges: 3 })
  const { sending } = socket
  const v4 = socket.endpoint('127.0.0.1', 9)
  const v6 = socket.endpoint('::1', 9)
  const first = sending.begin(v4)
  const second = sending.begin(v6)
  t.equal(sending.begin(v4), -1)
  t.equal(sending.count, 2)

  t.ok(sending.append(first, 0, 10))
  t.ok(sending.append(first, 10, 10), 'adjoining: the same range')
  t.ok(sending.append(first, 30, 10))
  t.ok(sending.append(first, 60, 10))
  t.notOk(sending.append(first, 90, 10), 'a fourth range')
  t.ok(sending.append(first, 70, 5), 'the last range still grows')
  t.notOk(sending.append(first, 75, PAYLOAD_SIZE_MAX_V4 - 45 + 1))
  t.ok(sending.append(first, 75, PAYLOAD_SIZE_MAX_V4 - 45))

  t.notOk(sending.append(second, 0, PAYLOAD_SIZE_MAX_V6 + 1))
  sending.segment(second, 10)
  t.ok(sending.append(second, 0, 640))
  t.notOk(sending.append(second, 640, 1), '64 segments')
  t.throws(() => sending.segment(second, 0), RangeError)
  t.throws(() => sending.segment(second, 70_000), RangeError)
  t.end()
})

t.test('more than 64 segments, declared too late to be refused, are sent singly', (t) => {
  const sender = openEnd(t)
  const receiver = openEnd(t)
  fillPattern(sender.memory, SEND_AT, 2005, 4)
  const peer = sender.socket.endpoint('127.0.0.1', receiver.socket.port)
  const message = sender.socket.sending.begin(peer)
  sender.socket.sending.append(message, SEND_AT, 2005)
  sender.socket.sending.segment(message, 10)
  t.equal(sender.socket.sending.flush(), 0)
  t.same(collect(receiver, 201), cut(sender, SEND_AT, 2005, 10))
  t.equal(sender.socket.features.gso, true)
  t.end()
})

for (const family of ['gsoV4', 'gsoV6'] as const) {
  const [host, other] =
    family === 'gsoV4' ? (['127.0.0.1', 'gsoV6'] as const) : (['::1', 'gsoV4'] as const)
  t.test(`refused UDP_SEGMENT over ${host} loses nothing and is not tried again`, (t) => {
    const sender = openEnd(t)
    const receiver = openEnd(t)
    if (host === '::1' && !sender.socket.features.ipv6) {
      t.comment('no IPv6 here')
      return t.end()
    }
    const { sending, fd } = sender.socket
    if (host === '::1') t.ok(setOption(fd, SOL_UDP, UDP_NO_CHECK6_TX, 1))
    else t.ok(setOption(fd, SOL_SOCKET, SO_NO_CHECK, 1))
    // A receiver without this option would drop what has no checksum (RFC 8200 section 8.1).
    if (host === '::1') t.ok(setOption(receiver.socket.fd, SOL_UDP, UDP_NO_CHECK6_RX, 1))
    fillPattern(sender.memory, SEND_AT, 10_000, 5)
    const peer = sender.socket.endpoint(host, receiver.socket.port)
    const expected: Buffer[] = []
    for (const length of [3000, 10, 5000, 950]) {
      const message = sending.begin(peer)
      sending.segment(message, 1000)
      sending.append(message, SEND_AT, length)
      expected.push(...cut(sender, SEND_AT, length, 1000))
    }
    t.equal(sending.flush(), 0)
    t.same(collect(receiver, expected.length), expected)
    t.equal(sending[family], false)
    t.equal(sending[other], true, 'the other family is not concerned')
    t.equal(sender.socket.features.gso, false)
    const { datagramsSent, messagesSent, bytesSent, gsoFallbacks } = sender.socket.counters
    t.same([datagramsSent, messagesSent, bytesSent, gsoFallbacks], [10, 4, 8960, 2])
    t.equal(sendSegmented(sender, peer, 3000, 1000), 0)
    t.equal(collect(receiver, 3).length, 3)
    t.end()
  })
}

t.test('EINVAL that single datagrams get as well does not turn UDP_SEGMENT off', (t) => {
  const sender = openEnd(t)
  const nowhere = sender.socket.endpoint('127.0.0.1', 0)
  t.equal(sendSegmented(sender, nowhere, 2900, 1000), 1)
  t.equal(sender.socket.sending.lastError, 22)
  t.equal(sender.socket.features.gso, true)
  t.equal(sender.socket.counters.sendRefused, 1)
  t.equal(sender.socket.counters.bytesSent, 0)
  t.end()
})

t.test('a refused message costs no other its place', (t) => {
  const sender = openEnd(t)
  const receiver = openEnd(t)
  const peer = sender.socket.endpoint('127.0.0.1', receiver.socket.port)
  const nowhere = sender.socket.endpoint('127.0.0.1', 0)
  const { sending } = sender.socket
  ;[peer, nowhere, peer, nowhere, nowhere, peer].forEach((endpoint, i) => {
    fillPattern(sender.memory, SEND_AT + i * 10, 10, i)
    sending.append(sending.begin(endpoint), SEND_AT + i * 10, 10)
  })
  sending.begin(peer) // nothing appended: not a message
  t.equal(sending.flush(), 3)
  t.equal(sending.lastError, 22, 'EINVAL')
  t.equal(sending.count, 0)
  const firstBytes = collect(receiver, 3).map((datagram) => datagram[0])
  t.same(firstBytes, [0, 2, 5])
  sending.append(sending.begin(peer), SEND_AT, 10)
  t.equal(sending.flush(), 0)
  t.equal(sending.lastError, 0)
  t.equal(collect(receiver, 1).length, 1)
  t.end()
})

t.test('a datagram to a closed port does not fail the next', (t) => {
  // With IP_RECVERR the ICMP answer comes back as ECONNREFUSED from the next call, whatever it is.
  for (const reported of [false, true]) {
    const sender = openEnd(t)
    const receiver = openEnd(t)
    const gone = openEnd(t)
    gone.socket.close()
    if (reported) t.ok(setOption(sender.socket.fd, IPPROTO_IP, IP_RECVERR, 1))
    const closedPort = sender.socket.endpoint('127.0.0.1', gone.socket.port)
    const peer = sender.socket.endpoint('127.0.0.1', receiver.socket.port)
    for (let i = 0; i < 5; i++) {
      t.equal(sendOne(sender, closedPort, SEND_AT, 10), 0)
      t.equal(sendOne(sender, peer, SEND_AT, 10), 0)
      t.equal(sendOne(sender, closedPort, SEND_AT, 10), 0)
      t.equal(sender.socket.receiving.receive(), 0)
    }
    t.equal(collect(receiver, 5).length, 5)
  }
  t.end()
})

t.test('100,000 datagrams leave nothing on the heap', (t) => {
  const sender = openEnd(t)
  const receiver = openEnd(t)
  const peer = sender.socket.endpoint('127.0.0.1', receiver.socket.port)
  const { sending } = sender.socket
  const { receiving } = receiver.socket
  let received = 0
  const round = (): void => {
    for (let i = 0; i < 8; i++) {
      const message = sending.begin(peer)
      sending.segment(message, 100)
      for (let k = 0; k < 10; k++) sending.append(message, SEND_AT + k * 200, 100)
    }
    sending.flush()
    for (let n = receiving.receive(); n > 0; n = receiving.receive()) {
      for (let i = 0; i < n; i++) {
        if (!receiving.from(i, peer)) received += receiving.size(i)
      }
    }
  }
  const warm = 250
  for (let i = 0; i < warm; i++) round()
  // Garbage counts too, so only a window in which nothing was collected is an answer.
  const rounds = 1250
  let windows = 0
  let collections = 1
  let perDatagram = Number.POSITIVE_INFINITY
  for (; windows < 10 && collections > 0; windows++) {
    const profiler = new GCProfiler()
    profiler.start()
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < rounds; i++) round()
    perDatagram = (process.memoryUsage().heapUsed - before) / (rounds * 80)
    collections = profiler.stop().statistics.length
  }
  t.equal(collections, 0)
  t.equal(received, (warm + windows * rounds) * 80 * 100)
  t.comment(`${perDatagram.toFixed(2)} bytes of heap per datagram`)
  t.ok(perDatagram < 4, 'a few bytes: boxed numbers of the three system calls per 80 datagrams')
  t.end()
})
