// npm run bench -- services
//
// How soon and how smoothly does desired state become packets? Three managers and a worker in a
// lab, tasks as processes, a client outside that asks at the published port of every node at 500
// requests a second: half over new connections, half over 30 kept ones. WEFT_BENCH_PARTS names
// parts: start, failures, updates, dns (default: all).
//
//   start      300 tasks of `sleep`, on an overlay, from the request to the last one Running; when
//              the last of them was in each state is told beside
//   failures   a task killed, then a worker without power, then the leader; requests fail until the
//              dead are out of every node's tables: the last failure after the event is the figure.
//              Answers that come late do not count, for a client waits longer than a table lives.
//              The links between cause and effect stand below it, in ms after the death.
//   updates    a service of 6 replaced UPDATES times, then each node drained in turn
//   dns        questions for a service's name from within a task: as fast as they are answered, 16
//              under way at a time, then DNS_RATE a second for the time that an answer takes; what
//              dnsperf says of the former, where it is installed, is told beside

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import type { Lab } from '../cli/lab/lab.ts'
import type { LoadReport } from '../cli/lab/request-load.ts'
import {
  endLoad,
  killTask,
  type PagePlan,
  pageService,
  type ShownTask,
  Swarm,
} from '../cli/lab/swarm.ts'
import type { SwarmNode } from '../cli/lab/swarm-node.ts'
import { pause, waitFor } from '../cli/lab/wait.ts'
import { TASK_STATES } from '../controlplane/store/objects.ts'
import type { Bench, Yield } from './harness.ts'
import {
  LEADER_LINKS,
  leaderChain,
  NODE_LINKS,
  nodeChain,
  TASK_LINKS,
  taskChain,
} from './load/death-chain.ts'

const TASKS = Number(process.env.WEFT_BENCH_TASKS ?? 300)
const UPDATES = Number(process.env.WEFT_BENCH_UPDATES ?? 10)
const PARTS = new Set((process.env.WEFT_BENCH_PARTS ?? 'start,failures,updates,dns').split(','))
/** On a task's way. */
const STATES: readonly string[] = TASK_STATES.slice(0, TASK_STATES.indexOf('running') + 1)
const PER_SECOND = 500
/** Of questions: what one node must answer. */
const DNS_RATE = 20_000
/** How often the tasks are asked whether they are well meanwhile. Docker's default is 30 s. */
const DNS_PROBE_NS = 5_000_000_000
/** By then the kept connections of a load are open, and every backend has some. */
const SETTLE_MS = 1_000
const WAIT_MS = 150_000
const DNS_CLIENT = fileURLToPath(new URL('./load/dns-client.ts', import.meta.url))

async function measure(swarm: Swarm, seconds: number): Promise<Yield> {
  const yielded: Record<string, number> = {}
  if (PARTS.has('start')) yielded['tasks Running'] = await start(swarm)
  if (PARTS.has('updates')) Object.assign(yielded, await updates(swarm))
  if (PARTS.has('dns')) Object.assign(yielded, await dns(swarm, seconds))
  if (PARTS.has('failures')) Object.assign(yielded, await failures(swarm))
  return yielded
}

