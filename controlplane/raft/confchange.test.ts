// Goal: no sequence of membership changes reaches a configuration that contradicts itself, or two
// that could decide separately. Method: random changes from random configurations.

import fc from 'fast-check'
import t from 'tap'
import { changeSimply, configFault, enterJoint, leaveJoint, tryChangeConfig } from './confchange.ts'
import {
  type ConfChange,
  type ConfChangeSingle,
  type ConfState,
  EMPTY_CONF_STATE,
  NO_BYTES,
  type NodeId,
} from './messages.ts'
import { majoritySize } from './quorum.ts'

const single: fc.Arbitrary<ConfChangeSingle> = fc.record({
  type: fc.constantFrom('add-voter', 'add-learner', 'remove', 'update'),
  nodeId: fc.integer({ min: 0, max: 7 }),
})
const change: fc.Arbitrary<ConfChange> = fc.record({
  transition: fc.constantFrom('auto', 'joint-implicit', 'joint-explicit'),
  changes: fc.array(single, { maxLength: 5 }),
  context: fc.constant(NO_BYTES),
})

const START: ConfState = { ...EMPTY_CONF_STATE, voters: [1, 2, 3] }

/** The configuration after `change`; the same one when the change is impossible. */
function attempt(config: ConfState, next: ConfChange): ConfState {
  return tryChangeConfig(config, next) ?? config
}

t.test('every reachable configuration is sound', async (t) => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
      let config = START
      for (const next of changes) {
        config = attempt(config, next)
        t.equal(configFault(config), null)
        if (config.voters.length === 0) return false
      }
      return true
    }),
    { numRuns: 500 },
  )
})

/** All sets of voters that decide in `config`. */
function* quorums(config: ConfState): Generator<ReadonlySet<NodeId>> {
  const everyone = [...new Set([...config.voters, ...config.votersOutgoing])]
  for (let bits = 0; bits < 1 << everyone.length; bits++) {
    const set = new Set(everyone.filter((_, i) => (bits >> i) & 1))
    const decides = (half: readonly NodeId[]): boolean =>
      half.length === 0 || half.filter((id) => set.has(id)).length >= majoritySize(half.length)
    if (decides(config.voters) && decides(config.votersOutgoing)) yield set
  }
}

t.test('a configuration and the next one never decide separately', async () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 6 }), change, (changes, last) => {
      const before = changes.reduce(attempt, START)
      const after = attempt(before, last)
      for (const a of quorums(before)) {
        for (const b of quorums(after)) {
          if (a.isDisjointFrom(b)) return false
        }
      }
      return true
    }),
    { numRuns: 100 },
  )
})

t.test('a failed change leaves the configuration as it was', async (t) => {
  const frozen = structuredClone(START)
  t.throws(() =>
    changeSimply(START, [
      { type: 'remove', nodeId: 1 },
      { type: 'remove', nodeId: 2 },
    ]),
  )
  t.throws(() => leaveJoint(START), { message: "can't leave a non-joint config" })
  t.throws(() => enterJoint(EMPTY_CONF_STATE, false, []), /zero-voter/)
  t.same(START, frozen)
})

t.test('thesis 4.3: replacing a voter in one step', async (t) => {
  const joint = enterJoint(START, true, [
    { type: 'add-voter', nodeId: 4 },
    { type: 'add-learner', nodeId: 1 },
  ])
  t.same(joint, {
    voters: [2, 3, 4],
    votersOutgoing: [1, 2, 3],
    learners: [],
    learnersNext: [1],
    autoLeave: true,
  })
  t.same(leaveJoint(joint), { ...EMPTY_CONF_STATE, voters: [2, 3, 4], learners: [1] })
})

t.test('configurations that contradict themselves are found out', async (t) => {
  for (const [fault, config] of [
    [/sorted/, { voters: [2, 1] }],
    [/sorted/, { voters: [0, 1] }],
    [/sorted/, { learners: [4, 4] }],
    [/both/, { learners: [1] }],
    [/learnersNext/, { learnersNext: [1] }],
    [/autoLeave/, { autoLeave: true }],
  ] as const) {
    t.match(configFault({ ...START, ...config }), fault)
  }
})
