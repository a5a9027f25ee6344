// Goal: a live peer answers when it is asked for a sign of life, and one that was started again has
// a new session soon. Method: the world of three nodes; the counters of what came from a peer.

import t from 'tap'
import { RX_PACKETS } from './counters.ts'

import { CLUSTER, tablesOf } from './testing/cluster.ts'
import { compileFor, compileValid, World } from './testing/world.ts'

/** Packets that `a` has had from `b`. */
function heard(world: World): number {
  const node = world.node('a')
  return node.counters.cells[node.counters.row('peer', 'b') + RX_PACKETS]!
}

function knock(world: World, peers: readonly string[], anew: readonly string[] = []): void {
  world.node('a').engine.ask({ name: 'knock', given: { peers, anew } })
  world.node('a').engine.transmitter.flush(world.clock.nowMs())
  world.settle()
}

t.test('a peer that is asked answers', async (t) => {
  const world = new World()
  world.connect()
  const before = heard(world)
  knock(world, ['b', 'nobody'])
  t.equal(heard(world), before + 1)
  knock(world, ['c'])
  t.equal(heard(world), before + 1, 'and nobody else')
  world.audit()
})

t.test('where there is no session one is made', async (t) => {
  const world = new World()
  knock(world, ['b'])
  const before = heard(world)
  knock(world, ['b'])
  t.equal(heard(world), before + 1)
  world.audit()
})

t.test('a peer that has lost its keys is called anew', async (t) => {
  const world = new World()
  world.connect()
  const tables = tablesOf(CLUSTER, 'b')
  const node = world.node('b')
  // As after a restart: nothing of the session is left.
  const alone = { endpoints: [], services: [], publishedPorts: [] }
  node.swap(compileValid({ ...tables, ...alone, peers: [] }))
  node.swap(compileFor(CLUSTER, 'b'))
  const before = heard(world)
  knock(world, ['b'])
  t.equal(heard(world), before, 'it cannot know who asks')
  knock(world, ['b'], ['b'])
  knock(world, ['b'])
  t.ok(heard(world) > before)
  world.audit()
})
