// What only a network of its own can show: a small MTU, a neighbour that does not answer, no IPv6.
// Each test runs a program in a fresh user and network namespace; where that is not permitted it is
// skipped.

import { spawnSync } from 'node:child_process'
import t, { type Test } from 'tap'

const SUPPORT = new URL('./test-support.ts', import.meta.url).href
const BATCH_SOCKET = new URL('./batch-socket.ts', import.meta.url).href
const UNSHARE = ['-Urn', '--map-root-user', 'sh', '-ec']

const trial = spawnSync('unshare', [...UNSHARE, 'ip link set lo up'], { encoding: 'utf8' })
const refusal = trial.error?.message ?? trial.stderr.trim()
const skip = trial.status === 0 ? false : `no user and network namespace with iproute2: ${refusal}`

/** Runs shell commands, then a module that assigns `result`, in new namespaces. */
function inNamespace(t: Test, setup: string, body: string): Record<string, unknown> {
  const program = `
    import { openEnd, collect, fillPattern, sendOne, SEND_AT } from ${JSON.stringify(SUPPORT)}
    import { BatchSocket } from ${JSON.stringify(BATCH_SOCKET)}
    const test = { teardown() {} }
    const result = {}
    ${body}
    console.log(JSON.stringify(result))
    process.exit(0)`
  const script = `${setup}\nexec "$0" --input-type=module --eval "$1"`
  const args = [...UNSHARE, script, process.execPath, program]
  const child = spawnSync('unshare', args, { encoding: 'utf8', timeout: 20_000 })
  if (child.status !== 0) t.fail(`the program failed: ${child.stderr}`)
  return JSON.parse(child.stdout || '{}') as Record<string, unknown>
}

t.test('a datagram above the MTU is EMSGSIZE, and costs UDP_SEGMENT nothing', { skip }, (t) => {
  const result = inNamespace(
    t,
    'ip link set lo mtu 1500 up',
    `const sender = openEnd(test), receiver = openEnd(test)
    const { sending } = sender.socket
    for (const [host, headers] of [['127.0.0.1', 28], ['::1', 48]]) {
      const peer = sender.socket.endpoint(host, receiver.socket.port)
      for (const over of [0, 1]) {
        const size = 1500 - headers + over
        const single = [sendOne(sender, peer, SEND_AT, size), sending.lastError]
        const message = sending.begin(peer)
        sending.segment(message, size)
        sending.append(message, SEND_AT, 10 * size)
        const segmented = [sending.flush(), sending.lastError]
        const got = collect(receiver, over ? 0 : 11).map((d) => d.length)
        result[host + (over ? ' over' : ' fits')] = { single, segmented, got: got.length }
      }
    }
    result.features = sender.socket.features
    const plain = openEnd(test, { gso: false })
    const v4 = plain.socket.endpoint('127.0.0.1', receiver.socket.port)
    const part = plain.socket.sending.begin(v4)
    plain.socket.sending.segment(part, 1473)
    plain.socket.sending.append(part, SEND_AT, 2 * 1473 + 100)
    plain.socket.sending.flush()
    const { bytesSent, datagramsSent, messagesSent, sendRefused } = plain.socket.counters
    result.part = { bytesSent, datagramsSent, messagesSent, sendRefused }
    result.partReceived = collect(receiver, 1)[0]?.length
    const fragmenting = openEnd(test, { pathMtu: 'kernel' })
    const peer = fragmenting.socket.endpoint('127.0.0.1', receiver.socket.port)
    result.fragmented = sendOne(fragmenting, peer, SEND_AT, 9000)
    result.reassembled = collect(receiver, 1)[0]?.length`,
  )
  const fits = { single: [0, 0], segmented: [0, 0], got: 11 }
  const over = { single: [1, 90], segmented: [1, 90], got: 0 }
  t.same(result, {
    '127.0.0.1 fits': fits,
    '127.0.0.1 over': over,
    '::1 fits': fits,
    '::1 over': over,
    features: { gso: true, gro: true, ipv6: true },
    // Sent singly, the two datagrams too large are lost and the short last one is not.
    part: { bytesSent: 100, datagramsSent: 1, messagesSent: 0, sendRefused: 1 },
    partReceived: 100,
    fragmented: 0,
    reassembled: 9000,
  })
  t.end()
})

t.test('a send buffer that stays full costs a bounded wait, then the messages', { skip }, (t) => {
  // Datagrams to a neighbour that never answers ARP stay in the kernel and fill the buffer.
  const result = inNamespace(
    t,
    `ip link add inside type veth peer name outside
    ip addr add 10.9.0.1/24 dev inside
    ip link set inside up; ip link set outside up`,
    `const { socket } = openEnd(test, { bufferBytes: 4096 })
    const { sending } = socket
    const silent = socket.endpoint('10.9.0.2', 9)
    for (let i = 0; i < 64; i++) sending.append(sending.begin(silent), SEND_AT, 1000)
    const before = performance.now()
    result.refused = sending.flush()
    result.took = performance.now() - before
    result.error = sending.lastError
    result.counters = socket.counters`,
  )
  const counters = result.counters as Record<string, number>
  t.equal(result.error, 11, 'EAGAIN')
  t.ok((result.refused as number) > 32, `${result.refused} of 64 were refused`)
  t.equal(counters.messagesSent! + counters.sendRefused!, 64)
  t.equal(counters.sendRefused, result.refused)
  t.ok((result.took as number) < 500, `it took ${result.took} ms`)
  t.end()
})

t.test('where IPv6 is disabled the socket still serves IPv4', { skip }, (t) => {
  const result = inNamespace(
    t,
    `ip link set lo up
    echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 || true`,
    `const sender = openEnd(test), receiver = openEnd(test)
    const peer = sender.socket.endpoint('127.0.0.1', receiver.socket.port)
    result.v4 = sendOne(sender, peer, SEND_AT, 100)
    result.got = collect(receiver, 1).length
    const v6 = sender.socket.endpoint('::1', receiver.socket.port)
    result.v6 = sendOne(sender, v6, SEND_AT, 100)
    result.error = sender.socket.sending.lastError`,
  )
  t.match(result, { v4: 0, got: 1 })
  t.comment(`to ::1: ${result.v6} refused, errno ${result.error}`)
  t.end()
})
