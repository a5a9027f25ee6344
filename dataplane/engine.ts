// The packet loop: one thread that waits for devices, socket and timers, and moves every packet
// there is.
//
// Theory of operation. The loop owns all state; nobody else touches it. It waits in epoll for the
// TAPs, the TUN, the underlay socket, sources of ICMP errors (outside-errors.ts) and an eventfd
// through which the main thread announces a message. Each turn
//
//   1. serves what is ready, in the order in which the kernel names it: the socket (datagrams are
//      opened,
//      merged and written to devices, receiver.ts),
//   2. and each device, a bounded number of frames: they are classified, translated, split and
//      sealed in
//      place (forwarder.ts, transmitter.ts),
//   3. sends what the turn made for all peers in one system call,
//   4. runs timers that are due: sessions, path-MTU search, flows; each bounded in work.
//
// Nothing is allocated per packet. Tables are exchanged between turns, so a packet sees one version
// of them. A packet can be dropped, with a counter, but cannot make the loop throw; what does throw
// is a broken invariant, and ends the process before it harms data.
//
// Memory: the slab holds the arena (frames on their way out), the answer area, and the socket's
// receive buffers, which the edge lays out behind SLAB_SOCKET_AT.

import {
  type AeadFactory,
  DEVICE_GONE,
  type ErrorSource,
  type Poller,
  type UnderlaySocket,
} from '../base/device.ts'
import type { Slab } from '../base/slab.ts'
import { Director, type DirectorOptions } from '../ipvs-emulator/director.ts'
import { STATE_COUNT_CELLS } from '../ipvs-emulator/state-counts.ts'
import { DEFENCE } from '../ipvs-emulator/verdict.ts'
import { type PeerHooks, REFUSAL_REASONS } from '../vxlan/contract.ts'
import { PeerTable } from '../vxlan/peer-table.ts'
import { ANSWER_AREA_SIZE } from './answers.ts'
import { Balance } from './balance.ts'
import { BalancedServices } from './balanced-services.ts'
import type { CompiledTables } from './compiled.ts'
import { type Counters, ENGINE_CELLS, STATE_CELLS } from './counters.ts'
import {
  ARENA_SIZE,
  DEVICE_READS_MAX,
  EXPIRY_BUDGET,
  PEERS_MAX,
  SLOW_TURN_SECONDS,
} from './engine-limits.ts'
import { Forwarder } from './forwarder.ts'
import { Frame } from './frame.ts'
import { OutsideErrors } from './outside-errors.ts'
import { PeerLinks } from './peer-links.ts'
import { type Port, readFrame } from './ports.ts'
import { answerQuestion, type Question, type QuestionName, type Questions } from './questions.ts'
import { ReadAhead } from './read-ahead.ts'
import { Receiver } from './receiver.ts'
import { Relay } from './relay.ts'
import { type FlowNumbers, packFlows, type Restored, unpackFlows } from './saved-flows.ts'
import { SPIN_MS, Spinner, YIELD_CONTENDED_MS } from './spinner.ts'
import { Staging } from './staging.ts'
import { type LocalPort, Topology } from './topology.ts'
import { TrackedFlows } from './tracked-flows.ts'
import { Transmitter } from './transmitter.ts'

/** Layout of the slab: arena, answers, a gap, then the socket's buffers. The gap is for the
 * virtio-net header of a frame that came in the clear: it is 2 bytes longer than the VXLAN
 * header whose place it takes. Between datagrams those bytes belong to one that has been
 * delivered before. */
const ARENA_AT = 0
const ANSWERS_AT: number = ARENA_AT + ARENA_SIZE
const SOCKET_GAP = 64
export const SLAB_SOCKET_AT: number = ANSWERS_AT + ANSWER_AREA_SIZE + SOCKET_GAP

// Poll tokens. Sources of errors follow from TOKEN_ERRORS, ports from TOKEN_PORT.
const TOKEN_WAKE = 0
const TOKEN_SOCKET = 1
const TOKEN_TUN = 2
const TOKEN_ERRORS = 3
const TOKEN_PORT = 16

export interface EngineClock {
  /** Monotonic milliseconds. */
  nowMs(): number
  /** Milliseconds since 1970. */
  wallMs(): number
}

