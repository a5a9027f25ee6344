// The node's side of the cluster, put together: a session with the leader, the worker that runs
// what it assigns, the tables and names that follow from it. Everything that touches the host is
// handed in.
//
// It works in this order: the tasks that the node remembers are taken over and the network is set
// up as it last was, then a manager is looked for. So a node that starts while its cluster is away
// serves as it did before.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Prng } from '../../base/prng.ts'
import type { Timers } from '../../base/timers.ts'
import type { ForwardingTables, LocalInterface, LocalNode } from '../../dataplane/tables.ts'
import type { Description, DispatcherClient, SessionMessage__Output } from '../proto/dispatcher.ts'
import { type AssignedTask, onNetwork } from '../store/assignment.ts'
import type { CertificateState, NodeDescription, NodeTunnel } from '../store/objects.ts'
import { isTerminal } from '../store/objects.ts'
import type { NodeRole, NodeSpec } from '../store/specs.ts'
import { buildDns } from './build-dns.ts'
import { type BuiltTables, buildTables } from './build-tables.ts'
import type { DnsTables } from './dns/zone.ts'
import type { Executor } from './executor.ts'
import { type ClusterFacts, ItemCache } from './item-cache.ts'
import type { ItemsChange } from './item-set.ts'
import { LOOK_MS } from './limits.ts'
import { LogPublisher } from './log-publisher.ts'
import { Managers } from './managers.ts'
import { PeerLiveness, type PeerTraffic } from './peer-liveness.ts'
import { SessionLoop } from './session-loop.ts'
import { endpointName, NetworkNames } from './table-names.ts'
import { TablesSync } from './tables-sync.ts'
import { TaskDb } from './task-db.ts'
import { Worker } from './worker.ts'

/** What the cluster says of this node. */
export interface OwnNode {
  readonly id: string
  readonly spec: NodeSpec
  readonly role: NodeRole
  readonly certificate: { readonly state: CertificateState; readonly role: NodeRole }
}

export interface NodeAgentOptions {
  readonly nodeId: string
  readonly hostname: string
  /** For what the agent remembers; made with mode 0700. */
  readonly stateDirectory: string
  /** "address:port" of managers to begin with. */
  readonly managers: readonly string[]
  /** Names of the schedulers that the balancer has. */
  readonly schedulers: readonly string[]
}

/** The data plane as the agent uses it. */
export interface AgentDataPlane {
  /** Public key, endpoint ('null' behind NAT) and zone to register; null without a data plane. */
  tunnel(): NodeTunnel | null
  /** This node in the tables: keys, port and addresses. */
  localNode(facts: ClusterFacts): LocalNode
  /** Puts tables into force. Rejects with TablesRefused where single items are at fault. */
  apply(tables: ForwardingTables): Promise<void>
  /** Flows open to these backends, by endpoint name. */
  flows(endpoints: readonly string[]): Promise<ReadonlyMap<string, number>>
  /** Counters of the tunnels. */
  traffic(): Iterable<PeerTraffic>
  /** Asks nodes for a sign of life through the tunnel; those in `anew` for a new session, too. */
  knock(nodeIds: readonly string[], anew: readonly string[]): void
  /** Where peers without a configured endpoint are now: node id, "address:port". */
  seen(): Iterable<{ readonly nodeId: string; readonly endpoint: string }>
  gatewayInterface(networkId: string): LocalInterface | null
}

export interface NodeAgentParts {
  readonly executor: Executor
  readonly dataPlane: AgentDataPlane
  /** The node's certificate as it describes it. */
  readonly tls: () => NodeDescription['tls']
  readonly connect: (address: string) => DispatcherClient
  /** Node, root CA and managers as the cluster tells them. */
  readonly onCluster: (node: OwnNode, rootCa: string, facts: ClusterFacts) => void
  readonly onDns: (tables: DnsTables) => void
  /** The cluster knows this node no more. */
  readonly onRemoved: () => void
  readonly clock: Clock
  readonly timers: Timers
  readonly random: Prng
  readonly log: Logger
}

export class NodeAgent {
  readonly worker: Worker
  readonly session: SessionLoop
  readonly #options: NodeAgentOptions
  readonly #parts: NodeAgentParts
  readonly #managers: Managers
  readonly #tables: TablesSync
  readonly #networkNames = new NetworkNames()
  readonly #cache: ItemCache
  readonly #logs: LogPublisher
  readonly #liveness = new PeerLiveness()
  #facts: ClusterFacts = { managers: [], tunnelKeys: [], dataPathPort: 0 }
  #version = 0
  /** The host's, as the tables have them; undefined before there are any. */
  #addresses: string | undefined
  /** The one that there is a session with, null = there is none. */
  #manager: string | null = null
  /** Managers' nodes by their addresses. */
  #managerNodes: ReadonlyMap<string, string> = new Map()
  #cancelLook: () => void = () => {}
  #closing: Promise<void> | null = null

