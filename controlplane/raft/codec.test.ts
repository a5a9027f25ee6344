// Goal: encodings round-trip, are unique, and decoding survives any input. Method: random values,
// random truncation, random bytes.

import fc from 'fast-check'
import t from 'tap'
import {
  DecodeError,
  decodeConfChange,
  decodeEntry,
  decodeHardState,
  decodeMessage,
  decodeSnapshot,
  encodeConfChange,
  encodeEntry,
  encodeHardState,
  encodeMessage,
  encodeSnapshot,
} from './codec.ts'
import { type Message, NO_BYTES } from './messages.ts'

const number = fc.oneof(fc.maxSafeNat(), fc.nat({ max: 300 }))
const data = fc.uint8Array({ maxLength: 40 }).map((bytes) => new Uint8Array(bytes))
const ids = fc.array(number, { maxLength: 4 })
const entry = fc.record({
  term: number,
  index: number,
  type: fc.constantFrom('EntryNormal', 'EntryConfChange', 'EntryConfChangeV2'),
  data,
})
const snapshot = fc.record({
  index: number,
  term: number,
  confState: fc.record({
    voters: ids,
    votersOutgoing: ids,
    learners: ids,
    learnersNext: ids,
    autoLeave: fc.boolean(),
  }),
  data,
})
const message: fc.Arbitrary<Message> = fc.record({
  type: fc.constantFrom('MsgApp', 'MsgVote', 'MsgSnap', 'MsgTimeoutNow', 'MsgProp'),
  to: number,
  from: number,
  term: number,
  index: number,
  logTerm: number,
  commit: number,
  reject: fc.boolean(),
  rejectHint: number,
  entries: fc.array(entry, { maxLength: 4 }),
  snapshot: fc.option(snapshot),
  transfer: fc.boolean(),
  readPosition: number,
  context: data,
})
const change = fc.record({
  transition: fc.constantFrom('auto', 'joint-implicit', 'joint-explicit'),
  changes: fc.array(
    fc.record({
      type: fc.constantFrom('add-voter', 'add-learner', 'remove', 'update'),
      nodeId: number,
    }),
    { maxLength: 4 },
  ),
  context: data,
})

t.test('what is encoded is decoded again', async (t) => {
  fc.assert(fc.property(message, (it) => t.same(decodeMessage(encodeMessage(it)), it)))
  fc.assert(fc.property(entry, (it) => t.same(decodeEntry(encodeEntry(it)), it)))
  fc.assert(fc.property(snapshot, (it) => t.same(decodeSnapshot(encodeSnapshot(it)), it)))
  fc.assert(
    fc.property(change, (it) => t.same(decodeConfChange({ data: encodeConfChange(it) }), it)),
  )
  const hardState = fc.record({ term: number, vote: number, commit: number })
  fc.assert(fc.property(hardState, (it) => t.same(decodeHardState(encodeHardState(it)), it)))
})

t.test('a truncated or lengthened message is refused', async (t) => {
  fc.assert(
    fc.property(message, fc.nat(), (it, cut) => {
      const whole = encodeMessage(it)
      t.throws(() => decodeMessage(whole.subarray(0, cut % whole.length)), DecodeError)
      t.throws(() => decodeMessage(new Uint8Array([...whole, 0])), DecodeError)
    }),
  )
})

t.test(
  'random bytes decode to something that encodes to the same bytes, or not at all',
  async () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          const again = encodeMessage(decodeMessage(bytes))
          return Buffer.compare(again, bytes) === 0
        } catch (error) {
          return error instanceof DecodeError
        }
      }),
      { numRuns: 20_000 },
    )
  },
)

t.test('numbers up to 2^53 - 1 in at most eight bytes, in one way only', async (t) => {
  const largest = Number.MAX_SAFE_INTEGER
  t.equal(encodeHardState({ term: largest, vote: 0, commit: 0 }).length, 8 + 2)
  const tooLarge = new Uint8Array([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f, 0, 0])
  t.throws(() => decodeHardState(tooLarge), /too large/)
  t.throws(() => decodeHardState(new Uint8Array([0x80, 0x00, 0, 0])), /shortest form/)
})

t.test('the empty change is no bytes, and nonsense is null', async (t) => {
  const empty = { transition: 'auto', changes: [], context: NO_BYTES } as const
  t.equal(encodeConfChange(empty).length, 0)
  t.same(decodeConfChange({ data: NO_BYTES }), empty)
  t.equal(decodeConfChange({ data: new Uint8Array([9]) }), null)
})
