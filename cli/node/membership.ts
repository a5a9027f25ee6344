// A node's part in a swarm while it has one: its identity, its agent, its data plane, and its
// manager's part as long as its certificate says "manager". What changes the role is the
// certificate: the cluster says what it should be, the node renews, and then follows.
//
//   worker --certificate says manager--> opens a Raft member, asks to be taken in
//   manager --certificate says worker--> ends the member, forgets log and keys
//   manager --taken out of the group, certificate says manager still--> comes back as a new member

import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Timers } from '../../base/timers.ts'
import { connector } from '../../controlplane/agent/connect.ts'
import type { Executor } from '../../controlplane/agent/executor.ts'
import type { ClusterFacts } from '../../controlplane/agent/item-cache.ts'
import { NodeAgent, type OwnNode } from '../../controlplane/agent/node-agent.ts'
import type { ApiRequest, ApiResponse } from '../../controlplane/api/node-control.ts'
import type { IdentityPaths, NodeIdentity } from '../../controlplane/ca/identity.ts'
import { NodeSecurity } from '../../controlplane/ca/security.ts'
import type { StartMode } from '../../controlplane/raft/shell/open-member.ts'
import type { NodeDescription } from '../../controlplane/store/objects.ts'
import type { EngineEnd } from '../../dataplane/engine-handle.ts'
import { SCHEDULERS } from '../compose.ts'
import { hostPart, localAddress, type SystemAddress } from './addresses.ts'
import { becomeMember } from './become-member.ts'
import type { NodeDataPlane } from './data-plane.ts'
import { FAREWELL_MS, MANAGER_RETRY_MS, REJOIN_AFTER_MS } from './limits.ts'
import { Manager } from './manager.ts'
import type { NodeFiles, NodeState } from './node-files.ts'
import { newPrng, sleep } from './system.ts'

export interface MembershipParts {
  readonly files: NodeFiles
  readonly paths: IdentityPaths
  readonly identity: NodeIdentity
  readonly state: NodeState
  readonly hostname: string
  readonly executor: Executor
  readonly dataPlane: NodeDataPlane
  readonly handle: (request: ApiRequest) => Promise<ApiResponse>
  /** Addresses of this host. */
  readonly systemAddresses: () => readonly SystemAddress[]
  /** Role, leadership or store have changed. */
  readonly onChange: () => void
  /** The node cannot go on as a part of this swarm: the words say why. */
  readonly onError: (words: string) => void
  /** What these words were said of is well again. */
  readonly onMended: (words: string) => void
  readonly clock: Clock
  readonly timers: Timers
  readonly log: Logger
}

export class SwarmMembership {
  readonly security: NodeSecurity
  readonly agent: NodeAgent
  readonly #parts: MembershipParts
  readonly #abort = new AbortController()
  readonly #random = newPrng()
  #state: NodeState
  #manager: Manager | null = null
  /** The work on the manager's part: one piece after the other. */
  #work: Promise<void> = Promise.resolve()
  #joining = new AbortController()
  #removedManager: Manager | null = null
  /** Why the manager's part could not follow; '' = it could. */
  #failure = ''

