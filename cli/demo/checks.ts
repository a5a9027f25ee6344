// What `weft demo --once` checks, in order. A check returns a sentence about what it saw, or throws
// one.

import { EGRESS_DEVICES } from '../../dataplane/edge/mesh-plan.ts'
import { MARKER } from '../demo-web.ts'
import { sniff } from '../lab/sniffer.ts'
import { pause, waitFor } from '../lab/wait.ts'
import { NODES, PUBLISHED_PORT, SHOP_PORT, SNIFF_MS, SPREAD_REQUESTS } from './limits.ts'
import { Asker, ask, download, spread, url } from './requests.ts'
import type { Scene } from './scene.ts'

export interface CheckContext {
  readonly scene: Scene
  /** Fetches the metrics URL on the machine's own loopback, from outside the lab. */
  readonly fetchMetrics: () => Promise<string>
  /** State of node 1 before its agent was started. */
  readonly before: readonly string[]
}

export interface Check {
  readonly name: string
  readonly run: (context: CheckContext) => Promise<string>
}

function assert(holds: boolean, sentence: string): void {
  if (!holds) throw new Error(sentence)
}

function counts(answers: ReadonlyMap<string, number>): string {
  return [...answers]
    .sort()
    .map(([replica, count]) => `${replica} ${count}`)
    .join(', ')
}

/** Asks every node for the published port and checks that the replica saw the client's own
 * address. */
async function publishedPort(scene: Scene, family: 4 | 6): Promise<string> {
  const own = family === 4 ? scene.client.address : scene.client.address6
  for (let i = 0; i < NODES; i++) {
    const address = family === 4 ? scene.outsideAddress(i) : scene.outsideAddress6(i)
    const { replica, saw } = await ask(scene.client, url(address, PUBLISHED_PORT))
    assert(saw === own, `through node${i + 1}, ${replica} saw ${saw} instead of ${own}`)
  }
  return `every node answers, client seen as ${own}`
}

async function everyReplica(scene: Scene): Promise<string> {
  const target = url(scene.outsideAddress(0), PUBLISHED_PORT)
  const answers = await spread(scene.client, target, SPREAD_REQUESTS)
  assert(answers.size === 3, `not every replica of web answered: ${counts(answers)}`)
  return `node1:${PUBLISHED_PORT} is answered by ${counts(answers)}`
}

/** shop asks web on one network and stock on the other, by their names. */
async function names(scene: Scene): Promise<string> {
  const { body } = await ask(scene.client, url(scene.outsideAddress(1), SHOP_PORT))
  const web = /^http:\/\/web\/ (web\.\d) saw (\S+)$/m.exec(body)
  const stock = /^http:\/\/stock\/ (stock\.\d) saw (\S+)$/m.exec(body)
  assert(web !== null && stock !== null, `shop answered: ${body.trim().replaceAll('\n', '; ')}`)
  return `shop asked "web": ${web![1]}, "stock": ${stock![1]}`
}

async function nothingReadable(scene: Scene): Promise<string> {
  // While a sentence travels, listen on the underlay of every node, and outside as a control: there
  // the same sentence must be seen, or the listener is deaf.
  const devices = scene.hosts.map((_, i) => scene.underlayDevice(i))
  const control = scene.outsideDevice(0)
  const listening = Promise.all(
    [...devices, control].map((device) => sniff(device, MARKER, SNIFF_MS * 4)),
  )
  // A listener's thread takes its time to start: the talk goes on until the last one has heard
  // enough.
  let over = false
  const hush = (): void => {
    over = true
  }
  listening.then(hush, hush)
  while (!over) {
    await scene.client.probe.get(url(scene.outsideAddress(0), PUBLISHED_PORT, '/marker'))
  }
  const sights = await listening
  const outside = sights.pop()!
  const sum = (pick: (sight: (typeof sights)[number]) => number): number =>
    sights.reduce((total, sight) => total + pick(sight), 0)
  const packets = sum((sight) => sight.packets)
  assert(outside.readable > 0, 'the listener outside saw nothing readable: it is deaf')
  assert(sum((sight) => sight.tunnelled) > 0, 'no tunnelled packet was seen on the underlay')
  const readable = sum((sight) => sight.readable)
  assert(readable === 0, `${readable} of ${packets} packets on the underlay were readable`)
  return `0 of ${packets} underlay packets readable (outside: ${outside.readable})`
}