async function start(swarm: Swarm): Promise<number> {
  // Swarm's own subnets have room for 252 tasks.
  await swarm.network('wide', { IPAM: { Config: [{ Subnet: '10.200.0.0/22' }] } })
  const startMs = performance.now()
  await swarm.service({
    Name: 'many',
    Mode: { Replicated: { Replicas: TASKS } },
    TaskTemplate: {
      ContainerSpec: { Image: 'host', Command: ['sleep', '10000'], StopGracePeriod: 1e6 },
      Networks: [{ Target: 'wide' }],
    },
  })
  const passed = new Map<string, number>()
  const tookS = await waitFor(
    async () => {
      const tasks = (await swarm.tasks('many').catch(() => [])).filter(
        // Those that another has taken the place of are over.
        ({ DesiredState }) => DesiredState === 'running',
      )
      const states = tasks.map(({ Status }) => Status.State)
      const seconds = (performance.now() - startMs) / 1000
      const least = Math.min(...states.map((state) => STATES.indexOf(state)))
      if (states.length < TASKS) return false
      for (const state of STATES.slice(0, least + 1)) {
        if (!passed.has(state)) passed.set(state, seconds)
      }
      return passed.get('running') ?? false
    },
    { what: `${TASKS} tasks`, timeoutMs: WAIT_MS, stepMs: 200 },
  )
  const told = [...passed].map(([state, seconds]) => `${state} ${seconds.toFixed(1)}`)
  process.stderr.write(`all tasks at least (s): ${told.join(', ')}\n`)
  await swarm.ask('DELETE', '/services/many')
  await waitFor(async () => (await swarm.tasks()).length === 0, {
    what: 'the end of the tasks',
    timeoutMs: WAIT_MS,
  })
  await swarm.ask('DELETE', '/networks/wide')
  return tookS
}

async function loads(
  swarm: Swarm,
  nodes: readonly SwarmNode[],
): Promise<() => Promise<LoadReport[]>> {
  const targets = nodes.map(({ host }) => `${host.address}:8080`)
  const order = { targets, perSecond: PER_SECOND / 2 }
  const both = [
    await swarm.load(swarm.client, { ...order, keepAlive: 0 }),
    await swarm.load(swarm.client, { ...order, keepAlive: 30 }),
  ]
  await pause(SETTLE_MS)
  return () => Promise.all(both.map((load) => endLoad(load)))
}

async function pages(swarm: Swarm, drain: string, plan: PagePlan = {}): Promise<void> {
  const labels = { 'weft.drain-timeout': drain }
  await swarm.service(pageService('web', ['front'], 6, { port: 8080, labels, ...plan }))
  await swarm.converged('web', 6, WAIT_MS)
  await swarm.served(8080)
}

async function remove(swarm: Swarm): Promise<void> {
  await swarm.ask('DELETE', '/services/web')
  await waitFor(async () => (await swarm.tasks()).length === 0, {
    what: 'the end of the tasks',
    timeoutMs: WAIT_MS,
  })
}

/** How many requests failed; each is told, with what was under way. */
function failedIn(reports: readonly LoadReport[], steps: readonly Step[]): number {
  for (const { startMs, failures } of reports) {
    for (const { atMs, target, why } of failures) {
      const wallMs = startMs + atMs
      const step = steps.findLast((one) => one.wallMs <= wallMs)
      const when = step === undefined ? '' : ` ${wallMs - step.wallMs} ms after ${step.what}`
      process.stderr.write(`failed at ${new Date(wallMs).toISOString()}${when}: ${target} ${why}\n`)
    }
  }
  return reports.reduce((sum, { failed }) => sum + failed, 0)
}

interface Step {
  readonly wallMs: number
  readonly what: string
}

async function updates(swarm: Swarm): Promise<Yield> {
  await pages(swarm, '1s')
  const end = await loads(swarm, swarm.nodes)
  const steps: Step[] = []
  for (let n = 1; n <= UPDATES; n++) {
    steps.push({ wallMs: Date.now(), what: `update ${n}` })
    await swarm.force('web')
    await swarm.updated('web', 'completed', WAIT_MS)
  }
  const failed = failedIn(await end(), steps)
  const endDraining = await loads(swarm, swarm.nodes)
  for (const node of swarm.nodes) {
    steps.push({ wallMs: Date.now(), what: `draining ${node.name}` })
    await swarm.manager.updateNode(node.name, { Availability: 'drain' })
    const { ID } = (await swarm.manager.nodes()).get(node.name)!
    const isHere = ({ NodeID, Status }: ShownTask): boolean =>
      NodeID === ID && Status.State === 'running'
    await waitFor(async () => !(await swarm.tasks('web')).some(isHere), {
      what: `${node.name} to be empty`,
      timeoutMs: WAIT_MS,
    })
    await swarm.converged('web', 6, WAIT_MS)
    await swarm.manager.updateNode(node.name, { Availability: 'active' })
  }
  const draining = failedIn(await endDraining(), steps)
  await remove(swarm)
  return { 'failed requests, updates': failed, 'failed requests, draining': draining }
}

