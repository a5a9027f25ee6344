// How fast does a swarm come together, and how fast does it notice what is lost? Four agents on a
// bridge, driven over the Engine API. Each round founds a swarm of three managers and a worker,
// kills the worker, then the leader, and takes everything down again.
//
//   init, join      from the request to its answer; the node is ready then
//   leader killed   to the first answer to a write through another manager
//   worker killed   to the first list that shows it as down

import type { Lab } from '../cli/lab/lab.ts'
import { type SwarmNode, startNodes } from '../cli/lab/swarm-node.ts'
import { pause } from '../cli/lab/wait.ts'
import type { Bench, Yield } from './harness.ts'

const LOOK_MS = 10
const WAIT_MS = 30_000

async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now()
  await work()
  return (performance.now() - startMs) / 1000
}

/** Tries until it succeeds. */
async function until(look: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + WAIT_MS
  while (!(await look().catch(() => false))) {
    if (performance.now() > endMs) throw new Error('it did not come to that')
    await pause(LOOK_MS)
  }
}

async function isReady(by: SwarmNode, count: number): Promise<boolean> {
  const shown = [...(await by.nodes()).values()]
  return shown.filter(({ Status }) => Status.State === 'ready').length === count
}

async function label(by: SwarmNode, value: string): Promise<boolean> {
  const node = (await by.nodes()).get(by.name)!
  await by.api.ask('POST', `/nodes/${node.ID}/update?version=${node.Version.Index}`, {
    ...node.Spec,
    Labels: { value },
  })
  return true
}

async function round(nodes: readonly SwarmNode[]): Promise<Yield> {
  const [h1, h2, h3, h4] = nodes as [SwarmNode, SwarmNode, SwarmNode, SwarmNode]
  const init = await secondsOf(() => h1.init())
  const worker = await secondsOf(async () => {
    await h4.join(h1, 'Worker')
    await until(() => isReady(h1, 2))
  })
  const manager = await secondsOf(async () => {
    await h2.join(h1, 'Manager')
    await until(() => isReady(h1, 3))
  })
  await h3.join(h1, 'Manager')
  await until(() => isReady(h1, 4))
  const down = await secondsOf(async () => {
    await h4.crash()
    await until(async () => (await h1.nodes()).get('h4')?.Status.State === 'down')
  })
  const leader = await secondsOf(async () => {
    await h1.crash()
    await until(() => label(h2, 'after the leader'))
  })
  await Promise.all([h1.start(), h4.start()])
  await Promise.all(nodes.map((node) => node.leave(true)))
  return {
    'swarm init': init,
    'join, worker ready': worker,
    'join, manager ready': manager,
    'worker killed, shown down': down,
    'leader killed, a write answered': leader,
  }
}

export const bench: Bench = {
  name: 'cluster',
  hasPeers: false,
  question: 'How fast does a swarm come together, and how fast does it notice what is lost?',
  metrics: [
    'swarm init',
    'join, worker ready',
    'join, manager ready',
    'worker killed, shown down',
    'leader killed, a write answered',
  ].map((name) => ({ name, unit: 's' })),
  goals: [
    { metric: 'swarm init', atMost: 1 },
    { metric: 'join, worker ready', atMost: 2 },
    { metric: 'join, manager ready', atMost: 2 },
    { metric: 'worker killed, shown down', atMost: 4 },
    { metric: 'leader killed, a write answered', atMost: 2.5 },
  ],
  contestants: async (lab: Lab) => {
    const nodes = await startNodes(lab, 4)
    return [{ name: 'weft', measure: () => round(nodes) }]
  },
}