export interface EngineParts
  extends Pick<DirectorOptions, 'connectionsMax' | 'statistics' | 'onLargeTable'> {
  readonly slab: Slab
  readonly socket: UnderlaySocket
  readonly poller: Poller
  /** Descriptor that becomes readable when the main thread has something to say; -1 = none. */
  readonly wakeFd: number
  /** Called when it did, on the loop's thread. */
  readonly onWake: () => void
  /** Lets others have the core for a moment (sched_yield). Absent = the loop never spins. */
  readonly relax?: () => void
  readonly aead: AeadFactory
  readonly clock: EngineClock
  readonly randomBytes: (size: number) => Uint8Array
  /** Uniform unsigned 32-bit numbers. */
  readonly random: () => number
  readonly counters: Counters
  /** Keys of this node; an ephemeral key where the tables name none. */
  readonly privateKey: Uint8Array
  readonly presharedKeys: readonly Uint8Array[]
}

export class Engine {
  readonly topology: Topology
  readonly forwarder: Forwarder
  readonly receiver: Receiver
  readonly transmitter: Transmitter
  readonly director: Director
  readonly balance: Balance
  readonly sessions: PeerTable
  readonly links: PeerLinks
  readonly relay: Relay
  readonly services: BalancedServices
  private readonly tracked: TrackedFlows

  private readonly parts: EngineParts
  private readonly staging: Staging
  private readonly counters: Counters
  private readonly cells: Float64Array
  private readonly frame: Frame = new Frame()
  private readonly readAhead: ReadAhead
  private readonly outsideErrors: OutsideErrors
  private tun: Port | null = null
  private errors: readonly ErrorSource[] = []
  /** Local ports by poll token. */
  private readonly portTokens: (LocalPort | null)[] = []
  private expiryDueMs = -1
  private stopping = false
  private readonly spinner: Spinner = new Spinner()

  constructor(parts: EngineParts) {
    this.parts = parts
    this.counters = parts.counters
    this.cells = parts.counters.cells
    const { slab, socket, counters } = parts
    const nowMs = parts.clock.nowMs()
    this.topology = new Topology(counters)
    const staging = new Staging(slab, counters)
    this.staging = staging
    this.sessions = new PeerTable(
      {
        privateKey: parts.privateKey,
        presharedKeys: parts.presharedKeys,
        nowMs,
        peersMax: PEERS_MAX,
      },
      {
        hooks: this.hooks(staging),
        aead: parts.aead,
        randomBytes: parts.randomBytes,
        random: () => parts.random() / 2 ** 32,
        wallMs: () => parts.clock.wallMs(),
      },
    )
    const { peers } = this.topology
    this.transmitter = new Transmitter(slab, ARENA_AT, socket, this.sessions, peers, counters)
    this.relay = new Relay(slab, socket, this.sessions, this.transmitter, counters)
    this.links = new PeerLinks(
      slab,
      socket,
      this.sessions,
      this.topology,
      this.transmitter,
      counters,
      this.relay,
    )
    this.director = this.makeDirector(nowMs)
    this.balance = new Balance(this.director, slab, counters)
    this.forwarder = new Forwarder({
      slab,
      topology: this.topology,
      balance: this.balance,
      transmitter: this.transmitter,
      staging,
      counters,
      answerArea: ANSWERS_AT,
    })
    this.receiver = new Receiver({
      slab,
      socket,
      sessions: this.sessions,
      topology: this.topology,
      forwarder: this.forwarder,
      balance: this.balance,
      counters,
      control: this.links,
      relay: this.relay,
      peerOfSession: this.links.peerOfSession,
    })
    const { director, balance, topology, forwarder, transmitter } = this
    this.readAhead = new ReadAhead({ slab, balance, forwarder, transmitter })
    this.outsideErrors = new OutsideErrors({ slab, forwarder, transmitter, counters })
    this.services = new BalancedServices(director, balance, topology, forwarder.published, counters)
    this.tracked = new TrackedFlows(director, topology)
    parts.poller.add(socket.fd, TOKEN_SOCKET)
    if (parts.wakeFd >= 0) parts.poller.add(parts.wakeFd, TOKEN_WAKE)
  }

