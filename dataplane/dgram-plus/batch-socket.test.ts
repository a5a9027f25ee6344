// BatchSocket against the real kernel on 127.0.0.1 and ::1: opening, receiving, endpoints.

import { createSocket } from 'node:dgram'
import t from 'tap'
import type { UnderlaySocket } from '../../base/device.ts'
import { BatchSocket } from './batch-socket.ts'
import { pin } from './libc.ts'
import { SOCKET_BUFFER_BYTES } from './limits.ts'
import { collect, fillPattern, openEnd, readable, SEND_AT, sendOne } from './test-support.ts'

const hasV6 = (() => {
  try {
    const memory = pin(65_536)
    const receive = { at: 0, count: 1, size: 65_536 }
    new BatchSocket({ memory, receive, address: '::1' }).close()
    return true
  } catch {
    return false
  }
})()
const HOSTS = hasV6 ? ['127.0.0.1', '::1'] : ['127.0.0.1']
if (!hasV6) console.log('# this host has no ::1: IPv6 is not tested')

t.test('satisfies the interface of the packet loop', (t) => {
  const socket: UnderlaySocket = openEnd(t).socket
  t.ok(socket.fd > 0)
  t.ok(socket.port > 0)
  t.end()
})

for (const host of HOSTS) {
  // Loopback has an MTU of 65,536: over IPv4 the largest datagram fits, over IPv6 the MTU is the
  // limit.
  const largest = host === '::1' ? 65_536 - 48 : 65_507
  t.test(`round trips from 0 to ${largest} bytes over ${host}`, (t) => {
    const sender = openEnd(t)
    const receiver = openEnd(t)
    const peer = sender.socket.endpoint(host, receiver.socket.port)
    for (const size of [0, 1, 2, 63, 1399, 1472, 1473, 9000, 65_000, largest]) {
      fillPattern(sender.memory, SEND_AT, size, size)
      t.equal(sendOne(sender, peer, SEND_AT, size), 0)
      const sent = Buffer.from(sender.memory.bytes.slice(SEND_AT, SEND_AT + size))
      t.same(collect(receiver, 1), [sent], `${size} bytes`)
    }
    const source = receiver.socket.receiving.source(0)
    const text = host === '::1' ? `[::1]:${sender.socket.port}` : `127.0.0.1:${sender.socket.port}`
    t.equal(receiver.socket.describe(source), text)
    t.equal(receiver.socket.receiving.from(0, source), true)
    const other = receiver.socket.endpoint(host, sender.socket.port ^ 1)
    t.equal(receiver.socket.receiving.from(0, other), false)
    t.end()
  })
}

t.test('an IPv4-only socket speaks to IPv4 and refuses IPv6', (t) => {
  const sender = openEnd(t, { ipv6: false })
  const receiver = openEnd(t, { ipv6: false, address: '127.0.0.1' })
  t.equal(sender.socket.features.ipv6, false)
  const peer = sender.socket.endpoint('127.0.0.1', receiver.socket.port)
  sendOne(sender, peer, SEND_AT, 10)
  t.equal(collect(receiver, 1).length, 1)
  t.equal(
    sender.socket.endpoint('::ffff:127.0.0.1', receiver.socket.port),
    peer,
    'v4-mapped is IPv4',
  )
  const source = receiver.socket.receiving.source(0)
  t.equal(receiver.socket.describe(source), `127.0.0.1:${sender.socket.port}`)
  t.equal(receiver.socket.receiving.from(0, source), true)
  const v6 = sender.socket.endpoint('::1', receiver.socket.port)
  t.equal(sender.socket.describe(v6), `[::1]:${receiver.socket.port}`)
  t.equal(sendOne(sender, v6, SEND_AT, 10), 1)
  t.equal(sender.socket.sending.lastError, 97, 'EAFNOSUPPORT')
  t.end()
})

t.test('a message longer than its buffer is counted and left out', (t) => {
  const sender = openEnd(t)
  const receiver = openEnd(t, { receive: { at: 0, count: 4, size: 100 } })
  t.equal(receiver.socket.features.gro, false, 'buffers too small for UDP_GRO')
  const peer = sender.socket.endpoint('127.0.0.1', receiver.socket.port)
  for (const size of [10, 101, 20, 500, 100]) sendOne(sender, peer, SEND_AT, size)
  t.same(
    collect(receiver, 3).map((datagram) => datagram.length),
    [10, 20, 100],
  )
  t.equal(receiver.socket.counters.truncated, 2)
  t.equal(receiver.socket.counters.messagesReceived, 3)
  t.end()
})

t.test('truncated messages alone do not look like an empty socket forever', (t) => {
  const sender = openEnd(t)
  const receiver = openEnd(t, { receive: { at: 0, count: 2, size: 100 } })
  const peer = sender.socket.endpoint('127.0.0.1', receiver.socket.port)
  for (let i = 0; i < 20; i++) sendOne(sender, peer, SEND_AT, 200)
  sendOne(sender, peer, SEND_AT, 50)
  t.equal(collect(receiver, 1).length, 1)
  t.equal(receiver.socket.counters.truncated, 20)
  t.end()
})

t.test('an empty socket gives 0, a closed one an errno', (t) => {
  const end = openEnd(t)
  const { socket } = end
  const peer = socket.endpoint('127.0.0.1', 9)
  t.equal(socket.receiving.receive(), 0)
  socket.close()
  socket.close()
  // Another socket has the descriptor's number now; nothing of ours may reach it.
  const { socket: next } = openEnd(t)
  t.equal(next.fd, socket.fd)
  t.equal(socket.receiving.receive(), -9, 'EBADF')
  t.equal(sendOne(end, peer, SEND_AT, 1), 1)
  t.equal(socket.sending.lastError, 9)
  t.equal(socket.receiveDrops(), 0)
  t.end()
})

