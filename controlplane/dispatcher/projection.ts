// From the store's objects to the items that nodes are told (store/assignment.ts), change by
// change.
//
//   task     -> its node's topic: the task, the secrets and configs it uses
//            -> topic of each of its networks: an endpoint, while it is alive on a node that is up
//   service  -> topic of each of its networks: name, virtual addresses; published ports on the
//               ingress network
//   network  -> its own topic
//   node     -> the peers' topic; when it goes down its endpoints leave all topics at once, and
//               while it is away they are in no service
//
// A node follows its own topic, the peers, the ingress network (published ports answer on every
// node) and the networks its live tasks are on.

import { type EndpointItem, type NetworkItem, onNetwork } from '../store/assignment.ts'
import type { Change, ReadTransaction } from '../store/contract.ts'
import type {
  NetworkObject,
  NodeObject,
  ServiceObject,
  TaskNetwork,
  TaskObject,
} from '../store/objects.ts'
import { isTerminal, stateRank } from '../store/objects.ts'
import {
  assignedTask,
  dataItem,
  endpointItem,
  networkItem,
  peerItem,
  serviceItems,
} from './items.ts'
import { networkTopic, nodeTopic, PEERS_TOPIC, type Topics } from './topics.ts'

export interface ProjectionHooks {
  /** The topics a node follows have changed; '' = those of every node. */
  readonly followed: (nodeId: string) => void
  /** A serving task is to be stopped: it drains on these networks. */
  readonly draining: (taskId: string, nodeId: string, networkIds: readonly string[]) => void
  /** It does not exist any more, or does not serve. */
  readonly undrained: (taskId: string) => void
}

/** Of a task's node. "away": it does not answer, and may be back in a moment. "gone": it is down or
 * removed. */
type Place = 'there' | 'away' | 'gone'

export class Projection {
  readonly #topics: Topics
  readonly #hooks: ProjectionHooks
  /** The ingress network. One that was removed is no more as soon as there is another, though tasks
   * may still be on it: a node can have only one. */
  #ingress: NetworkItem | null = null
  /** Node to network to the tasks that hold it there. */
  readonly #networksOf = new Map<string, Map<string, Set<string>>>()
  /** Network to the nodes that follow it because of a task. */
  readonly #nodesOn = new Map<string, Set<string>>()
  /** Nodes that do not answer just now. */
  readonly #away = new Set<string>()
  /** Node to secret or config ("secret/ID") to the tasks that use it. */
  readonly #dataOf = new Map<string, Map<string, Set<string>>>()

  constructor(topics: Topics, hooks: ProjectionHooks) {
    this.#topics = topics
    this.#hooks = hooks
  }

  /** Everything that is in the store. */
  load(tx: ReadTransaction): void {
    for (const network of tx.all('networks')) this.#network(network, null)
    for (const node of tx.all('nodes')) this.#peer(node)
    for (const service of tx.all('services')) this.#service(service, undefined)
    for (const task of tx.all('tasks')) this.#task(task, tx)
  }

  /** What a transaction has changed; `tx` reads the state after it. */
  apply(changes: readonly Change[], tx: ReadTransaction): void {
    for (const change of changes) this.#apply(change, tx)
  }

  /** Topics that a node follows. */
  followed(nodeId: string): string[] {
    const networks = new Set(this.#networksOf.get(nodeId)?.keys())
    if (this.#ingress !== null) networks.add(this.#ingress.id)
    return [nodeTopic(nodeId), PEERS_TOPIC, ...[...networks].map(networkTopic)]
  }

  /** True when the node forwards for the network. */
  isOn(nodeId: string, networkId: string): boolean {
    return networkId === this.#ingressId || (this.#nodesOn.get(networkId)?.has(nodeId) ?? false)
  }

  /** Takes the node's tasks out of service, or puts them back. Not for a node that is down: then
   * they are out, and not by this. */
  away(nodeId: string, isAway: boolean, tx: ReadTransaction): void {
    if (isAway) this.#away.add(nodeId)
    else if (!this.#away.delete(nodeId)) return
    const place = this.#place(nodeId, tx)
    for (const task of tx.find('tasks', 'node', nodeId)) this.#endpoints(task, place)
  }

  get #ingressId(): string | null {
    return this.#ingress?.id ?? null
  }

  #place(nodeId: string, tx: ReadTransaction): Place {
    const node = tx.get('nodes', nodeId)
    if (node === undefined || node.status.state === 'down') return 'gone'
    return this.#away.has(nodeId) ? 'away' : 'there'
  }

  #apply(change: Change, tx: ReadTransaction): void {
    const old = change.kind === 'update' ? change.old : undefined
    const gone = change.kind === 'remove'
    switch (change.table) {
      case 'networks':
        if (gone) this.#networkGone(change.object, tx)
        else this.#network(change.object, tx)
        break
      case 'nodes':
        if (gone) this.#nodeGone(change.object, tx)
        else this.#node(change.object, old as NodeObject | undefined, tx)
        break
      case 'services':
        if (gone) this.#serviceGone(change.object)
        else this.#service(change.object, old as ServiceObject | undefined)
        break
      case 'tasks':
        if (gone) this.#taskGone(change.object)
        else this.#task(change.object, tx, old as TaskObject | undefined)
        break
      case 'secrets':
      case 'configs':
        if (!gone) this.#data(change.table, change.object.id, tx)
        break
      case 'clusters':
        break
    }
  }

