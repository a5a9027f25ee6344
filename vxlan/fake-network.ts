// A network in memory for tests: nodes with a PeerTable each, joined by links that lose, repeat,
// delay and so reorder datagrams. One virtual clock, one seed: a failure is reproduced by its seed
// alone.
//
// A node here is the smallest packet loop that keeps the contract (contract.ts). Its "frames" are
// numbers in 8 bytes behind a VXLAN-like first byte; a node remembers which ones it got, and from
// whom.

import { type Prng, prng } from '../base/prng.ts'
import { memorySlab, type Slab } from '../base/slab.ts'
import {
  ENVELOPE_HEADER_SIZE,
  ENVELOPE_TAG_SIZE,
  ENVELOPE_TRANSPORT,
  envelopeCounter,
  envelopeReceiverIndex,
  writeEnvelope,
} from '../wire/envelope.ts'
import { VXLAN_FLAGS } from '../wire/vxlan.ts'
import { PlainAeadFactory } from './aead.ts'
import type { PeerHooks } from './contract.ts'
import { isControl, writeKeepalive } from './control.ts'
import { STAGED_FRAMES_MAX } from './limits.ts'
import { PeerTable } from './peer-table.ts'

export interface Faults {
  /** Chance that a datagram is lost, and that it arrives twice. */
  loss: number
  repeat: number
  delayMs: number
  /** Upper end of a random addition to the delay: more than the gaps between datagrams reorders. */
  jitterMs: number
}

/** Keys of a node; default a random private key and a preshared key of zeros. */
export interface FakeKeys {
  readonly privateKey?: Uint8Array
  readonly presharedKeys?: readonly Uint8Array[]
}

interface Flight {
  readonly atMs: number
  readonly order: number
  readonly from: number
  readonly to: number
  readonly bytes: Uint8Array
}

const COUNTER_AT = 8
const FRAME_SIZE = 12

export class FakeNetwork {
  nowMs = 0
  readonly random: Prng
  readonly nodes: Map<number, FakeNode> = new Map()
  readonly faults: Faults = { loss: 0, repeat: 0, delayMs: 1, jitterMs: 0 }
  /** Every datagram ever sent, for replays. */
  readonly recorded: Flight[] = []
  /** Sees each datagram before the faults do; false = it vanishes. */
  filter: (from: number, to: number, bytes: Uint8Array) => boolean = () => true
  #flights: Flight[] = []
  #order = 0

  constructor(seed: number) {
    this.random = prng(seed)
  }

  /** A node at `address`, in place of the one that was there. */
  node(address: number, keys: FakeKeys = {}): FakeNode {
    const node = new FakeNode(this, address, keys)
    this.nodes.set(address, node)
    return node
  }

  send(from: number, to: number, bytes: Uint8Array): void {
    const copy = Uint8Array.from(bytes)
    if (!this.filter(from, to, copy)) return
    const { loss, repeat, delayMs, jitterMs } = this.faults
    const times = this.random.float() < repeat ? 2 : 1
    for (let i = 0; i < times; i++) {
      if (this.random.float() < loss) continue
      const atMs = this.nowMs + delayMs + this.random.float() * jitterMs
      const flight = { atMs, order: this.#order++, from, to, bytes: copy }
      this.#flights.push(flight)
      this.recorded.push(flight)
    }
  }

  /** Runs the clock for `forMs`: datagrams arrive and timers fire in the order of their times. */
  run(forMs: number): void {
    const endMs = this.nowMs + forMs
    for (;;) {
      this.#flights.sort((a, b) => a.atMs - b.atMs || a.order - b.order)
      let nextMs = this.#flights[0]?.atMs ?? Number.POSITIVE_INFINITY
      for (const node of this.nodes.values()) nextMs = Math.min(nextMs, node.table.nextDeadline())
      if (nextMs > endMs) break
      this.nowMs = Math.max(this.nowMs, nextMs)
      while (this.#flights.length > 0 && this.#flights[0]!.atMs <= this.nowMs) {
        const flight = this.#flights.shift()!
        this.nodes.get(flight.to)?.receive(flight.bytes, flight.from)
      }
      for (const node of this.nodes.values()) node.table.tick(this.nowMs)
    }
    this.nowMs = endMs
  }
}

/** An address of the network (its number is also the endpoint handle) as a limiter and cookie see
 * it. */
export function sourceOf(address: number): Uint8Array {
  const source = new Uint8Array(18)
  source[10] = 0xff
  source[11] = 0xff
  new DataView(source.buffer).setUint32(12, 0x0a00_0000 + address)
  return source
}

export class FakeNode implements PeerHooks {
  readonly table: PeerTable
  address: number
  /** Frames received, by peer. */
  readonly received: number[] = []
  keepalives = 0
  /** Datagrams of type TRANSPORT refused, by why. */
  readonly dropped: Record<'index' | 'replayed' | 'forged', number> = {
    index: 0,
    replayed: 0,
    forged: 0,
  }
  failures = 0
  readonly #network: FakeNetwork
  readonly #slab: Slab = memorySlab(4096)
  readonly #staged: Map<number, number[]> = new Map()
  #frames = 0

