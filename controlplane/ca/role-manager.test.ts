// Goal: roles follow specs in the one safe order, also when the group refuses, the leader itself is
// demoted, or the wish changes on the way. Method: the loop over a store in memory and a Raft group
// that writes down what it is asked, and what the store said at that instant.

import t, { type Test } from 'tap'
import type { NodeObject } from '../store/objects.ts'
import type { NodeRole } from '../store/specs.ts'
import { type RaftGroup, RoleManager } from './role-manager.ts'
import { nodeObject, realSleep, type TestCluster, testCluster, until } from './testing/cluster.ts'

interface World extends TestCluster {
  /** "remove 2 while manager", "hand over". */
  readonly asked: string[]
  /** Raft ids, and whose they are. */
  readonly members: Map<number, string>
  refuses: boolean
  readonly manager: RoleManager
  readonly want: (id: string, role: NodeRole) => Promise<void>
}

/** Managers m1, m2, m3 with Raft ids 1, 2, 3, of which m1 leads; a worker w. */
async function world(t: Test): Promise<World> {
  const cluster = await testCluster()
  const asked: string[] = []
  const members = new Map([1, 2, 3].map((raftId) => [raftId, `m${raftId}`]))
  const { certificate } = cluster.foundation
  const node = (id: string, raftId: number | null): Omit<NodeObject, 'meta'> => ({
    ...nodeObject(id, { ...certificate, role: raftId === null ? 'worker' : 'manager' }),
    manager:
      raftId === null
        ? null
        : { raftId, address: '', isLeader: raftId === 1, reachability: 'reachable' },
  })
  await cluster.store.update((tx) => {
    tx.remove('nodes', cluster.foundation.nodeId)
    for (const raftId of [1, 2, 3]) tx.create('nodes', node(`m${raftId}`, raftId))
    tx.create('nodes', node('w', null))
  })
  const raft: RaftGroup = {
    self: 1,
    membersOf: (id) => [...members.keys()].filter((raftId) => members.get(raftId) === id),
    remove: async (raftId) => {
      asked.push(`remove ${raftId} while ${cluster.node(members.get(raftId)!)?.role}`)
      if (made.refuses) throw new Error('this would result in a loss of quorum')
      members.delete(raftId)
    },
    handOver: async () => {
      asked.push('hand over')
    },
  }
  const manager = new RoleManager({
    store: cluster.store,
    raft,
    sleep: (_ms, signal) => realSleep(20, signal),
  })
  manager.start()
  t.teardown(() => manager.stop())
  const made: World = {
    ...cluster,
    asked,
    members,
    refuses: false,
    manager,
    want: (id, Role) => cluster.changeNode(id, (n) => ({ ...n, spec: { ...n.spec, Role } })),
  }
  return made
}

t.test('promote', async (t) => {
  const w = await world(t)
  await w.want('w', 'manager')
  await until('w is a manager', () => w.node('w')!.role === 'manager')
  t.equal(w.node('w')!.manager, null, 'it joins the group by itself')
  t.same(w.asked, [])
  await w.want('w', 'worker')
  await until('w is none any more', () => w.node('w')!.role === 'worker')
  t.same(w.asked, [], 'it had not joined yet')
})

t.test('demote: out of the group first', async (t) => {
  const w = await world(t)
  await w.want('m2', 'worker')
  await until('m2 is a worker', () => w.node('m2')!.role === 'worker')
  t.same(w.asked, ['remove 2 while manager'])
  t.equal(w.node('m2')!.manager, null)
  t.same([...w.members.keys()], [1, 3])
})

t.test('demote one that has just joined: its object does not say it yet', async (t) => {
  const w = await world(t)
  await w.want('w', 'manager')
  await until('w is a manager', () => w.node('w')!.role === 'manager')
  w.members.set(4, 'w')
  await w.want('w', 'worker')
  await until('w is a worker', () => w.node('w')!.role === 'worker')
  t.same(w.asked, ['remove 4 while manager'], 'no vote is left behind')
})

t.test('the group refuses for a while', async (t) => {
  const w = await world(t)
  w.refuses = true
  await w.want('m3', 'worker')
  await until('it was tried twice', () => w.asked.length >= 2)
  t.equal(w.node('m3')!.role, 'manager')
  w.refuses = false
  await until('m3 is a worker', () => w.node('m3')!.role === 'worker')
  // Not wanted any more: it stays what it is.
  w.refuses = true
  const before = w.asked.length
  await w.want('m2', 'worker')
  await until('it was tried', () => w.asked.length > before)
  await w.want('m2', 'manager')
  w.refuses = false
  await w.want('w', 'manager')
  await until('the next is dealt with', () => w.node('w')!.role === 'manager')
  t.equal(w.node('m2')!.role, 'manager')
  t.ok(w.members.has(2))
})

t.test('the leader hands over, after the others are done', async (t) => {
  const w = await world(t)
  await w.manager.stop()
  await w.want('m1', 'worker')
  await w.want('m2', 'worker')
  w.manager.start()
  await until('it handed over', () => w.asked.includes('hand over'))
  t.same(w.asked.slice(0, 2), ['remove 2 while manager', 'hand over'])
  t.equal(w.node('m1')!.role, 'manager', 'the next leader demotes it')
  t.ok(w.members.has(1))
})

t.test('one that was taken out before a crash is finished', async (t) => {
  const w = await world(t)
  w.members.delete(2)
  await w.want('m2', 'worker')
  await until('m2 is a worker', () => w.node('m2')!.role === 'worker')
  t.same(w.asked, [])
})

t.test('wanted back while it is taken out: a new member later', async (t) => {
  const w = await world(t)
  let roles: NodeRole[] = []
  w.store.watch((event) => {
    if (event.kind === 'reset') return
    roles = [...roles, ...event.changes.map((c) => (c.object as NodeObject).role)]
  })
  await w.want('m2', 'worker')
  await w.want('m2', 'manager')
  await until('it is settled', () => w.node('m2')!.role === w.node('m2')!.spec.Role)
  // Either it was in time, or the node went through worker and has no membership left.
  const isIn = w.members.has(2)
  t.equal(w.node('m2')!.manager !== null, isIn)
  t.equal(roles.includes('worker'), !isIn)
})
