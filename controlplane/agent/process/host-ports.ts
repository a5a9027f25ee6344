// Ports of mode "host" of one task: which of the node's ports lead to it. The data plane publishes
// them, in this node's tables alone (build-tables.ts). Numbers that the service does not name are
// chosen here, and stand in the task's directory, so that a new agent goes on with them.

import { randomInt } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AssignedTask } from '../../store/assignment.ts'
import type { PortConfig } from '../../store/specs.ts'
import { TaskError } from '../executor.ts'
import { HOST_PORT_FIRST, HOST_PORT_LAST, HOST_PORT_TRIES } from './limits.ts'

const FILE = 'ports'

/** What stands in the task's directory; none before the task was prepared. */
export function readHostPorts(directory: string): readonly PortConfig[] {
  try {
    return JSON.parse(readFileSync(join(directory, FILE), 'utf8')) as PortConfig[]
  } catch {
    return []
  }
}

/** Ports of the task with their numbers, also written down. `taken`: those of other tasks of the
 * node. Throws TaskError for what cannot be published. */
export function takeHostPorts(
  task: AssignedTask,
  directory: string,
  hasIngress: boolean,
  taken: readonly PortConfig[],
): readonly PortConfig[] {
  const wanted = (task.endpoint?.spec.Ports ?? []).filter(({ PublishMode }) => {
    return PublishMode === 'host'
  })
  if (wanted.length === 0) return []
  if (wanted.some(({ Protocol }) => Protocol === 'sctp')) {
    throw new TaskError('the process runtime does not publish SCTP ports')
  }
  if (!hasIngress) {
    const why = 'the ingress network, over which they are reached, is missing or has no address'
    throw new TaskError(`ports in host mode cannot be published: ${why}`)
  }
  const known = readHostPorts(directory)
  if (known.length === wanted.length) return known
  const ports: PortConfig[] = []
  for (const port of wanted) {
    ports.push(port.PublishedPort ? port : withNumber(port, [...taken, ...wanted, ...ports]))
  }
  writeFileSync(join(directory, FILE), JSON.stringify(ports), { mode: 0o600 })
  return ports
}

function withNumber(port: PortConfig, taken: readonly PortConfig[]): PortConfig {
  for (let tries = 0; tries < HOST_PORT_TRIES; tries++) {
    const PublishedPort = randomInt(HOST_PORT_FIRST, HOST_PORT_LAST + 1)
    const isTaken = taken.some(
      (other) => other.Protocol === port.Protocol && other.PublishedPort === PublishedPort,
    )
    if (!isTaken) return { ...port, PublishedPort }
  }
  throw new TaskError(`no ${port.Protocol} port of this node is left`)
}