  private makeDirector(nowMs: number): Director {
    const { clock, random, connectionsMax, statistics, onLargeTable } = this.parts
    return new Director({
      nowMs,
      random,
      states: this.cells.subarray(STATE_CELLS, STATE_CELLS + STATE_COUNT_CELLS),
      ...(statistics === undefined ? {} : { statistics }),
      orphan: (connection) => this.forwarder.orphanFlow(connection, clock.nowMs()),
      probe: (connection) => this.forwarder.probeFlow(connection, clock.nowMs()),
      ...(connectionsMax === undefined ? {} : { connectionsMax }),
      ...(onLargeTable === undefined ? {} : { onLargeTable }),
    })
  }

  // -- tables
  // ---------------------------------------------------------------------------------------

  /** Takes over new tables. `portOf` finds the open device of a port by its endpoint's name;
   * `tun` is the mesh's device, null when nothing is published; `mergeUdp`: all devices take UDP
   * super-packets; `errors`: where ICMP errors about published ports come from, one per family. */
  swap(
    tables: CompiledTables,
    portOf: (name: string) => Port | null,
    tun: Port | null,
    mergeUdp: boolean,
    errors: readonly ErrorSource[] = [],
  ): void {
    const nowMs = this.parts.clock.nowMs()
    // What this turn has made so far goes out under the tables it was made with.
    this.transmitter.flush(nowMs)
    this.sessions.setPresharedKeys(tables.node.presharedKeys)
    this.relay.isOn = tables.node.relays
    const peers = this.links.swap(tables, nowMs)
    this.staging.retain((peer) => this.topology.peers.session[peer]! >= 0)
    this.topology.swap(tables, portOf, peers, nowMs)
    this.receiver.forget()
    this.receiver.mergeUdp = mergeUdp
    this.receiver.plainPeers = this.links.plainPeers
    this.receiver.plainAddresses = this.links.plainAddresses
    this.services.swap(tables, nowMs)
    this.tracked.swap(tables)
    this.swapPolling(tun)
    this.swapErrors(errors)
    this.expiryDueMs = nowMs
    this.cells[ENGINE_CELLS.tablesVersion] = tables.version
    this.transmitter.flush(nowMs)
  }

  /** Watches the devices that the tables name now and no others. */
  private swapPolling(tun: Port | null): void {
    const { poller } = this.parts
    const wanted = new Set(this.topology.ports.values())
    for (let i = 0; i < this.portTokens.length; i++) {
      const local = this.portTokens[i] ?? null
      if (local === null || wanted.delete(local)) continue
      poller.remove(local.port.device.fd)
      this.portTokens[i] = null
    }
    for (const local of wanted) {
      let free = this.portTokens.indexOf(null)
      if (free < 0) free = this.portTokens.push(null) - 1
      this.portTokens[free] = local
      poller.add(local.port.device.fd, TOKEN_PORT + free)
    }
    if (tun !== this.tun) {
      if (this.tun !== null) poller.remove(this.tun.device.fd)
      if (tun !== null) poller.add(tun.device.fd, TOKEN_TUN)
      this.tun = tun
      this.forwarder.tun = tun
    }
  }

  private swapErrors(errors: readonly ErrorSource[]): void {
    const { poller } = this.parts
    for (const { fd } of this.errors) poller.remove(fd)
    for (const [i, { fd }] of errors.entries()) poller.add(fd, TOKEN_ERRORS + i)
    this.errors = errors
  }

  /** Answers a question of the rest of the process: a bounded piece of work. */
  ask<Name extends QuestionName>(question: Question<Name>): Questions[Name]['answer'] {
    const nowMs = this.parts.clock.nowMs()
    return answerQuestion(this.director, this.services, this.links, nowMs, question)
  }

  /** The flows as bytes for the next start (saved-flows.ts). */
  saveFlows(): Uint8Array<ArrayBuffer> {
    return packFlows(this.director, this.numbers(), this.parts.clock.wallMs())
  }

  /** Takes over what an earlier loop saved, as far as it fits the tables. To be called after the
   * first swap() and before packets. Throws FlowStateError for damaged bytes. */
  restoreFlows(bytes: Uint8Array): Restored {
    const wallMs = this.parts.clock.wallMs()
    const restored = unpackFlows(this.balance, this.numbers(), wallMs, bytes)
    this.tracked.look()
    this.expiryDueMs = this.parts.clock.nowMs()
    this.cells[ENGINE_CELLS.flowsRestored]! += restored.loaded
    this.cells[ENGINE_CELLS.flowsLost]! += restored.dropped
    return restored
  }