/** From `sinceMs` (wall) to the last request that was begun or under way then and failed. */
function lastFailureMs(reports: readonly LoadReport[], sinceMs: number): number {
  const moments = reports.flatMap(({ failures, startMs }) =>
    failures
      .filter(({ why }) => !why.startsWith('timeout'))
      .map(({ atMs }) => startMs + atMs - sinceMs),
  )
  return Math.max(0, ...moments)
}

async function failures(swarm: Swarm): Promise<Yield> {
  await pages(swarm, '0')
  const worker = swarm.nodes.find(({ isManager }) => !isManager)!
  const [victim] = await swarm.running('web')
  const node = swarm.nodeOf(victim!, await swarm.manager.nodes())
  let end = await loads(swarm, swarm.nodes)
  let sinceMs = Date.now()
  killTask(node, victim!.ID)
  await waitFor(async () => (await swarm.running('web')).every(({ ID }) => ID !== victim!.ID), {
    what: 'the dead task to be seen',
    timeoutMs: WAIT_MS,
  })
  await swarm.converged('web', 6, WAIT_MS)
  const task = lastFailureMs(await end(), sinceMs)
  const taskLinks = taskChain(swarm.nodes, victim!.ID, sinceMs)

  // The dead node's own port is not asked: there is nobody to say no.
  const alive = swarm.nodes.filter((one) => one !== worker)
  end = await loads(swarm, alive)
  sinceMs = Date.now()
  await swarm.powerOff(worker)
  const moved = await elsewhere(swarm, worker, sinceMs)
  const dead = lastFailureMs(await end(), sinceMs)
  const workerId = (await swarm.manager.nodes()).get(worker.name)!.ID
  const nodeLinks = nodeChain(alive, workerId, sinceMs)
  await swarm.powerOn(worker)
  await swarm.untilReady(swarm.nodes.length)

  const shown = await swarm.manager.nodes()
  const leader = swarm.nodes.find(({ name }) => shown.get(name)?.ManagerStatus?.Leader)!
  await swarm.served(8080)
  const others = swarm.nodes.filter((one) => one !== leader)
  end = await loads(swarm, others)
  sinceMs = Date.now()
  await swarm.powerOff(leader)
  const movedLeader = await elsewhere(swarm, leader, sinceMs)
  const deadLeader = lastFailureMs(await end(), sinceMs)
  const leaderLinks = leaderChain(others, shown.get(leader.name)!.ID, sinceMs)
  await swarm.powerOn(leader)
  await swarm.untilReady(swarm.nodes.length)
  await remove(swarm)
  return {
    'last packet, task killed': task,
    ...taskLinks,
    'last packet, node dead': dead,
    ...nodeLinks,
    'last packet, leader dead': deadLeader,
    ...leaderLinks,
    'moved, worker dead': moved,
    'moved, leader dead': movedLeader,
  }
}

/** Seconds until all replicas run, none of them on the dead node. */
async function elsewhere(swarm: Swarm, dead: SwarmNode, sinceMs: number): Promise<number> {
  let id: string | undefined
  await waitFor(
    async () => {
      id ??= (await swarm.manager.nodes()).get(dead.name)!.ID
      const running = await swarm.running('web')
      return running.length === 6 && running.every(({ NodeID }) => NodeID !== id)
    },
    { what: 'the tasks to run elsewhere', timeoutMs: WAIT_MS },
  )
  return (Date.now() - sinceMs) / 1000
}

