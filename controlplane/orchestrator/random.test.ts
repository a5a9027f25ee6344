// Goal: whatever users, agents, nodes and leaders do, at no moment is a promise broken, and when
// they stop the services are as asked for. Method: seeded random histories on a leader in memory,
// with invariants checked after every transaction; WEFT_LOOPS_SEEDS asks for more of them.
//
// Invariants, at every transaction:
//   - states and desired states never go back; a task never changes its slot or its node
//   - a slot has at most two tasks that are meant to run, and two only start-first or in a move
//   - no two tasks or VIPs hold one address
// At the end, with all nodes up and nothing failing:
//   - so many run as are asked for, one per slot or node, all of the current spec

import t from 'tap'
import { type Prng, prng } from '../../base/prng.ts'
import type { StoreEvent } from '../store/contract.ts'
import { slotKey } from '../store/indices.ts'
import { stateRank, type TaskObject } from '../store/objects.ts'
import { networkObject, taskSpec } from '../store/testing/objects.ts'
import { Leader } from './testing/leader.ts'

const SEEDS = Number(process.env.WEFT_LOOPS_SEEDS ?? 6)
const TIMEOUT_MS = 20_000 * SEEDS
const STEPS = 60

/** Complaints about what a transaction did. */
function watchInvariants(leader: Leader): string[] {
  const complaints: string[] = []
  const { store } = leader.world
  store.watch((event: StoreEvent) => {
    if (event.kind === 'reset') return
    for (const change of event.changes) {
      if (change.table !== 'tasks') continue
      const { object: task } = change
      if (change.kind === 'update') complaints.push(...stepsBack(change.old, task))
      if (change.kind === 'remove') continue
      const slot = store.view((tx) => tx.find('tasks', 'slot', slotKey(task)))
      const wanted = slot.filter((other) => stateRank(other.desiredState) <= stateRank('running'))
      if (wanted.length > 2)
        complaints.push(`${wanted.length} tasks are to run in ${slotKey(task)}`)
    }
    complaints.push(...doubledAddresses(leader))
  })
  return complaints
}

function stepsBack(old: TaskObject, now: TaskObject): string[] {
  const complaints: string[] = []
  if (stateRank(now.status.state) < stateRank(old.status.state)) complaints.push('a state')
  if (stateRank(now.desiredState) < stateRank(old.desiredState)) complaints.push('a desired state')
  if (old.nodeId !== '' && old.nodeId !== now.nodeId) complaints.push('a node')
  if (old.slot !== now.slot) complaints.push('a slot')
  return complaints.map((what) => `${what} of ${now.id} went back or changed`)
}

function doubledAddresses(leader: Leader): string[] {
  const held = leader.world
    .all('tasks')
    .filter(
      ({ status, desiredState }) =>
        stateRank(status.state) <= stateRank('running') ||
        stateRank(desiredState) <= stateRank('running'),
    )
    .flatMap(({ networks }) => networks.flatMap(({ addresses }) => addresses))
  const vips = leader.world
    .all('services')
    .flatMap(({ endpoint }) => endpoint.virtualIps.map(({ address }) => address))
  const all = [...held, ...vips]
  return new Set(all).size === all.length ? [] : ['an address is held twice']
}

/** One thing that may happen. */
function happening(leader: Leader, random: Prng): Promise<unknown> {
  const pick = <O>(of: readonly O[]): O => of[random.below(of.length)]!
  const node = pick(leader.world.all('nodes')).id
  const id = pick(['web', 'db', 'agent'])
  const running = leader.running(id)
  const mode = (Replicas: number) => (id === 'agent' ? {} : { Mode: { Replicated: { Replicas } } })
  const Networks = [{ Target: 'net' }]
  const kinds: (() => Promise<unknown>)[] = [
    () => (running.length > 0 ? leader.end(pick(running)) : Promise.resolve()),
    () => (running.length > 0 ? leader.end(pick(running), 'complete') : Promise.resolve()),
    () => leader.update(id, mode(random.below(8))),
    () => {
      const TaskTemplate = taskSpec({ Networks, ForceUpdate: random.below(5) })
      const UpdateConfig = {
        Parallelism: random.below(3),
        Order: pick(['start-first', 'stop-first'] as const),
        Monitor: 1e9 * random.below(2),
        Delay: 1e8 * random.below(5),
        FailureAction: pick(['pause', 'continue', 'rollback'] as const),
      }
      return leader.update(id, { TaskTemplate, UpdateConfig })
    },
    () => (leader.service(id).previousSpec === null ? Promise.resolve() : leader.rollback(id)),
    () => leader.availability(node, pick(['active', 'active', 'pause', 'drain'] as const)),
    () => leader.state(node, pick(['ready', 'ready', 'down', 'unknown'] as const)),
    async () => leader.lead(),
  ]
  return pick(kinds)()
}

function misfits(leader: Leader): string[] {
  return ['web', 'db', 'agent'].flatMap((id) => {
    const { spec } = leader.service(id)
    const running = leader.running(id)
    const wanted = spec.Mode.Replicated?.Replicas ?? leader.world.all('nodes').length
    const places = new Set(running.map(slotKey))
    const stray = running.filter((task) => task.spec.ForceUpdate !== spec.TaskTemplate.ForceUpdate)
    return [
      ...(running.length === wanted ? [] : [`${id}: ${running.length} of ${wanted} run`]),
      ...(places.size === running.length ? [] : [`${id}: a slot twice`]),
      ...(stray.length === 0 ? [] : [`${id}: ${stray.length} of an old spec`]),
    ]
  })
}

t.setTimeout(TIMEOUT_MS)

t.test('random histories', { timeout: TIMEOUT_MS }, async (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const random = prng(seed)
    const leader = await Leader.make(t, 4, seed)
    const Networks = [{ Target: 'net' }]
    const TaskTemplate = taskSpec({ Networks })
    await leader.world.add('networks', networkObject('net'))
    await leader.create('web', { Mode: { Replicated: { Replicas: 4 } }, TaskTemplate })
    await leader.create('db', { Mode: { Replicated: { Replicas: 2 } }, TaskTemplate })
    await leader.create('agent', { Mode: { Global: {} }, TaskTemplate })
    const complaints = watchInvariants(leader)
    leader.agents.stopMs = random.below(3) * 200
    for (let step = 0; step < STEPS; step++) {
      await happening(leader, random)
      if (random.below(4) > 0) await leader.run(random.below(1_500))
    }
    for (const { id } of leader.world.all('nodes')) {
      await leader.availability(id, 'active')
      await leader.state(id, 'ready')
    }
    // What an update gave up on is for a user to decide: this one says "go on".
    for (const id of ['web', 'db', 'agent']) {
      const { TaskTemplate } = leader.service(id).spec
      await leader.update(id, { TaskTemplate: { ...TaskTemplate, ForceUpdate: 9 } })
    }
    await leader.run(40_000)
    t.same([...new Set(complaints)], [], `seed ${seed}: nothing was broken`)
    t.same(misfits(leader), [], `seed ${seed}: all is as asked for`)
    t.same(leader.world.warnings, [], `seed ${seed}: no pass failed`)
    leader.agents.stop()
    leader.world.stop()
  }
})