  // -- networks and services ----------------------------------------------------------------------

  #network(network: NetworkObject, tx: ReadTransaction | null): void {
    const given = networkItem(network)
    if (given === null) return
    const { id } = given
    const former = this.#ingress
    const isOther = given.ingress && former !== null && former.id !== id
    const item = isOther && network.pendingDelete ? { ...given, ingress: false } : given
    this.#topics.set(networkTopic(id), 'network', id, item)
    if (!item.ingress) return
    this.#ingress = item
    if (former?.id === id) return
    if (former !== null) {
      this.#topics.set(networkTopic(former.id), 'network', former.id, { ...former, ingress: false })
    }
    for (const service of tx?.all('services') ?? []) this.#service(service, undefined)
    this.#hooks.followed('')
  }

  #networkGone({ id }: NetworkObject, tx: ReadTransaction): void {
    this.#topics.delete(networkTopic(id), 'network', id)
    if (this.#ingress?.id !== id) return
    this.#ingress = null
    for (const service of tx.all('services')) this.#dropService(service.id, id)
    this.#hooks.followed('')
  }

  #service(service: ServiceObject, old: ServiceObject | undefined): void {
    const items = service.pendingDelete ? [] : serviceItems(service, this.#ingressId)
    const now = new Set(items.map(({ networkId }) => networkId))
    if (old !== undefined) {
      for (const { networkId } of serviceItems(old, this.#ingressId)) {
        if (!now.has(networkId)) this.#dropService(service.id, networkId)
      }
    }
    for (const item of items) {
      const id = onNetwork(service.id, item.networkId)
      this.#topics.set(networkTopic(item.networkId), 'service', id, item)
    }
  }

  #serviceGone(service: ServiceObject): void {
    for (const { networkId } of serviceItems(service, this.#ingressId)) {
      this.#dropService(service.id, networkId)
    }
  }

  #dropService(serviceId: string, networkId: string): void {
    this.#topics.delete(networkTopic(networkId), 'service', onNetwork(serviceId, networkId), true)
  }

  // -- nodes --------------------------------------------------------------------------------------

  #peer(node: NodeObject): void {
    const item = peerItem(node)
    if (item === null) this.#topics.delete(PEERS_TOPIC, 'peer', node.id)
    else this.#topics.set(PEERS_TOPIC, 'peer', node.id, item)
  }

  #node(node: NodeObject, old: NodeObject | undefined, tx: ReadTransaction): void {
    this.#peer(node)
    const isDown = node.status.state === 'down'
    if (old === undefined || (old.status.state === 'down') === isDown) return
    this.#away.delete(node.id)
    const place = this.#place(node.id, tx)
    for (const task of tx.find('tasks', 'node', node.id)) this.#endpoints(task, place)
  }

  #nodeGone(node: NodeObject, tx: ReadTransaction): void {
    this.#topics.delete(PEERS_TOPIC, 'peer', node.id, true)
    this.#away.delete(node.id)
    for (const task of tx.find('tasks', 'node', node.id)) this.#endpoints(task, 'gone')
  }

  // -- tasks --------------------------------------------------------------------------------------

  #task(task: TaskObject, tx: ReadTransaction, old?: TaskObject): void {
    if (task.nodeId === '' || stateRank(task.status.state) < stateRank('assigned')) return
    const topic = nodeTopic(task.nodeId)
    // What the node itself told is not told back: the item has no status in it.
    this.#topics.set(topic, 'task', task.id, assignedTask(task))
    const alive = !isTerminal(task.status.state)
    this.#useData(task, alive, tx)
    this.#hold(task, alive)
    if (old !== undefined) this.#endpointsGone(old, task)
    this.#endpoints(task, this.#place(task.nodeId, tx))
  }

  #taskGone(task: TaskObject): void {
    if (task.nodeId === '') return
    this.#topics.delete(nodeTopic(task.nodeId), 'task', task.id)
    this.#useData(task, false, null)
    this.#hold(task, false)
    this.#endpoints(task, 'gone')
  }

  /** The task's endpoints as they are now. */
  #endpoints(task: TaskObject, place: Place): void {
    const networks = task.networks
    let isDraining = false
    for (const network of networks) {
      const item = place === 'gone' ? null : endpointItem(task, network, place === 'away')
      const topic = networkTopic(network.networkId)
      const id = onNetwork(task.id, network.networkId)
      if (item === null) this.#topics.delete(topic, 'endpoint', id, true)
      else this.#topics.set(topic, 'endpoint', id, item, isUrgent(item, place))
      isDraining ||= item?.state === 'draining'
    }
    const ids = networks.map(({ networkId }) => networkId)
    if (isDraining) this.#hooks.draining(task.id, task.nodeId, ids)
    else this.#hooks.undrained(task.id)
  }

  /** Networks that the task has left. */
  #endpointsGone(old: TaskObject, task: TaskObject): void {
    for (const { networkId } of old.networks) {
      if (isOn(task.networks, networkId)) continue
      const id = onNetwork(task.id, networkId)
      this.#topics.delete(networkTopic(networkId), 'endpoint', id, true)
      this.#release(task.nodeId, networkId, task.id)
    }
  }

  /** The node follows the networks of its live tasks. */
  #hold(task: TaskObject, alive: boolean): void {
    for (const { networkId } of task.networks) {
      if (!alive) {
        this.#release(task.nodeId, networkId, task.id)
        continue
      }
      if (!addTo(this.#networksOf, task.nodeId, networkId, task.id)) continue
      const nodes = this.#nodesOn.get(networkId) ?? new Set()
      this.#nodesOn.set(networkId, nodes.add(task.nodeId))
      this.#hooks.followed(task.nodeId)
    }
  }

  #release(nodeId: string, networkId: string, taskId: string): void {
    if (!removeFrom(this.#networksOf, nodeId, networkId, taskId)) return
    const nodes = this.#nodesOn.get(networkId)
    nodes?.delete(nodeId)
    if (nodes?.size === 0) this.#nodesOn.delete(networkId)
    this.#hooks.followed(nodeId)
  }

  // -- secrets and configs ------------------------------------------------------------------------

  #useData(task: TaskObject, alive: boolean, tx: ReadTransaction | null): void {
    const container = task.spec.ContainerSpec
    const keys = [
      ...(container?.Secrets ?? []).map(({ SecretID }) => ['secret', SecretID] as const),
      ...(container?.Configs ?? []).map(({ ConfigID }) => ['config', ConfigID] as const),
    ]
    for (const [kind, id] of keys) {
      const key = `${kind}/${id}`
      if (!alive) {
        if (removeFrom(this.#dataOf, task.nodeId, key, task.id)) {
          this.#topics.delete(nodeTopic(task.nodeId), kind, id)
        }
      } else {
        addTo(this.#dataOf, task.nodeId, key, task.id)
        const object = tx?.get(kind === 'secret' ? 'secrets' : 'configs', id)
        if (object === undefined) continue
        this.#topics.set(nodeTopic(task.nodeId), kind, id, dataItem(object))
      }
    }
  }

  /** A secret or config was changed (labels) or has come after the task that wants it. */
  #data(table: 'secrets' | 'configs', id: string, tx: ReadTransaction): void {
    const kind = table === 'secrets' ? 'secret' : 'config'
    const object = tx.get(table, id)
    if (object === undefined) return
    for (const [nodeId, data] of this.#dataOf) {
      if (data.has(`${kind}/${id}`)) {
        this.#topics.set(nodeTopic(nodeId), kind, id, dataItem(object))
      }
    }
  }
}

/** Whether the item takes something out of service. */
function isUrgent({ state }: EndpointItem, place: Place): boolean {
  return state === 'draining' || place === 'away'
}

function isOn(networks: readonly TaskNetwork[], networkId: string): boolean {
  return networks.some((network) => network.networkId === networkId)
}

type Holders = Map<string, Map<string, Set<string>>>

/** True when `holder` is the first to hold `key` at `owner`. */
function addTo(holders: Holders, owner: string, key: string, holder: string): boolean {
  let keys = holders.get(owner)
  if (keys === undefined) {
    keys = new Map()
    holders.set(owner, keys)
  }
  const held = keys.get(key)
  if (held === undefined) {
    keys.set(key, new Set([holder]))
    return true
  }
  held.add(holder)
  return false
}

/** True when `holder` was the last to hold `key` at `owner`. */
function removeFrom(holders: Holders, owner: string, key: string, holder: string): boolean {
  const keys = holders.get(owner)
  const held = keys?.get(key)
  if (keys === undefined || held === undefined || !held.delete(holder)) return false
  if (held.size > 0) return false
  keys.delete(key)
  if (keys.size === 0) holders.delete(owner)
  return true
}