async function dns(swarm: Swarm, seconds: number): Promise<Yield> {
  // Each probe is two programs, on the cores that are measured.
  await pages(swarm, '0', { probeNs: DNS_PROBE_NS })
  const [task] = await swarm.running('web')
  const node = swarm.nodeOf(task!, await swarm.manager.nodes())
  const network = (await swarm.ask('GET', '/networks/front')) as {
    IPAM: { Config: { Gateway: string }[] }
  }
  const server = network.IPAM.Config[0]!.Gateway
  const inside = ['nsenter', `--net=${node.runDirectory}/netns/${task!.ID}`, '--']
  const ask = async (rate: number): Promise<Answers> => {
    const command = [process.execPath, '--disable-warning=ExperimentalWarning', DNS_CLIENT]
    const text = await node.host.must(
      [...inside, ...command, server, 'web', String(seconds), String(rate)],
      { lifeMs: (seconds + 30) * 1000 },
    )
    return JSON.parse(text) as Answers
  }
  const most = await ask(0)
  const paced = await ask(DNS_RATE)
  await askDnsperf(swarm, node, [...inside, 'dnsperf', '-s', server, '-l', String(seconds)])
  await remove(swarm)
  return {
    'DNS answers': most.perSecond,
    'DNS p99': most.p99Ms,
    'DNS p50 at a rate': paced.p50Ms,
    'DNS p99 at a rate': paced.p99Ms,
    'DNS lost': most.lost + paced.lost,
  }
}

/** As dns-client.ts prints them. */
interface Answers {
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly lost: number
}

/** An outside judge: the same questions by a client that is not ours. */
async function askDnsperf(
  swarm: Swarm,
  node: SwarmNode,
  command: readonly string[],
): Promise<void> {
  const file = join(swarm.lab.folder, 'questions')
  writeFileSync(file, 'web A\n')
  const { status, stdout } = await node.host.exec([...command, '-d', file, '-c', '4', '-q', '16'])
  const lines = stdout.split('\n').filter((line) => /per second|Average Lat/.test(line))
  if (status === 0) process.stderr.write(`dnsperf: ${lines.map((l) => l.trim()).join('; ')}\n`)
}

export const bench: Bench = {
  name: 'services',
  hasPeers: false,
  question: 'How soon and how smoothly does desired state become packets?',
  metrics: [
    { name: 'tasks Running', unit: 's' },
    { name: 'last packet, task killed', unit: 'ms' },
    ...TASK_LINKS.map((name) => ({ name, unit: 'ms' })),
    { name: 'last packet, node dead', unit: 'ms' },
    ...NODE_LINKS.map((name) => ({ name, unit: 'ms' })),
    { name: 'last packet, leader dead', unit: 'ms' },
    ...LEADER_LINKS.map((name) => ({ name, unit: 'ms' })),
    { name: 'moved, worker dead', unit: 's' },
    { name: 'moved, leader dead', unit: 's' },
    { name: 'failed requests, updates', unit: '' },
    { name: 'failed requests, draining', unit: '' },
    { name: 'DNS answers', unit: '1/s' },
    { name: 'DNS p99', unit: 'ms' },
    { name: 'DNS p50 at a rate', unit: 'ms' },
    { name: 'DNS p99 at a rate', unit: 'ms' },
    { name: 'DNS lost', unit: '' },
  ],
  goals: [
    { metric: 'tasks Running', atMost: 15 },
    { metric: 'last packet, task killed', atMost: 300 },
    { metric: 'last packet, node dead', atMost: 2_000 },
    { metric: 'moved, worker dead', atMost: 6 },
    { metric: 'moved, leader dead', atMost: 8 },
    { metric: 'failed requests, updates', atMost: 0 },
    { metric: 'failed requests, draining', atMost: 0 },
    { metric: 'DNS answers', atLeast: 20_000 },
    { metric: 'DNS p99', atMost: 2 },
  ],
  contestants: async (lab: Lab) => {
    const options = { logLevel: 'debug' }
    const swarm = await Swarm.start(lab, { count: 4, managers: 3, options })
    await swarm.network('front')
    return [{ name: 'weft', measure: (seconds) => measure(swarm, seconds) }]
  },
}
