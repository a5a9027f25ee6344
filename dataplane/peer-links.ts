// Peers as the loop's owner sees them: which peers there are, their sessions and underlay
// addresses, and the sealed control messages (keep-alives, path-MTU probes) that go to them. The
// hot columns are in peers.ts; keys and timers in vxlan/peer-table.ts; the search itself in
// vxlan/path-mtu.ts.

import type { UnderlaySocket } from '../base/device.ts'
import type { Slab } from '../base/slab.ts'
import {
  CONTROL_HEADER_SIZE,
  CONTROL_OVERHEAD,
  writeKeepalive,
  writeProbe,
  writeProbeAck,
} from '../vxlan/control.ts'
import { BASE_OUTER_MTU } from '../vxlan/limits.ts'
import { PathMtu } from '../vxlan/path-mtu.ts'
import type { PeerTable } from '../vxlan/peer-table.ts'
import { ETHERNET_HEADER_SIZE } from '../wire/ethernet.ts'
import { VXLAN_HEADER_SIZE } from '../wire/vxlan.ts'
import type { CompiledPeer, CompiledTables } from './compiled.ts'
import { type Counters, TX_PACKETS } from './counters.ts'
import { PEERS_MAX } from './engine-limits.ts'
import type { ControlHandler } from './receiver.ts'
import type { Relay } from './relay.ts'
import type { Topology } from './topology.ts'
import { ENCRYPTED_OVERHEAD, type Transmitter } from './transmitter.ts'

/** UDP payload that a sealed inner IP packet needs besides itself. */
const PACKET_OVERHEAD: number = ENCRYPTED_OVERHEAD + ETHERNET_HEADER_SIZE

const EMSGSIZE = 90

/** UDP payload of a probe that asks for nothing but its acknowledgement. */
const KNOCK_SIZE: number = CONTROL_OVERHEAD + CONTROL_HEADER_SIZE

interface PeerRecord {
  readonly id: number
  key: string
  /** Session number, -1 for a plain VTEP. */
  session: number
  /** Underlay address as configured, "" = none, and its handle. */
  place: string
  endpoint: number
  /** The same of the peer that relays for it. */
  relayPlace: string
  relay: number
}

/** Where a peer is heard from: "address:port" or "[IPv6 address]:port". */
export interface PeerPlace {
  readonly name: string
  readonly endpoint: string
}

export class PeerLinks implements ControlHandler {
  /** Peer number by session number. */
  readonly peerOfSession: Int32Array = new Int32Array(PEERS_MAX).fill(-1)
  plainPeers: number[] = []
  plainAddresses: Uint8Array[] = []

  private readonly records: Map<string, PeerRecord> = new Map()
  private readonly socket: UnderlaySocket
  private readonly sessions: PeerTable
  private readonly topology: Topology
  private readonly transmitter: Transmitter
  private readonly counters: Counters
  /** Largest inner packet that any encrypted network wants to send. */
  private packetWish = 0
  private readonly paths: (PathMtu | undefined)[] = []
  private readonly probedPackets: number[] = []
  private dueMs: number = Number.POSITIVE_INFINITY
  private readonly slab: Slab
  private readonly relay: Relay

  constructor(
    slab: Slab,
    socket: UnderlaySocket,
    sessions: PeerTable,
    topology: Topology,
    transmitter: Transmitter,
    counters: Counters,
    relay: Relay,
  ) {
    this.relay = relay
    this.slab = slab
    this.socket = socket
    this.sessions = sessions
    this.topology = topology
    this.transmitter = transmitter
    this.counters = counters
  }

  /** Takes over the tables' peers. Returns the number of each, in the tables' order. */
  swap(tables: CompiledTables, nowMs: number): number[] {
    const names = new Set(tables.peers.map((peer) => peer.name))
    this.counters.retain('peer', names)
    this.topology.peerIds.retain(names, nowMs, (_id, name) => this.remove(name))
    // Plain networks have nothing to do with it: their frames are not sealed, and not searched for
    // a path.
    const wish = tables.networks.reduce(
      (most, network) => (network.encrypted ? Math.max(most, network.mtu) : most),
      BASE_OUTER_MTU,
    )
    const changed = wish !== this.packetWish
    this.packetWish = wish
    this.plainPeers = []
    this.plainAddresses = []
    const numbers = tables.peers.map((peer) => this.take(peer, nowMs))
    for (const peer of tables.peers) this.placeRelay(peer, tables.peers[peer.relay])
    if (changed) for (const peer of numbers) this.searchAnew(peer, nowMs)
    return numbers
  }

  /** Another limit, or another path: what was found of the path to the peer is void. */
  private searchAnew(peer: number, nowMs: number): void {
    const path = this.paths[peer]
    if (path === undefined) {
      this.topology.peers.packetMax[peer] = this.packetWish
      return
    }
    path.restart(this.packetWish + PACKET_OVERHEAD, nowMs)
    this.apply(peer)
    this.dueMs = nowMs
  }

