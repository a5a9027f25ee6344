// The serving half of the transport: the calls of other members. Each is admitted by its first
// message, and asked for its certificate's time again with every further one: a stream may outlive
// the certificate it began with.
//
// A member has one stream to us. When it opens another the older is over, whatever TCP thinks of
// it. The same goes for snapshots.

import * as grpc from '@grpc/grpc-js'
import type { Farewell } from '../../../proto/generated/weft/raft/Farewell.ts'
import type { Frame__Output } from '../../../proto/generated/weft/raft/Frame.ts'
import type { Introduction__Output } from '../../../proto/generated/weft/raft/Introduction.ts'
import type { RaftHandlers } from '../../../proto/generated/weft/raft/Raft.ts'
import type { Callee, Peer } from '../../../proto/peer.ts'
import type { CallRefusal } from '../../../proto/server.ts'
import type { Message, NodeId } from '../../messages.ts'
import * as admission from './admission.ts'
import * as limits from './limits.ts'
import { SnapshotReceiver } from './snapshot-receiver.ts'

export interface InboundOptions {
  /** As it is now. */
  readonly membership: () => admission.Membership
  readonly peerOf: (call: Callee) => Peer | null
  readonly onMessage: (message: Message) => void
  /** A member opened a stream to us. */
  readonly onStream: (from: NodeId) => void
  readonly snapshotStallMs: number
}

/** A call that can be ended from outside. */
interface Running {
  refuse(refusal: CallRefusal): void
}

const SUPERSEDED: CallRefusal = {
  code: grpc.status.ABORTED,
  details: 'another call took its place',
}
const CLOSING: CallRefusal = { code: grpc.status.UNAVAILABLE, details: 'this member stops' }

export class Inbound {
  readonly #options: InboundOptions
  readonly #streams = new Map<NodeId, Running>()
  readonly #snapshots = new Map<NodeId, Running>()
  #closed = false

  constructor(options: InboundOptions) {
    this.#options = options
  }

  handlers(): RaftHandlers {
    return {
      Converse: (call, callback) => this.#converse(call, callback),
      InstallSnapshot: (call) => this.#installSnapshot(call),
      Probe: (call, callback) => {
        const { id, clusterId } = this.#options.membership()
        if (this.#closed) callback(CLOSING)
        else if (call.request.clusterId !== clusterId) callback(admission.clusterFault())
        else callback(null, { id })
      },
    }
  }

  /** Tells members that were removed so. */
  dismiss(removed: ReadonlySet<NodeId>): void {
    for (const calls of [this.#streams, this.#snapshots]) {
      for (const [id, call] of calls) if (removed.has(id)) call.refuse(admission.REMOVED)
    }
  }

  close(): void {
    this.#closed = true
    for (const calls of [this.#streams, this.#snapshots]) {
      for (const call of [...calls.values()]) call.refuse(CLOSING)
    }
  }

  #admit(call: Callee, introduction: Introduction__Output | null): CallRefusal | null {
    if (this.#closed) return CLOSING
    const peer = this.#options.peerOf(call)
    return admission.admissionFault(this.#options.membership(), peer, introduction)
  }

  #converse(
    call: grpc.ServerReadableStream<Frame__Output, Farewell>,
    callback: grpc.sendUnaryData<Farewell>,
  ): void {
    let from: NodeId = 0
    let ended = false
    const end = (refusal: CallRefusal | null): void => {
      if (ended) return
      ended = true
      if (this.#streams.get(from) === running) this.#streams.delete(from)
      if (refusal === null) callback(null, {})
      else callback(refusal)
    }
    const running: Running = { refuse: end }
    call.on('data', (frame: Frame__Output) => {
      if (ended) return
      if (from === 0) {
        const refusal = this.#admit(call, frame.introduction)
        if (refusal !== null) return end(refusal)
        from = frame.introduction?.from ?? 0
        replace(this.#streams, from, running)
        call.sendMetadata(new grpc.Metadata())
        this.#options.onStream(from)
      } else if (this.#options.peerOf(call) === null) {
        return end(admission.EXPIRED)
      }
      const fault = this.#deliver(frame, from)
      if (fault !== null) end(fault)
    })
    call.on('end', () => end(null))
    call.on('error', () => end(CLOSING))
    call.on('cancelled', () => end(CLOSING))
  }

  #deliver({ messages }: Frame__Output, from: NodeId): CallRefusal | null {
    if (messages.length > limits.FRAME_MESSAGES_MAX) return admission.malformed('too many messages')
    const { id } = this.#options.membership()
    for (const bytes of messages) {
      const message = admission.messageOf(bytes)
      if (message === null) return admission.malformed('bytes that encode no message')
      if (!admission.isBetween(message, from, id)) {
        return admission.malformed('a message between other members')
      }
      // Snapshots have a call of their own, with bounds of their own.
      if (message.type === 'MsgSnap') return admission.malformed('a snapshot among messages')
      this.#options.onMessage(message)
    }
    return null
  }

  #installSnapshot(call: Parameters<RaftHandlers['InstallSnapshot']>[0]): void {
    let from: NodeId = 0
    const receiver: SnapshotReceiver = new SnapshotReceiver({
      call,
      stallMs: this.#options.snapshotStallMs,
      admit: ({ introduction }) => {
        const refusal = this.#admit(call, introduction)
        if (refusal !== null) return refusal
        from = introduction?.from ?? 0
        replace(this.#snapshots, from, receiver)
        return null
      },
      isAdmitted: (message) => {
        const fits = admission.isBetween(message, from, this.#options.membership().id)
        return fits && this.#options.peerOf(call) !== null
      },
      onMessage: (message) => this.#options.onMessage(message),
      onEnd: () => {
        if (this.#snapshots.get(from) === receiver) this.#snapshots.delete(from)
      },
    })
  }
}

function replace(calls: Map<NodeId, Running>, from: NodeId, running: Running): void {
  const older = calls.get(from)
  calls.set(from, running)
  older?.refuse(SUPERSEDED)
}
