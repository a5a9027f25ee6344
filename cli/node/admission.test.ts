// Goal: whoever is let into the Raft group leaves no member behind that nobody runs. Method: the
// admission over a group in memory that does what it is asked, and says in which order.

import t from 'tap'
import { silentLogger } from '../../base/log.ts'
import {
  nodeObject,
  realClock,
  type TestCluster,
  testCluster,
} from '../../controlplane/ca/testing/cluster.ts'
import type { Member } from '../../controlplane/raft/shell/member.ts'
import type { MemberAddress } from '../../controlplane/raft/shell/members.ts'
import type { ChangeRequest, Membership } from '../../controlplane/raft/shell/membership.ts'
import { Admission } from './admission.ts'

interface World extends TestCluster {
  readonly admission: Admission
  /** "remove 2" */
  readonly done: string[]
  /** Called when the newcomer has begun to listen. */
  onLearner: () => Promise<void>
}

/** Raft ids 1 (the leader) and 2, at h1:1 and h2:1; "n" is to be a manager. */
async function world(): Promise<World> {
  const cluster = await testCluster()
  const { certificate } = cluster.foundation
  await cluster.store.update((tx) => tx.create('nodes', nodeObject('n', certificate)))
  const members = new Map<number, MemberAddress>()
  for (const id of [1, 2]) members.set(id, { id, address: `h${id}:1`, nodeId: `m${id}` })
  const voters = new Set([1, 2])
  const done: string[] = []
  const change = async (request: ChangeRequest): Promise<void> => {
    const id = 'member' in request ? request.member.id : request.id
    done.push(`${request.kind} ${id}`)
    if (request.kind === 'remove') members.delete(id)
    if (request.kind === 'promote') voters.add(id)
    if (request.kind !== 'add-learner') return
    members.set(id, request.member)
    await made.onLearner()
  }
  const membership: Membership = {
    members: () => [...members.values()],
    config: () => ({ voters: [...voters] }) as unknown as ReturnType<Membership['config']>,
    change,
    probe: async () => ({ id: 7 }),
    behind: () => 0,
  }
  const member = {
    membership,
    isLeader: true,
    speaksFor: () => true,
    metrics: () => ({ lastIndex: 10 }),
  } as unknown as Member
  const parts = { store: cluster.store, member: () => member, onChange: () => {} }
  const admission = new Admission({ ...parts, clock: realClock, log: silentLogger })
  const made: World = { ...cluster, admission, done, onLearner: async () => {} }
  return made
}

t.test('a newcomer listens, then votes', async (t) => {
  const { admission, done } = await world()
  await admission.join('n', 7, 'h7:1')
  t.same(done, ['add-learner 7', 'promote 7'])
})

t.test('who was at its address before has gone', async (t) => {
  const { admission, done } = await world()
  await admission.join('n', 7, 'h2:1')
  t.same(done, ['remove 2', 'add-learner 7', 'promote 7'])
})

t.test('one that is demoted while it listens does not stay', async (t) => {
  const w = await world()
  w.onLearner = () =>
    w.changeNode('n', (n) => ({ ...n, role: 'worker', spec: { ...n.spec, Role: 'worker' } }))
  await t.rejects(w.admission.join('n', 7, 'h7:1'), { message: /is not to be a manager/ })
  t.same(w.done, ['add-learner 7', 'remove 7'])
})
