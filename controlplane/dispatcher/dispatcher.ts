// The leader's side of every node: registers agents, watches whether they live, tells each what it
// is to run and to forward, and takes in what they report. SwarmKit's manager/dispatcher.
//
//     store --watch--> projection --> topics --> feeds --> agents
//     agents --> sessions, liveness, drains --> writer --> store
//
// It runs on the leader alone, from start() to stop(), and keeps no state but what it can make
// again from the store and from the agents, which register with each new leader and tell everything
// anew.

import type { Clock } from '../../base/clock.ts'
import { type Logger, silentLogger } from '../../base/log.ts'
import type { Prng } from '../../base/prng.ts'
import type { Timers } from '../../base/timers.ts'
import type { Change, Store, StoreEvent, WriteTransaction } from '../store/contract.ts'
import { newId } from '../store/ids.ts'
import { isTerminal, type NodeObject, stateRank } from '../store/objects.ts'
import { Attachments } from './attachments.ts'
import { parseDescription, parseEndpoint, parseStatus, parseTunnel } from './checks.ts'
import { Drains } from './drains.ts'
import { DispatchError, sessionOver } from './errors.ts'
import { type FeedStream, Feeds } from './feeds.ts'
import { rotateKeys } from './key-manager.ts'
import * as limits from './limits.ts'
import { Liveness } from './liveness.ts'
import { LogBroker } from './log-broker.ts'
import { Projection } from './projection.ts'
import { type Ending, type SessionStream, Sessions } from './sessions.ts'
import { nodeTopic } from './topics.ts'
import { Writer } from './writer.ts'

export interface DispatcherParts {
  readonly store: Store
  readonly clock: Clock
  readonly timers: Timers
  /** For jitter. */
  readonly random: Prng
  /** For session ids and tunnel keys. */
  readonly randomBytes: (size: number) => Uint8Array
  readonly log?: Logger
}

/** What an agent says of its node; the fields of Description in dispatcher.proto. */
export interface Described {
  readonly node: Uint8Array
  readonly tunnelPublicKey: string
  readonly tunnelEndpoint: string
  readonly zone: string
}

/** The fields of HeartbeatRequest that count. */
export interface Heartbeat {
  readonly sessionId: string
  readonly applied: number
  readonly draining: readonly { readonly taskId: string; readonly flows: number }[]
  readonly silentNodes: readonly string[]
  readonly heardNodes: readonly string[]
  readonly seen: readonly { readonly nodeId: string; readonly endpoint: string }[]
  readonly isReturning: boolean
}

export interface AssignmentStream extends FeedStream, Ending {}

export class Dispatcher {
  readonly logs: LogBroker
  readonly #parts: DispatcherParts
  readonly #log: Logger
  readonly #feeds: Feeds
  readonly #projection: Projection
  readonly #liveness: Liveness
  readonly #drains: Drains
  readonly #sessions: Sessions
  readonly #writer: Writer
  readonly #attachments: Attachments
  readonly #endings: (() => void)[] = []
  /** Nodes that are down, and since when we know it. */
  readonly #downSince = new Map<string, number>()
  /** When a node behind NAT was last given another endpoint, and who saw it there. */
  readonly #seenBy = new Map<string, { readonly reporter: string; readonly atMs: number }>()
  #isRunning = false

