// The product's transport: gRPC over mutual TLS (../transport-contract.ts says what is asked of it,
// controlplane/proto/raft.proto what goes over the wire).
//
// It serves on the node's RpcServer, which has checked that the caller is a manager, and calls each
// peer by a PeerLink. Messages go one way on a call, answers come on the call of the other
// direction: a link that works one way only shows itself as what it is.
//
// When the node's certificate is replaced every link moves to a new connection, one by one and
// without a gap, because a peer refuses an old certificate once its time is over.

import type { ServiceError } from '@grpc/grpc-js'
import { type Logger, silentLogger } from '../../../../base/log.ts'
import {
  channelCredentials,
  channelOptions,
  mustBeManager,
  type ServerCheck,
} from '../../../proto/credentials.ts'
import type { ProtoGrpcType } from '../../../proto/generated/raft.ts'
import type { Introduction } from '../../../proto/generated/weft/raft/Introduction.ts'
import type { ProbeAnswer__Output } from '../../../proto/generated/weft/raft/ProbeAnswer.ts'
import type { RaftClient } from '../../../proto/generated/weft/raft/Raft.ts'
import type { IdentityHolder } from '../../../proto/identity.ts'
import { loadProto } from '../../../proto/load.ts'
import type { Peer } from '../../../proto/peer.ts'
import type { RpcServer } from '../../../proto/server.ts'
import { INTEGER_END } from '../../limits.ts'
import type { Message, NodeId } from '../../messages.ts'
import type {
  PeerStatus,
  ProbeAnswer,
  Transport,
  TransportHandlers,
} from '../transport-contract.ts'
import { Inbound } from './inbound.ts'
import { SNAPSHOT_STALL_MS } from './limits.ts'
import { PeerLink } from './peer-link.ts'
import { SnapshotSender } from './snapshot-sender.ts'

const { Raft } = loadProto<ProtoGrpcType>('raft.proto').weft.raft

export interface GrpcTransportOptions {
  readonly id: NodeId
  readonly clusterId: string
  readonly identity: IdentityHolder
  /** The node's server. The Raft service is registered here and taken away by close(). */
  readonly server: RpcServer
  /** True if the holder of this certificate may speak for the member `id`. Members that the log
   * does not name yet are up to the caller: who joins hears from a leader that it does not know.
   * */
  readonly speaksFor: (peer: Peer, id: NodeId) => boolean
  /** What a peer's own certificate must say; any manager's by default. */
  readonly checkServer?: ServerCheck
  /** How long a snapshot may make no progress; SNAPSHOT_STALL_MS by default. */
  readonly snapshotStallMs?: number
  readonly logger?: Logger
}

interface Member {
  readonly address: string
  readonly link: PeerLink
  snapshot: SnapshotSender | null
}

const noHandlers: TransportHandlers = {
  onMessage: () => {},
  onUnreachable: () => {},
  onSnapshotReport: () => {},
  onRemoved: () => {},
}

export class GrpcTransport implements Transport {
  readonly #options: GrpcTransportOptions
  readonly #logger: Logger
  readonly #stallMs: number
  readonly #credentials: ReturnType<typeof channelCredentials>
  readonly #inbound: Inbound
  readonly #members = new Map<NodeId, Member>()
  readonly #stopRenewing: () => void
  #handlers: TransportHandlers = noHandlers
  #removed: ReadonlySet<NodeId> = new Set()
  #closed = false

