// Goal: what leaves is in order, chained as UDP_SEGMENT demands, and what it was when it came.
// Method: frames of random shapes for two peers through a whole node, its socket recorded; then
// single rules.

import fc from 'fast-check'
import t from 'tap'
import type { UnderlaySocket } from '../base/device.ts'
import { STAGED_FRAMES_MAX } from '../vxlan/limits.ts'
import { ENVELOPE_TRANSPORT, envelopeCounter } from '../wire/envelope.ts'
import { DROP_NO_SESSION } from './drop-reasons.ts'
import { placeOf } from './testing/cluster.ts'
import {
  buildFrame,
  type PacketFields,
  payloadOf,
  segmentsOf,
  TCP,
  UDP,
  view,
  vnetOf,
} from './testing/packets.ts'
import { World, type WorldOptions } from './testing/world.ts'

const SEGMENTS_MAX = 64

interface Message {
  readonly endpoint: number
  readonly sizes: number[]
  segment: number
}

/** Records messages as they are built, and checks what UDP_SEGMENT demands of each when it is sent.
 * */
function recorded(messages: Message[]): NonNullable<WorldOptions['wrapSocket']> {
  return (inner: UnderlaySocket): UnderlaySocket => {
    const { sending } = inner
    let open: Message[] = []
    const wrapped = {
      get count(): number {
        return sending.count
      },
      get lastError(): number {
        return sending.lastError
      },
      begin(endpoint: number): number {
        const number = sending.begin(endpoint)
        if (number >= 0) open.push({ endpoint, sizes: [], segment: 0 })
        return number
      },
      append(message: number, at: number, length: number): boolean {
        if (!sending.append(message, at, length)) return false
        // A run of datagrams is appended as one range, once their size is declared.
        const { sizes, segment } = open[message]!
        const size = segment === 0 ? length : segment
        for (let left = length; left > 0; left -= size) sizes.push(Math.min(left, size))
        return true
      },
      segment(message: number, size: number): void {
        open[message]!.segment = size
        sending.segment(message, size)
      },
      flush(): number {
        for (const { sizes, segment } of open) {
          if (sizes.length === 0) throw new Error('an empty message')
          if (sizes.length > SEGMENTS_MAX) throw new Error(`${sizes.length} datagrams`)
          if (sizes.length === 1) continue
          const last = sizes.at(-1)!
          if (sizes.slice(0, -1).some((size) => size !== segment))
            throw new Error('unequal datagrams')
          if (last > segment) throw new Error('the last is longer')
        }
        messages.push(...open)
        open = []
        return sending.flush()
      },
    }
    return { ...delegate(inner), sending: wrapped }
  }
}

function delegate(inner: UnderlaySocket): UnderlaySocket {
  return {
    fd: inner.fd,
    port: inner.port,
    sending: inner.sending,
    receiving: inner.receiving,
    endpoint: (address, port) => inner.endpoint(address, port),
    retain: (endpoint) => inner.retain(endpoint),
    release: (endpoint) => inner.release(endpoint),
    describe: (endpoint) => inner.describe(endpoint),
    close: () => inner.close(),
  }
}

const job = fc.record({
  to: fc.constantFrom('b', 'c'),
  v6: fc.boolean(),
  protocol: fc.constantFrom(TCP, UDP),
  size: fc.oneof(fc.integer({ min: 1, max: 1300 }), fc.integer({ min: 1, max: 50_000 })),
  gso: fc.constantFrom(200, 536, 600, 1200, 1350),
  partial: fc.boolean(),
})

type Job = typeof job extends fc.Arbitrary<infer T> ? T : never

const HOSTS = {
  b: ['10.1.0.21', 'fd00:1::15'],
  c: ['10.1.0.31', 'fd00:1::1f'],
} as const

function fieldsOf({ to, v6, protocol, size, gso, partial }: Job, i: number): PacketFields {
  const large = partial && size > gso
  return {
    source: v6 ? 'fd00:1::b' : '10.1.0.11',
    target: HOSTS[to as 'b' | 'c'][v6 ? 1 : 0],
    sourceMac: Uint8Array.of(2, 0x42, 10, 1, 0, 11),
    targetMac: Uint8Array.of(2, 0x42, 10, 1, 0, to === 'b' ? 21 : 31),
    protocol,
    // A flow of its own each, so that nothing merges with what came before.
    sourcePort: 20_000 + i,
    payload: payloadOf(large ? size : Math.min(size, 1300), i),
    partial,
  }
}

t.test('frames of any shape arrive in order as what they were, chained by the rules', async () => {
  const messages: Message[] = []
  for (const options of [{}, { sendCount: 2 }]) {
    const world = new World({ ...options, wrapSocket: recorded(messages) })
    world.connect()
    fc.assert(
      fc.property(fc.array(job, { minLength: 1, maxLength: 25 }), (jobs) => {
        const expected: Record<string, string[]> = { b: [], c: [] }
        jobs.forEach((one, i) => {
          const fields = fieldsOf(one, i)
          const large = fields.payload!.length > one.gso && one.partial
          world.inject('front-a', buildFrame(fields), vnetOf(fields, large ? one.gso : 0))
          // Up to 64 segments merge again into what they were; longer ones into several.
          if (large) expected[one.to]!.push(...segmentsOf(fields, one.gso).map(summary))
          else expected[one.to]!.push(summary(fields))
        })
        world.settle()
        for (const to of ['b', 'c']) {
          const got = world.readRaw(`front-${to}`).flatMap(segmentsRead)
          const at = got.findIndex((frame, i) => frame !== expected[to]![i])
          if (at >= 0 || got.length !== expected[to]!.length) {
            throw new Error(
              `to ${to}: frame ${at} of ${got.length}: ${got[at]}, not ${expected[to]![at]}`,
            )
          }
        }
        world.audit()
      }),
      { numRuns: 60 },
    )
  }
})

