// A task's way outside: a link of its own to the host (dataplane/edge/egress.ts), which every task
// has but those on internal networks alone, as with Docker's gateway bridge. Its address is chosen
// here and stands in the task's directory, so that a new agent neither forgets nor doubles it.

import { randomInt } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { NetworkItem } from '../../store/assignment.ts'
import { TaskError } from '../executor.ts'

export interface EgressLink {
  /** Path of the task's network namespace. */
  readonly namespace: string
  /** Of the host's end. */
  readonly device: string
  /** Of the task's end. */
  readonly name: string
  readonly address: string
}

/** The host's part; absent on a node that has no means for it. */
export interface Egress {
  /** What names of the host's ends begin with. */
  readonly devices: string
  /** How many addresses there are. */
  readonly addresses: number
  address(n: number): string
  /** Makes the link anew. */
  connect(link: EgressLink): Promise<void>
  /** Makes it where it is missing. Never rejects: the task goes on without. */
  restore(link: EgressLink): Promise<void>
  /** Takes it away; one that is not there, too. It would end with the namespace, but a while after
   * it. */
  disconnect(device: string): Promise<void>
  /** Name servers of the host, for tasks without a network. */
  resolvers(): readonly string[]
}

/** `networks`: those of the task. */
export function wantsEgress(networks: readonly NetworkItem[]): boolean {
  const own = networks.filter(({ ingress }) => !ingress)
  return own.length === 0 || own.some(({ internal }) => !internal)
}

const FILE = 'egress'
/** Of the task's id, in the name of a device: 15 bytes at most. */
const ID_LENGTH = 10

/** The address of a task's link; null when it has none. */
export function readEgress(directory: string): string | null {
  try {
    return readFileSync(join(directory, FILE), 'utf8')
  } catch {
    return null
  }
}

/** Gives the task an address for its link, and writes it down. `taken`: those of other tasks.
 * Throws TaskError when none is left. */
export function takeEgress(egress: Egress, directory: string, taken: ReadonlySet<string>): string {
  const address = readEgress(directory) ?? freeAddress(egress, taken)
  writeFileSync(join(directory, FILE), address, { mode: 0o600 })
  return address
}

function deviceOf(egress: Egress, taskId: string): string {
  return `${egress.devices}${taskId.slice(-ID_LENGTH)}`
}

/** Gives a task that runs its link back: an agent that ends takes the links away, for without it
 * nothing is masqueraded. */
export async function restoreEgress(
  egress: Egress,
  taskId: string,
  link: Omit<EgressLink, 'device'>,
): Promise<void> {
  await egress.restore({ ...link, device: deviceOf(egress, taskId) })
}

/** Takes the link of a task away, if it has one. */
export async function disconnectEgress(
  egress: Egress | null,
  taskId: string,
  directory: string,
): Promise<void> {
  if (egress === null || readEgress(directory) === null) return
  await egress.disconnect(deviceOf(egress, taskId))
}

/** Makes the link of a task. Rejects with TaskError. */
export async function connectEgress(
  egress: Egress,
  taskId: string,
  link: Omit<EgressLink, 'device'>,
): Promise<void> {
  try {
    await egress.connect({ ...link, device: deviceOf(egress, taskId) })
  } catch (error) {
    throw new TaskError(`the task has no way outside: ${(error as Error).message}`)
  }
}

function freeAddress(egress: Egress, taken: ReadonlySet<string>): string {
  const first = randomInt(egress.addresses)
  for (let n = 0; n < egress.addresses; n++) {
    const address = egress.address((first + n) % egress.addresses)
    if (!taken.has(address)) return address
  }
  throw new TaskError(`${egress.addresses} tasks of this node have a way outside already`)
}
