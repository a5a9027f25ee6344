// Goal: the log reads as one sequence whatever part of it is durable, in progress or compacted.
// Method: random appends, overrulings, writes (finished late or never) and compactions against a
// plain array.

import fc from 'fast-check'
import t from 'tap'
import { RaftLog } from './log.ts'
import { MemoryStorage } from './memory-storage.ts'
import { type Entry, NO_BYTES } from './messages.ts'
import { voters } from './test-cluster.ts'

const UNLIMITED = Number.POSITIVE_INFINITY

function entry(index: number, term: number): Entry {
  return { index, term, type: 'EntryNormal', data: NO_BYTES }
}

function makeLog(terms: readonly number[]): { log: RaftLog; storage: MemoryStorage } {
  const storage = new MemoryStorage(voters(1))
  storage.append(terms.map((term, i) => entry(i + 1, term)))
  return { log: new RaftLog(storage, UNLIMITED), storage }
}

type Operation =
  | { kind: 'append'; back: number; count: number }
  | { kind: 'write' }
  | { kind: 'stable' }
  | { kind: 'commit'; by: number }
  | { kind: 'compact' }

const operation: fc.Arbitrary<Operation> = fc.oneof(
  fc.record({
    kind: fc.constant('append' as const),
    back: fc.nat({ max: 4 }),
    count: fc.integer({ min: 1, max: 4 }),
  }),
  fc.constant({ kind: 'write' as const }),
  fc.constant({ kind: 'stable' as const }),
  fc.record({ kind: fc.constant('commit' as const), by: fc.nat({ max: 3 }) }),
  fc.constant({ kind: 'compact' as const }),
)

t.test('the log is one sequence of terms', async () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
      const { log, storage } = makeLog([])
      // model[i] is the term at index i; what is compacted stays in the model.
      const model = [0]
      let term = 1
      let written: Entry | undefined
      for (const step of operations) {
        const last = model.length - 1
        if (step.kind === 'append') {
          term++
          const from = Math.max(last + 1 - step.back, log.committed + 1)
          const entries = Array.from({ length: step.count }, (_, i) => entry(from + i, term))
          log.append(entries)
          model.splice(from, model.length, ...entries.map((each) => each.term))
        } else if (step.kind === 'write') {
          const entries = log.unstable.nextEntries()
          storage.append(entries)
          log.unstable.acceptInProgress()
          written = entries.at(-1) ?? written
        } else if (step.kind === 'stable' && written !== undefined) {
          log.unstable.stableTo(written.index, written.term)
        } else if (step.kind === 'commit') {
          log.commitTo(Math.min(last, log.committed + step.by))
          // Here applying follows at once, as far as it may.
          const entries = log.nextCommitted(false)
          log.acceptApplying(entries, false)
          log.appliedTo(entries.at(-1)?.index ?? log.applied, 0)
        } else if (step.kind === 'compact') {
          storage.compact(Math.min(log.applied, log.unstable.offset - 1))
        }
        if (log.lastIndex() !== model.length - 1) return false
        for (let index = log.firstIndex(); index < model.length; index++) {
          if (log.term(index) !== model[index]) return false
        }
        const all = log.entriesFrom(log.firstIndex(), UNLIMITED)
        if (typeof all === 'string') return false
        if (all.some(({ index, term }) => model[index] !== term)) return false
      }
      return true
    }),
    { numRuns: 1000 },
  )
})

t.test(
  'maybeAppend: what fits is taken, what is there is kept, what conflicts is replaced',
  async (t) => {
    const { log } = makeLog([1, 1, 2])
    t.equal(log.maybeAppend(3, 1, [entry(4, 3)]), false, 'the term before differs')
    t.equal(log.maybeAppend(5, 2, [entry(6, 3)]), false, 'there is a gap')
    t.equal(log.maybeAppend(1, 1, [entry(2, 1)]), true)
    t.equal(log.lastIndex(), 3, 'an entry that is there truncates nothing')
    t.equal(log.maybeAppend(1, 1, [entry(2, 1), entry(3, 3), entry(4, 3)]), true)
    t.equal(log.lastIndex(), 4)
    t.equal(log.term(3), 3)
  },
)

t.test('a committed entry is never overwritten, a commit index never beyond the log', async (t) => {
  const { log } = makeLog([1, 1, 2])
  log.commitTo(2)
  t.throws(() => log.maybeAppend(1, 1, [entry(2, 3)]), /committed/)
  t.throws(() => log.commitTo(4), /log was lost/)
  log.commitTo(1)
  t.equal(log.committed, 2, 'and never falls')
})

t.test('findConflictByTerm skips a whole term at once', async (t) => {
  const { log } = makeLog([1, 3, 3, 3, 5, 5])
  t.same(log.findConflictByTerm(6, 2), { index: 1, term: 1 })
  t.same(log.findConflictByTerm(6, 3), { index: 4, term: 3 })
  t.same(log.findConflictByTerm(6, 9), { index: 6, term: 5 })
  t.same(log.findConflictByTerm(6, 0), { index: 0, term: 0 })
  t.same(log.findConflictByTerm(9, 9), { index: 9, term: 0 }, 'unknown may agree')
})

t.test('committed entries come in portions of limited size, one entry at least', async (t) => {
  const storage = new MemoryStorage(voters(1))
  const big = (index: number): Entry => ({ ...entry(index, 1), data: new Uint8Array(100) })
  storage.append([1, 2, 3, 4].map(big))
  const log = new RaftLog(storage, 250)
  log.commitTo(4)
  const sizes: number[] = []
  while (log.hasNextCommitted(true)) {
    const entries = log.nextCommitted(true)
    sizes.push(entries.length)
    log.acceptApplying(entries, true)
    t.equal(log.hasNextCommitted(true), false, 'the next portion waits for this one')
    log.appliedTo(entries.at(-1)!.index, 124 * entries.length)
  }
  t.same(sizes, [2, 2])
  const tiny = new RaftLog(storage, 1)
  tiny.commitTo(4)
  t.equal(tiny.nextCommitted(true).length, 1)
})
