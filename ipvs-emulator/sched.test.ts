// Goal: every scheduler chooses exactly what its plain twin chooses. Method: random pools live
// through random histories (servers come, go, change weight, fill up, connections come and go) and
// both are asked after each step. The twins below are the kernel's loops written out plainly,
// without any of the shortcuts of the fast versions.
//
// Longer than 500 lines because all fourteen twins stand here, to be read side by side.

import fc from 'fast-check'
import t from 'tap'
import { prng } from '../base/prng.ts'
import type { SchedulerFlag, ServiceConfig } from './config.ts'
import { type Flow, IPV4, IPV6, makeFlow } from './flow.ts'
import { SCHEDULERS } from './sched.ts'
import { MH_PRIMES } from './sched-mh.ts'
import { Pool, RealServer, Service } from './service.ts'
import { siphash13 } from './siphash.ts'

interface Twin {
  /** Servers or weights changed since the last schedule(). */
  changed(servers: readonly RealServer[]): void
  schedule(
    servers: readonly RealServer[],
    flow: Flow,
    random: () => number,
    tick: number,
  ): RealServer | null
}

const load = (s: RealServer): number => s.active * 256 + s.inactive
const up = (s: RealServer): boolean => s.weight > 0 && !s.overloaded

/** The first server with the least `cost(server) / weight`. */
function least(servers: readonly RealServer[], cost: (s: RealServer) => number): RealServer | null {
  const open = servers.filter(up)
  const best = Math.min(...open.map((s) => cost(s) / s.weight))
  return open.find((s) => cost(s) / s.weight === best) ?? null
}

const stateless = (choose: Twin['schedule']): (() => Twin) => {
  return () => ({ changed: () => {}, schedule: choose })
}

function twinRr(): Twin {
  let last: RealServer | null = null
  let before: readonly RealServer[] = []
  return {
    changed(servers) {
      // Where the last one was removed, its predecessor takes its place.
      while (last !== null && !servers.includes(last))
        last = before[before.indexOf(last) - 1] ?? null
      before = [...servers]
    },
    schedule(servers) {
      const start = last === null ? 0 : servers.indexOf(last) + 1
      const turn = [...servers.slice(start), ...servers.slice(0, start)]
      const choice = turn.find(up) ?? null
      if (choice !== null) last = choice
      return choice
    },
  }
}

function twinWrr(): Twin {
  const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b))
  let last = -1
  let cw = 0
  let mw = 0
  let di = 1
  return {
    changed(servers) {
      const weights = servers.map((s) => s.weight).filter((w) => w > 0)
      last = -1
      di = weights.length === 0 ? 1 : weights.reduce(gcd)
      mw = Math.max(0, ...weights) - (di - 1)
      if (cw > mw || cw === 0) cw = mw
      else if (di > 1) cw = Math.floor(cw / di) * di + 1
    },
    schedule(servers) {
      if (mw <= 0) return null
      const first = last
      let stop = -2
      let lastPass = false
      let restarted = false
      let at = last
      for (;;) {
        for (at++; at < servers.length; at++) {
          const s = servers[at]!
          if (!s.overloaded && s.weight >= cw) {
            last = at
            return s
          }
          if (at === stop) {
            last = at
            return null
          }
        }
        at = -1
        cw -= di
        if (cw <= 0) {
          cw = mw
          if (lastPass || first === -1) {
            last = -1
            return null
          }
          restarted = true
        }
        lastPass = cw <= di
        if (lastPass && restarted && first !== -1) stop = first
      }
    },
  }
}

function twinSh(flags: readonly string[]): Twin {
  let buckets: RealServer[] = []
  return {
    changed(servers) {
      buckets = []
      while (servers.length > 0 && buckets.length < 256) {
        for (const s of servers) for (let i = 0; i < Math.max(s.weight, 1); i++) buckets.push(s)
      }
      buckets.length = Math.min(buckets.length, 256)
    },
    schedule(_servers, flow) {
      const port = flags.includes('sh-port') ? flow.sourcePort : 0
      const index = (offset: number): number => (offset + hash8(port + foldOf(flow.source))) % 256
      const first = buckets[index(0)]
      if (first === undefined) return null
      if (up(first)) return first
      if (!flags.includes('sh-fallback')) return null
      for (let offset = 0; offset < 256; offset++) {
        const other = buckets[index((offset + index(0)) % 256)]!
        if (up(other)) return other
      }
      return null
    },
  }
}

