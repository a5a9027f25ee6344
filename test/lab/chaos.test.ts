// Goal: whatever happens at once, desired state holds afterwards. Method: for WEFT_CHAOS_SECONDS
// (default 45) one of a list of evils after another, chosen by a seed (WEFT_CHAOS_SEED, printed):
// tasks and agents killed, nodes without power, one node cut off, rolling updates, scaling, writes.
// Then everybody is back, and: every service has its tasks, no address is had twice, every write
// that was acknowledged is there. A client asks a published port all the while, so that there are
// flows to be lost. When the services are removed, no task, namespace, process, device, rule or
// flow is left of them.

import './enter.ts'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { prng } from '../../base/prng.ts'
import { parseMetrics, sumOf } from '../../cli/lab/metrics.ts'
import { endLoad, killTask, pageService, Swarm } from '../../cli/lab/swarm.ts'
import type { SwarmNode } from '../../cli/lab/swarm-node.ts'
import { pause, waitFor } from '../../cli/lab/wait.ts'
import { labTest, type Test } from './lab-test.ts'

const SECONDS = Number(process.env.WEFT_CHAOS_SECONDS ?? 45)
const SEED = Number(process.env.WEFT_CHAOS_SEED ?? Date.now() & 0xffff)
const SETTLE_MS = 120_000
const REPLICAS_MAX = 5
const SERVICES: readonly string[] = ['a', 'b']
const PORT = 8080
const REQUESTS_PER_SECOND = 20
const METRICS = '127.0.0.1:9323'

class Chaos {
  readonly swarm: Swarm
  readonly #random = prng(SEED)
  readonly #t: Test
  readonly written: string[] = []
  readonly replicas = new Map<string, number>()
  readonly done = new Map<string, number>()
  /** Nodes that are away, with what brings them back; one at a time keeps the quorum. */
  #away: (() => Promise<void>) | null = null

  constructor(t: Test, swarm: Swarm) {
    this.#t = t
    this.swarm = swarm
  }

  #node(): SwarmNode {
    return this.swarm.nodes[this.#random.below(this.swarm.nodes.length)]!
  }

  #service(): string {
    return this.#random.below(2) === 0 ? 'a' : 'b'
  }

  async #leave(back: () => Promise<void>): Promise<void> {
    await this.heal()
    this.#away = back
  }

  async heal(): Promise<void> {
    const back = this.#away
    this.#away = null
    await back?.()
  }

  readonly #evils: Readonly<Record<string, () => Promise<void>>> = {
    'kill a task': async () => {
      const node = this.#node()
      const tasks = readdirSync(join(node.dataDirectory, 'tasks'))
      if (tasks.length > 0) killTask(node, tasks[this.#random.below(tasks.length)]!)
    },
    'kill an agent': async () => {
      await this.heal()
      const node = this.#node()
      await node.crash()
      await this.#leave(() => node.start())
    },
    'take the power': async () => {
      await this.heal()
      const node = this.#node()
      await this.swarm.powerOff(node)
      await this.#leave(() => this.swarm.powerOn(node))
    },
    'cut a node off': async () => {
      await this.heal()
      const { host } = this.#node()
      const set = (state: string) =>
        host.ip(host.interfaces.map((name) => `link set ${name} ${state}`))
      await set('down')
      await this.#leave(() => set('up'))
    },
    heal: () => this.heal(),
    update: () => this.#try(() => this.swarm.force(this.#service())),
    scale: () =>
      this.#try(async () => {
        const service = this.#service()
        const replicas = 1 + this.#random.below(REPLICAS_MAX)
        // What was not acknowledged may have happened, or not: it is asked again in the end.
        this.replicas.set(service, replicas)
        await this.swarm.scale(service, replicas)
      }),
    write: () =>
      this.#try(async () => {
        const Name = `w${this.written.length}-${this.#random.below(1e9)}`
        await this.#alive().api.ask('POST', '/configs/create', { Name, Data: 'eA==' })
        this.written.push(Name)
      }),
  }

  #alive(): SwarmNode {
    const running = this.swarm.nodes.filter((node) => node.isRunning)
    return running[this.#random.below(running.length)]!
  }

  /** A request may be refused while there is no leader; that is no failure. */
  async #try(request: () => Promise<void>): Promise<void> {
    const late = pause(10_000)
    await Promise.race([request().catch(() => {}), late])
  }

  async step(): Promise<void> {
    const names = Object.keys(this.#evils)
    const name = names[this.#random.below(names.length)]!
    this.#t.comment(name)
    this.done.set(name, (this.done.get(name) ?? 0) + 1)
    await this.#evils[name]!()
    await pause(this.#random.below(1_500))
  }
}

/** What services add to a host, one per line: devices, rules, filters. The device of published
 * ports stays once there was one. */
async function footprint({ host }: SwarmNode): Promise<string[]> {
  const script = [
    'ip -o link | cut -d: -f2 | cut -d@ -f1 | grep -v weft0',
    'ip rule; ip -6 rule',
    'for table in filter raw nat; do iptables -t $table -S 2>/dev/null; done; true',
  ].join('; ')
  return (await host.must(['sh', '-c', script])).split('\n').sort()
}

/** Open flows of a node's balancer. */
async function flows({ host }: SwarmNode): Promise<number> {
  const text = await host.probe.get(`http://${METRICS}/metrics`)
  return sumOf(parseMetrics(text), 'weft_flows_open')
}

/** Command lines of processes that are the tasks' own. */
function taskProcesses(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      } catch {
        return ''
      }
    })
    .filter((line) => /sleep 10000|page-server/.test(line))
}