/** A segment in short: port and payload, which tells every byte's place. */
function summary(fields: PacketFields): string {
  return `${fields.sourcePort} ${Buffer.from(fields.payload!).toString('base64')}`
}

/** The segments of a frame that came out, as its virtio-net header says. */
function segmentsRead(raw: Uint8Array): string[] {
  const gso = view(raw).getUint16(4, true)
  const frame = raw.subarray(10)
  const v6 = frame[12] === 0x86
  const l4 = 14 + (v6 ? 40 : 20)
  const tcp = frame[v6 ? 20 : 23] === TCP
  const port = view(frame).getUint16(l4)
  const payload = frame.subarray(l4 + (tcp ? (frame[l4 + 12]! >>> 4) * 4 : 8))
  const size = raw[1] === 0 ? payload.length : gso
  const parts: string[] = []
  for (let from = 0; from < payload.length; from += size) {
    parts.push(`${port} ${Buffer.from(payload.subarray(from, from + size)).toString('base64')}`)
  }
  return parts
}

t.test(
  'equal datagrams share a message, a shorter one ends it, a longer one begins another',
  async (t) => {
    const messages: Message[] = []
    const world = new World({ wrapSocket: recorded(messages) })
    world.connect()
    messages.length = 0
    const send = (size: number, to: string = '10.1.0.21'): void =>
      world.inject(
        'front-a',
        buildFrame({ source: '10.1.0.11', target: to, payload: payloadOf(size) }),
      )
    for (const size of [100, 100, 60, 100, 120, 120]) send(size)
    world.node('a').engine.turn(0)
    const whole = 14 + 28 + 40
    t.same(
      messages.map(({ sizes }) => sizes.map((size) => size - whole)),
      [[100, 100, 60], [100], [120, 120]],
    )
    messages.length = 0
    for (let i = 0; i < 4; i++) send(100, i % 2 === 0 ? '10.1.0.21' : '10.1.0.31')
    world.node('a').engine.turn(0)
    t.same(
      messages.map(({ sizes }) => sizes.length),
      [2, 2],
      'two peers, two messages',
    )
    world.settle()
    world.audit()
  },
)

t.test('counters rise by one in the order of sending', async (t) => {
  const world = new World()
  world.connect()
  const counters: number[] = []
  world.network.onDatagram = (bytes, _from, to) => {
    if (to === placeOf('b') && bytes[0] === ENVELOPE_TRANSPORT) {
      counters.push(envelopeCounter(view(bytes), 0))
    }
    return bytes
  }
  for (let i = 0; i < 40; i++) {
    const fields = {
      source: '10.1.0.11',
      target: '10.1.0.21',
      payload: payloadOf(10 + ((i * 37) % 900)),
    }
    world.inject('front-a', buildFrame(fields))
  }
  world.settle()
  t.equal(counters.length, 40)
  counters.forEach((counter, i) => {
    if (counter !== counters[0]! + i) t.fail(`datagram ${i} has counter ${counter}`)
  })
})

t.test('frames wait for the first session and leave in order, the newest of them', async (t) => {
  const world = new World({ nodes: ['a', 'b'] })
  for (let i = 0; i < STAGED_FRAMES_MAX + 3; i++) {
    const fields = {
      source: '10.1.0.11',
      target: '10.1.0.21',
      payload: payloadOf(20, i),
      partial: i % 2 === 0,
    }
    world.inject('front-a', buildFrame(fields), vnetOf(fields))
  }
  world.settle()
  const got = world.read('front-b')
  const expected = Array.from({ length: STAGED_FRAMES_MAX }, (_, i) => payloadOf(20, i + 3))
  const payloads = got.flatMap((frame) => {
    const whole = frame.subarray(42)
    return Array.from({ length: whole.length / 20 }, (_, k) => whole.slice(k * 20, k * 20 + 20))
  })
  t.same(payloads, expected)
  t.equal(world.node('a').cell('staged'), 0)
  world.audit()
})

t.test('a session renewed under load loses nothing', async (t) => {
  const world = new World({ nodes: ['a', 'b'] })
  world.connect()
  const payload = payloadOf(5000)
  let sent = 0
  let received = 0
  for (let step = 0; step < 150; step++) {
    for (let k = 0; k < 3; k++) {
      const fields = {
        source: '10.1.0.11',
        target: '10.1.0.21',
        protocol: TCP,
        partial: true,
        payload,
        sourcePort: 1000 + k,
      }
      world.inject('front-a', buildFrame(fields), vnetOf(fields, 1300))
      sent++
    }
    world.advance(2000, 2000)
    received += world.read('front-b').length
  }
  t.equal(received, sent)
  t.ok(world.node('a').cell('rekeys') >= 2, `${world.node('a').cell('rekeys')} rekeys`)
  t.equal(world.node('b').cell('handshakesFailed'), 0)
  t.strictSame(world.node('b').dropNames(), {})
  t.equal(world.node('a').drops(DROP_NO_SESSION), 0)
  world.audit()
})