  constructor(parts: MembershipParts) {
    const { files, paths, identity, clock, timers, log, dataPlane, executor } = parts
    this.#parts = parts
    this.#state = parts.state
    this.security = new NodeSecurity({
      paths,
      identity,
      clock,
      sleep,
      random: () => this.#random.float(),
      managers: () => this.managers.map((address) => this.#reached(address)),
      log,
    })
    const connect = connector(this.security.holder)
    this.agent = new NodeAgent(
      {
        nodeId: identity.subject.nodeId,
        hostname: parts.hostname,
        stateDirectory: files.worker,
        managers: this.managers,
        schedulers: SCHEDULERS,
      },
      {
        executor,
        dataPlane,
        tls: () => this.security.tlsInfo,
        connect: (address) => connect(this.#reached(address)),
        onCluster: (node, rootCa, facts) => this.#onCluster(node, rootCa, facts),
        onDns: (tables) => dataPlane.useNames(tables),
        onRemoved: () => parts.onError(REMOVED),
        clock,
        timers,
        random: this.#random,
        log,
      },
    )
    this.security.onChange(() => this.#onCertificate())
  }

  get executor(): Executor {
    return this.#parts.executor
  }

  get dataPlane(): NodeDataPlane {
    return this.#parts.dataPlane
  }

  /** The node as it describes itself. */
  async describe(): Promise<NodeDescription> {
    return { ...(await this.#parts.executor.describe()), tls: this.security.tlsInfo }
  }

  get nodeId(): string {
    return this.security.subject.nodeId
  }

  get clusterId(): string {
    return this.security.subject.clusterId
  }

  /** By the certificate in use. */
  get isManager(): boolean {
    return this.security.subject.role === 'manager'
  }

  /** Null on workers, and until the member votes and knows the swarm. */
  get manager(): Manager | null {
    const manager = this.#manager
    if (manager === null || this.#removedManager === manager || !manager.isVoter) return null
    return manager
  }

  get state(): NodeState {
    return this.#state
  }

  /** "address:port" of every manager that is known, this node's own first where it is one. */
  get managers(): readonly string[] {
    const { advertiseAddress, managers } = this.#state
    const own = this.#manager === null ? [] : [advertiseAddress]
    return [...new Set([...own, ...managers])]
  }

  /** Where a manager is called. This node's own is called over loopback where the host does not
   * have the address that others call: it has got another, or is behind NAT. */
  #reached(address: string): string {
    const { advertiseAddress, listenAddress } = this.#state
    if (this.#manager === null || address !== advertiseAddress) return address
    const host = hostPart(address)
    if (this.#parts.systemAddresses().some((one) => one.address === host)) return address
    return localAddress(listenAddress)
  }

  /** Takes part: `start` says how the Raft member of a manager begins. A manager of an existing
   * directory or a worker has no say in it. Rejects when the manager's part cannot be opened. */
  async start(start: StartMode | null): Promise<void> {
    this.#parts.dataPlane.usePort(this.agent.facts.dataPathPort)
    if (this.isManager) {
      await this.#inTurn(() => this.#openManager(start))
      this.#seekMembership()
    } else {
      // It may have been stopped when it had just become one.
      this.#forgetManager()
    }
    this.security.start()
  }

  /** Begins to serve: tasks, tables, a session with the leader. */
  startAgent(): void {
    this.agent.start()
  }

  /** Writes down that the node is a member, and where the managers are. */
  saveState(change: Partial<NodeState> = {}): void {
    const next = { ...this.#state, ...change }
    if (JSON.stringify(next) === JSON.stringify(this.#state)) return
    this.#parts.files.writeState(next)
    this.#state = next
  }

  /** Ends; tasks go on, or are ended first where the node leaves. `end` is the data plane's: the
   * interfaces of tasks that go on stay. */
  async close(
    leaveTasksMs: number | null,
    end: EngineEnd = leaveTasksMs === null ? 'keep' : 'undo',
  ): Promise<void> {
    this.#abort.abort()
    this.#joining.abort()
    if (leaveTasksMs === null) await this.agent.close()
    else await this.agent.leave(leaveTasksMs)
    await this.#inTurn(async () => {
      await this.#manager?.close()
      this.#manager = null
    })
    await this.security.stop()
    await this.#parts.dataPlane.stop(end)
  }

  // -- what the cluster says ----------------------------------------------------------------------

  #onCluster(node: OwnNode, rootCa: string, facts: ClusterFacts): void {
    const { dataPlane, log } = this.#parts
    const before = dataPlane.tunnel()?.endpoint
    dataPlane.usePort(facts.dataPathPort)
    if (dataPlane.tunnel()?.endpoint !== before) this.agent.redescribe()
    if (facts.managers.length > 0) this.#noteManagers(facts.managers)
    this.security.follow({ role: node.role, certificateState: node.certificate.state })
    try {
      this.security.followRoot(rootCa)
    } catch (error) {
      log.warn('the root that a manager names is none', { error: (error as Error).message })
    }
  }

  /** A disk that is full keeps no node from its work; the next message tries again. */
  #noteManagers(managers: readonly string[]): void {
    try {
      this.saveState({ managers })
    } catch (error) {
      this.#parts.log.warn('the managers were not noted', { error: (error as Error).message })
    }
  }

  #onCertificate(): void {
    this.agent.redescribe()
    this.#change(() => this.#followRole())
    this.#parts.onChange()
  }

  /** A change of the manager's part. One that fails is tried again: a port may be free by then. */
  #change(work: () => Promise<void>): void {
    this.#inTurn(work).then(
      () => {
        if (this.#failure !== '') this.#parts.onMended(this.#failure)
        this.#failure = ''
      },
      async (error: Error) => {
        this.#failure = error.message
        await sleep(MANAGER_RETRY_MS, this.#abort.signal)
        if (!this.#abort.signal.aborted) this.#change(() => this.#followRole())
      },
    )
  }

  async #followRole(): Promise<void> {
    if (this.#abort.signal.aborted) return
    if (this.isManager && this.#manager === null) {
      await this.#openManager(null)
      this.#seekMembership()
    } else if (!this.isManager && this.#manager !== null) {
      await this.#closeManager()
      this.#forgetManager()
      this.#parts.log.info('this node is a worker now')
    }
  }

  // -- the manager's part -------------------------------------------------------------------------

  async #openManager(start: StartMode | null): Promise<void> {
    const { files, handle, onChange, clock, timers, log } = this.#parts
    const { clusterId, nodeId } = this
    const mode: StartMode =
      start ??
      (files.hasRaft ? { kind: 'restart', clusterId, nodeId } : { kind: 'join', clusterId, nodeId })
    this.#manager = await Manager.open(
      {
        directory: files.raft,
        start: mode,
        clusterId,
        listenAddress: this.#state.listenAddress,
      },
      {
        security: this.security,
        handle,
        onLeadership: onChange,
        onRemoved: () => this.#onRemoved(),
        clock,
        timers,
        log,
      },
    )
    onChange()
  }

  /** A worker has no log, and no keys to one. */
  #forgetManager(): void {
    this.#parts.files.removeRaft()
    this.security.keyFile.forgetDataKeys()
  }

  async #closeManager(): Promise<void> {
    this.#joining.abort()
    const manager = this.#manager
    this.#manager = null
    this.#parts.onChange()
    await manager?.close()
    this.#parts.files.removeRaft()
  }

  #seekMembership(): void {
    const manager = this.#manager
    if (manager === null) return
    this.#joining = new AbortController()
    const { signal } = this.#joining
    void becomeMember({
      manager,
      identity: this.security.holder,
      clusterId: this.clusterId,
      address: this.#state.advertiseAddress,
      managers: () => this.managers,
      signal,
      log: this.#parts.log,
    }).then((end) => {
      if (end === 'member') this.#parts.onChange()
      if (end === 'gone' && !signal.aborted) this.#change(() => this.#comeBack(manager))
    })
  }

  /** The group has taken this member out. Mostly the node is being made a worker, and its
   * certificate follows; otherwise it comes back as another member. */
  #onRemoved(): void {
    const manager = this.#manager
    if (manager === null || this.#removedManager === manager) return
    this.#removedManager = manager
    this.#parts.log.info('this member was taken out of the Raft group')
    this.#parts.onChange()
    void sleep(FAREWELL_MS + REJOIN_AFTER_MS, this.#abort.signal).then(() =>
      this.#change(() => this.#comeBack(manager)),
    )
  }

  async #comeBack(manager: Manager): Promise<void> {
    if (this.#manager !== manager || !this.isManager || this.#abort.signal.aborted) return
    this.#parts.log.info('coming back as a new member of the Raft group')
    await this.#closeManager()
    await this.#openManager(null)
    this.#seekMembership()
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#work.then(work)
    this.#work = done.catch((error: Error) => {
      this.#parts.log.error('the manager part failed', { error: error.message })
      if (!this.#abort.signal.aborted) this.#parts.onError(error.message)
    })
    return done
  }
}

const REMOVED =
  'This node was removed from the swarm. Use "docker swarm leave --force" to leave it, ' +
  'and join again.'
