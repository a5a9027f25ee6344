// Who is let in, and what is taken from them. The answers are part of the protocol: raft.proto
// lists them, and the caller acts on one, "member removed".

import { type ServiceError, status } from '@grpc/grpc-js'
import type { Introduction__Output } from '../../../proto/generated/weft/raft/Introduction.ts'
import type { Peer } from '../../../proto/peer.ts'
import type { CallRefusal } from '../../../proto/server.ts'
import { DecodeError, decodeMessage } from '../../codec.ts'
import { INTEGER_END } from '../../limits.ts'
import type { Message, MessageType, NodeId } from '../../messages.ts'

const MEMBER_REMOVED = 'member removed'

/** True if the error says that this member was removed. */
export function saysRemoved(error: ServiceError): boolean {
  return error.code === status.NOT_FOUND && error.details === MEMBER_REMOVED
}

/** What a removed member is told. */
export const REMOVED: CallRefusal = { code: status.NOT_FOUND, details: MEMBER_REMOVED }
export const EXPIRED: CallRefusal = {
  code: status.UNAUTHENTICATED,
  details: 'the certificate is missing or has run out',
}

export function malformed(details: string): CallRefusal {
  return { code: status.INVALID_ARGUMENT, details }
}

/** What admission depends on, as it is at the moment. */
export interface Membership {
  readonly id: NodeId
  readonly clusterId: string
  readonly removed: ReadonlySet<NodeId>
  /** True if the holder of this certificate may speak for the member `id`. */
  readonly speaksFor: (peer: Peer, id: NodeId) => boolean
}

/** Why a caller that introduces itself so is refused, or null. */
export function admissionFault(
  membership: Membership,
  peer: Peer | null,
  introduction: Introduction__Output | null,
): CallRefusal | null {
  if (peer === null) return EXPIRED
  if (introduction === null) return malformed('a call begins with an introduction')
  const { clusterId, from, to } = introduction
  if (clusterId !== membership.clusterId) return clusterFault()
  if (!Number.isSafeInteger(from) || from <= 0 || from >= INTEGER_END) {
    return malformed('this is no member id')
  }
  if (membership.removed.has(from)) return REMOVED
  if (to !== membership.id) {
    return {
      code: status.FAILED_PRECONDITION,
      details: `member ${membership.id} lives here, not ${to}`,
    }
  }
  if (membership.speaksFor(peer, from)) return null
  return {
    code: status.PERMISSION_DENIED,
    details: `node ${peer.nodeId} does not speak for member ${from}`,
  }
}

export function clusterFault(): CallRefusal {
  return { code: status.FAILED_PRECONDITION, details: 'a member of another cluster lives here' }
}

/** The message that `bytes` encode, or null if they encode none. */
export function messageOf(bytes: Uint8Array): Message | null {
  try {
    return decodeMessage(bytes)
  } catch (error) {
    if (error instanceof DecodeError) return null
    throw error
  }
}

/** Followers pass these on, so that `from` is not the one that sends them. */
const PASSED_ON: ReadonlySet<MessageType> = new Set<MessageType>([
  'MsgProp',
  'MsgReadIndex',
  'MsgTransferLeader',
])

/** True if `message` may come from `from` for `to`. */
export function isBetween(message: Message, from: NodeId, to: NodeId): boolean {
  return message.to === to && (message.from === from || PASSED_ON.has(message.type))
}
