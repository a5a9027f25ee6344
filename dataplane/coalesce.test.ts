// Goal: merging loses nothing and mixes nothing up. Method: a random stream of frames of a few
// flows, with all the oddities that forbid merging, goes through the coalescer; what comes out is
// split again from its fields by the plain twin, and must give, flow by flow, the very frames that
// went in, in their order (IPv4 identification aside, which merging gives up). Then each rule by
// itself.

import fc from 'fast-check'
import t from 'tap'
import { TCP_ACK, TCP_CWR, TCP_FIN, TCP_PSH, TCP_SYN } from '../wire/tcp.ts'
import { Coalescer } from './coalesce.ts'
import { COALESCE_FRAMES_MAX, COALESCE_ITEMS_MAX } from './engine-limits.ts'
import {
  buildFrame,
  ETHERNET,
  type PacketFields,
  payloadOf,
  TCP,
  UDP,
  view,
} from './testing/packets.ts'

interface Arrival {
  readonly fields: PacketFields
  readonly network: number
  readonly peer: number
}

interface Item {
  readonly frames: number
  readonly size: number
  readonly arrivals: readonly Arrival[]
  readonly head: Uint8Array
}

/** What the coalescer makes of the arrivals: for each item, which frames it holds, found by where
 * their bytes lie. */
function coalesce(arrivals: readonly Arrival[], mergeUdp: boolean): Item[] {
  const frames = arrivals.map(({ fields }) => buildFrame(fields))
  const bytes = new Uint8Array(frames.reduce((sum, frame) => sum + frame.length + 24, 0))
  const starts: number[] = []
  let end = 0
  const coalescer = new Coalescer(view(bytes))
  const items: Item[] = []
  const flush = (): void => {
    for (let i = 0; i < coalescer.count; i++)
      items.push(itemOf(coalescer, i, bytes, starts, arrivals))
    coalescer.clear()
  }
  frames.forEach((frame, f) => {
    const at = end + 24
    starts.push(at)
    bytes.set(frame, at)
    end = at + frame.length
    const { network, peer, fields } = arrivals[f]!
    const partial = fields.partial === true
    if (coalescer.add(at, frame.length, network, peer, partial, mergeUdp)) return
    flush()
    if (!coalescer.add(at, frame.length, network, peer, partial, mergeUdp)) throw new Error('full')
  })
  flush()
  return items
}

function itemOf(
  coalescer: Coalescer,
  i: number,
  bytes: Uint8Array,
  starts: readonly number[],
  arrivals: readonly Arrival[],
): Item {
  const first = starts.indexOf(coalescer.at[i]!)
  const members = [arrivals[first]!]
  const count = coalescer.frames[i]!
  let size = coalescer.firstSize[i]!
  for (let k = 0; k < count - 1; k++) {
    const piece = i * COALESCE_FRAMES_MAX + k
    const at = coalescer.pieceAt[piece]!
    const f = starts.findLastIndex((start) => start <= at)
    if (at - starts[f]! !== coalescer.headerSize[i]!) throw new Error('a piece begins mid-payload')
    if (coalescer.pieceSize[piece]! !== arrivals[f]!.fields.payload!.length) {
      throw new Error('a piece is not a whole payload')
    }
    members.push(arrivals[f]!)
    size += coalescer.pieceSize[piece]!
  }
  if (size !== coalescer.size[i]!) throw new Error('the size is not the sum')
  const at = coalescer.at[i]!
  const head = bytes.slice(at, at + coalescer.firstSize[i]!)
  return { frames: count, size, arrivals: members, head }
}

/** The frames of an item as its receiver's stack would see them: fields of the head, payloads in
 * turn. */
function resplit(item: Item): PacketFields[] {
  if (item.frames === 1) return [item.arrivals[0]!.fields]
  const { fields } = item.arrivals[0]!
  const flags = item.head[ETHERNET + (fields.source.includes(':') ? 40 : 20) + 13]!
  let sequence = fields.sequence ?? 0
  return item.arrivals.map(({ fields: { payload } }, k) => {
    const last = k === item.frames - 1
    const segment = {
      ...fields,
      payload: payload!,
      sequence,
      ...(fields.protocol === TCP ? { flags: last ? flags : flags & ~(TCP_PSH | TCP_FIN) } : {}),
    }
    sequence = (sequence + payload!.length) >>> 0
    return segment
  })
}

const flowKey = ({ fields, network, peer }: Arrival): string => {
  const { source, target, protocol, sourcePort, targetPort } = fields
  return [network, peer, source, target, protocol, sourcePort, targetPort].join(' ')
}

