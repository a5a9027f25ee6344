// createSocket() against the real kernel on loopback: what a Node program sees of it.

import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { REMEMBERED_ADDRESSES, SEND_AREA_SIZE } from './limits.ts'
import { createSocket, type Datagram, type Socket, type SocketOptions } from './socket.ts'
import { HOST_BUFFER_BYTES, openEnd, SEND_AT, sendOne } from './test-support.ts'

const LOOPBACK = '127.0.0.1'
const PACKAGE = new URL('./index.ts', import.meta.url).href

async function open(test: Test, options: SocketOptions = {}): Promise<Socket> {
  const socket = await createSocket({
    address: LOOPBACK,
    bufferBytes: HOST_BUFFER_BYTES,
    ...options,
  })
  test.teardown(() => socket.close())
  return socket
}

/** Collects what arrives from now on; `until(count)` resolves when so much is there, rejects after
 * 2 s. */
function collector(socket: Socket): { got: Datagram[]; until(count: number): Promise<Datagram[]> } {
  const got: Datagram[] = []
  socket.on('messages', (messages) => got.push(...messages))
  const until = async (count: number): Promise<Datagram[]> => {
    const signal = AbortSignal.timeout(2000)
    while (got.length < count) await once(socket, 'messages', { signal })
    return got.splice(0)
  }
  return { got, until }
}

function bytes(length: number, seed: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i * 31 + (i >> 8) * 7 + seed) & 0xff))
}

/** As many of `list` as a receive buffer holds, where a datagram costs up to 2.5 KB besides its
 * bytes. */
function withinBuffer(list: Buffer[]): Buffer[] {
  let used = 0
  return list.filter((datagram) => {
    used += datagram.length + 2500
    return used <= HOST_BUFFER_BYTES
  })
}

/** Runs a module in a process of its own, with the package's exports in scope. */
function run(body: string): { status: number | null; output: string; stderr: string } {
  const source = `const { createSocket } = await import(${JSON.stringify(PACKAGE)})\n${body}`
  const args = ['--input-type=module', '--eval', source]
  const child = spawnSync(process.execPath, args, { timeout: 20_000, encoding: 'utf8' })
  return { status: child.status, output: child.stdout, stderr: child.stderr }
}

for (const [gso, gro] of [
  [true, true],
  [true, false],
  [false, true],
  [false, false],
] as const) {
  t.test(`lists of any sizes arrive as sent, gso ${gso}, gro ${gro}`, async (t) => {
    const sender = await open(t, { gso, batchSize: 4 })
    const receiver = await open(t, { gro })
    const { until } = collector(receiver)
    const sizes = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constantFrom(100, 1400, 9000, 65_507))
    const runs = fc.array(fc.tuple(sizes, fc.integer({ min: 1, max: 90 })), { maxLength: 6 })
    const property = fc.asyncProperty(runs, async (shape) => {
      const list = withinBuffer(
        shape.flatMap(([size, count]) =>
          Array.from({ length: size > 1400 ? 2 : count }, (_, i) => bytes(size, i)),
        ),
      )
      const sent = sender.send(list, receiver.port, LOOPBACK)
      const got = await until(list.length)
      const same = got.length === list.length && got.every(({ data }, i) => data.equals(list[i]!))
      return sent === list.length && same
    })
    await fc.assert(property, { numRuns: 40 })
    t.equal(receiver.counters.datagramsReceived, sender.counters.datagramsSent)
    t.equal(receiver.counters.bytesReceived, sender.counters.bytesSent)
    t.equal(receiver.receiveDrops, 0)
  })
}

t.test('one block of segments, short last, more than one message holds', async (t) => {
  const sender = await open(t, { batchSize: 2 })
  const receiver = await open(t)
  const { until } = collector(receiver)
  for (const [size, segmentSize] of [
    [0, 10],
    [5, 10],
    [10, 10],
    [1401, 1400],
    [130_000, 1400],
    [100_000, 50_000],
    [300, 1_000_000],
  ] as const) {
    const data = bytes(size, 1)
    const count = Math.max(1, Math.ceil(size / segmentSize))
    t.equal(sender.send({ data, segmentSize }, receiver.port, LOOPBACK), count)
    const got = await until(count)
    t.equal(got.length, count)
    t.ok(Buffer.concat(got.map((datagram) => datagram.data)).equals(data), `${size}/${segmentSize}`)
    t.ok(got.slice(0, -1).every((datagram) => datagram.data.length === segmentSize))
  }
})

