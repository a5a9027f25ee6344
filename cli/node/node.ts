// The node as the Engine API drives it: in no swarm, founding or joining one, in one, locked, or in
// trouble. What it is in is a SwarmMembership; this file is how it gets in and out.
//
//   inactive --init, join--> pending --> active --leave--> inactive
//   (start)  --state.json--> active | locked --unlock--> active | error --leave--> inactive
//   active, error --init --force-new-cluster--> active
//
// One transition at a time; state.json says at each instant what a restart has to do
// (node-files.ts).

import { randomBytes } from 'node:crypto'
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Timers } from '../../base/timers.ts'
import { Turns } from '../../base/turns.ts'
import type { Executor } from '../../controlplane/agent/executor.ts'
import type { Session } from '../../controlplane/agent/session.ts'
import { ApiError, noLeader } from '../../controlplane/api/errors.ts'
import type {
  ApiRequest,
  ApiResponse,
  ClusterAccess,
  InitRequest,
  JoinRequest,
  NodeControl,
  NodeStatus,
} from '../../controlplane/api/node-control.ts'
import {
  identityPaths,
  type NodeIdentity,
  readIdentity,
  removeIdentity,
} from '../../controlplane/ca/identity.ts'
import { parseUnlockKey } from '../../controlplane/ca/seal.ts'
import type { StartMode } from '../../controlplane/raft/shell/open-member.ts'
import type { EngineEnd } from '../../dataplane/engine-handle.ts'
import { hostPart, type NodeAddresses, nodeAddresses, type SystemAddress } from './addresses.ts'
import { NodeDataPlane } from './data-plane.ts'
import {
  type Entry,
  found,
  type GivenRequest,
  joinSwarm,
  leading,
  planRefounding,
} from './entry.ts'
import type { ExecutorHost } from './executors.ts'
import { LEAVE_TASKS_MS } from './limits.ts'
import type { Manager } from './manager.ts'
import { SwarmMembership } from './membership.ts'
import type { NodeEngine } from './node-engine.ts'
import type { NodeFiles, NodeState } from './node-files.ts'

export interface NodeOptions {
  readonly hostname: string
  /** Of the local Docker engine; null where there is none. */
  readonly engineSocket: string | null
  /** '' = the one address of this system. */
  readonly defaultAdvertise: string
  readonly zone: string
  /** Other nodes cannot call this one. */
  readonly isBehindNat: boolean
}

export interface NodeParts {
  readonly files: NodeFiles
  readonly engine: NodeEngine
  /** Makes the executor of a membership, which closes it. */
  readonly openExecutor: (host: ExecutorHost) => Promise<Executor>
  readonly systemAddresses: () => readonly SystemAddress[]
  /** Addresses of this host at which published ports answer. */
  readonly publishedAddresses: () => readonly string[]
  /** Own address on the way to "address:port"; null when there is none. */
  readonly addressTowards: (remote: string) => Promise<string | null>
  readonly clock: Clock
  readonly timers: Timers
  readonly log: Logger
}

const LOCKED =
  'Swarm is encrypted and needs to be unlocked before it can be used. ' +
  'Please use "docker swarm unlock" to unlock it.'

export class Node implements NodeControl {
  readonly clock: Clock
  readonly engineSocket: string | null
  readonly #options: NodeOptions
  readonly #parts: NodeParts
  readonly #listeners = new Set<() => void>()
  #handle: (request: ApiRequest) => Promise<ApiResponse> = () => Promise.reject(noLeader())
  #state: NodeStatus['state'] = 'inactive'
  #error = ''
  #membership: SwarmMembership | null = null
  /** Set while the node is locked. */
  #locked: { readonly identity: NodeIdentity; readonly state: NodeState } | null = null
  /** The attempt to found or join that is under way. */
  #attempt = new AbortController()
  readonly #turns = new Turns()
  #isClosing = false

  constructor(options: NodeOptions, parts: NodeParts) {
    this.#options = options
    this.#parts = parts
    this.clock = parts.clock
    this.engineSocket = options.engineSocket
  }

  /** What serves requests that other managers hand over. */
  serveWith(handle: (request: ApiRequest) => Promise<ApiResponse>): void {
    this.#handle = handle
  }

