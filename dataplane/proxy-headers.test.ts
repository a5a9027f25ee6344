// Goal: the backend of a published port with proxyProtocol reads the header, then the client's
// bytes and nothing else; the client reads the backend's bytes; neither is ever told of bytes that
// the other has not sent. Method: two plain TCPs (testing/tcp-model.ts) at the ends of a world of
// two nodes, between which segments get lost, repeated and overtaken at random, and are merged into
// super-packets. What a random history does not meet is in proxy-cases.test.ts.

import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { type Prng, prng } from '../base/prng.ts'
import { buildFrame, buildPacket, payloadOf, vnetOf } from './testing/packets.ts'
import {
  atClient,
  atServer,
  type Family,
  fromClient,
  fromServer,
  headerOf,
  type Version,
  worldOf,
} from './testing/proxied.ts'
import { type Segment, Tcp } from './testing/tcp-model.ts'
import type { World } from './testing/world.ts'

/** What lies between the ends, in all four stretches. */
class Path {
  readonly world: World
  private readonly family: Family
  private readonly random: Prng
  private readonly lossOneIn: number
  private readonly ends: readonly [client: Tcp, server: Tcp]
  /** Not yet at the first node, and not yet at the other end: by who sent it. */
  private readonly before: [Segment[], Segment[]] = [[], []]
  private readonly behind: [Segment[], Segment[]] = [[], []]

  constructor(world: World, family: Family, random: Prng, lossOneIn: number, ends: [Tcp, Tcp]) {
    this.world = world
    this.family = family
    this.random = random
    this.lossOneIn = lossOneIn
    this.ends = ends
  }

  run(): void {
    this.ends[0].connect()
    for (let silent = 0; silent < 300; ) {
      this.collect()
      if (this.ends.every((end) => end.isDone)) return
      if (this.step()) continue
      silent++
      this.world.advance(100 + this.random.below(900), 1000)
      this.collect()
      if (this.random.below(3) > 0) for (const end of this.ends) end.timeout()
    }
    throw new Error('the streams do not end')
  }

  private collect(): void {
    for (const who of [0, 1] as const) this.before[who].push(...this.ends[who].out.splice(0))
    this.behind[0].push(...atServer(this.world))
    this.behind[1].push(...atClient(this.world))
  }

  /** Moves one segment along one stretch. False when there is none. */
  private step(): boolean {
    const queues = [...this.before, ...this.behind]
    const full = queues.filter((queue) => queue.length > 0)
    if (full.length === 0) return false
    const queue = full[this.random.below(full.length)]!
    const from = this.random.below(6) === 0 ? this.random.below(queue.length) : 0
    const lost = this.lossOneIn > 0 && this.random.below(this.lossOneIn) === 0
    const again = this.lossOneIn > 0 && this.random.below(this.lossOneIn * 2) === 0
    const segment = again ? queue[from]! : queue.splice(from, 1)[0]!
    if (lost) return true
    if (queue === this.before[0]) this.fromClient(segment)
    else if (queue === this.before[1]) this.fromServer(segment)
    else this.ends[queue === this.behind[0] ? 1 : 0].take(segment)
    return true
  }

  private fromClient(segment: Segment): void {
    const partial = this.random.below(2) === 0
    const fields = { ...fromClient(this.family, segment), partial }
    const gso = partial && segment.payload.length > 40 && this.random.below(2) === 0 ? 40 : 0
    this.world.injectMesh('a', buildPacket(fields), vnetOf(fields, gso, 0))
    this.world.settle()
  }

  private fromServer(segment: Segment): void {
    const partial = this.random.below(2) === 0
    const fields = { ...fromServer(this.family, segment), partial }
    const gso = partial && segment.payload.length > 40 && this.random.below(2) === 0 ? 40 : 0
    this.world.inject('ingress-b', buildFrame(fields), vnetOf(fields, gso))
    this.world.settle()
  }
}

/** Near the end of the sequence space half of the time. */
const initial = (random: Prng): number =>
  random.below(2) === 0 ? random.nextU32() : (0 - 1 - random.below(600)) >>> 0

function runHistory(family: Family, version: Version, seed: number): void {
  const random = prng(seed)
  const sizes = [0, 1, 300, 2000]
  const up = payloadOf(sizes[random.below(4)]!, 3)
  const down = payloadOf(sizes[random.below(4)]!, 90)
  const header = headerOf(family, version)
  const common = {
    timestamps: random.below(2) === 0,
    sack: random.below(3) > 0,
    sizeMax: 15 + random.below(300),
  }
  // Who waits for whom: nobody; the client for the server, which waits for the header; the server
  // for all that the client says.
  const mode = random.below(3)
  const client = new Tcp(
    {
      ...common,
      name: 'client',
      initial: initial(random),
      stream: up,
      window: 65_535,
      allowed: (received) => (mode === 1 && received < down.length ? 0 : up.length),
      // Multipath, Fast Open with a cookie, and its experimental kind.
      synOptions: Uint8Array.from([30, 4, 1, 1, 34, 6, 1, 2, 3, 4, 1, 254, 4, 249, 137, 1]),
    },
    random,
    true,
  )
  const server = new Tcp(
    {
      ...common,
      name: 'server',
      initial: initial(random),
      stream: down,
      window: [65_535, 400, 150][random.below(3)]!,
      allowed: (received) => {
        if (mode === 0) return down.length
        const wanted = header.length + (mode === 1 ? 0 : up.length)
        return received < wanted ? 0 : down.length
      },
    },
    random,
    false,
  )
  const world = worldOf(version)
  new Path(world, family, random, [0, 30, 8, 4][random.below(4)]!, [client, server]).run()
  assert.deepEqual(Buffer.from(server.received), Buffer.concat([header, up]))
  assert.deepEqual(Buffer.from(client.received), Buffer.from(down))
  assert.deepEqual(world.node('a').dropNames(), {})
  world.audit()
}

for (const family of ['v4', 'v6'] as const) {
  for (const version of ['v1', 'v2'] as const) {
    t.test(`${family}, ${version}: any history`, async () => {
      fc.assert(
        fc.property(fc.nat(), (seed) => runHistory(family, version, seed)),
        { numRuns: Number(process.env.WEFT_FUZZ_RUNS ?? 20) },
      )
    })
  }
}