t.test('more than the send area holds goes out in several calls', async (t) => {
  const sender = await open(t, { batchSize: 64 })
  const nobody = 9
  const data = bytes(SEND_AREA_SIZE + 100_000, 0)
  const count = Math.ceil(data.length / 1000)
  t.equal(sender.send({ data, segmentSize: 1000 }, nobody, LOOPBACK), count)
  const list = Array.from({ length: 20 }, () => bytes(60_000, 0))
  t.equal(sender.send(list, nobody, LOOPBACK), 20)
  t.equal(sender.counters.bytesSent, data.length + 20 * 60_000)
})

t.test('dual-stack: the source is told in its own family', async (t) => {
  const receiver = await createSocket()
  t.teardown(() => receiver.close())
  const { until } = collector(receiver)
  const sender = await createSocket()
  t.teardown(() => sender.close())
  sender.send([bytes(3, 0)], receiver.port, LOOPBACK)
  const [v4] = await until(1)
  t.same(v4!.rinfo, { address: LOOPBACK, family: 'IPv4', port: sender.port })
  if (!sender.features.ipv6) return
  t.equal(sender.address, '::')
  sender.send([bytes(3, 0)], receiver.port, '::1')
  const [v6] = await until(1)
  t.same(v6!.rinfo, { address: '::1', family: 'IPv6', port: sender.port })
})

t.test('data may be kept, unless borrowed', async (t) => {
  for (const borrow of [false, true]) {
    const sender = await open(t)
    const receiver = await open(t, { borrow, batchSize: 1 })
    const { until } = collector(receiver)
    sender.send([bytes(100, 1)], receiver.port, LOOPBACK)
    const [first] = await until(1)
    sender.send([bytes(100, 2)], receiver.port, LOOPBACK)
    await until(1)
    t.equal(first!.data.equals(bytes(100, 1)), !borrow)
  }
})

t.test('senseless requests are refused and nothing is sent', async (t) => {
  const { send, socket } = await open(t).then((socket) => ({
    send: socket.send.bind(socket),
    socket,
  }))
  const small = bytes(10, 0)
  t.throws(() => send([small, bytes(65_508, 0)], 9, LOOPBACK), { code: 'EMSGSIZE' })
  t.throws(() => send({ data: bytes(70_000, 0), segmentSize: 66_000 }, 9, LOOPBACK), RangeError)
  t.throws(() => send({ data: small, segmentSize: 0 }, 9, LOOPBACK), RangeError)
  t.throws(() => send([small], 65_536, LOOPBACK), { code: 'ERR_SOCKET_BAD_PORT' })
  t.throws(() => send([small], 9, 'localhost'), { code: 'ERR_INVALID_ADDRESS' })
  t.equal(socket.counters.datagramsSent, 0)
  t.equal(send([], 9, LOOPBACK), 0)
  t.equal(send([small], 0, LOOPBACK), 0, 'a refusal of the kernel is a loss')
  t.equal(socket.lastSendError, 'EINVAL')
  socket.close()
  t.throws(() => send([small], 9, LOOPBACK), { code: 'ERR_SOCKET_DGRAM_NOT_RUNNING' })
})

t.test('a port in use and other bad options reject', async (t) => {
  const { port } = await open(t)
  await t.rejects(createSocket({ address: LOOPBACK, port }), {
    code: 'EADDRINUSE',
    syscall: 'bind',
  })
  await t.rejects(createSocket({ batchSize: 0 }), RangeError)
  await t.rejects(createSocket({ address: 'nowhere' }), { code: 'ERR_INVALID_ADDRESS' })
})

t.test('closes while it waits, from within a listener, twice', async (t) => {
  const waiting = await open(t)
  waiting.on('messages', () => t.fail('nothing was sent'))
  waiting.close()
  waiting.close()
  await once(waiting, 'close')

  const sender = await open(t)
  const receiver = await open(t, { batchSize: 1 })
  let events = 0
  receiver.on('messages', () => {
    events++
    receiver.close()
  })
  sender.send([bytes(1, 0), bytes(2, 0), bytes(3, 0)], receiver.port, LOOPBACK)
  await once(receiver, 'close')
  t.equal(events, 1)
  // The descriptor is free again at once, and the next socket on it hears nothing of the old one's.
  const next = await open(t, { port: receiver.port })
  const { until } = collector(next)
  sender.send([bytes(9, 0)], next.port, LOOPBACK)
  t.equal((await until(1))[0]!.data.length, 9)
  {
    await using scoped = await createSocket({ address: LOOPBACK })
    t.ok(scoped.port > 0)
  }
})