t.test('speaks with node:dgram both ways', async (t) => {
  const ours = openEnd(t)
  const theirs = createSocket('udp4')
  t.teardown(() => theirs.close())
  await new Promise<void>((resolve) => theirs.bind(0, '127.0.0.1', resolve))
  const arrival = new Promise<Buffer>((resolve) => theirs.once('message', resolve))
  fillPattern(ours.memory, SEND_AT, 300, 1)
  sendOne(ours, ours.socket.endpoint('127.0.0.1', theirs.address().port), SEND_AT, 300)
  const got = await arrival
  t.same(got, Buffer.from(ours.memory.bytes.slice(SEND_AT, SEND_AT + 300)))
  await new Promise((resolve) => theirs.send(got, ours.socket.port, '127.0.0.1', resolve))
  t.same(collect(ours, 1), [got])
})

t.test('endpoints: text, references, a full table', (t) => {
  const { socket } = openEnd(t, { endpoints: 3 })
  const first = socket.endpoint('192.0.2.1', 5)
  t.equal(socket.describe(first), '192.0.2.1:5')
  t.equal(socket.endpoint('192.0.2.1', 5), first, 'interned')
  t.equal(socket.endpoint('::ffff:192.0.2.1', 5), first, 'v4-mapped is the same')
  const second = socket.endpoint('2001:db8:0:0::1', 65_535)
  t.equal(socket.describe(second), '[2001:db8::1]:65535')
  const third = socket.endpoint('fe80::1%1', 1)
  t.equal(socket.describe(third), '[fe80::1%1]:1')
  t.equal(socket.endpoint('192.0.2.9', 5), -1, 'full')
  socket.release(first)
  socket.release(first)
  t.equal(socket.endpoint('192.0.2.9', 5), -1, 'one reference is left')
  socket.release(first)
  t.not(socket.endpoint('192.0.2.9', 5), -1)
  t.equal(socket.endpointCount, 3)
  t.throws(() => socket.release(99), RangeError)
  t.throws(() => socket.sending.begin(99), RangeError)
  t.throws(() => socket.describe(-1), RangeError)
  t.throws(() => socket.endpoint('example.org', 1), { code: 'ERR_INVALID_ADDRESS' })
  t.throws(() => socket.endpoint('fe80::1%no-such', 1), { code: 'ERR_INVALID_ADDRESS' })
  t.throws(() => socket.endpoint('192.0.2.1', 65_536), { code: 'ERR_SOCKET_BAD_PORT' })
  t.end()
})

t.test('source() of a full table is -1', (t) => {
  const sender = openEnd(t)
  const receiver = openEnd(t, { endpoints: 1 })
  receiver.socket.endpoint('192.0.2.1', 1)
  const peer = sender.socket.endpoint('127.0.0.1', receiver.socket.port)
  sendOne(sender, peer, SEND_AT, 1)
  collect(receiver, 1)
  t.equal(receiver.socket.receiving.source(0), -1)
  t.end()
})

t.test('a port in use is refused with a sentence, unless both share it', (t) => {
  const { socket } = openEnd(t, { address: '127.0.0.1' })
  t.throws(() => openEnd(t, { address: '127.0.0.1', port: socket.port }), {
    code: 'EADDRINUSE',
    syscall: 'bind',
    message:
      `bind EADDRINUSE: another socket already has 127.0.0.1:${socket.port}; ` +
      'choose another port, or set reusePort on both',
  })
  const shared = openEnd(t, { address: '127.0.0.1', reusePort: true }).socket
  const both = openEnd(t, { address: '127.0.0.1', reusePort: true, port: shared.port }).socket
  t.equal(both.port, shared.port)
  t.throws(() => openEnd(t, { address: '192.0.2.77' }), { code: 'EADDRNOTAVAIL' })
  t.end()
})

t.test('options that make no sense are refused before anything is opened', (t) => {
  const receive = { at: 0, count: 8, size: 65_536 }
  t.throws(() => openEnd(t, { receive: { ...receive, count: 1025 } }), RangeError)
  t.throws(() => openEnd(t, { receive: { ...receive, at: 1 << 21 } }), RangeError)
  t.throws(() => openEnd(t, { sendMessages: 0 }), RangeError)
  t.throws(() => openEnd(t, { sendRanges: 1025 }), RangeError)
  t.throws(() => openEnd(t, { endpoints: 0 }), RangeError)
  t.throws(() => openEnd(t, { port: -1 }), RangeError)
  t.throws(() => openEnd(t, { address: 'localhost' }), TypeError)
  t.end()
})

t.test('the socket buffers are what was asked for, or what the host allows', (t) => {
  const { socket } = openEnd(t, { bufferBytes: 100_000 })
  t.equal(socket.receiveBufferBytes, 200_000)
  t.equal(socket.sendBufferBytes, 200_000)
  const { socket: large } = openEnd(t, { bufferBytes: SOCKET_BUFFER_BYTES })
  t.ok(large.receiveBufferBytes > 200_000)
  t.end()
})

t.test('the kernel counts what the receive buffer had no room for', (t) => {
  const sender = openEnd(t)
  const receiver = openEnd(t, { bufferBytes: 4096 })
  const peer = sender.socket.endpoint('127.0.0.1', receiver.socket.port)
  t.equal(receiver.socket.receiveDrops(), 0)
  for (let i = 0; i < 50; i++) sendOne(sender, peer, SEND_AT, 60_000)
  t.ok(readable(receiver.socket.fd))
  t.ok(receiver.socket.receiveDrops() > 0)
  t.end()
})