function foldOf(address: Int32Array): number {
  return address.reduce((a, b) => a ^ b) >>> 0
}

function hash8(value: number): number {
  return Number(((BigInt(value) * 0x61c88647n) & 0xffffffffn) >> 24n)
}

function twinSip(word: number, key: number): number {
  const mask = (1n << 64n) - 1n
  const k = BigInt(key >>> 0)
  const v = [
    0x736f6d6570736575n ^ k,
    0x646f72616e646f6dn ^ k,
    0x6c7967656e657261n ^ k,
    0x7465646279746573n ^ k,
  ] as [bigint, bigint, bigint, bigint]
  const rotate = (x: bigint, bits: bigint): bigint => ((x << bits) | (x >> (64n - bits))) & mask
  const round = (): void => {
    v[0] = (v[0] + v[1]) & mask
    v[1] = rotate(v[1], 13n) ^ v[0]
    v[0] = rotate(v[0], 32n)
    v[2] = (v[2] + v[3]) & mask
    v[3] = rotate(v[3], 16n) ^ v[2]
    v[0] = (v[0] + v[3]) & mask
    v[3] = rotate(v[3], 21n) ^ v[0]
    v[2] = (v[2] + v[1]) & mask
    v[1] = rotate(v[1], 17n) ^ v[2]
    v[2] = rotate(v[2], 32n)
  }
  const block = (4n << 56n) | BigInt(word >>> 0)
  v[3] ^= block
  round()
  v[0] ^= block
  v[2] ^= 0xffn
  round()
  round()
  round()
  return Number((v[0] ^ v[1] ^ v[2] ^ v[3]) & 0xffffffffn)
}

const MH_SIZE = 251

function twinMh(flags: readonly string[]): Twin {
  const hash = (address: Int32Array, port: number, key: number, offset: number): number =>
    twinSip((offset + port + foldOf(address)) >>> 0, key)
  let table: (RealServer | undefined)[] = []
  return {
    changed(servers) {
      table = new Array<RealServer | undefined>(MH_SIZE).fill(undefined)
      const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b))
      const divisor = servers.map((s) => s.lastWeight).reduce(gcd, 0)
      if (divisor === 0) return
      const most = Math.max(...servers.map((s) => s.lastWeight)) / divisor
      const shift = Math.max(
        most.toString(2).length - Math.floor((MH_PRIMES.indexOf(MH_SIZE) + 8) / 2),
        0,
      )
      const turns = servers.map((s) =>
        s.lastWeight === 0 ? 0 : Math.max(Math.floor(s.lastWeight / divisor / 2 ** shift), 1),
      )
      const next = servers.map(() => 0)
      let filled = 0
      while (filled < MH_SIZE) {
        servers.forEach((s, i) => {
          for (let turn = 0; turn < turns[i]! && filled < MH_SIZE; turn++) {
            const offset = hash(s.address, s.port, 2654435761, 0) % MH_SIZE
            const skip = (hash(s.address, s.port, 2654446892, 0) % (MH_SIZE - 1)) + 1
            while (table[(offset + next[i]! * skip) % MH_SIZE] !== undefined) next[i]!++
            table[(offset + next[i]! * skip) % MH_SIZE] = s
            filled++
          }
        })
      }
    },
    schedule(_servers, flow) {
      const port = flags.includes('mh-port') ? flow.sourcePort : 0
      const slot = hash(flow.source, port, 2654435761, 0) % MH_SIZE
      const first = table[slot]
      if (first === undefined) return null
      if (up(first)) return first
      if (!flags.includes('mh-fallback')) return null
      for (let offset = 0; offset < MH_SIZE; offset++) {
        const turned = (offset + slot) % MH_SIZE
        const other = table[hash(flow.source, port, 2654435761, turned) % MH_SIZE]!
        if (up(other)) return other
      }
      return null
    },
  }
}

function overloadedByLoad(s: RealServer, servers: readonly RealServer[]): boolean {
  return s.active > s.weight && servers.some((other) => other.active * 2 < other.weight)
}

