// Containers that a user starts on an attachable network: each is a task of runtime "attachment",
// made for the node that asks, so that allocator, tables and names deal with it as with any other.
// It has no service, nobody restarts it, and it goes when the node says that its container has.

import type { Clock } from '../../base/clock.ts'
import type { NetworkItem } from '../store/assignment.ts'
import type { ReadTransaction, Store, Unversioned } from '../store/contract.ts'
import { newId } from '../store/ids.ts'
import { newStatus } from '../store/new-task.ts'
import { type NetworkObject, stateRank, type TaskObject } from '../store/objects.ts'
import { DispatchError } from './errors.ts'
import { networkItem } from './items.ts'
import { ALIASES_MAX, ATTACHMENTS_PER_NODE_MAX, NAME_CHARACTERS_MAX } from './limits.ts'

export interface AttachmentsParts {
  readonly store: Store
  readonly clock: Clock
  readonly randomBytes: (size: number) => Uint8Array
}

export interface AttachmentRequest {
  /** Id of the network. */
  readonly networkId: string
  /** Of an attachment whose container is known now; '' = a new one. */
  readonly taskId: string
  readonly containerId: string
  /** Names under which it can be asked for. */
  readonly aliases: readonly string[]
}

export class Attachments {
  readonly #parts: AttachmentsParts

  constructor(parts: AttachmentsParts) {
    this.#parts = parts
  }

  /** The attachable network of a name or an id. Throws DispatchError not-found, and
   * permission-denied for one that is for services alone. */
  find(nameOrId: string): NetworkItem {
    const network = this.#parts.store.view((tx) => attachable(tx, nameOrId))
    const item = networkItem(network)
    if (item === null) throw new DispatchError('unavailable', 'the network has no addresses yet')
    return item
  }

  /** Makes an attachment, or names the container of one. Returns its id. */
  async attach(nodeId: string, request: AttachmentRequest): Promise<string> {
    const { store, clock, randomBytes } = this.#parts
    const { networkId, taskId, containerId, aliases } = request
    const texts = [containerId, ...aliases]
    const isTooMuch = aliases.length > ALIASES_MAX
    if (isTooMuch || texts.some((text) => text.length > NAME_CHARACTERS_MAX)) {
      throw new DispatchError('invalid-argument', 'a name is too long')
    }
    if (taskId !== '') return this.#name(nodeId, request)
    const id = newId(randomBytes)
    await store.update((tx) => {
      attachable(tx, networkId)
      const own = tx.find('tasks', 'node', nodeId).filter(isAttachment)
      if (own.length >= ATTACHMENTS_PER_NODE_MAX) {
        throw new DispatchError('resource-exhausted', 'too many containers are attached here')
      }
      tx.create('tasks', newAttachment(id, nodeId, request, clock.wallMs()))
    })
    return id
  }

  async #name(nodeId: string, { taskId, containerId, aliases }: AttachmentRequest) {
    await this.#parts.store.update((tx) => {
      const task = ownAttachment(tx, nodeId, taskId)
      tx.update('tasks', {
        ...task,
        spec: { ...task.spec, NetworkAttachmentSpec: { ContainerID: containerId } },
        networks: task.networks.map((network) => ({ ...network, aliases: [...aliases] })),
      })
    })
    return taskId
  }

  /** The container has gone. One that is not known any more is no error. */
  async detach(nodeId: string, taskId: string): Promise<void> {
    await this.#parts.store.update((tx) => {
      if (tx.get('tasks', taskId) === undefined) return
      const task = ownAttachment(tx, nodeId, taskId)
      if (stateRank(task.desiredState) >= stateRank('remove')) return
      tx.update('tasks', { ...task, desiredState: 'remove' })
    })
  }
}

function attachable(tx: ReadTransaction, nameOrId: string): NetworkObject {
  // One of its name that was removed may still be there.
  const shown = (network: NetworkObject | undefined): NetworkObject | undefined =>
    network?.pendingDelete === false ? network : undefined
  const network =
    shown(tx.get('networks', nameOrId)) ??
    tx.all('networks').find((one) => one.spec.Name === nameOrId && !one.pendingDelete)
  if (network === undefined) {
    throw new DispatchError('not-found', `network ${nameOrId} not found`)
  }
  if (network.spec.Attachable === true) return network
  throw new DispatchError('permission-denied', `network ${nameOrId} not manually attachable`)
}

function isAttachment({ spec }: TaskObject): boolean {
  return spec.Runtime === 'attachment'
}

function ownAttachment(tx: ReadTransaction, nodeId: string, taskId: string): TaskObject {
  const task = tx.get('tasks', taskId)
  if (task === undefined) throw new DispatchError('not-found', 'the attachment is not known')
  if (task.nodeId === nodeId && isAttachment(task)) return task
  throw new DispatchError('permission-denied', 'that is no attachment of this node')
}

function newAttachment(
  id: string,
  nodeId: string,
  { networkId, containerId, aliases }: AttachmentRequest,
  nowMs: number,
): Unversioned<TaskObject> {
  return {
    id,
    serviceId: '',
    slot: null,
    nodeId,
    serviceAnnotations: { name: '', labels: {} },
    spec: {
      Runtime: 'attachment',
      NetworkAttachmentSpec: { ContainerID: containerId },
      Networks: [{ Target: networkId, Aliases: [...aliases] }],
      ForceUpdate: 0,
    },
    specVersion: null,
    endpoint: null,
    networks: [],
    status: newStatus(nowMs),
    desiredState: 'running',
    jobIteration: null,
    logDriver: null,
    assignedGenericResources: [],
  }
}