  /** Zones of the networks and numbers of the peers that the tables have. */
  private numbers(): FlowNumbers {
    const { peerIds, networks } = this.topology
    const present = networks.filter((network) => network !== undefined)
    return {
      zones: new Map(present.map(({ name, zone }) => [name, zone])),
      peers: new Map(peerIds.entries()),
    }
  }

  // -- the loop
  // -------------------------------------------------------------------------------------

  /** Runs until stop(). */
  run(): void {
    while (!this.stopping) this.turn(this.timeoutMs())
  }

  /** Ends run() after the turn under way. */
  stop(): void {
    this.stopping = true
  }

  /** One turn: waits at most `timeoutMs`, then does all that is ready. */
  turn(timeoutMs: number): void {
    const { poller, clock } = this.parts
    const cells = this.cells
    const before = clock.nowMs()
    let ready = 0
    if (timeoutMs !== 0 && this.spinner.wanted(before)) ready = this.spin(before)
    if (ready === 0) ready = poller.wait(timeoutMs)
    const nowMs = clock.nowMs()
    this.spinner.worked(nowMs - before)
    for (let i = 0; i < ready; i++) this.serve(poller.token(i), nowMs)
    this.transmitter.flush(nowMs)
    if (nowMs >= this.sessions.nextDeadline()) this.sessions.tick(nowMs)
    this.links.tick(nowMs)
    if (nowMs >= this.director.proxyHeaders.dueMs) this.forwarder.resendProxyHeaders(nowMs)
    this.expire(nowMs)
    this.transmitter.flush(nowMs)
    this.publish()
    const busy = (clock.nowMs() - nowMs) / 1000
    cells[ENGINE_CELLS.loops]!++
    cells[ENGINE_CELLS.busySeconds]! += busy
    cells[ENGINE_CELLS.waitSeconds]! += (nowMs - before) / 1000
    if (busy > SLOW_TURN_SECONDS) cells[ENGINE_CELLS.slowTurns]!++
    if (busy > cells[ENGINE_CELLS.turnSecondsMax]!) cells[ENGINE_CELLS.turnSecondsMax] = busy
  }

  /** Looks for work without sleeping. Returns how many descriptors are ready, 0 = none. */
  private spin(startMs: number): number {
    const { poller, clock, relax } = this.parts
    if (relax === undefined) return 0
    let nowMs = startMs
    while (nowMs - startMs < SPIN_MS) {
      const ready = poller.wait(0)
      if (ready > 0) {
        this.spinner.calm()
        return ready
      }
      relax()
      const afterMs = clock.nowMs()
      if (afterMs - nowMs > YIELD_CONTENDED_MS) {
        this.spinner.contended(afterMs)
        return 0
      }
      nowMs = afterMs
    }
    this.spinner.missed(nowMs - startMs)
    this.cells[ENGINE_CELLS.spinSeconds]! += (nowMs - startMs) / 1000
    return 0
  }

  private serve(token: number, nowMs: number): void {
    if (token === TOKEN_SOCKET) {
      this.receiver.receive(nowMs)
    } else if (token >= TOKEN_PORT) {
      const local = this.portTokens[token - TOKEN_PORT]
      if (local !== null && local !== undefined) this.drainPort(local, nowMs)
    } else if (token === TOKEN_TUN) {
      if (this.tun !== null) this.drainTun(this.tun, nowMs)
    } else if (token >= TOKEN_ERRORS) {
      const source = this.errors[token - TOKEN_ERRORS]
      if (source !== undefined) this.outsideErrors.drain(source, this.frame, nowMs)
    } else {
      this.parts.onWake()
    }
  }

  private drainPort(local: LocalPort, nowMs: number): void {
    if (this.balance.announces) {
      if (this.readAhead.drain(local.port, local, nowMs) === DEVICE_GONE) this.unwatch(local)
      return
    }
    const { transmitter, forwarder, frame } = this
    forwarder.inHand = frame
    for (let i = 0; i < DEVICE_READS_MAX; i++) {
      if (transmitter.full()) transmitter.flush(nowMs)
      const size = readFrame(local.port, transmitter.frameAt(), frame)
      if (size <= 0) {
        if (size === DEVICE_GONE) this.unwatch(local)
        break
      }
      forwarder.fromPort(frame, local, nowMs)
    }
    forwarder.inHand = null
  }

