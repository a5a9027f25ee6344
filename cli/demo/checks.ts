// What `weft demo --once` checks, in order. A check returns a sentence about what it saw, or throws
// one.

import { MARKER } from '../demo-web.ts'
import { sniff } from '../lab/sniffer.ts'
import { PUBLISHED_PORT, SNIFF_MS, SPREAD_REQUESTS } from './limits.ts'
import { ask, download, spread, url } from './requests.ts'
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
  for (const [i, node] of scene.nodes.entries()) {
    const address = family === 4 ? scene.outsideAddress(i) : scene.outsideAddress6(i)
    const { replica, saw } = await ask(scene.client, url(address, PUBLISHED_PORT))
    assert(saw === own, `through ${node.name}, ${replica} saw ${saw} instead of ${own}`)
  }
  return `every node answers, client seen as ${own}`
}

async function vipSpread(scene: Scene, vip: string): Promise<string> {
  const answers = await spread(scene.shop, url(vip, undefined), SPREAD_REQUESTS)
  const all = scene.replicas.every((replica) => (answers.get(replica) ?? 0) > 0)
  assert(
    all,
    `of ${SPREAD_REQUESTS} requests to ${vip}, not every replica got one: ${counts(answers)}`,
  )
  return `shop asks ${vip}: ${counts(answers)}`
}

async function nothingReadable(scene: Scene): Promise<string> {
  // While a sentence travels, listen on the underlay of every node, and outside as a control: there
  // the same sentence must be seen, or the listener is deaf.
  const devices = scene.nodes.map((_, i) => scene.underlayDevice(i))
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
    await scene.shop.probe.get(url(scene.vip, undefined, '/marker'))
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

async function killAndRevive(scene: Scene): Promise<string> {
  const [victim] = scene.replicas as [string, ...string[]]
  await scene.kill(victim)
  const without = await spread(scene.shop, url(scene.vip, undefined), SPREAD_REQUESTS)
  assert(!without.has(victim), `${victim} is dead and answered`)
  for (const [i] of scene.nodes.entries()) {
    await ask(scene.client, url(scene.outsideAddress(i), PUBLISHED_PORT))
  }
  await scene.revive(victim)
  const again = await spread(scene.shop, url(scene.vip, undefined), SPREAD_REQUESTS)
  assert(again.has(victim), `${victim} is back and got nothing: ${counts(again)}`)
  return `${counts(without)}; back: ${counts(again)}`
}

export const CHECKS: readonly Check[] = [
  {
    name: 'published port, IPv4',
    run: ({ scene }) => publishedPort(scene, 4),
  },
  {
    name: 'published port, IPv6',
    run: ({ scene }) => publishedPort(scene, 6),
  },
  {
    name: 'published port, on the node itself',
    run: async ({ scene }) => {
      const node = scene.nodes[0]!
      const { replica } = await ask(node, url('127.0.0.1', PUBLISHED_PORT))
      return `127.0.0.1:${PUBLISHED_PORT} is answered by ${replica}`
    },
  },
  { name: 'VIP, IPv4', run: ({ scene }) => vipSpread(scene, scene.vip) },
  { name: 'VIP, IPv6', run: ({ scene }) => vipSpread(scene, scene.vip6) },
  { name: 'encryption', run: ({ scene }) => nothingReadable(scene) },
  { name: 'replica killed', run: ({ scene }) => killAndRevive(scene) },
  {
    name: 'throughput',
    run: async ({ scene }) => {
      const remote = scene.plan.addressOf(scene.replicas[1]!, 'front')
      const direct = await download(scene.shop, remote)
      const vip = await download(scene.shop, scene.vip)
      return `${direct.toFixed(2)} Gb/s to ${scene.replicas[1]}, ${vip.toFixed(2)} Gb/s to the VIP`
    },
  },
  {
    name: 'metrics',
    run: async ({ scene, fetchMetrics }) => {
      const text = await fetchMetrics()
      for (const node of scene.nodes) {
        assert(text.includes(`node="${node.name}"`), `${node.name} is not in the metrics`)
      }
      const lines = text.split('\n').filter((line) => line.startsWith('weft_')).length
      assert(lines > 0, 'there is no metric of weft')
      return `${lines} samples of ${scene.nodes.length} agents on the machine's loopback`
    },
  },
  {
    name: 'agents leave nothing on their hosts',
    run: async ({ scene, before }) => {
      const statuses = await scene.stopAgents()
      for (const [node, status] of statuses) assert(status === 0, `${node} ended with ${status}`)
      const after = await scene.hostState(0)
      const left = after.filter((line) => !before.includes(line))
      const lost = before.filter((line) => !after.includes(line))
      assert(left.length === 0, `left behind: ${left.join('; ')}`)
      assert(lost.length === 0, `taken away: ${lost.join('; ')}`)
      return 'rules, routes and links are as before'
    },
  },
]