const DAY_TICKS = 864_000
const HALF_HOUR_TICKS = 18_000

/** Target cache: an entry idle for a day goes when one is added, looked at no more than
 * half-hourly. */
function plainCache<T>(): {
  get(key: string, tick: number): T | undefined
  set(key: string, value: T, tick: number): void
  values(): T[]
} {
  const entries = new Map<string, { value: T; used: number }>()
  let checked = 0
  return {
    get(key, tick) {
      const entry = entries.get(key)
      if (entry !== undefined) entry.used = tick
      return entry?.value
    },
    set(key, value, tick) {
      if (!entries.has(key) && tick - checked >= HALF_HOUR_TICKS) {
        checked = tick
        for (const [old, entry] of entries) if (tick - entry.used >= DAY_TICKS) entries.delete(old)
      }
      entries.set(key, { value, used: tick })
    },
    values: () => [...entries.values()].map((entry) => entry.value),
  }
}

function twinLblc(): Twin {
  const cache = plainCache<RealServer>()
  return {
    changed: () => {},
    schedule(servers, flow, _random, tick) {
      const key = flow.target.join()
      const known = cache.get(key, tick)
      if (
        known !== undefined &&
        servers.includes(known) &&
        known.weight > 0 &&
        !overloadedByLoad(known, servers)
      ) {
        return known
      }
      const choice = least(servers, load)
      if (choice !== null) cache.set(key, choice, tick)
      return choice
    },
  }
}

function twinLblcr(): Twin {
  const cache = plainCache<{ members: RealServer[]; modified: number }>()
  return {
    changed(servers) {
      for (const set of cache.values()) set.members = set.members.filter((s) => servers.includes(s))
    },
    schedule(servers, flow, _random, tick) {
      const key = flow.target.join()
      const set = cache.get(key, tick)
      if (set === undefined) {
        const choice = least(servers, load)
        if (choice !== null) cache.set(key, { members: [choice], modified: tick }, tick)
        return choice
      }
      const member = least(set.members, load)
      if (set.members.length > 1 && tick > set.modified + DAY_TICKS) {
        const heavy = set.members.filter((s) => s.weight > 0)
        const worst = Math.max(...heavy.map((s) => load(s) / s.weight))
        const most = heavy.find((s) => load(s) / s.weight === worst)
        if (most !== undefined) {
          set.members = set.members.filter((s) => s !== most)
          set.modified = tick
        }
      }
      if (member !== null && !overloadedByLoad(member, servers)) return member
      const choice = least(servers, load)
      if (choice !== null && !set.members.includes(choice)) {
        set.members = [choice, ...set.members]
        set.modified = tick
      }
      return choice
    },
  }
}

const heaviest = (servers: readonly RealServer[]): RealServer | null => {
  const most = Math.max(...servers.map((s) => s.weight))
  return servers.find((s) => s.weight === most) ?? null
}

const TWINS: Record<string, (flags: readonly string[]) => Twin> = {
  rr: twinRr,
  wrr: twinWrr,
  lc: stateless((servers) => {
    const open = servers.filter(up)
    const best = Math.min(...open.map(load))
    return open.find((s) => load(s) === best) ?? null
  }),
  wlc: stateless((servers) => least(servers, load)),
  sed: stateless((servers) => least(servers, (s) => s.active + 1)),
  nq: stateless(
    (servers) =>
      servers.find((s) => up(s) && s.active === 0) ?? least(servers, (s) => s.active + 1),
  ),
  fo: stateless((servers) => heaviest(servers.filter(up))),
  ovf: stateless((servers) => heaviest(servers.filter((s) => up(s) && s.active <= s.weight))),
  dh: stateless((servers, flow) => {
    const server = servers[hash8(foldOf(flow.target)) % servers.length]
    return server !== undefined && up(server) ? server : null
  }),
  sh: twinSh,
  mh: twinMh,
  twos: stateless((servers, _flow, random) => {
    const open = servers.filter(up)
    if (open.length === 0) return null
    const total = open.reduce((sum, s) => sum + s.weight, 0)
    const draw = (): RealServer => {
      let rest = random() % (total + 1)
      for (const s of open) {
        rest -= s.weight
        if (rest <= 0) return s
      }
      throw new Error('the draw ends within the sum')
    }
    const one = draw()
    const two = draw()
    return load(two) / two.weight < load(one) / one.weight ? two : one
  }),
  lblc: twinLblc,
  lblcr: twinLblcr,
}