/** What must survive: all of the frame but the IPv4 identification and what depends on it. */
const essence = (fields: PacketFields): string => {
  const kept = fields.protocol === TCP ? fields : { ...fields, sequence: 0 }
  return Buffer.from(buildFrame({ ...kept, identification: 0 })).toString('hex')
}

function checkItems(arrivals: readonly Arrival[], items: readonly Item[]): void {
  const before = new Map<string, string[]>()
  const after = new Map<string, string[]>()
  const put = (map: Map<string, string[]>, key: string, value: string): void => {
    map.set(key, [...(map.get(key) ?? []), value])
  }
  for (const arrival of arrivals) put(before, flowKey(arrival), essence(arrival.fields))
  for (const item of items) {
    if (item.size - ETHERNET > 65535)
      throw new Error(`an IP packet of ${item.size - ETHERNET} bytes`)
    if (item.frames > COALESCE_FRAMES_MAX) throw new Error(`${item.frames} frames`)
    const key = flowKey(item.arrivals[0]!)
    for (const arrival of item.arrivals)
      if (flowKey(arrival) !== key) throw new Error('flows mixed')
    for (const fields of resplit(item)) put(after, key, essence(fields))
  }
  for (const [key, frames] of before) {
    const got = after.get(key) ?? []
    const at = frames.findIndex((frame, i) => frame !== got[i])
    if (at >= 0 || got.length !== frames.length)
      throw new Error(`flow ${key} differs at frame ${at}`)
  }
}

/** One step of a flow: mostly the next full segment, sometimes something odd. */
const step = fc.record({
  flow: fc.nat(5),
  odd: fc.oneof(
    { weight: 12, arbitrary: fc.constant('none') },
    {
      weight: 4,
      arbitrary: fc.constantFrom(
        'ack',
        'window',
        'options',
        'tos',
        'ttl',
        'df',
        'psh',
        'fin',
        'syn',
        'cwr',
        'whole',
        'bare',
        'gap',
        'mac',
        'network',
        'peer',
        'port',
        'short',
        'long',
      ),
    },
  ),
})

const OPTIONS = Uint8Array.of(1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2)

/** Turns steps into arrivals; each flow keeps its sequence number. */
function play(steps: readonly { flow: number; odd: string }[], gso: number): Arrival[] {
  const sequences = new Map<number, number>()
  return steps.map(({ flow, odd }) => {
    const v6 = flow % 2 === 1
    const protocol = flow < 4 ? TCP : UDP
    const size =
      odd === 'short' ? Math.ceil(gso / 2) : odd === 'long' ? gso + 1 : odd === 'bare' ? 0 : gso
    const sequence = sequences.get(flow) ?? 0xffff_fff0 - flow * 3000
    const fields: PacketFields = {
      source: v6 ? 'fd00:1::b' : '10.1.0.11',
      target: v6 ? 'fd00:1::15' : '10.1.0.21',
      protocol,
      sourcePort: 1000 + flow,
      sequence: (sequence + (odd === 'gap' ? 100 : 0)) >>> 0,
      acknowledgement: odd === 'ack' ? 78 : 77,
      window: odd === 'window' ? 400 : 500,
      options: protocol === TCP && odd !== 'options' ? OPTIONS : new Uint8Array(0),
      tos: odd === 'tos' ? 2 : 0,
      ttl: odd === 'ttl' ? 63 : 64,
      dontFragment: odd !== 'df',
      flags:
        TCP_ACK |
        (odd === 'psh' ? TCP_PSH : odd === 'fin' ? TCP_FIN : 0) |
        (odd === 'syn' ? TCP_SYN : odd === 'cwr' ? TCP_CWR : 0),
      payload: payloadOf(size, flow),
      partial: odd !== 'whole',
      ...(odd === 'mac' ? { sourceMac: Uint8Array.of(2, 0, 0, 0, 0, 1) } : {}),
      ...(odd === 'port' ? { targetPort: 81 } : {}),
    }
    sequences.set(flow, (sequence + size) >>> 0)
    return { fields, network: odd === 'network' ? 2 : 1, peer: odd === 'peer' ? 5 : 4 }
  })
}

t.test('any stream, merged and split again, is the same stream flow by flow', async () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 60 }),
      fc.constantFrom(1, 7, 500, 1448),
      fc.boolean(),
      (steps, gso, mergeUdp) => {
        const arrivals = play(steps, gso)
        const items = coalesce(arrivals, mergeUdp)
        checkItems(arrivals, items)
        if (mergeUdp) return
        if (
          items.some(
            ({ frames, arrivals: [first] }) => frames > 1 && first!.fields.protocol === UDP,
          )
        ) {
          throw new Error('UDP merged for a device that does not take it')
        }
      },
    ),
    { numRuns: 1500 },
  )
})