  /** The peer of a session has another underlay address. */
  moved(session: number, nowMs: number): void {
    const peer = this.peerOfSession[session]!
    if (peer >= 0) this.searchAnew(peer, nowMs)
  }

  private take(peer: CompiledPeer, nowMs: number): number {
    const columns = this.topology.peers
    const id = this.topology.peerIds.intern(peer.name, nowMs)
    const key = peer.publicKey === null ? '' : Buffer.from(peer.publicKey).toString('base64')
    let record = this.records.get(peer.name)
    if (record !== undefined && record.key !== key) {
      this.remove(peer.name)
      record = undefined
    }
    if (record === undefined) {
      record = { id, key, session: -1, place: '', endpoint: -1, relayPlace: '', relay: -1 }
      this.records.set(peer.name, record)
    }
    this.place(record, peer, nowMs)
    if (peer.publicKey !== null) {
      if (record.session < 0) {
        record.session = this.sessions.addPeer(
          peer.publicKey,
          record.endpoint,
          peer.keepaliveMs,
          nowMs,
        )
        // The session holds its place by a reference of its own, for it may roam away from the
        // configured one.
        if (record.endpoint >= 0) this.socket.retain(record.endpoint)
        this.peerOfSession[record.session] = id
        columns.packetMax[id] = this.packetWish
      } else {
        this.sessions.setKeepalive(record.session, peer.keepaliveMs, nowMs)
      }
    }
    // Networks in the clear reach peers with and without keys.
    if (peer.address !== null) {
      this.plainPeers.push(id)
      this.plainAddresses.push(mappedAddress(peer.address.bytes))
    }
    columns.session[id] = record.session
    columns.endpoint[id] = record.endpoint
    columns.row[id] = this.counters.row('peer', peer.name)
    return id
  }

  /** Interns the configured address when it changed. A peer that roamed stays where it is. */
  private place(record: PeerRecord, peer: CompiledPeer, nowMs: number): void {
    const place = peer.address === null ? '' : `${peer.address.text} ${peer.udpPort}`
    if (place === record.place) return
    const previous = record.endpoint
    record.place = place
    record.endpoint =
      peer.address === null ? -1 : this.socket.endpoint(peer.address.text, peer.udpPort)
    if (record.session >= 0 && this.sessions.hasRelay(record.session)) {
      this.sessions.tryEndpoint(record.session, record.endpoint, nowMs)
    } else if (record.session >= 0 && record.endpoint >= 0) {
      const now = this.sessions.endpointOf(record.session)
      this.sessions.setEndpoint(record.session, record.endpoint)
      if (now >= 0) this.socket.release(now)
      this.socket.retain(record.endpoint)
    }
    if (previous >= 0) this.socket.release(previous)
  }

  /** Where the peers are now that are elsewhere than the tables tell, if they tell anything: they
   * have called us. Those that a relay speaks for are nowhere. */
  places(): PeerPlace[] {
    const places: PeerPlace[] = []
    for (const [name, { session, endpoint, relay }] of this.records) {
      const now = session >= 0 ? this.sessions.endpointOf(session) : -1
      if (now < 0 || now === endpoint || now === relay) continue
      places.push({ name, endpoint: this.socket.describe(now) })
    }
    return places
  }

  /** Takes over which peer relays for a peer: its configured address is where to send to. */
  private placeRelay({ name }: CompiledPeer, relay: CompiledPeer | undefined): void {
    const record = this.records.get(name)!
    const address = relay?.address ?? null
    const place = address === null ? '' : `${address.text} ${relay!.udpPort}`
    if (place === record.relayPlace || record.session < 0) return
    const previous = record.relay
    record.relayPlace = place
    record.relay = address === null ? -1 : this.socket.endpoint(address.text, relay!.udpPort)
    this.sessions.setRelay(record.session, record.relay)
    if (record.relay < 0) this.goDirect(record, previous)
    if (previous >= 0) this.socket.release(previous)
  }

  /** No relay serves the peer any more: where nothing but that has led to it, the configured
   * address does now. */
  private goDirect({ session, endpoint }: PeerRecord, relay: number): void {
    const now = this.sessions.endpointOf(session)
    if (endpoint < 0 || (now >= 0 && now !== relay)) return
    this.sessions.setEndpoint(session, endpoint)
    if (now >= 0) this.socket.release(now)
    this.socket.retain(endpoint)
  }

  // -- path MTU
  // -------------------------------------------------------------------------------------

  /** A session is up: learn what the path to the peer carries. */
  sessionUp(peer: number, nowMs: number): void {
    if (this.paths[peer] === undefined) {
      this.paths[peer] = new PathMtu(this.packetWish + PACKET_OVERHEAD, nowMs)
    }
    this.dueMs = nowMs
  }