type Step =
  | { readonly do: 'add'; readonly weight: number }
  | { readonly do: 'remove'; readonly at: number }
  | { readonly do: 'overload'; readonly at: number }
  | { readonly do: 'weigh'; readonly at: number; readonly n: number }
  | { readonly do: 'active'; readonly at: number; readonly n: number }
  | { readonly do: 'inactive'; readonly at: number; readonly n: number }
  | { readonly do: 'wait'; readonly ticks: number }
  | {
      readonly do: 'schedule'
      readonly client: number
      readonly target: number
      readonly hold: boolean
    }

const at = fc.nat(11)
const STEP: fc.Arbitrary<Step> = fc.oneof(
  { arbitrary: fc.record({ do: fc.constant('add' as const), weight: fc.nat(12) }), weight: 3 },
  {
    arbitrary: fc.record({ do: fc.constantFrom('remove' as const, 'overload' as const), at }),
    weight: 2,
  },
  { arbitrary: fc.record({ do: fc.constant('weigh' as const), at, n: fc.nat(12) }), weight: 1 },
  { arbitrary: fc.record({ do: fc.constant('active' as const), at, n: fc.nat(12) }), weight: 2 },
  { arbitrary: fc.record({ do: fc.constant('inactive' as const), at, n: fc.nat(12) }), weight: 1 },
  { arbitrary: fc.record({ do: fc.constant('wait' as const), ticks: fc.nat(900_000) }), weight: 1 },
  {
    arbitrary: fc.record({
      do: fc.constant('schedule' as const),
      client: fc.nat(1000),
      target: fc.nat(3),
      hold: fc.boolean(),
    }),
    weight: 12,
  },
)

/** Runs a history; throws where scheduler and twin differ. Returns how many choices were made. */
function run(name: string, flags: SchedulerFlag[], family: number, steps: readonly Step[]): number {
  const scheduler = SCHEDULERS.get(name)!
  const config: ServiceConfig = {
    key: 'k',
    zone: 0,
    virtuals: [],
    realServers: [],
    schedulerFlags: flags,
    mhSlots: MH_SIZE,
  }
  const pool = new Pool(new Service(0, 'k', 0, config), family, 0, scheduler)
  scheduler.init(pool)
  const twin = TWINS[name]!(flags)
  const [one, two] = [prng(7), prng(7)]
  const flow = makeFlow()
  let added = 0
  let tick = 0
  let choices = 0
  let dirty = true
  for (const step of steps) {
    const server = 'at' in step ? pool.servers[step.at % pool.servers.length] : undefined
    if (step.do === 'add') {
      const address = Int32Array.of(added * 0x01010101, 0, 0, family === IPV6 ? added : 0)
      const next = new RealServer(added + 1, `s${added}`, pool, address, 80, step.weight, 0)
      added++
      pool.servers.push(next)
      scheduler.addServer(pool, next)
      dirty = true
    } else if (step.do === 'wait') tick += step.ticks
    else if (step.do === 'schedule') {
      flow.family = family
      flow.sourcePort = step.client + 1024
      flow.source.set([0x0a000000 + step.client, 0, 0, family === IPV6 ? step.client * 77 : 0])
      flow.target.set([0x0a640000 + step.target, 0, 0, 0])
      if (dirty) twin.changed(pool.servers)
      dirty = false
      while (scheduler.work?.(pool) === false);
      const got = scheduler.schedule(pool, flow, () => one.nextU32(), tick)
      const want = twin.schedule(pool.servers, flow, () => two.nextU32(), tick)
      if (got !== want) throw new Error(`chose ${got?.key}, the twin ${want?.key}`)
      choices++
      if (step.hold && got !== null) got.active++
    } else if (server !== undefined) {
      if (step.do === 'remove') {
        const position = pool.servers.indexOf(server)
        pool.servers.splice(position, 1)
        server.gone = true
        server.weight = 0
        scheduler.removeServer(pool, server, position)
        dirty = true
      } else if (step.do === 'overload') server.overloaded = !server.overloaded
      else if (step.do === 'weigh') {
        server.weight = step.n
        if (step.n > 0) server.lastWeight = step.n
        scheduler.updateServer(pool, server)
        dirty = true
      } else if (step.do === 'active') server.active = step.n
      else server.inactive = step.n
    }
  }
  return choices
}

