// Goal: the open-addressing table says what a Map would say.

import fc from 'fast-check'
import t from 'tap'
import { memorySlab } from '../base/slab.ts'
import { Fdb, type FdbEntry } from './fdb.ts'
import { derivedMacLoV4, derivedMacLoV6, formatMac, parseMac } from './mac.ts'

const entry = fc.record({
  // Few networks and few MACs, so that lookups hit, collide and miss.
  vni: fc.constantFrom(1, 2, 0xffffff),
  macHi: fc.constantFrom(0x0242, 0xfeff),
  macLo: fc.oneof(fc.integer({ min: 0, max: 64 }), fc.integer({ min: 0, max: 0xffffffff })),
  endpoint: fc.nat(100_000),
})
const nameOf = (e: { vni: number; macHi: number; macLo: number }): string =>
  `${e.vni}/${e.macHi}/${e.macLo}`

t.test('agrees with a Map', async () => {
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 200 }), fc.array(entry), (entries, others) => {
      const plain = new Map<string, FdbEntry>()
      for (const e of entries) if (!plain.has(nameOf(e))) plain.set(nameOf(e), e)
      const fdb = new Fdb([...plain.values()])
      return [...entries, ...others].every(
        (e) => fdb.lookup(e.vni, e.macHi, e.macLo) === (plain.get(nameOf(e))?.endpoint ?? -1),
      )
    }),
  )
})

t.test('twenty thousand endpoints in a row', async (t) => {
  const entries = Array.from({ length: 20_000 }, (_, i) => ({
    vni: 7,
    macHi: 0x0242,
    macLo: derivedMacLoV4(0x0a00_0002 + i),
    endpoint: i,
  }))
  const fdb = new Fdb(entries)
  t.equal(fdb.size, 20_000)
  t.ok(entries.every((e) => fdb.lookup(7, e.macHi, e.macLo) === e.endpoint))
  t.equal(fdb.lookup(8, 0x0242, 0x0a00_0002), -1, 'networks do not see each other')
})

t.test('empty, and a MAC given twice', async (t) => {
  t.equal(new Fdb([]).lookup(1, 0, 0), -1)
  const twice = { vni: 1, macHi: 0x0242, macLo: 0x0a000002, endpoint: 1 }
  t.throws(() => new Fdb([twice, { ...twice, endpoint: 2 }]), /02:42:0a:00:00:02/)
  t.equal(new Fdb([twice, { ...twice, vni: 2 }]).lookup(2, 0x0242, 0x0a000002), 1)
})

t.test('derived and written MACs', async (t) => {
  t.equal(formatMac(0x0242, derivedMacLoV4(0xc0a80001)), '02:42:c0:a8:00:01')
  t.same(parseMac('02:42:C0:a8:00:01'), { hi: 0x0242, lo: 0xc0a80001 })
  t.same(parseMac('02-42-c0-a8-00-01'), { hi: 0x0242, lo: 0xc0a80001 })
  for (const text of ['', '02:42:c0:a8:00', '02:42:c0:a8:00:1', '02:42:c0:a8:00:01:02', 'zz']) {
    t.equal(parseMac(text), null, text)
  }
  // Neighbouring IPv6 addresses, as an allocator gives them out, do not collide.
  const slab = memorySlab(16)
  slab.view.setUint32(0, 0xfd000000)
  const seen = new Set<number>()
  for (let i = 0; i < 4096; i++) {
    slab.view.setUint32(12, i)
    seen.add(derivedMacLoV6(slab.view, 0))
  }
  t.equal(seen.size, 4096)
})
