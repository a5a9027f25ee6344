// Hosts with a Docker engine and an agent each, in one swarm: for the tests of the Docker executor.

import { execFileSync } from 'node:child_process'
import t from 'tap'
import { type EngineNode, engineObstacle, LabEngine } from '../../cli/lab/engine.ts'
import type { Host } from '../../cli/lab/host.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import type { ExecResult } from '../../cli/lab/process.ts'
import { dockerPath, SwarmNode } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest, type Test } from './lab-test.ts'

/** As labTest(), where an engine can run, and the docker CLI is of this major version or newer;
 * skipped with the reason elsewhere. */
export function engineTest(
  name: string,
  body: (t: Test, lab: Lab) => Promise<void>,
  majorMin = 0,
): void {
  const obstacle = engineObstacle() ?? cliObstacle(majorMin)
  if (obstacle === undefined) labTest(name, body)
  else t.test(name, { skip: obstacle }, async () => {})
}

function cliObstacle(majorMin: number): string | undefined {
  const path = dockerPath()
  if (majorMin === 0 || path === undefined) return undefined
  const version = /version (\d+)/.exec(execFileSync(path, ['--version'], { encoding: 'utf8' }))
  if (Number(version?.[1]) >= majorMin) return undefined
  return `the docker CLI is older than version ${majorMin}`
}

export interface EngineScene {
  readonly nodes: readonly EngineNode[]
  /** A host beside them that has neither. */
  readonly client: Host
}

/** `count` hosts named h1, h2, … on one bridge, the first a manager, the others workers. The agents
 * are told of their engines by `tell`. */
export async function startEngineNodes(
  lab: Lab,
  count: number,
  tell: (engine: LabEngine) => string[] = (engine) => engine.agentArguments,
): Promise<EngineScene> {
  const names = Array.from({ length: count }, (_, i) => `h${i + 1}`)
  const hosts = await lab.hostsNamed(...names)
  const client = await lab.host('c')
  await lab.bridge([...hosts, client])
  const nodes = hosts.map((host): EngineNode => {
    const engine = new LabEngine(lab, host)
    return { engine, node: new SwarmNode(lab, host, { arguments: tell(engine) }) }
  })
  // One after another: the first makes the image's file.
  for (const { engine } of nodes) {
    await engine.start()
    await engine.loadImage()
  }
  await Promise.all(nodes.map(({ node }) => node.start()))
  const [first, ...others] = nodes
  await first!.node.init()
  for (const { node } of others) await node.join(first!.node, 'Worker')
  await first!.node.untilNodes('all ready', (all) => {
    return all.size === count && [...all.values()].every(({ Status }) => Status.State === 'ready')
  })
  return { nodes, client }
}

export interface ShownTask {
  readonly ID: string
  readonly NodeID: string
  readonly DesiredState: string
  readonly Status: {
    readonly State: string
    readonly Err?: string
    readonly ContainerStatus?: { readonly ContainerID: string; readonly PID: number }
    readonly PortStatus?: { readonly Ports?: readonly { readonly PublishedPort: number }[] }
  }
}

/** Every task of a service that the cluster remembers. */
export function tasksOf({ node }: EngineNode, service: string): Promise<ShownTask[]> {
  const filters = encodeURIComponent(JSON.stringify({ service: [service] }))
  return node.api.ask<ShownTask[]>('GET', `/tasks?filters=${filters}`)
}

/** Waits until `count` tasks of a service run, and are as wanted; returns them. */
export async function untilRunning(
  node: EngineNode,
  service: string,
  count: number,
  isWanted: (tasks: ShownTask[]) => boolean = () => true,
): Promise<ShownTask[]> {
  let last: ShownTask[] = []
  try {
    return await waitFor(
      async () => {
        last = await tasksOf(node, service)
        const running = last.filter(({ Status }) => Status.State === 'running')
        return running.length === count && isWanted(running) ? running : null
      },
      { what: `${count} running tasks of ${service}`, timeoutMs: 60_000, stepMs: 100 },
    )
  } catch (error) {
    const states = last.map(({ Status }) => `${Status.State} ${Status.Err ?? ''}`).join('\n')
    throw new Error(`${(error as Error).message}\n${states}\n${node.node.log.slice(-4000)}`)
  }
}

/** Runs commands in the container of the task that is on `node`. */
export async function insideOf(
  node: EngineNode,
  manager: EngineNode,
  tasks: readonly ShownTask[],
): Promise<(...args: string[]) => Promise<ExecResult>> {
  const id = (await manager.node.nodes()).get(node.node.name)?.ID
  const container = tasks.find(({ NodeID }) => NodeID === id)?.Status.ContainerStatus?.ContainerID
  if (container === undefined) throw new Error(`no task runs on ${node.node.name}`)
  return (...args) => node.engine.docker('exec', container, ...args)
}