/** Every task of web is replaced while somebody asks without a pause. */
async function rollingUpdate(scene: Scene): Promise<string> {
  const asker = new Asker(scene.client, url(scene.outsideAddress(0), PUBLISHED_PORT))
  asker.start()
  await scene.update('web')
  await scene.updated('web')
  await scene.converged()
  const { asked, failures, lastFailure } = await asker.stop()
  assert(failures === 0, `${failures} of ${asked} requests failed: ${lastFailure}`)
  return `3 tasks replaced, 0 of ${asked} requests failed`
}

/** A node loses its power; what ran on it runs elsewhere soon, and the others answer meanwhile. */
async function nodeKilled(scene: Scene): Promise<string> {
  const victim = NODES - 1
  const asker = new Asker(scene.client, url(scene.outsideAddress(0), PUBLISHED_PORT))
  asker.start()
  await pause(500)
  const startMs = performance.now()
  await scene.powerOff(victim)
  const name = `node${victim + 1}`
  await waitFor(async () => (await scene.node.nodes()).get(name)?.Status.State === 'down', {
    what: `${name} to be seen down`,
    timeoutMs: 60_000,
  })
  const downS = (performance.now() - startMs) / 1000
  await scene.converged()
  const movedS = (performance.now() - startMs) / 1000
  const { asked, failures } = await asker.stop()
  // A task that runs may take a moment more until it listens.
  const target = url(scene.outsideAddress(1), PUBLISHED_PORT)
  await waitFor(async () => (await spread(scene.client, target, SPREAD_REQUESTS)).size === 3, {
    what: 'every replica to answer again',
  })
  const times = `down after ${downS.toFixed(1)} s, tasks moved after ${movedS.toFixed(1)} s`
  return `${times}; ${failures}/${asked} failed`
}

async function nodeBack(scene: Scene): Promise<string> {
  await scene.powerOn(NODES - 1)
  await scene.untilReady(NODES)
  const target = url(scene.outsideAddress(NODES - 1), PUBLISHED_PORT)
  const { replica } = await waitFor(() => ask(scene.client, target), {
    what: `an answer through node${NODES}`,
  })
  return `node${NODES} is ready; its port is answered by ${replica}`
}

async function stopped(scene: Scene, before: readonly string[]): Promise<string> {
  await scene.stopAgents()
  for (const node of scene.nodes) {
    const status = await node.process?.ended
    assert(status === 0, `the agent of ${node.name} ended with status ${status}`)
  }
  // The tasks' own links to the outside stay with their namespaces, for the next agent to find.
  const left = (await scene.hostState(0)).filter(
    (line) => !before.includes(line) && !line.includes(EGRESS_DEVICES),
  )
  assert(left.length === 0, `node1 keeps ${left.join('; ')}`)
  return 'agents ended with status 0; node1 is as it was before'
}

export const CHECKS: readonly Check[] = [
  { name: 'published port, IPv4', run: ({ scene }) => publishedPort(scene, 4) },
  { name: 'published port, IPv6', run: ({ scene }) => publishedPort(scene, 6) },
  { name: 'balancing', run: ({ scene }) => everyReplica(scene) },
  { name: 'names and networks', run: ({ scene }) => names(scene) },
  { name: 'encryption', run: ({ scene }) => nothingReadable(scene) },
  {
    name: 'throughput',
    run: async ({ scene }) => {
      const rate = await download(scene.client, scene.outsideAddress(0))
      return `${rate.toFixed(2)} Gb/s from a replica through node1:${PUBLISHED_PORT}`
    },
  },
  {
    name: 'metrics',
    run: async ({ scene, fetchMetrics }) => {
      const text = await fetchMetrics()
      for (const { name } of scene.hosts) {
        assert(text.includes(`node="${name}"`), `${name} is not in the metrics`)
      }
      const lines = text.split('\n').filter((line) => /^(weft|swarm)_/.test(line))
      return `${lines.length} samples from ${NODES} nodes over the loopback`
    },
  },
  { name: 'rolling update', run: ({ scene }) => rollingUpdate(scene) },
  { name: 'node killed', run: ({ scene }) => nodeKilled(scene) },
  { name: 'node back', run: ({ scene }) => nodeBack(scene) },
  { name: 'nothing left', run: ({ scene, before }) => stopped(scene, before) },
]