t.test('without a listener datagrams wait in the kernel', async (t) => {
  const sender = await open(t)
  const receiver = await open(t)
  receiver.once('messages', () => {})
  sender.send([bytes(1, 0)], receiver.port, LOOPBACK)
  await once(receiver, 'messages')
  sender.send([bytes(2, 0)], receiver.port, LOOPBACK)
  const { until } = collector(receiver)
  t.equal((await until(1))[0]!.data.length, 2)
})

t.test('more addresses than are remembered', async (t) => {
  const sender = await open(t, { address: '0.0.0.0' })
  const receiver = await open(t, { address: '0.0.0.0' })
  const { until } = collector(receiver)
  const wrong: string[] = []
  for (let i = 0; i < 2 * REMEMBERED_ADDRESSES + 20; i++) {
    // Half as many again as are remembered, twice over; each sends back from an address of its own.
    const k = i % (1.5 * REMEMBERED_ADDRESSES)
    const host = `127.0.${1 + (k >> 8)}.${k & 255}`
    sender.send([bytes(1, i)], receiver.port, host)
    const other = openEnd(t, { ipv6: false, address: host, sendMessages: 1, endpoints: 1 })
    const peer = other.socket.endpoint(LOOPBACK, receiver.port)
    sendOne(other, peer, SEND_AT, 2)
    other.socket.close()
    const [first, second] = await until(2)
    if (first!.rinfo.port !== sender.port) wrong.push(`${host}: ${first!.rinfo.port}`)
    const { address, port } = second!.rinfo
    if (address !== host || port !== other.socket.port) wrong.push(`${host}: ${address}:${port}`)
  }
  t.same(wrong, [])
})

t.test('a listener keeps the process alive until unref() or close()', (t) => {
  const quiet = 'const s = await createSocket({ address: "127.0.0.1" }); s.on("messages", () => {})'
  t.same(run(`${quiet}; s.unref(); console.log("done")`).output, 'done\n')
  t.same(
    run(`${quiet}; setTimeout(() => s.close(), 20); s.on("close", () => console.log("closed"))`),
    {
      status: 0,
      output: 'closed\n',
      stderr: '',
    },
  )
  const late = run(`${quiet}; const self = s.port
    s.on("messages", (m) => { console.log(m.length); s.close() })
    const other = await createSocket({ address: "127.0.0.1" })
    setTimeout(() => { other.send([Buffer.from("x")], self, "127.0.0.1") }, 20).unref()`)
  t.equal(late.output, '1\n', 'nothing but the listener held it')
  t.end()
})

t.test('listeners run like any other: microtasks follow, exceptions are uncaught', (t) => {
  const body = `const s = await createSocket({ address: "127.0.0.1" })
    s.on("messages", () => {
      Promise.resolve().then(() => console.log("microtask"))
      process.nextTick(() => console.log("tick"))
      setImmediate(() => s.close())
    })
    s.send([Buffer.from("x")], s.port, "127.0.0.1")`
  const { output, status } = run(body)
  t.equal(output, 'tick\nmicrotask\n')
  t.equal(status, 0)
  const thrown = run(`const s = await createSocket({ address: "127.0.0.1" })
    process.on("uncaughtException", (e) => { console.log(e.message); s.close() })
    s.on("messages", () => { throw new Error("from the listener") })
    s.send([Buffer.from("x")], s.port, "127.0.0.1")`)
  t.equal(thrown.output, 'from the listener\n')
  t.end()
})

t.test('a worker thread with an open socket can be terminated', async (t) => {
  const source = `import { parentPort } from 'node:worker_threads'
    const { createSocket } = await import(${JSON.stringify(PACKAGE)})
    const s = await createSocket({ address: '127.0.0.1' })
    s.on('messages', (messages) => parentPort.postMessage(messages.length))
    parentPort.postMessage(s.port)`
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`))
  const [port] = await once(worker, 'message')
  const sender = await open(t)
  sender.send([bytes(1, 0)], port as number, LOOPBACK)
  t.same(await once(worker, 'message'), [1])
  t.equal(await worker.terminate(), 1)
})