  /** A device that went with its namespace would be ready at every poll from now on. */
  private unwatch(local: LocalPort): void {
    const token = this.portTokens.indexOf(local)
    if (token < 0) return
    this.parts.poller.remove(local.port.device.fd)
    this.portTokens[token] = null
  }

  private drainTun(tun: Port, nowMs: number): void {
    const { transmitter, forwarder, frame, parts } = this
    if (this.balance.announces) {
      if (this.readAhead.drain(tun, null, nowMs) === DEVICE_GONE) parts.poller.remove(tun.device.fd)
      return
    }
    forwarder.inHand = frame
    for (let i = 0; i < DEVICE_READS_MAX; i++) {
      if (transmitter.full()) transmitter.flush(nowMs)
      const size = readFrame(tun, transmitter.frameAt(), frame)
      if (size === DEVICE_GONE) parts.poller.remove(tun.device.fd)
      if (size <= 0) break
      forwarder.fromMesh(frame, tun, nowMs)
    }
    forwarder.inHand = null
  }

  /** Milliseconds until something is due, -1 = nothing is. */
  private timeoutMs(): number {
    const nowMs = this.parts.clock.nowMs()
    let due = Math.min(this.sessions.nextDeadline(), this.links.nextDeadline())
    if (this.expiryDueMs >= 0) due = Math.min(due, this.expiryDueMs)
    due = Math.min(due, this.director.proxyHeaders.dueMs)
    if (due === Number.POSITIVE_INFINITY) return -1
    return Math.min(Math.max(0, Math.ceil(due - nowMs)), 0x7fffffff)
  }

  private expire(nowMs: number): void {
    const director = this.director
    const count = director.connectionCount
    this.cells[ENGINE_CELLS.flowsOpen] = count
    if (count === 0 && this.expiryDueMs < 0) return
    if (this.expiryDueMs < 0 || nowMs >= this.expiryDueMs) {
      this.expiryDueMs = director.advance(nowMs, EXPIRY_BUDGET)
    }
    if (this.tracked.walk()) this.expiryDueMs = nowMs
  }

  /** Copies what others count into cells that readers see. */
  private publish(): void {
    const cells = this.cells
    const stats = this.sessions.stats
    cells[ENGINE_CELLS.handshakesInitiated] = stats.initiationsSent
    cells[ENGINE_CELLS.handshakesCompleted] = stats.sessions
    cells[ENGINE_CELLS.handshakesFailed] = stats.failed
    cells[ENGINE_CELLS.rekeys] = stats.rekeys
    cells[ENGINE_CELLS.cookiesSent] = stats.cookiesSent
    cells[ENGINE_CELLS.roamed] = stats.roamed
    cells[ENGINE_CELLS.keepalives] = stats.keepalivesSent
    cells[ENGINE_CELLS.flowsEvicted] = this.director.connections.evicted
    cells[ENGINE_CELLS.droppedNew] = this.director.refused[-DEFENCE]!
    cells[ENGINE_CELLS.droppedFlows] = this.director.defence.dropped
    let refused = 0
    for (const reason of REFUSAL_REASONS) refused += stats.refused[reason]
    cells[ENGINE_CELLS.handshakesRefused] = refused
  }

  private hooks(staging: Staging): PeerHooks {
    return {
      sendHandshake: (endpoint, bytes) =>
        this.transmitter.sendBare(endpoint, bytes, this.parts.clock.nowMs()),
      sendKeepalive: (session, nowMs) => this.links.sendKeepalive(session, nowMs),
      sessionUp: (session, nowMs) => {
        const peer = this.links.peerOfSession[session]!
        this.links.sessionUp(peer, nowMs)
        this.forwarder.sendStaged(peer, nowMs)
      },
      sessionFailed: (session) => staging.discard(this.links.peerOfSession[session]!),
      endpointChanged: (session, previous, endpoint) => {
        this.parts.socket.retain(endpoint)
        if (previous >= 0) this.parts.socket.release(previous)
        this.links.moved(session, this.parts.clock.nowMs())
      },
    }
  }
}
