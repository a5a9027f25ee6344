// Goal: whoever talks to something that dies learns of it soon, on both ends, and nobody else does:
// when a task is killed, when its node stands still for too long, when it is cut off for a while,
// and when it has no power. Method: real agents; conversations that last, through a published port,
// and how each end saw them end. Heartbeats are slow, so that a busy machine takes no node down.

import './enter.ts'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import type { LabProcess } from '../../cli/lab/process.ts'
import { killTask, type ShownTask, Swarm } from '../../cli/lab/swarm.ts'
import type { SwarmNode } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest, type Test } from './lab-test.ts'

const TALK = fileURLToPath(new URL('./talk.ts', import.meta.url))
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning']
const PORT = 9000
const CALLS = 12
/** Away after one and a half, down after three of these. */
const PERIOD_S = 6
const LONG_MS = 90_000

interface End {
  readonly name: string
  readonly end: string
}

/** Conversations with the tasks behind a node's published port. */
class Talks {
  readonly #process: LabProcess
  readonly greeted: readonly string[]

  private constructor(process: LabProcess, greeted: readonly string[]) {
    this.#process = process
    this.greeted = greeted
  }

  static async open(swarm: Swarm, by: SwarmNode): Promise<Talks> {
    const words = ['call', by.host.address, String(PORT), String(CALLS)]
    const process = swarm.client.spawn([...NODE, TALK, ...words])
    const [, names] = await process.output(/^\{"greeted":(.*)\}$/m, LONG_MS)
    return new Talks(process, JSON.parse(names!))
  }

  get ends(): End[] {
    const lines = this.#process.stdout.split('\n').filter((line) => line.startsWith('{"name"'))
    return lines.map((line) => JSON.parse(line) as End)
  }

  close(): void {
    this.#process.kill('SIGKILL')
  }

  /** Waits until every conversation with `name` has ended; how, and nobody else's has. */
  async endOf(t: Test, name: string, how: RegExp): Promise<void> {
    const count = this.greeted.filter((one) => one === name).length
    t.ok(count > 0, 'it has conversations')
    await waitFor(() => this.ends.filter((end) => end.name === name).length === count, {
      what: `the end of ${count} conversations`,
      timeoutMs: LONG_MS,
    })
    const ends = this.ends.filter((end) => end.name === name)
    t.ok(
      ends.every(({ end }) => how.test(end)),
      JSON.stringify(ends),
    )
    t.equal(this.ends.length, count, 'those of others go on')
  }
}

class Scene {
  readonly swarm: Swarm
  readonly folder: string

  constructor(swarm: Swarm) {
    this.swarm = swarm
    this.folder = join(swarm.lab.folder, 'ends')
    mkdirSync(this.folder)
  }

  /** Makes the service: one task on each node. */
  async begin(): Promise<void> {
    const { swarm } = this
    await swarm.network('front')
    const { Version, Spec } = await swarm.ask('GET', '/swarm')
    const Dispatcher = { HeartbeatPeriod: PERIOD_S * 1e9 }
    await swarm.ask('POST', `/swarm/update?version=${Version.Index}`, { ...Spec, Dispatcher })
    const server = [...NODE, TALK, 'serve', '"$ID"', '80', '/run/ends/"$ID"'].join(' ')
    await swarm.service({
      Name: 'talk',
      Labels: { 'weft.drain-timeout': '0' },
      Mode: { Global: {} },
      TaskTemplate: {
        ContainerSpec: {
          Image: 'host',
          Mounts: [{ Type: 'bind', Source: this.folder, Target: '/run/ends' }],
          Command: ['sh', '-c', `exec ${server}`],
          Env: ['ID={{.Task.ID}}'],
          Healthcheck: {
            Test: ['CMD', 'bash', '-c', '</dev/tcp/127.0.0.1/80'],
            StartPeriod: 60_000_000_000,
            StartInterval: 200_000_000,
            Interval: 600_000_000_000,
          },
        },
        Networks: [{ Target: 'front' }],
        RestartPolicy: { Condition: 'any', Delay: 100_000_000 },
      },
      EndpointSpec: {
        Ports: [{ Protocol: 'tcp', TargetPort: 80, PublishedPort: PORT, PublishMode: 'ingress' }],
      },
    })
    await swarm.converged('talk', swarm.nodes.length, LONG_MS)
  }