function service(name: string): object {
  return {
    Name: name,
    Mode: { Replicated: { Replicas: 3 } },
    TaskTemplate: {
      ContainerSpec: {
        Image: 'host',
        Command: ['sh', '-c', 'exec sleep 10000'],
        StopGracePeriod: 1_000_000_000,
      },
      Networks: [{ Target: 'front' }],
      RestartPolicy: { Condition: 'any', Delay: 100_000_000 },
    },
    UpdateConfig: { Parallelism: 1, Monitor: 1_000_000, FailureAction: 'continue' },
    EndpointSpec: { Mode: 'vip' },
  }
}

async function holds(t: Test, chaos: Chaos): Promise<void> {
  const { swarm } = chaos
  await chaos.heal()
  await swarm.untilReady(swarm.nodes.length)
  for (const [name, replicas] of chaos.replicas) {
    await swarm.scale(name, replicas)
    const tasks = await swarm.converged(name, replicas, SETTLE_MS)
    t.equal(tasks.length, replicas, `${name} has its ${replicas} tasks`)
  }
  const alive = (await swarm.tasks()).filter(({ Status }) => Status.State === 'running')
  const addresses = alive.flatMap(({ NetworksAttachments = [] }) =>
    NetworksAttachments.flatMap(({ Addresses }) => Addresses),
  )
  t.equal(new Set(addresses).size, addresses.length, 'no address is had twice')
  const configs = await swarm.ask<{ Spec: { Name: string } }[]>('GET', '/configs')
  const there = new Set(configs.map(({ Spec }) => Spec.Name))
  const lost = chaos.written.filter((name) => !there.has(name))
  t.same(lost, [], `all ${chaos.written.length} acknowledged writes are there`)
}

async function nothingIsLeft(
  t: Test,
  { swarm }: Chaos,
  before: readonly (readonly string[])[],
): Promise<void> {
  const open = await Promise.all(swarm.nodes.map(flows))
  t.ok(
    open.some((count) => count > 0),
    `flows are there to be left: ${open}`,
  )
  for (const name of SERVICES) await swarm.ask('DELETE', `/services/${name}`)
  const left = (): string[] =>
    swarm.nodes.flatMap(({ dataDirectory, runDirectory }) =>
      [join(dataDirectory, 'tasks'), join(runDirectory, 'netns')].flatMap((path) =>
        readdirSync(path).map((name) => `${path}/${name}`),
      ),
    )
  await waitFor(() => left().length === 0, {
    what: 'nodes to be empty',
    timeoutMs: SETTLE_MS,
  }).catch(() => {})
  t.same(left(), [], 'no task, no namespace')
  await waitFor(() => swarm.ask('DELETE', '/networks/front').then(() => true), {
    what: 'the network to be free',
    timeoutMs: SETTLE_MS,
  })
  await waitFor(async () => (await Promise.all(swarm.nodes.map(flows))).every((n) => n === 0), {
    what: 'the last flow to go',
    timeoutMs: SETTLE_MS,
  }).catch((error: Error) => t.fail(error.message))
  t.same(taskProcesses(), [], 'no process')
  t.same(await Promise.all(swarm.nodes.map(footprint)), before, 'no device, no rule')
}

labTest(
  `chaos for ${SECONDS} s, seed ${SEED}`,
  async (t, lab) => {
    const options = { arguments: ['--metrics', METRICS] }
    const swarm = await Swarm.start(lab, { count: 3, managers: 3, options })
    const before = await Promise.all(swarm.nodes.map(footprint))
    await swarm.network('front')
    const chaos = new Chaos(t, swarm)
    const page = pageService('b', ['front'], 3, { port: PORT })
    for (const spec of [service('a'), page]) await swarm.service(spec)
    for (const name of SERVICES) {
      chaos.replicas.set(name, 3)
      await swarm.converged(name, 3)
    }
    const targets = swarm.nodes.map(({ host }) => `${host.address}:${PORT}`)
    const order = { targets, perSecond: REQUESTS_PER_SECOND, keepAlive: 0 }
    const load = await swarm.load(swarm.client, order)
    const endMs = performance.now() + SECONDS * 1000
    while (performance.now() < endMs) await chaos.step()
    t.comment(JSON.stringify(Object.fromEntries(chaos.done)))
    await holds(t, chaos)
    await swarm.served(PORT)
    const { asked, answered } = await endLoad(load)
    t.comment(`${answered} of ${asked} requests were answered`)
    t.ok(answered > asked / 10, 'requests were answered meanwhile')
    await nothingIsLeft(t, chaos, before)
  },
  SECONDS * 1000 + 230_000,
)