  constructor(options: GrpcTransportOptions) {
    this.#options = options
    this.#logger = options.logger ?? silentLogger
    this.#stallMs = options.snapshotStallMs ?? SNAPSHOT_STALL_MS
    const { identity, checkServer = mustBeManager } = options
    this.#credentials = channelCredentials(identity, checkServer)
    this.#inbound = new Inbound({
      membership: () => ({ ...options, removed: this.#removed }),
      peerOf: (call) => options.server.peerOf(call),
      onMessage: (message) => this.#handlers.onMessage(message),
      onStream: (from) => this.#members.get(from)?.link.knock(),
      snapshotStallMs: this.#stallMs,
    })
    this.#stopRenewing = identity.onReplace(() => {
      for (const { link } of this.#members.values()) link.renew()
    })
  }

  start(handlers: TransportHandlers): void {
    this.#handlers = handlers
    this.#options.server.addService(Raft.service, this.#inbound.handlers())
  }

  send(message: Message): void {
    const member = this.#members.get(message.to)
    if (member === undefined) {
      this.#later(() => {
        if (message.type === 'MsgSnap') this.#handlers.onSnapshotReport(message.to, false)
        else this.#handlers.onUnreachable(message.to)
      })
    } else if (message.type === 'MsgSnap') {
      this.#sendSnapshot(member, message)
    } else {
      member.link.send(message)
    }
  }

  setPeers(peers: ReadonlyMap<NodeId, string>): void {
    if (this.#closed) return
    for (const [id, { address }] of this.#members) {
      if (peers.get(id) !== address) this.#drop(id)
    }
    for (const [id, address] of peers) {
      if (!this.#members.has(id) && id !== this.#options.id) this.#add(id, address)
    }
  }

  setRemoved(ids: ReadonlySet<NodeId>): void {
    this.#removed = ids
    this.#inbound.dismiss(ids)
  }

  probe(address: string, timeoutMs: number): Promise<ProbeAnswer> {
    const { clusterId } = this.#options
    const client = this.#dial(address)
    return new Promise((resolve, reject) => {
      const deadline = new Date(Date.now() + timeoutMs)
      const done = (error: ServiceError | null, answer?: ProbeAnswer__Output): void => {
        client.close()
        const id = answer?.id ?? 0
        if (error !== null) reject(error)
        else if (Number.isSafeInteger(id) && id > 0 && id < INTEGER_END) resolve({ id })
        else reject(new RangeError(`whoever answers at ${address} has no member id`))
      }
      client.probe({ clusterId }, { deadline }, done)
    })
  }

  peers(): readonly PeerStatus[] {
    return [...this.#members].map(([id, { address, link, snapshot }]) => ({
      id,
      address,
      connected: link.connected,
      queuedMessages: link.queue.length,
      queuedBytes: link.queue.bytes,
      dropped: link.queue.dropped,
      snapshotSentBytes: snapshot?.acknowledgedBytes ?? 0,
      snapshotTotalBytes: snapshot?.totalBytes ?? 0,
    }))
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#handlers = noHandlers
    this.#stopRenewing()
    for (const id of [...this.#members.keys()]) this.#drop(id)
    this.#inbound.close()
    this.#options.server.removeService(Raft.service)
  }

  #add(id: NodeId, address: string): void {
    const link = new PeerLink({
      dial: () => this.#dial(address),
      introduction: this.#introduction(id),
      onUnreachable: () => this.#handlers.onUnreachable(id),
      onRemoved: () => this.#handlers.onRemoved(),
      logger: this.#logger.with({ peer: id, address }),
    })
    this.#members.set(id, { address, link, snapshot: null })
  }

  #drop(id: NodeId): void {
    const member = this.#members.get(id)
    this.#members.delete(id)
    member?.link.close()
    member?.snapshot?.cancel()
  }

  #sendSnapshot(member: Member, message: Message): void {
    const { snapshot, to } = message
    const report = (delivered: boolean): void => this.#handlers.onSnapshotReport(to, delivered)
    // One at a time. The one under way goes on: were it given up for each newer one, none might
    // ever arrive.
    if (snapshot === null || member.snapshot !== null) return this.#later(() => report(false))
    member.snapshot = new SnapshotSender({
      client: this.#dial(member.address),
      introduction: this.#introduction(to),
      message,
      snapshot,
      stallMs: this.#stallMs,
      onEnd: (delivered) => {
        member.snapshot = null
        this.#logger.info('a snapshot ended', { peer: to, index: snapshot.index, delivered })
        report(delivered)
      },
      onRemoved: () => this.#handlers.onRemoved(),
    })
  }

  #introduction(to: NodeId): Introduction {
    const { clusterId, id } = this.#options
    return { clusterId, from: id, to }
  }

  #dial(address: string): RaftClient {
    return new Raft(`dns:${address}`, this.#credentials, channelOptions())
  }

  /** The caller of send() is in the middle of something; it must not be called back from there. */
  #later(run: () => void): void {
    queueMicrotask(run)
  }
}