  async taskOn(node: SwarmNode): Promise<ShownTask> {
    const { ID } = (await this.swarm.manager.nodes()).get(node.name)!
    return (await this.swarm.running('talk')).find(({ NodeID }) => NodeID === ID)!
  }

  /** How conversations ended at the task's own end, but for the probes of its health. */
  servedEnds(task: ShownTask): string[] {
    const file = join(this.folder, task.ID)
    const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : []
    return lines.filter((line) => line === 'end ECONNRESET' || line === 'end ETIMEDOUT')
  }

  /** New conversations, all of which must come about; true when `task` has some of them. */
  async isServing(task: ShownTask): Promise<boolean> {
    const talks = await Talks.open(this.swarm, this.swarm.nodes[0]!)
    talks.close()
    return talks.greeted.includes(task.ID)
  }

  async leaderSays(text: string): Promise<void> {
    const [leader] = this.swarm.nodes
    const before = leader!.log.split(text).length
    await waitFor(() => leader!.log.split(text).length > before, {
      what: `"${text}" in the leader's log`,
      timeoutMs: LONG_MS,
    })
  }
}

labTest('both ends of a conversation learn of a death', async (t, lab) => {
  const swarm = await Swarm.start(lab, { count: 3 })
  const scene = new Scene(swarm)
  await scene.begin()
  const [entry, second, third] = swarm.nodes as [SwarmNode, SwarmNode, SwarmNode]

  t.comment('a task is killed')
  const victim = await scene.taskOn(second)
  let talks = await Talks.open(swarm, entry)
  killTask(second, victim.ID)
  await talks.endOf(t, victim.ID, /^(end|ECONNRESET)$/)
  talks.close()
  await waitFor(async () => (await scene.taskOn(second))?.ID !== victim.ID, {
    what: 'the end of the task to be known',
    timeoutMs: LONG_MS,
  })
  await swarm.converged('talk', 3, LONG_MS)

  for (const [what, harm, heal] of [
    [
      'a node stands still',
      async () => second.process!.signal('SIGSTOP'),
      async () => second.process!.signal('SIGCONT'),
    ],
    [
      'a node is cut off',
      () => second.host.ip(second.host.interfaces.map((device) => `link set ${device} down`)),
      () => second.host.ip(second.host.interfaces.map((device) => `link set ${device} up`)),
    ],
  ] as const) {
    t.comment(what)
    const task = await scene.taskOn(second)
    await waitFor(() => scene.isServing(task), { what: 'the task to serve', timeoutMs: LONG_MS })
    const known = scene.servedEnds(task).length
    talks = await Talks.open(swarm, entry)
    const count = talks.greeted.filter((name) => name === task.ID).length
    const away = scene.leaderSays('node away')
    await harm()
    await waitFor(async () => !(await scene.isServing(task)), {
      what: 'new conversations to go elsewhere',
      timeoutMs: LONG_MS,
    })
    await away
    await talks.endOf(t, task.ID, /^ECONNRESET$/)
    await heal()
    await waitFor(() => scene.servedEnds(task).length >= known + count, {
      what: 'its own ends to be reset',
      timeoutMs: LONG_MS,
    })
    talks.close()
    await waitFor(() => scene.isServing(task), { what: 'it to serve again', timeoutMs: LONG_MS })
    t.equal((await scene.taskOn(second)).ID, task.ID, 'it is the same task')
  }

  t.comment('a node has no power')
  const last = await scene.taskOn(third)
  talks = await Talks.open(swarm, entry)
  await swarm.powerOff(third)
  await talks.endOf(t, last.ID, /^ECONNRESET$/)
  talks.close()
})
