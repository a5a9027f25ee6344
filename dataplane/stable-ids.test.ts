// Goal: a name keeps its number, and a number does not mean somebody else while a flow may still
// hold it. Method: plain sequences of events, with time handed in.

import fc from 'fast-check'
import t from 'tap'
import { StableIds } from './stable-ids.ts'

const QUARANTINE_MS = 1_000_000

t.test('names keep their numbers, and others get new ones', async (t) => {
  const ids = new StableIds(10)
  t.same(
    ['a', 'b', 'a', 'c'].map((name) => ids.intern(name, 0)),
    [0, 1, 0, 2],
  )
  t.equal(ids.find('b'), 1)
  t.equal(ids.find('z'), -1)
})

t.test('a freed number rests before it is given out again', async (t) => {
  const ids = new StableIds(10)
  ids.intern('a', 0)
  ids.intern('b', 0)
  const gone: [number, string][] = []
  ids.retain(new Set(['b']), 1000, (id, name) => gone.push([id, name]))
  t.same(gone, [[0, 'a']])
  t.equal(ids.find('a'), -1)
  t.equal(ids.intern('c', 2000), 2, 'in quarantine')
  t.equal(ids.intern('a', 1000 + QUARANTINE_MS), 3, 'even for its old name')
  t.equal(ids.intern('d', 1001 + QUARANTINE_MS), 0, 'rested')
})

t.test(
  'when numbers run out, the one that rested longest is taken; then it is an error',
  async (t) => {
    const ids = new StableIds(3)
    for (const name of ['a', 'b', 'c']) ids.intern(name, 0)
    ids.retain(new Set(['b', 'c']), 10, () => {})
    ids.retain(new Set(['c']), 20, () => {})
    t.equal(ids.intern('d', 30), 0)
    t.equal(ids.intern('e', 30), 1)
    t.throws(() => ids.intern('f', 30))
  },
)

t.test('no number has two names, and none comes back early', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.uniqueArray(fc.nat(12), { maxLength: 8 }), { maxLength: 20 }),
      (versions) => {
        const ids = new StableIds(1000)
        const last = new Map<number, { name: string; atMs: number }>()
        let nowMs = 0
        for (const version of versions) {
          nowMs += 300_000
          const names = new Set(version.map(String))
          ids.retain(names, nowMs, (id, name) => last.set(id, { name, atMs: nowMs }))
          const numbers = new Set<number>()
          for (const name of names) {
            const known = ids.find(name)
            const id = ids.intern(name, nowMs)
            if (known >= 0 && known !== id) throw new Error('a name changed its number')
            if (numbers.has(id)) throw new Error('two names, one number')
            numbers.add(id)
            const freed = last.get(id)
            if (known < 0 && freed !== undefined && nowMs - freed.atMs <= QUARANTINE_MS) {
              throw new Error('out of quarantine early')
            }
          }
        }
      },
    ),
  )
})