  constructor(network: FakeNetwork, address: number, keys: FakeKeys) {
    this.#network = network
    this.address = address
    const randomBytes = (size: number): Uint8Array =>
      Uint8Array.from({ length: size }, () => network.random.below(256))
    this.table = new PeerTable(
      {
        privateKey: keys.privateKey ?? randomBytes(32),
        presharedKeys: keys.presharedKeys ?? [new Uint8Array(32)],
        peersMax: 8,
        nowMs: network.nowMs,
      },
      {
        hooks: this,
        aead: new PlainAeadFactory(this.#slab),
        randomBytes,
        random: () => network.random.float(),
        wallMs: () => 1.7e12 + network.nowMs,
      },
    )
  }

  add(other: FakeNode, keepaliveMs = 0, endpoint: number = other.address): number {
    return this.table.addPeer(other.table.publicKey, endpoint, keepaliveMs, this.#network.nowMs)
  }

  /** Sends the next frame to a peer, or keeps it until there is a session. Returns its number. */
  frame(peer: number): number {
    const frame = ++this.#frames
    if (this.table.sealerOf(peer) === null) {
      const staged = this.#staged.get(peer) ?? []
      staged.push(frame)
      if (staged.length > STAGED_FRAMES_MAX) staged.shift()
      this.#staged.set(peer, staged)
      this.table.wantSession(peer, this.#network.nowMs)
    } else {
      this.#sendFrame(peer, frame)
    }
    return frame
  }

  receive(bytes: Uint8Array, from: number): void {
    const { table } = this
    const { nowMs } = this.#network
    if (bytes[0] !== ENVELOPE_TRANSPORT) {
      table.receiveHandshake(bytes, sourceOf(from), from, nowMs)
      return
    }
    if (bytes.length < ENVELOPE_HEADER_SIZE + ENVELOPE_TAG_SIZE) return
    const { view } = this.#slab
    this.#slab.bytes.set(bytes)
    const slot = table.openerAt(envelopeReceiverIndex(view, 0))
    if (slot < 0) {
      this.dropped.index++
      return
    }
    const counter = envelopeCounter(view, 0)
    if (!table.windowCheck(slot, counter)) {
      this.dropped.replayed++
      return
    }
    const length = bytes.length - ENVELOPE_HEADER_SIZE - ENVELOPE_TAG_SIZE
    if (table.opener(slot).open(COUNTER_AT, length) < 0) {
      this.dropped.forged++
      return
    }
    if (table.commit(slot, counter) && table.endpointOf(table.peerAt(slot)) !== from) {
      table.roam(slot, from)
    }
    const control = isControl(view, ENVELOPE_HEADER_SIZE, ENVELOPE_HEADER_SIZE + length)
    if (control) this.keepalives++
    else this.received.push(view.getFloat64(ENVELOPE_HEADER_SIZE + 4))
    table.onOpened(slot, !control, nowMs)
  }

  sendHandshake(endpoint: number, bytes: Uint8Array): void {
    this.#network.send(this.address, endpoint, bytes)
  }

  sendKeepalive(peer: number, nowMs: number): void {
    const length = writeKeepalive(this.#slab.view, ENVELOPE_HEADER_SIZE)
    this.#seal(peer, length)
    this.table.onSealed(peer, 1, false, nowMs)
  }

  sessionUp(peer: number): void {
    const staged = this.#staged.get(peer) ?? []
    this.#staged.delete(peer)
    for (const frame of staged) this.#sendFrame(peer, frame)
  }

  sessionFailed(peer: number): void {
    this.failures++
    this.#staged.delete(peer)
  }

  endpointChanged(): void {}

  #sendFrame(peer: number, frame: number): void {
    const { view } = this.#slab
    view.setUint32(ENVELOPE_HEADER_SIZE, VXLAN_FLAGS << 24)
    view.setFloat64(ENVELOPE_HEADER_SIZE + 4, frame)
    this.#seal(peer, FRAME_SIZE)
    this.table.onSealed(peer, 1, true, this.#network.nowMs)
  }

  #seal(peer: number, length: number): void {
    const { bytes, view } = this.#slab
    writeEnvelope(view, 0, ENVELOPE_TRANSPORT, this.table.receiverIndexOf(peer))
    this.table.sealerOf(peer)!.seal(COUNTER_AT, length)
    const end = ENVELOPE_HEADER_SIZE + length + ENVELOPE_TAG_SIZE
    this.#network.send(this.address, this.table.endpointOf(peer), bytes.subarray(0, end))
  }
}