t.test('merging happens: two interleaved flows become two items', async (t) => {
  const steps = Array.from({ length: 40 }, (_, i) => ({ flow: i % 2, odd: 'none' }))
  const items = coalesce(play(steps, 1400), true)
  t.same(
    items.map(({ frames }) => frames),
    [20, 20],
  )
})

t.test('each difference by itself keeps two frames apart', async (t) => {
  const differences =
    'ack window options tos ttl df fin syn cwr whole gap mac network peer port long'.split(' ')
  for (const odd of differences) {
    for (const flow of odd === 'df' ? [0] : [0, 1]) {
      const arrivals = play(
        [
          { flow, odd: 'none' },
          { flow, odd },
        ],
        1000,
      )
      t.equal(coalesce(arrivals, true).length, 2, `${odd}, ${flow === 0 ? 'IPv4' : 'IPv6'}`)
      checkItems(arrivals, coalesce(arrivals, true))
    }
  }
})

t.test('PSH and a shorter payload end an item', async (t) => {
  for (const odd of ['psh', 'short']) {
    const steps = ['none', odd, 'none', 'none'].map((o) => ({ flow: 0, odd: o }))
    const items = coalesce(play(steps, 1000), true)
    t.same(
      items.map(({ frames }) => frames),
      [2, 2],
      odd,
    )
  }
})

t.test('a flow that differs from its newest item is not merged into an older one', async (t) => {
  // TOS changes and changes back: the third frame follows the first in sequence of none.
  const steps = ['none', 'tos', 'none', 'none'].map((odd) => ({ flow: 4, odd }))
  const arrivals = play(steps, 1000)
  checkItems(arrivals, coalesce(arrivals, true))
  // A segment that cannot merge stands between two that could: they stay apart.
  for (const odd of ['bare', 'fin', 'whole', 'cwr']) {
    const between = play(
      ['none', odd, 'none'].map((o) => ({ flow: 0, odd: o })),
      1000,
    )
    if (odd === 'bare') between[2] = { ...between[2]!, fields: { ...between[2]!.fields } }
    checkItems(between, coalesce(between, true))
  }
  t.pass()
})

t.test('limits: frames of one item, bytes of one packet, items of one window', async (t) => {
  const run = (count: number, gso: number): number[] =>
    coalesce(
      play(
        Array.from({ length: count }, () => ({ flow: 0, odd: 'none' })),
        gso,
      ),
      true,
    ).map(({ frames }) => frames)
  t.same(run(COALESCE_FRAMES_MAX + 1, 100), [COALESCE_FRAMES_MAX, 1])
  // 20 of IP, 32 of TCP and payloads of 1400 within 65,535.
  const fit = Math.floor((65535 - 52) / 1400)
  t.same(run(fit + 1, 1400), [fit, 1])
  const bytes = new Uint8Array(100)
  bytes.set(buildFrame({ source: '10.1.0.1', target: '10.1.0.2', payload: payloadOf(8) }))
  const coalescer = new Coalescer(view(bytes))
  for (let i = 0; i < COALESCE_ITEMS_MAX; i++) t.ok(coalescer.add(0, 50, 1, 1, false, true))
  t.notOk(coalescer.add(0, 50, 1, 1, false, true))
  coalescer.clear()
  t.ok(coalescer.add(0, 50, 1, 1, false, true))
})

t.test('frames whose lengths contradict each other are never merged', async (t) => {
  const spoil: readonly [string, number, (frame: DataView) => void][] = [
    ['IPv4 total length', 0, (v) => v.setUint16(ETHERNET + 2, 40)],
    ['IPv6 payload length', 1, (v) => v.setUint16(ETHERNET + 4, 40)],
    ['IPv6 version', 1, (v) => v.setUint8(ETHERNET, 0x50)],
    ['TCP header size', 0, (v) => v.setUint8(ETHERNET + 20 + 12, 0x10)],
    ['UDP length', 4, (v) => v.setUint16(ETHERNET + 20 + 4, 9)],
    ['UDP length over IPv6', 5, (v) => v.setUint16(ETHERNET + 40 + 4, 9)],
  ]
  for (const [sentence, flow, change] of spoil) {
    const arrivals = play(
      [0, 1].map(() => ({ flow, odd: 'none' })),
      500,
    )
    const frames = arrivals.map(({ fields }) => buildFrame(fields))
    for (const frame of frames) change(view(frame))
    const bytes = new Uint8Array(Buffer.concat(frames))
    const coalescer = new Coalescer(view(bytes))
    coalescer.add(0, frames[0]!.length, 1, 1, true, true)
    coalescer.add(frames[0]!.length, frames[1]!.length, 1, 1, true, true)
    t.equal(coalescer.count, 2, sentence)
  }
})