  probeReceived(peer: number, size: number, nowMs: number): void {
    const at = this.transmitter.frameAt() - VXLAN_HEADER_SIZE
    this.transmitter.sendControl(peer, writeProbeAck(this.slab.view, at, size))
    this.transmitter.flush(nowMs)
  }

  probeAcknowledged(peer: number, size: number, nowMs: number): void {
    this.paths[peer]?.onAck(size, nowMs)
    this.apply(peer)
    this.dueMs = nowMs
  }

  /** Takes over what the search found. */
  private apply(peer: number): void {
    const path = this.paths[peer]
    if (path !== undefined) this.topology.peers.packetMax[peer] = path.size - PACKET_OVERHEAD
  }

  nextDeadline(): number {
    return this.dueMs
  }

  /** Sends the probes that are due. */
  tick(nowMs: number): void {
    if (nowMs < this.dueMs) return
    this.dueMs = Number.POSITIVE_INFINITY
    for (let peer = 0; peer < this.paths.length; peer++) {
      const path = this.paths[peer]
      if (path !== undefined) this.probe(peer, path, nowMs)
    }
  }

  private probe(peer: number, path: PathMtu, nowMs: number): void {
    const session = this.topology.peers.session[peer]!
    if (session >= 0 && this.sessions.sealerOf(session) !== null) {
      const packets = this.counters.cells[this.topology.peers.row[peer]! + TX_PACKETS]!
      const size = path.tick(nowMs, packets !== this.probedPackets[peer])
      if (size > 0) this.sendProbe(peer, path, size, nowMs)
      this.probedPackets[peer] = this.counters.cells[this.topology.peers.row[peer]! + TX_PACKETS]!
      this.apply(peer)
      this.dueMs = Math.min(this.dueMs, path.nextDeadline())
    }
  }

  /** A probe goes out in a burst of its own, so that the kernel's refusal is known to be about
   * it. */
  private sendProbe(peer: number, path: PathMtu, size: number, nowMs: number): void {
    this.transmitter.flush(nowMs)
    const at = this.transmitter.frameAt() - VXLAN_HEADER_SIZE
    this.transmitter.sendControl(peer, writeProbe(this.slab.view, at, size))
    if (this.transmitter.flushProbe(nowMs) === EMSGSIZE) path.onRefused(size, nowMs)
  }

  /** Asks a peer for a sign of life: the smallest of probes, which it acknowledges. Where there is
   * no session one is asked for. */
  knock(name: string, nowMs: number): void {
    const record = this.records.get(name)
    if (record === undefined || record.session < 0) return
    if (this.sessions.sealerOf(record.session) === null) {
      this.sessions.wantSession(record.session, nowMs)
      return
    }
    if (this.transmitter.full()) this.transmitter.flush(nowMs)
    const at = this.transmitter.frameAt() - VXLAN_HEADER_SIZE
    this.transmitter.sendControl(record.id, writeProbe(this.slab.view, at, KNOCK_SIZE))
  }

  /** Calls a peer for another session, as long as it goes on with the one there is. */
  callAnew(name: string, nowMs: number): void {
    const session = this.records.get(name)?.session ?? -1
    if (session >= 0) this.sessions.renew(session, nowMs)
  }

  /** Keep-alive, by session number, as the session table asks for it. */
  sendKeepalive(session: number, nowMs: number): void {
    const peer = this.peerOfSession[session]!
    if (peer < 0) return
    if (this.transmitter.full()) this.transmitter.flush(nowMs)
    const at = this.transmitter.frameAt() - VXLAN_HEADER_SIZE
    this.transmitter.sendControl(peer, writeKeepalive(this.slab.view, at))
    this.dueMs = Math.min(this.dueMs, nowMs)
  }

  // -- removal
  // --------------------------------------------------------------------------------------

  private remove(name: string): void {
    const record = this.records.get(name)
    if (record === undefined) return
    this.records.delete(name)
    const columns = this.topology.peers
    columns.session[record.id] = -1
    columns.endpoint[record.id] = -1
    this.paths[record.id] = undefined
    if (record.session >= 0) {
      const endpoint = this.sessions.endpointOf(record.session)
      this.sessions.removePeer(record.session)
      this.relay.forget(record.session)
      this.peerOfSession[record.session] = -1
      if (endpoint >= 0) this.socket.release(endpoint)
    }
    if (record.endpoint >= 0) this.socket.release(record.endpoint)
    if (record.relay >= 0) this.socket.release(record.relay)
  }
}

/** The address as 16 bytes, IPv4 as ::ffff:a.b.c.d: as ReceiveBatch.sourceBytes() writes it. */
function mappedAddress(bytes: Uint8Array): Uint8Array {
  if (bytes.length === 16) return bytes
  const mapped = new Uint8Array(16)
  mapped.fill(0xff, 10, 12)
  mapped.set(bytes, 12)
  return mapped
}
