// Goal: the table finds exactly what was put in, whatever came and went, while it grows and
// shrinks. Method: random histories against a Map, with a hash made so bad that clusters are long.

import fc from 'fast-check'
import t from 'tap'
import { prng } from '../base/prng.ts'
import { ADDRESSES, ConnTable, PORTS, PROTOCOL_BYTE, REPLY_PORTS, ZONES } from './conn-table.ts'
import { LARGE_TABLE_ENTRIES } from './limits.ts'

/** A connection of small numbers, so that keys meet. */
interface Key {
  readonly zone: number
  readonly protocol: number
  readonly client: number
  readonly port: number
}

function fill(table: ConnTable, entry: number, key: Key): void {
  const at = entry * table.stride
  table.records[at + PORTS] = (key.port << 16) | 80
  table.records[at + REPLY_PORTS] = (8080 << 16) | key.port
  table.records[at + ZONES] = (key.zone << 16) | (key.zone + 1)
  table.bytes[at * 4 + PROTOCOL_BYTE] = key.protocol
  for (let i = 0; i < table.words; i++) {
    table.records[at + ADDRESSES + i] = key.client + i
    table.records[at + ADDRESSES + table.words + i] = -5 - i
    table.records[at + ADDRESSES + 2 * table.words + i] = key.client + i
    table.records[at + ADDRESSES + 3 * table.words + i] = 1000 + i
  }
}

function find(table: ConnTable, key: Key, reply: boolean): number {
  const ports = reply ? (8080 << 16) | key.port : (key.port << 16) | 80
  const zone = reply ? key.zone + 1 : key.zone
  const s = reply ? 1000 : key.client
  const d = reply ? key.client : -5
  const step = reply ? 1 : -1
  if (table.words === 1) return table.find4(zone, key.protocol, s, d, ports)
  const addresses = Int32Array.of(s, s + 1, s + 2, s + 3, d, d + step, d + 2 * step, d + 3 * step)
  return table.find6(zone, key.protocol, addresses, ports)
}

const KEY = fc.record({
  zone: fc.nat(2),
  protocol: fc.constantFrom(6, 17),
  client: fc.nat(40),
  port: fc.nat(30),
})

for (const words of [1, 4]) {
  for (const [quality, mask] of [
    ['random', 0xffffffff],
    ['bad', 0x41000001],
  ] as const) {
    t.test(`${words === 1 ? 'IPv4' : 'IPv6'}, ${quality} hash: as a Map`, async (t) => {
      let grown = 0
      fc.assert(
        fc.property(
          fc.array(fc.record({ key: KEY, remove: fc.nat(3) }), { minLength: 500, maxLength: 3000 }),
          (steps) => {
            const random = prng(3)
            const table = new ConnTable(2000, words, () => random.nextU32() & mask)
            const twin = new Map<string, { entry: number; key: Key }>()
            const start = table.indexBytes
            for (const { key, remove } of steps) {
              const name = JSON.stringify(key)
              const known = twin.get(name)
              const found = find(table, key, false)
              if (found !== (known === undefined ? -1 : known.entry * 2)) throw new Error('forward')
              const back = find(table, key, true)
              if (back !== (known === undefined ? -1 : known.entry * 2 + 1))
                throw new Error('reply')
              if (known === undefined) {
                const entry = table.allocate()
                if (entry === 0) throw new Error('full')
                fill(table, entry, key)
                table.link(entry * 2)
                table.link(entry * 2 + 1)
                twin.set(name, { entry, key })
              } else if (remove === 0) {
                table.unlink(known.entry * 2 + 1)
                table.unlink(known.entry * 2)
                table.free(known.entry)
                twin.delete(name)
              }
              grown = Math.max(grown, table.indexBytes / start)
            }
            if (table.count !== twin.size) throw new Error('count')
            for (const { entry, key } of twin.values()) {
              if (find(table, key, false) !== entry * 2) throw new Error('lost')
              if (find(table, key, true) !== entry * 2 + 1) throw new Error('lost reply')
            }
          },
        ),
        { numRuns: 30, seed: 5 },
      )
      t.ok(grown > 1.3, `the index grew ${grown} times its first size`)
    })
  }
}

t.test('the index doubles in small steps, and entries are reused', async (t) => {
  const random = prng(9)
  const table = new ConnTable(60_000, 1, () => random.nextU32())
  const first = table.indexBytes
  const keyOf = (i: number): Key => ({ zone: 1, protocol: 6, client: i, port: i & 0xfff })
  for (let i = 1; i <= 50_000; i++) {
    const entry = table.allocate()
    fill(table, entry, keyOf(i))
    table.link(entry * 2)
    table.link(entry * 2 + 1)
    // While it doubles, both what has moved and what has not must be found.
    if (i % 97 === 0) {
      for (let k = 1; k <= i; k += 31)
        if (find(table, keyOf(k), true) < 0) t.fail(`flow ${k} of ${i}`)
    }
  }
  t.ok(table.indexBytes > 16 * first && table.indexBytes >= 50_000 * 2 * 4)
  for (let i = 1; i <= 50_000; i++) {
    const reference = find(table, keyOf(i), false)
    if (reference < 0) t.fail(`flow ${i} lost`)
    table.unlink(reference)
    table.unlink(reference + 1)
    table.free(reference >>> 1)
  }
  t.equal(table.count, 0)
  const high = table.high
  let reused = 0
  for (let i = 0; i < 50_000; i++) if (table.allocate() < high) reused++
  t.equal(reused, 50_000)
})

t.test('a table that becomes large says so once, of all its memory', async (t) => {
  const told: ArrayBufferLike[] = []
  const capacity = LARGE_TABLE_ENTRIES + 10
  const table = new ConnTable(
    capacity,
    1,
    () => 1,
    (memory) => told.push(memory),
  )
  for (let i = 1; i < LARGE_TABLE_ENTRIES; i++) table.allocate()
  t.equal(told.length, 0)
  for (let i = 0; i < 10; i++) table.allocate()
  t.equal(told.length, 3, 'records, index and links')
  t.ok(told.includes(table.records.buffer) && told.includes(table.links.buffer))
  table.free(5)
  table.allocate()
  t.equal(told.length, 3)
})

t.test('a full table says so', async (t) => {
  const table = new ConnTable(3, 1, () => 1)
  t.same([table.allocate(), table.allocate(), table.allocate(), table.allocate()], [1, 2, 3, 0])
  table.free(2)
  t.equal(table.allocate(), 2)
})