const VARIANTS: [string, SchedulerFlag[]][] = [
  ...[...SCHEDULERS.keys()].map((name): [string, SchedulerFlag[]] => [name, []]),
  ['sh', ['sh-fallback']],
  ['sh', ['sh-fallback', 'sh-port']],
  ['mh', ['mh-fallback']],
  ['mh', ['mh-fallback', 'mh-port']],
]

t.same([...SCHEDULERS.keys()].sort(), Object.keys(TWINS).sort(), 'every scheduler has a twin')

for (const [name, flags] of VARIANTS) {
  t.test(`${name} ${flags.join(' ')} chooses as its twin`, async (t) => {
    let choices = 0
    fc.assert(
      fc.property(
        fc.constantFrom(IPV4, IPV6),
        fc.array(STEP, { minLength: 20, maxLength: 120 }),
        (family, steps) => {
          choices += run(name, flags, family, steps)
        },
      ),
      { numRuns: name === 'mh' ? 60 : 300, seed: 20261123 },
    )
    t.ok(choices > 500, `${choices} choices compared`)
  })
}

t.test('siphash13 agrees with its twin and with published outputs', async (t) => {
  // Keys of zero: what CPython 3.11 hashes four bytes to with PYTHONHASHSEED=0.
  t.equal(siphash13(0, 0), 0x9ac48af0)
  t.equal(siphash13(0x04030201, 0), 0x360ba9d4)
  t.equal(siphash13(0xffffffff, 0), 0x74cad6e2)
  fc.assert(
    fc.property(
      fc.integer(),
      fc.integer(),
      (word, key) => siphash13(word, key) === twinSip(word, key),
    ),
  )
})

function poolOf(name: string, weights: readonly number[], slots?: number): Pool {
  const config: ServiceConfig = {
    key: 'k',
    zone: 0,
    virtuals: [],
    realServers: [],
    ...(slots === undefined ? {} : { mhSlots: slots }),
  }
  const pool = new Pool(new Service(0, 'k', 0, config), IPV4, 0, SCHEDULERS.get(name)!)
  weights.forEach((weight, i) => {
    const address = Int32Array.of(0x0a000001 + i, 0, 0, 0)
    pool.servers.push(new RealServer(i + 1, `s${i}`, pool, address, 80, weight, 0))
  })
  pool.scheduler.init(pool)
  return pool
}

t.test('wrr serves in proportion to the weights over a cycle', async (t) => {
  const pool = poolOf('wrr', [4, 3, 2])
  const flow = makeFlow()
  const order = Array.from(
    { length: 9 },
    () => pool.scheduler.schedule(pool, flow, () => 0, 0)!.key,
  )
  t.equal(order.join(' '), 's0 s0 s1 s0 s1 s2 s0 s1 s2')
})

t.test('mh moves few flows but its own when one of 100 servers goes', async (t) => {
  const pool = poolOf('mh', new Array<number>(100).fill(1), 65521)
  const flow = makeFlow()
  const clients = 20_000
  const choose = (): string[] =>
    Array.from({ length: clients }, (_, i) => {
      flow.source[0] = Math.imul(i + 1, 0x9e3779b1)
      return pool.scheduler.schedule(pool, flow, () => 0, 0)!.key
    })
  const before = choose()
  const [gone] = pool.servers.splice(50, 1)
  gone!.gone = true
  gone!.weight = 0
  pool.scheduler.removeServer(pool, gone!, 50)
  let slices = 1
  while (pool.scheduler.work!(pool) === false) slices++
  t.ok(slices > 5, `built in ${slices} slices`)
  const after = choose()
  const others = before.filter((key, i) => key !== gone!.key && key !== after[i]).length
  t.ok(others / clients <= 0.02, `${((100 * others) / clients).toFixed(2)} % moved without need`)
  t.notOk(after.includes(gone!.key))
})
