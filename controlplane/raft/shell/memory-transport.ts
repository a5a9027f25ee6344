// Transports in memory, for tests: members of one process, joined by a hub that can cut them off.
// Messages take the way through the codec, so that nobody shares memory with anybody, and arrive in
// a later turn of the event loop.

import { decodeMessage, encodeMessage } from '../codec.ts'
import type { Message, NodeId } from '../messages.ts'
import type { PeerStatus, ProbeAnswer, Transport, TransportHandlers } from './transport-contract.ts'

export class MemoryHub {
  readonly #transports = new Map<string, MemoryTransport>()
  readonly #cut = new Set<string>()

  /** The transport of member `id`, reachable at `address`. */
  join(id: NodeId, address: string): MemoryTransport {
    const transport = new MemoryTransport(this, id, address)
    this.#transports.set(address, transport)
    return transport
  }

  /** Cuts the direction `from` -> `to`, or mends it. */
  cut(from: string, to: string, isCut: boolean): void {
    if (isCut) this.#cut.add(`${from} ${to}`)
    else this.#cut.delete(`${from} ${to}`)
  }

  /** The transport at `to` if it can be reached from `from`. */
  find(from: string, to: string): MemoryTransport | null {
    return this.#cut.has(`${from} ${to}`) ? null : (this.#transports.get(to) ?? null)
  }

  leave(transport: MemoryTransport): void {
    if (this.#transports.get(transport.address) === transport) {
      this.#transports.delete(transport.address)
    }
  }
}

export class MemoryTransport implements Transport {
  readonly id: NodeId
  readonly address: string
  readonly #hub: MemoryHub
  #handlers: TransportHandlers | null = null
  #peers: ReadonlyMap<NodeId, string> = new Map()
  #removed: ReadonlySet<NodeId> = new Set()
  #dropped = new Map<NodeId, number>()

  constructor(hub: MemoryHub, id: NodeId, address: string) {
    this.#hub = hub
    this.id = id
    this.address = address
  }

  start(handlers: TransportHandlers): void {
    this.#handlers = handlers
  }

  send(message: Message): void {
    const bytes = encodeMessage(message)
    setImmediate(() => {
      const address = this.#peers.get(message.to)
      const peer = address === undefined ? null : this.#hub.find(this.address, address)
      const delivered = peer?.take(this, bytes) ?? false
      if (message.type === 'MsgSnap') this.#handlers?.onSnapshotReport(message.to, delivered)
      if (delivered) return
      this.#dropped.set(message.to, (this.#dropped.get(message.to) ?? 0) + 1)
      this.#handlers?.onUnreachable(message.to)
    })
  }

  /** As if the connection to `id` had broken. */
  breakConnection(id: NodeId): void {
    this.#handlers?.onUnreachable(id)
  }

  /** True if this transport took the bytes. */
  take(sender: MemoryTransport, bytes: Uint8Array): boolean {
    if (this.#handlers === null) return false
    if (this.#removed.has(sender.id)) {
      sender.#handlers?.onRemoved()
      return false
    }
    const message = decodeMessage(bytes)
    if (message.to !== this.id) return false
    this.#handlers.onMessage(message)
    return true
  }

  setPeers(peers: ReadonlyMap<NodeId, string>): void {
    this.#peers = new Map(peers)
  }

  setRemoved(ids: ReadonlySet<NodeId>): void {
    this.#removed = new Set(ids)
  }

  async probe(address: string, _timeoutMs: number): Promise<ProbeAnswer> {
    const peer = this.#hub.find(this.address, address)
    if (peer === null || peer.#handlers === null) throw new Error(`nobody answers at ${address}`)
    return { id: peer.id }
  }

  peers(): readonly PeerStatus[] {
    return [...this.#peers].map(([id, address]) => ({
      id,
      address,
      connected: this.#hub.find(this.address, address) !== null,
      queuedMessages: 0,
      queuedBytes: 0,
      dropped: this.#dropped.get(id) ?? 0,
      snapshotSentBytes: 0,
      snapshotTotalBytes: 0,
    }))
  }

  async close(): Promise<void> {
    this.#handlers = null
    this.#hub.leave(this)
  }
}
