// npm run bench -- services-docker
//
// How long do 30 tasks on an overlay take from `service create` until all run as containers? Three
// engines with weft beside three engines in Docker's own swarm mode, in one lab on one machine; the
// image is there. Docker's overlays are in the clear, weft's are sealed. Counted is the time until
// the API shows 30 running tasks; the service is removed before the other's turn.

import { ApiClient } from '../cli/client/api-client.ts'
import { engineObstacle, LabEngine } from '../cli/lab/engine.ts'
import type { Host } from '../cli/lab/host.ts'
import type { Lab } from '../cli/lab/lab.ts'
import { dockerPath, SwarmNode } from '../cli/lab/swarm-node.ts'
import { waitFor } from '../cli/lab/wait.ts'
import type { AbsentContestant, Bench, Contestant, Yield } from './harness.ts'

const TASKS = 30
const NODES = 3
const RUNNING_TIMEOUT_MS = 120_000
const METRIC = 'all run after'

type Docker = (...args: readonly string[]) => Promise<string>

interface Shown {
  readonly Status: { readonly State: string }
}

async function measure(socket: string, docker: Docker, engines: LabEngine[]): Promise<Yield> {
  // The newest version that both speak.
  const api = new ApiClient(socket, 'v1.41')
  const task = ['--network', 'ov', '--stop-signal', 'KILL', 'bb', 'sleep', '100000']
  const count = ['--replicas', String(TASKS)]
  const startMs = performance.now()
  await docker('service', 'create', '--detach', '--name', 'many', ...count, ...task)
  await waitFor(
    async () => {
      const tasks = await api.ask<Shown[]>('GET', '/tasks')
      return tasks.filter(({ Status }) => Status.State === 'running').length === TASKS
    },
    { what: `${TASKS} running tasks`, timeoutMs: RUNNING_TIMEOUT_MS, stepMs: 50 },
  )
  const seconds = (performance.now() - startMs) / 1000
  await docker('service', 'rm', 'many')
  await waitFor(
    async () => {
      const left = await Promise.all(engines.map((engine) => engine.mustDocker('ps', '-aq')))
      return left.every((text) => text === '')
    },
    { what: 'the end of all containers', timeoutMs: RUNNING_TIMEOUT_MS, stepMs: 200 },
  )
  return { [METRIC]: seconds }
}

async function startEngines(lab: Lab, hosts: readonly Host[]): Promise<LabEngine[]> {
  const engines = hosts.map((host) => new LabEngine(lab, host))
  for (const engine of engines) {
    await engine.start()
    await engine.loadImage()
  }
  return engines
}

async function weft(lab: Lab, hosts: readonly Host[]): Promise<Contestant> {
  const engines = await startEngines(lab, hosts)
  const nodes = engines.map((engine) => {
    return new SwarmNode(lab, engine.host, { arguments: engine.agentArguments })
  })
  await Promise.all(nodes.map((node) => node.start()))
  const [first, ...others] = nodes
  await first!.init()
  for (const node of others) await node.join(first!, 'Worker')
  await first!.untilNodes('all ready', (all) => {
    return all.size === NODES && [...all.values()].every(({ Status }) => Status.State === 'ready')
  })
  const docker: Docker = (...args) => first!.mustDocker(...args)
  await docker('network', 'create', '-d', 'overlay', 'ov')
  return { name: 'weft', measure: () => measure(first!.socket, docker, engines) }
}

async function swarm(lab: Lab, hosts: readonly Host[]): Promise<Contestant> {
  const engines = await startEngines(lab, hosts)
  const [first, ...others] = engines
  const docker: Docker = (...args) => first!.mustDocker(...args)
  await docker('swarm', 'init', '--advertise-addr', first!.host.address)
  const token = await docker('swarm', 'join-token', '-q', 'worker')
  for (const engine of others) {
    await engine.mustDocker('swarm', 'join', '--token', token, `${first!.host.address}:2377`)
  }
  await docker('network', 'create', '-d', 'overlay', 'ov')
  return { name: 'Docker Swarm', measure: () => measure(first!.socket, docker, engines) }
}

async function contestants(lab: Lab): Promise<(Contestant | AbsentContestant)[]> {
  const obstacle = engineObstacle()
  if (obstacle !== undefined || dockerPath() === undefined) {
    throw new Error(obstacle ?? 'the docker CLI is missing')
  }
  const names = Array.from({ length: 2 * NODES }, (_, n) => `h${n + 1}`)
  const hosts = await lab.hostsNamed(...names)
  await lab.bridge(hosts)
  return [await weft(lab, hosts.slice(0, NODES)), await swarm(lab, hosts.slice(NODES))]
}

export const bench: Bench = {
  name: 'services-docker',
  question: 'How long do 30 tasks on an overlay take until all run as containers?',
  metrics: [{ name: METRIC, unit: 's' }],
  goals: [{ metric: METRIC, peer: 'Docker Swarm', atMost: 0.8 }],
  contestants,
}
