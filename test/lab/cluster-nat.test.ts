// Goal: nodes behind translating routers are nodes like others. They join, their tasks are reached
// through the mesh and reach others; two of them reach each other, directly where the routers let
// them, through a manager otherwise; and when a router forgets its flows, all that goes on.
// Method: real agents, two of them each behind a router that masquerades (nat.ts). Who answers a
// request says which way it went; whether a manager relays, its metrics say.

import './enter.ts'
import type { Host } from '../../cli/lab/host.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import { parseMetrics } from '../../cli/lab/metrics.ts'
import { pageService, Swarm } from '../../cli/lab/swarm.ts'
import { SwarmNode } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'
import { NatRouter } from './nat.ts'

const METRICS = '127.0.0.1:9323'
/** More than a keep-alive (25 s): a node that only listens is heard at its new place by then. */
const ROAM_MS = 90_000
const REQUESTS = 20

interface Scene {
  readonly swarm: Swarm
  readonly nat1: NatRouter
  readonly nat2: NatRouter
}

/** Managers h1 and h2 outside, n1 and n2 behind a router each. A string says why not. */
async function build(lab: Lab): Promise<Scene | string> {
  const names = ['h1', 'h2', 'r1', 'r2', 'client', 'n1', 'n2']
  const hosts = await lab.hostsNamed(...names)
  const [h1, h2, r1, r2, client, n1, n2] = hosts as [Host, Host, Host, Host, Host, Host, Host]
  await lab.bridge([h1, h2, r1, r2, client])
  const nat1 = await NatRouter.make(lab, r1, n1, { ports: '20000' })
  if (typeof nat1 === 'string') return nat1
  const nat2 = await NatRouter.make(lab, r2, n2, { ports: '30000' })
  if (typeof nat2 === 'string') return nat2
  const swarm = new Swarm(lab)
  swarm.client = client
  for (const host of [h1, h2, n1, n2]) {
    const isInside = host === n1 || host === n2
    const more = isInside ? ['--label', 'behind-nat=true'] : []
    swarm.nodes.push(new SwarmNode(lab, host, { arguments: ['--metrics', METRICS, ...more] }))
  }
  await Promise.all(swarm.nodes.map((node) => node.start()))
  return { swarm, nat1, nat2 }
}

/** Waits until a page comes, then asks some more; resolves to the names that answered. */
async function ask(from: Host, at: string, timeoutMs = ROAM_MS): Promise<Set<string>> {
  const url = `http://${at}/`
  await waitFor(
    async () => (await from.probe.try('get', url, { timeoutMs: 2_000 })).status === 200,
    {
      what: `an answer of ${url} to ${from.name}`,
      timeoutMs,
    },
  )
  const names = new Set<string>()
  for (let i = 0; i < REQUESTS; i++) names.add((await from.probe.get(url)).trim())
  return names
}

async function relayed(managers: readonly SwarmNode[]): Promise<number> {
  let sum = 0
  for (const { host } of managers) {
    for (const { name, value } of parseMetrics(await host.probe.get(`http://${METRICS}/metrics`))) {
      if (name === 'weft_relayed_datagrams_total') sum += value
    }
  }
  return sum
}

labTest('nodes behind NAT', async (t, lab) => {
  const scene = await build(lab)
  if (typeof scene === 'string') {
    t.comment(`skipped: ${scene}`)
    return
  }
  const { swarm, nat1, nat2 } = scene
  const [h1, h2, n1, n2] = swarm.nodes as [SwarmNode, SwarmNode, SwarmNode, SwarmNode]
  await h1.init()
  await h2.join(h1, 'Manager')
  for (const node of [n1, n2]) await node.join(h1, 'Worker')
  await swarm.untilReady(4)
  const shown = await h1.nodes()
  t.equal(shown.get('n1')!.Status.Addr, nat1.router.address, 'the manager sees the router')

  for (const [i, { name }] of swarm.nodes.entries()) {
    const page = pageService(`on-${name}`, [], 1, { port: 8080 + i }) as { TaskTemplate: object }
    const Placement = { Constraints: [`node.hostname==${name}`] }
    await swarm.service({ ...page, TaskTemplate: { ...page.TaskTemplate, Placement } })
  }
  for (const { name } of swarm.nodes) await swarm.converged(`on-${name}`, 1)
  const inside = n1.host.address
  const other = n2.host.address

  const everything = async (): Promise<void> => {
    t.equal((await ask(swarm.client, `${h1.host.address}:8082`)).size, 1, 'n1 through h1')
    t.equal((await ask(swarm.client, `${h2.host.address}:8082`)).size, 1, 'n1 through h2')
    t.equal((await ask(swarm.client, `${h2.host.address}:8083`)).size, 1, 'n2 through h2')
    t.equal((await ask(nat1.router, `${inside}:8080`)).size, 1, 'h1 from n1')
    t.equal((await ask(nat1.router, `${inside}:8083`)).size, 1, 'n2 from n1')
    t.equal((await ask(nat2.router, `${other}:8082`)).size, 1, 'n1 from n2')
  }
  await everything()

  t.comment('once the direct way is open, nothing is relayed')
  await waitFor(
    async () => {
      const before = await relayed([h1, h2])
      await ask(nat2.router, `${other}:8082`)
      // Every request is several datagrams; initiations of handshakes may still go both ways.
      return (await relayed([h1, h2])) - before < REQUESTS / 2
    },
    { what: 'the direct way between n1 and n2', timeoutMs: 180_000 },
  )

  t.comment('a router forgets its flows and gives other ports')
  await nat1.change({ ports: '40000' })
  await everything()

  t.comment('routers that show another port to each who looks: a manager relays')
  await nat1.change({ ports: '50000-50999' })
  await nat2.change({ ports: '60000-60999' })
  await everything()
  // A direct way that was open stays in use until it is missed.
  await waitFor(
    async () => {
      const before = await relayed([h1, h2])
      await ask(nat2.router, `${other}:8082`)
      return (await relayed([h1, h2])) - before > REQUESTS
    },
    { what: 'requests between them to be relayed', timeoutMs: 180_000 },
  )
  t.equal((await h1.nodes()).get('n1')!.Status.State, 'ready')
})
