// Goal: running tasks move to a node that joined, where that was asked for, one at a time and to an
// end. Method: a leader in memory with all control loops, the rebalancer among them.

import t, { type Test } from 'tap'
import { Rebalancer } from '../scheduler/rebalance.ts'
import type { ServiceSpec } from '../store/specs.ts'
import { nodeObject, taskSpec } from '../store/testing/objects.ts'
import { Leader } from './testing/leader.ts'

async function balancing(t: Test, spec: Partial<ServiceSpec>) {
  const leader = await Leader.make(t, 2)
  const rebalancer = new Rebalancer(leader.world.context)
  leader.world.start(rebalancer)
  await leader.create('web', { Mode: { Replicated: { Replicas: 6 } }, ...spec })
  await leader.run(3_000)
  const tally = () => {
    const perNode = Map.groupBy(leader.running('web'), ({ nodeId }) => nodeId)
    return Object.fromEntries([...perNode].map(([id, { length }]) => [id, length]).sort())
  }
  return { leader, rebalancer, tally }
}
const ASKED = { Labels: { 'weft.rebalance': 'true' } }

t.test('one at a time, until it is even', async (t) => {
  const { leader, rebalancer, tally } = await balancing(t, ASKED)
  t.equal(rebalancer.counters.moves, 0)
  leader.agents.stopMs = 300
  await leader.world.add('nodes', nodeObject('n3'))
  let fewest = 6
  for (let i = 0; i < 80; i++) {
    await leader.run(100)
    fewest = Math.min(fewest, leader.running('web').length)
  }
  t.equal(rebalancer.counters.moves, 1)
  t.equal(fewest, 5)
  await leader.run(60_000)
  t.same(tally(), { n1: 2, n2: 2, n3: 2 })
  t.equal(rebalancer.counters.moves, 2)
  t.equal(leader.service('web').updateStatus, null)
})

t.test('start-first services lose nothing', async (t) => {
  const UpdateConfig = { Parallelism: 1, Order: 'start-first' } as const
  const { leader, tally } = await balancing(t, { ...ASKED, UpdateConfig })
  await leader.world.add('nodes', nodeObject('n3'))
  for (let i = 0; i < 300; i++) {
    await leader.run(100)
    const up = leader.tasks('web').filter(({ status }) => status.state === 'running').length
    if (up < 6) t.fail(`${up} ran`)
  }
  t.same(tally(), { n1: 2, n2: 2, n3: 2 })
})

t.test('not asked for, refused, or nothing to gain', async (t) => {
  const constrained = taskSpec({ Placement: { Constraints: ['node.id!=n3'] } })
  for (const spec of [
    {},
    { Labels: { 'weft.rebalance': 'false' } },
    { ...ASKED, TaskTemplate: constrained },
  ]) {
    const { leader, rebalancer, tally } = await balancing(t, spec)
    await leader.world.add('nodes', nodeObject('n3'))
    await leader.run(30_000)
    t.equal(rebalancer.counters.moves, 0)
    t.same(tally(), { n1: 3, n2: 3 })
  }
})

t.test('asked for by the cluster', async (t) => {
  const { leader, rebalancer } = await balancing(t, {})
  const { id } = leader.world.all('clusters')[0]!
  await leader.world.change('clusters', id, (cluster) => ({
    ...cluster,
    spec: { ...cluster.spec, ...ASKED },
  }))
  await leader.world.add('nodes', nodeObject('n3'))
  await leader.run(30_000)
  t.equal(rebalancer.counters.moves, 2)
})

t.test('by preference, not by node', async (t) => {
  const TaskTemplate = taskSpec({
    Placement: { Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.zone' } }] },
  })
  const { leader, tally } = await balancing(t, { ...ASKED, TaskTemplate })
  const spec = { Labels: { zone: 'west' }, Role: 'worker', Availability: 'active' } as const
  await leader.world.add('nodes', nodeObject('n3', { spec }))
  await leader.run(90_000)
  t.match(tally(), { n3: 3 })
})