  /** Calls `listener` after role, state or leadership have changed. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener)
  }

  random(size: number): Uint8Array {
    return randomBytes(size)
  }

  status(): NodeStatus {
    const membership = this.#membership
    const state = membership?.state ?? this.#locked?.state ?? null
    const role = membership?.security.subject.role ?? this.#locked?.identity.subject.role
    const managers = membership === null ? [] : this.#managers(membership)
    return {
      state: this.#state,
      nodeId: membership?.nodeId ?? this.#locked?.identity.subject.nodeId ?? '',
      address: state === null ? '' : hostPart(state.advertiseAddress),
      isManager: role === 'manager',
      error: this.#error,
      managers,
    }
  }

  cluster(): ClusterAccess | null {
    const manager = this.#manager
    return manager === null ? null : { store: manager.store, isLeader: manager.isLeader }
  }

  /** The manager's part, where there is one that knows the swarm. */
  get manager(): Manager | null {
    return this.#manager
  }

  get membership(): SwarmMembership | null {
    return this.#membership
  }

  async forward(request: ApiRequest): Promise<ApiResponse> {
    if (this.#manager === null) throw noLeader()
    return this.#manager.forward(request)
  }

  async readBarrier(): Promise<void> {
    if (this.#manager === null) throw noLeader()
    await this.#manager.readBarrier()
  }

  // -- transitions --------------------------------------------------------------------------------

  /** Goes on where the last run ended. Never rejects: what is wrong is the node's state. */
  start(): Promise<void> {
    return this.#turns.take(() => this.#guarded(() => this.#start(null)))
  }

  async init(request: InitRequest): Promise<string> {
    return this.#turns.take(async () => {
      if (request.forceNewCluster && this.#state !== 'inactive') return this.#refound(request)
      this.#mustBeInactive()
      return this.#begin(() => found(request, this.#entry()))
    })
  }

  async join(request: JoinRequest): Promise<void> {
    return this.#turns.take(async () => {
      this.#mustBeInactive()
      await this.#begin(() => joinSwarm(request, this.#entry()))
    })
  }

  /** Also ends an attempt to join that is under way. */
  async leave(_force: boolean): Promise<void> {
    this.#attempt.abort()
    await this.#turns.take(async () => {
      await this.#membership?.close(LEAVE_TASKS_MS)
      this.#membership = null
      this.#locked = null
      this.#forget()
      this.#become('inactive')
    })
  }

  async unlock(key: string): Promise<void> {
    await this.#turns.take(async () => {
      const locked = this.#locked
      if (locked === null) throw new ApiError(409, 'swarm is not locked')
      try {
        locked.identity.keyFile.unlock(parseUnlockKey(key))
      } catch (error) {
        throw new ApiError(401, (error as Error).message)
      }
      this.#locked = null
      await this.#guarded(() => this.#resume(locked.identity, locked.state, null))
    })
  }

  /** The agent ends; tasks go on. */
  async close(end: EngineEnd): Promise<void> {
    this.#isClosing = true
    this.#attempt.abort()
    await this.#turns.take(async () => {
      await this.#membership?.close(null, end)
      this.#membership = null
    })
  }

  #become(state: NodeStatus['state'], error = ''): void {
    this.#state = state
    this.#error = error
    this.#changed()
  }

  #changed(): void {
    for (const listener of this.#listeners) listener()
  }

  #mustBeInactive(): void {
    if (this.#state !== 'inactive') throw new ApiError(503, 'This node is part of a swarm already')
  }

  /** Nothing of a swarm is left here. */
  #forget(): void {
    this.#parts.files.beginLeaving()
    removeIdentity(identityPaths(this.#parts.files.directory))
    this.#parts.files.removeAll()
  }

  /** An attempt to get in: whole, or the node is as it was. */
  async #begin<T>(attempt: () => Promise<T>): Promise<T> {
    this.#attempt = new AbortController()
    this.#become('pending')
    try {
      const result = await attempt()
      this.#become('active')
      return result
    } catch (error) {
      await this.#membership?.close(0)
      this.#membership = null
      // A member by now, perhaps: the next start sees to it.
      if (!this.#isClosing) this.#forget()
      this.#become('inactive')
      throw error
    }
  }

  async #guarded(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.#parts.log.error('this node cannot take part', { error: (error as Error).message })
      this.#become('error', (error as Error).message)
    }
  }

  // -- after a restart ----------------------------------------------------------------------------

  async #start(mode: StartMode | null): Promise<void> {
    const { files, clock, log } = this.#parts
    const state = files.readState()
    if (state === null) return
    const paths = identityPaths(files.directory)
    if (state.phase === 'leaving') {
      log.warn('the agent was stopped while it left a swarm: it has left')
      this.#forget()
      return
    }
    if (state.phase === 'founding') {
      log.warn('the agent was stopped while it founded a swarm: nothing of it is kept')
      this.#forget()
      return
    }
    const identity = readIdentity(paths, clock.wallMs())
    if (identity === null) {
      if (state.phase !== 'joining') throw new Error(`${paths.key} is missing: leave the swarm`)
      log.warn('the agent was stopped while it joined a swarm: join again')
      this.#forget()
      return
    }
    if (identity.keyFile.isLocked) {
      this.#locked = { identity, state }
      this.#become('locked')
      return
    }
    await this.#resume(identity, state, mode)
  }

  async #resume(identity: NodeIdentity, state: NodeState, mode: StartMode | null): Promise<void> {
    this.#become('pending')
    const membership = await this.#newMembership(identity, state)
    this.#membership = membership
    membership.saveState({ phase: 'member' })
    try {
      await membership.start(mode)
    } finally {
      // A manager without its log still is a node: its tasks go on.
      membership.startAgent()
    }
    this.#become('active')
  }

  /** Goes on alone with what this manager has of its swarm. */
  async #refound(request: InitRequest): Promise<string> {
    if (this.#state === 'locked') throw new ApiError(503, LOCKED)
    this.#attempt = new AbortController()
    const entry = this.#entry()
    const running = this.#membership?.security.identity ?? null
    const { identity, state } = planRefounding(request, entry, running)
    this.#parts.log.warn('making a new swarm of what this manager has of the old one')
    await this.#membership?.close(null)
    this.#membership = null
    this.#parts.files.writeState(state)
    const { nodeId } = identity.subject
    const address = state.advertiseAddress
    await this.#guarded(async () => {
      await this.#resume(identity, state, { kind: 'force-new-cluster', address, nodeId })
      await leading(this.#membership!, entry)
    })
    if (this.#state === 'error') throw new ApiError(500, this.#error)
    return nodeId
  }

  // -- parts --------------------------------------------------------------------------------------

  #entry(): Entry {
    const { files, clock, log, addressTowards } = this.#parts
    return {
      files,
      clock,
      log,
      addressTowards,
      signal: this.#attempt.signal,
      addresses: (given, fallback) => this.#addresses(given, fallback),
      adopt: async (identity, state) => {
        const membership = await this.#newMembership(identity, state)
        this.#membership = membership
        return membership
      },
    }
  }

  async #newMembership(identity: NodeIdentity, state: NodeState): Promise<SwarmMembership> {
    const { files, engine, openExecutor, publishedAddresses, clock, timers, log } = this.#parts
    const { hostname, zone, isBehindNat } = this.#options
    const dataPlane = new NodeDataPlane(
      {
        nodeId: identity.subject.nodeId,
        ...files.tunnelKeys(),
        dataPathHost: state.dataPathHost,
        isBehindNat,
        zone,
        addresses: publishedAddresses,
        log,
      },
      engine,
    )
    let membership: SwarmMembership | null = null
    const executor = await openExecutor({
      network: (id) => membership?.agent.session.items.all('network').get(id),
      attachments: {
        attach: async ({ aliases = [], ...request }) => {
          return sessionOf(membership).attach({ ...request, aliases: [...aliases] })
        },
        detach: async (taskId) => sessionOf(membership).detach(taskId),
      },
      made: (device, limitMs) => dataPlane.made(device, limitMs),
      addresses: publishedAddresses,
    })
    dataPlane.start(() => membership?.agent.redescribe())
    membership = new SwarmMembership({
      files,
      paths: identityPaths(files.directory),
      identity,
      state,
      hostname,
      executor,
      dataPlane,
      handle: (request) => this.#handle(request),
      systemAddresses: this.#parts.systemAddresses,
      onChange: () => this.#changed(),
      onError: (words) => this.#become('error', words),
      onMended: (words) => {
        if (this.#state === 'error' && this.#error === words) this.#become('active')
      },
      clock,
      timers,
      log,
    })
    return membership
  }

  #addresses(given: GivenRequest, fallback: string | null): NodeAddresses {
    const { listenAddress, advertiseAddress, dataPathAddress } = given
    return nodeAddresses(
      { listen: listenAddress, advertise: advertiseAddress, dataPath: dataPathAddress },
      this.#parts.systemAddresses(),
      this.#options.defaultAdvertise,
      fallback,
    )
  }

  get #manager(): Manager | null {
    return this.#state === 'active' || this.#state === 'pending'
      ? (this.#membership?.manager ?? null)
      : null
  }

  #managers(membership: SwarmMembership): NodeStatus['managers'] {
    const manager = this.#manager
    if (manager === null) {
      return membership.managers.map((address) => ({ nodeId: '', address }))
    }
    return manager.member.membership.members().map(({ nodeId, address }) => ({ nodeId, address }))
  }
}

/** Throws while no manager is in reach. */
export function sessionOf(membership: SwarmMembership | null): Session {
  const session = membership?.agent.session.session ?? null
  if (session === null) throw new Error('no manager of the swarm is in reach')
  return session
}