  constructor(parts: DispatcherParts) {
    this.#parts = parts
    this.#log = parts.log ?? silentLogger
    const { clock, timers, store, random } = parts
    this.#feeds = new Feeds({
      clock,
      timers,
      followed: (nodeId) => this.#projection.followed(nodeId),
      observed: (nodeId) => this.#observed(nodeId),
      onFlushed: () => {
        this.#log.debug('assignments sent', { flush: this.#feeds.flushed })
        this.#drains.check()
      },
    })
    this.#projection = new Projection(this.#feeds.topics, {
      followed: (nodeId) => this.#feeds.refollow(nodeId),
      draining: (taskId, nodeId, networkIds) => this.#drains.begin(taskId, nodeId, networkIds),
      undrained: (taskId) => this.#drains.end(taskId),
    })
    this.#liveness = new Liveness({
      clock,
      random,
      periodMs: () => this.#periodMs(),
      onAway: (nodeId, isAway) => this.#away(nodeId, isAway),
      onDown: (nodeId, reason) => this.#down(nodeId, reason),
    })
    this.#drains = new Drains({
      flushed: () => this.#feeds.flushed,
      alive: () => this.#liveness.alive(),
      appliedBy: (nodeId) => this.#liveness.appliedBy(nodeId),
      isOn: (nodeId, networkId) => this.#projection.isOn(nodeId, networkId),
      onDrained: (taskId, nodeId, isIdle) =>
        this.#feeds.topics.set(nodeTopic(nodeId), 'drained', taskId, { taskId, isIdle }, true),
      onUndrained: (taskId, nodeId) =>
        this.#feeds.topics.delete(nodeTopic(nodeId), 'drained', taskId),
    })
    this.#sessions = new Sessions(store, () => this.#periodMs())
    this.#writer = new Writer({ store, timers, log: this.#log })
    this.#attachments = new Attachments(parts)
    this.logs = new LogBroker({ store, newId: () => newId(parts.randomBytes) })
  }

  /** This manager has become the leader. */
  start(): void {
    const { store } = this.#parts
    this.#isRunning = true
    this.#endings.push(store.watch((event) => this.#watch(event)))
    store.view((tx) => {
      this.#projection.load(tx)
      for (const node of tx.all('nodes')) {
        if (node.status.state === 'down') this.#downSince.set(node.id, this.#nowMs())
        else if (node.status.state !== 'unknown') this.#liveness.expect(node.id)
      }
    })
    this.#every(limits.LIVENESS_TICK_MS, () => this.#liveness.tick())
    this.#every(limits.SLOW_TICK_MS, () => this.#slowTick())
    this.#slowTick()
  }

  /** It is the leader no more: agents go elsewhere. */
  stop(): void {
    if (!this.#isRunning) return
    this.#isRunning = false
    for (const end of this.#endings.splice(0)) end()
    this.#sessions.closeAll(new DispatchError('unavailable', 'this manager does not lead any more'))
    this.logs.close()
    this.#feeds.stop()
    this.#writer.stop()
  }

  /** Nodes with a session, those that are away, streams of assignments, drains: for metrics. */
  get counts(): Readonly<Record<'sessions' | 'away' | 'feeds' | 'drains', number>> {
    return {
      away: this.#liveness.awayCount,
      sessions: this.#sessions.size,
      feeds: this.#feeds.size,
      drains: this.#drains.size,
    }
  }

  /** Resolves when all that was reported so far is in the store. */
  settled(): Promise<void> {
    return this.#writer.settled()
  }

  // -- what agents call ---------------------------------------------------------------------------

  /** Registers a node; `address` is where it calls from. Returns what to call when the call ends.
   */
  session(
    nodeId: string,
    described: Described,
    address: string,
    stream: SessionStream,
  ): () => void {
    this.#node(nodeId)
    const change = describedNode(described, address)
    const sessionId = newId(this.#parts.randomBytes)
    if (!this.#liveness.register(nodeId, sessionId)) {
      throw new DispatchError('unavailable', 'too many registrations: try again later')
    }
    this.#downSince.delete(nodeId)
    this.#drains.forget(nodeId)
    this.#writer.node(nodeId, change)
    this.#sessions.open(nodeId, sessionId, stream)
    this.#log.info('node registered', { node: nodeId, address })
    return () => this.#sessions.ended(nodeId, sessionId)
  }

  describe(nodeId: string, sessionId: string, described: Described): void {
    this.#beat(nodeId, sessionId)
    const { status } = this.#node(nodeId)
    this.#writer.node(nodeId, describedNode(described, status.address))
  }

  /** Returns the milliseconds until the next heartbeat. */
  heartbeat(nodeId: string, beat: Heartbeat): number {
    const periodMs = this.#beat(nodeId, beat.sessionId)
    const few = <T>(list: readonly T[]): readonly T[] => list.slice(0, limits.NAMES_LISTED_MAX)
    if (beat.isReturning) this.#liveness.returning(nodeId)
    this.#liveness.hear(nodeId, few(beat.silentNodes), few(beat.heardNodes))
    this.#liveness.applied(nodeId, Math.min(beat.applied, this.#feeds.flushed))
    if (this.#drains.size > 0) {
      const busy = few(beat.draining).filter(({ flows }) => flows > 0)
      this.#drains.report(nodeId, new Set(busy.map(({ taskId }) => taskId)))
      this.#drains.check()
    }
    for (const { nodeId: seen, endpoint } of few(beat.seen)) this.#seen(nodeId, seen, endpoint)
    return periodMs
  }

  assignments(
    nodeId: string,
    sessionId: string,
    stream: AssignmentStream,
  ): { close(): void; onDrain(): void } {
    this.#beat(nodeId, sessionId)
    const detach = this.#sessions.attach(nodeId, sessionId, stream)
    const feed = this.#feeds.open(nodeId, stream)
    return {
      onDrain: feed.onDrain,
      close: () => {
        detach()
        feed.close()
      },
    }
  }

  updateTaskStatus(
    nodeId: string,
    sessionId: string,
    updates: readonly { readonly taskId: string; readonly status: Uint8Array }[],
  ): void {
    this.#beat(nodeId, sessionId)
    if (updates.length > limits.STATUS_UPDATES_MAX) {
      throw new DispatchError('resource-exhausted', 'too many updates in one message')
    }
    const statuses = updates.map(({ taskId, status }) => [taskId, parseStatus(status)] as const)
    this.#parts.store.view((tx) => {
      for (const [taskId] of statuses) {
        const task = tx.get('tasks', taskId)
        if (task !== undefined && task.nodeId !== nodeId) {
          throw new DispatchError('permission-denied', 'cannot update a task of another node')
        }
      }
    })
    for (const [taskId, status] of statuses) {
      if (isTerminal(status.state)) this.#log.debug('a task has ended', { task: taskId })
      if (this.#writer.taskStatus(nodeId, taskId, status)) continue
      throw new DispatchError('resource-exhausted', 'too many updates wait: try again later')
    }
  }

  /** Checks that the session is the node's own and alive, and attaches a stream to it. */
  attach(nodeId: string, sessionId: string, stream: Ending): () => void {
    this.#beat(nodeId, sessionId)
    return this.#sessions.attach(nodeId, sessionId, stream)
  }

  /** The attachments, for a call of the node's session. */
  attachmentsOf(nodeId: string, sessionId: string): Attachments {
    this.#beat(nodeId, sessionId)
    return this.#attachments
  }

  // -- inside -------------------------------------------------------------------------------------

  #node(nodeId: string): NodeObject {
    if (!this.#isRunning) throw new DispatchError('unavailable', 'this manager does not lead')
    const node = this.#parts.store.view((tx) => tx.get('nodes', nodeId))
    if (node === undefined) throw new DispatchError('not-found', 'the node is not of this cluster')
    return node
  }

  /** Every call of a session is a sign of life. */
  #beat(nodeId: string, sessionId: string): number {
    this.#node(nodeId)
    const periodMs = this.#liveness.beat(nodeId, sessionId)
    if (periodMs === null) throw sessionOver()
    return periodMs
  }

  #periodMs(): number {
    const cluster = this.#parts.store.view((tx) => tx.cluster())
    const asked = (cluster?.spec.Dispatcher.HeartbeatPeriod ?? 0) / 1e6
    if (!(asked > 0)) return limits.HEARTBEAT_MS
    return Math.min(Math.max(asked, limits.HEARTBEAT_MS_MIN), limits.HEARTBEAT_MS_MAX)
  }

  #observed(nodeId: string): (readonly [string, string])[] {
    return this.#parts.store.view((tx) =>
      tx.find('tasks', 'node', nodeId).map(({ id, status }) => [id, status.state] as const),
    )
  }

  #watch(event: StoreEvent): void {
    // A snapshot comes from a leader: who gets one does not lead.
    if (event.kind === 'reset') return
    this.#parts.store.view((tx) => this.#projection.apply(event.changes, tx))
    for (const change of event.changes) this.#react(change)
    this.logs.changed(event.changes)
  }

  #react(change: Change): void {
    if (change.table === 'clusters') this.#sessions.refreshAll()
    if (change.table !== 'nodes') return
    const { id } = change.object
    if (change.kind === 'remove') {
      this.#sessions.close(id, new DispatchError('not-found', 'the node was removed'))
      this.#liveness.forget(id)
      this.#downSince.delete(id)
      this.#seenBy.delete(id)
      this.#drains.forget(id)
      this.#drains.check()
    }
    const before = change.kind === 'update' ? change.old.manager?.address : undefined
    const now = change.kind === 'remove' ? undefined : change.object.manager?.address
    if (before !== now || (change.kind === 'remove' && change.object.manager !== null)) {
      this.#sessions.refreshAll()
    } else {
      this.#sessions.refresh(id)
    }
  }

  /** Nothing is written: the next leader finds out for itself. */
  #away(nodeId: string, isAway: boolean): void {
    const text = isAway ? 'node away: its tasks are out of service' : 'node back in service'
    this.#log.warn(text, { node: nodeId })
    this.#parts.store.view((tx) => this.#projection.away(nodeId, isAway, tx))
  }

  #down(nodeId: string, reason: string): void {
    this.#log.warn('node down', { node: nodeId, reason })
    this.#downSince.set(nodeId, this.#nowMs())
    this.#sessions.close(nodeId, sessionOver())
    this.#drains.forget(nodeId)
    this.#drains.check()
    this.#writer.node(nodeId, (node) => ({
      ...node,
      status: { ...node.status, state: 'down', message: reason },
    }))
  }

  /** Where others hear a node that does not know its own endpoint. */
  #seen(reporter: string, nodeId: string, endpoint: string): void {
    parseEndpoint(endpoint)
    const { store } = this.#parts
    const [node, by] = store.view((tx) => [tx.get('nodes', nodeId), tx.get('nodes', reporter)])
    // Managers are believed: their data planes are the ones that nodes behind NAT keep calling.
    if (node === undefined || node.tunnel === null || by?.role !== 'manager') return
    if (node.tunnel.endpoint !== null || node.tunnel.seenAt === endpoint) return
    // Some NATs show another address to each who looks: one is believed as long as it lives, and
    // not too often, or the store would be kept busy.
    const nowMs = this.#nowMs()
    const last = this.#seenBy.get(nodeId)
    if (last !== undefined) {
      if (nowMs - last.atMs < limits.SEEN_MS) return
      const isOther = last.reporter !== reporter
      if (isOther && this.#liveness.sessionOf(last.reporter) !== undefined) return
    }
    this.#seenBy.set(nodeId, { reporter, atMs: nowMs })
    this.#writer.node(nodeId, (now) =>
      now.tunnel === null ? now : { ...now, tunnel: { ...now.tunnel, seenAt: endpoint } },
    )
  }

  #slowTick(): void {
    const { store, clock, randomBytes } = this.#parts
    rotateKeys({ store, log: this.#log, wallMs: () => clock.wallMs(), randomBytes }).catch(
      (error: Error) => this.#log.warn('the tunnel key was not rotated', { error: error.message }),
    )
    const beforeMs = this.#nowMs() - limits.ORPHAN_AFTER_MS
    for (const [nodeId, sinceMs] of this.#downSince) if (sinceMs <= beforeMs) this.#orphan(nodeId)
  }

  /** The node has been away so long that its tasks are given up. */
  #orphan(nodeId: string): void {
    const { store, clock } = this.#parts
    const tasks = store.view((tx) => tx.find('tasks', 'node', nodeId))
    const lost = tasks.filter(
      ({ status }) => stateRank(status.state) >= stateRank('assigned') && !isTerminal(status.state),
    )
    const steps = lost.map(({ id }) => (tx: WriteTransaction): void => {
      const task = tx.get('tasks', id)
      if (task === undefined || isTerminal(task.status.state)) return
      const atMs = clock.wallMs()
      const status = { ...task.status, state: 'orphaned', atMs, isServing: false } as const
      tx.update('tasks', { ...task, status: { ...status, message: 'orphaned' } })
    })
    store.batch(steps).catch(() => {})
  }

  #every(periodMs: number, run: () => void): void {
    let cancel = (): void => {}
    const next = (): void => {
      cancel = this.#parts.timers.after(periodMs, () => {
        run()
        if (this.#isRunning) next()
      })
    }
    next()
    this.#endings.push(() => cancel())
  }

  #nowMs(): number {
    return this.#parts.clock.nowMs()
  }
}

/** The change of a node's object that its description brings. Throws for one that is malformed. */
function describedNode(described: Described, address: string): (node: NodeObject) => NodeObject {
  const description = parseDescription(described.node)
  const { tunnelPublicKey, tunnelEndpoint, zone } = described
  const tunnel = parseTunnel(tunnelPublicKey, tunnelEndpoint, zone)
  return (node) => ({
    ...node,
    description,
    status: { state: 'ready', message: '', address },
    tunnel:
      tunnel === null
        ? node.tunnel
        : {
            publicKey: tunnel.publicKey,
            endpoint: tunnel.endpoint,
            ...(tunnel.zone === '' ? {} : { zone: tunnel.zone }),
            ...(node.tunnel?.seenAt !== undefined && tunnel.endpoint === null
              ? { seenAt: node.tunnel.seenAt }
              : {}),
          },
  })
}