  constructor(options: NodeAgentOptions, parts: NodeAgentParts) {
    this.#options = options
    this.#parts = parts
    const { executor, clock, timers, random, log, connect, dataPlane } = parts
    mkdirSync(options.stateDirectory, { recursive: true, mode: 0o700 })
    this.#managers = new Managers(options.managers, (address) => this.#isSilent(address))
    this.worker = new Worker({
      executor,
      memory: new TaskDb(join(options.stateDirectory, 'worker.db'), log),
      clock,
      timers,
      log,
      node: { id: options.nodeId, hostname: options.hostname },
      onStatus: (taskId, status) => this.session.status(taskId, status),
      onTables: () => this.#tables?.changed(),
      isNetworked: (task) => this.#isNetworked(task),
    })
    this.session = new SessionLoop({
      connect,
      managers: this.#managers,
      host: {
        describe: () => this.#describe(),
        heartbeat: () => this.#heartbeat(),
        onMessage: (message) => this.#onMessage(message),
        onItems: (change) => this.#onItems(change),
        onLogs: (message, session) => this.#logs.take(message, session),
      },
      statuses: () => this.worker.statuses(),
      onConnected: (address) => {
        this.#manager = address
        if (address !== null) this.#beHeard()
      },
      onRemoved: parts.onRemoved,
      clock,
      timers,
      random,
      log,
    })
    this.#tables = new TablesSync({
      build: () => this.#build(),
      apply: (tables) => dataPlane.apply(tables),
      flows: (endpoints) => dataPlane.flows(endpoints),
      onApplied: () => this.worker.tablesApplied(),
      onAcknowledge: () => this.session.acknowledge(),
      clock,
      timers,
      log,
    })
    const file = join(options.stateDirectory, 'cluster.json')
    this.#cache = new ItemCache(file, this.session.items, () => this.#facts, { timers, log })
    this.#logs = new LogPublisher({ sources: () => this.worker.tasks.values(), timers })
  }

  /** Whether there is a session with a leader. */
  get isConnected(): boolean {
    return this.#manager !== null
  }

  get facts(): ClusterFacts {
    return this.#facts
  }

  get counts(): TablesSync['counts'] & { readonly silentPeers: number } {
    return { ...this.#tables.counts, silentPeers: this.#liveness.silent.size }
  }

  start(): void {
    const facts = this.#cache.load()
    if (facts !== null) this.#learn(facts)
    this.worker.start()
    if (facts !== null) this.#tables.changed()
    this.session.start()
    this.#look()
  }

  /** The agent ends, its tasks go on. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#cancelLook()
    this.#logs.close()
    await this.worker.close()
    await this.session.close(500)
    await this.#tables.close()
    this.#cache.close()
    await this.#parts.executor.close()
  }

  /** The node leaves the cluster: stops and deletes its tasks, tells it, then ends. */
  async leave(limitMs: number): Promise<void> {
    await this.worker.removeAll(limitMs, this.isConnected)
    await this.close()
  }

  /** Something of the node itself has changed: addresses, certificate, tunnel. */
  redescribe(): void {
    this.session.session?.redescribe().catch(() => {})
    this.#tables.changed()
  }

  /** What forwarded by the tables has ended: they are handed over again. */
  dataPlaneLost(): void {
    this.#tables.lost()
  }

  // -- what the manager says
  // -----------------------------------------------------------------------

  #onMessage(message: SessionMessage__Output): void {
    const nodes = message.managers.map(({ address, nodeId }) => [address, nodeId] as const)
    this.#managerNodes = new Map(nodes)
    this.#learn({
      managers: message.managers.map(({ address }) => address),
      tunnelKeys: message.tunnelKeys.map((key) => key.toString('base64')),
      dataPathPort: message.dataPathPort,
    })
    this.#cache.changed()
    const node = JSON.parse(message.node.toString('utf8')) as OwnNode
    this.#parts.onCluster(node, message.rootCa.toString('utf8'), this.#facts)
  }

  #learn(facts: ClusterFacts): void {
    const before = this.#facts
    this.#facts = facts
    this.#managers.update(facts.managers)
    const tables = ({ tunnelKeys, dataPathPort }: ClusterFacts): string =>
      JSON.stringify([tunnelKeys, dataPathPort])
    if (tables(before) !== tables(facts)) this.#tables.changed()
  }

  #onItems({ kinds, observed }: ItemsChange): void {
    this.worker.assign(this.session.items, observed)
    if (kinds.has('task')) this.#logs.changed()
    this.#tables.changed()
    this.#cache.changed()
  }

  // -- what the node says
  // --------------------------------------------------------------------------

  async #describe(): Promise<Description> {
    const description = await this.#parts.executor.describe()
    const tunnel = this.#parts.dataPlane.tunnel()
    return {
      node: Buffer.from(JSON.stringify({ ...description, tls: this.#parts.tls() })),
      tunnelPublicKey: tunnel?.publicKey ?? '',
      tunnelEndpoint: tunnel?.endpoint ?? '',
      zone: tunnel?.zone ?? '',
    }
  }

  /** Looks which peers answer, now and every LOOK_MS. */
  #look(): void {
    const { dataPlane, clock, timers, log } = this.#parts
    const before = this.#liveness.silent
    const { asked, called, isNews } = this.#liveness.look(dataPlane.traffic(), clock.nowMs())
    const { silent } = this.#liveness
    if (asked.length > 0) dataPlane.knock(asked, called)
    if (isNews) {
      for (const node of silent) if (!before.has(node)) log.info('a peer is silent', { node })
      for (const node of before) if (!silent.has(node)) log.info('a peer is heard again', { node })
      this.#tables.changed()
      this.session.acknowledge()
    }
    if (this.#isSilent(this.#manager ?? '')) this.session.session?.doubt()
    // Nobody says when the host gets an address, or has it back with a link that was down.
    const isElsewhere = this.#addresses !== addressesOf(dataPlane.localNode(this.#facts))
    if (this.#addresses !== undefined && isElsewhere) this.#tables.changed()
    this.#cancelLook = timers.after(LOOK_MS, () => this.#look())
  }

  /** What broke the last session may have been the NAT before this node, which has forgotten its
   * flows. Nobody reaches the node before it says something, and keep-alives are far apart. */
  #beHeard(): void {
    const { dataPlane } = this.#parts
    if (dataPlane.tunnel()?.endpoint !== null) return
    const peers = Array.from(dataPlane.traffic(), ({ nodeId }) => nodeId)
    if (peers.length > 0) dataPlane.knock(peers, [])
  }

  /** Whether the node of the manager at an address does not answer through its tunnel. */
  #isSilent(address: string): boolean {
    return this.#liveness.silent.has(this.#managerNodes.get(address) ?? '')
  }

  #heartbeat(): object {
    const { dataPlane, clock } = this.#parts
    return {
      applied: this.#tables.applied,
      draining: this.#tables.draining(),
      silentNodes: [...this.#liveness.silent],
      heardNodes: this.#liveness.heard(clock.nowMs()),
      seen: [...dataPlane.seen()],
    }
  }

  #isNetworked({ id, networks }: AssignedTask): boolean {
    const endpoints = this.session.items.all('endpoint')
    return networks.every(({ networkId }) => {
      const item = endpoints.get(onNetwork(id, networkId))
      return item !== undefined && this.#tables.hasInterface(endpointName(item))
    })
  }

  #build(): { built: BuiltTables; assignment: number } {
    const { items } = this.session
    const { dataPlane } = this.#parts
    this.#version++
    const node = dataPlane.localNode(this.#facts)
    this.#addresses = addressesOf(node)
    const built = buildTables({
      version: this.#version,
      node: { ...node, ...(this.#hasEgress() ? { egress: true } : {}) },
      isBehindNat: dataPlane.tunnel()?.endpoint === null,
      peers: items.all('peer'),
      networks: this.#networkNames.apart(items.all('network')),
      endpoints: items.all('endpoint'),
      services: items.all('service'),
      silent: this.#liveness.silent,
      local: (taskId) => {
        const manager = this.worker.tasks.get(taskId)
        return manager === undefined
          ? undefined
          : {
              isOver: isTerminal(manager.status.state),
              isDraining: manager.isDraining,
              interfaceOf: (networkId) => manager.controller.interfaceOf(networkId),
              hostPorts: manager.controller.hostPorts?.() ?? [],
            }
      },
      gatewayInterface: (networkId) => dataPlane.gatewayInterface(networkId),
      schedulers: this.#options.schedulers,
    })
    this.#parts.onDns(this.#dns())
    return { built, assignment: items.version }
  }

  #hasEgress(): boolean {
    return [...this.worker.tasks.values()].some(
      ({ status, controller }) => !isTerminal(status.state) && controller.hasEgress?.(),
    )
  }

  #dns(): DnsTables {
    const { items } = this.session
    return buildDns({
      nodeId: this.#options.nodeId,
      networks: items.all('network'),
      endpoints: items.all('endpoint'),
      services: items.all('service'),
      networksOf: (taskId) =>
        this.worker.tasks.get(taskId)?.task.networks.map(({ networkId }) => networkId) ?? [],
    })
  }
}

function addressesOf({ addresses }: LocalNode): string {
  return (addresses ?? []).join(' ')
}
