// Who may call what. One table names every call of the control plane and what a caller must be; a
// call that is not in the table is refused. The one gate in front of all services (proto/server.ts)
// asks here, so there is no second place where a role is looked at.
//
// A caller is more than its certificate. A certificate says what its holder was when it was issued;
// the cluster's state says what the holder is now. A manager that was demoted has a manager's
// certificate until it renews, and a removed node has one until it expires: both are what the state
// says, not what the certificate says. The other way round counts too: whom the state made a
// manager is one only with the certificate.
//
// What a call's contents may say is the service's to check: whose tasks, whose status. For that it
// takes the node id from the caller (`peerOf(call).nodeId`), or compares, by sameNode().

import { status } from '@grpc/grpc-js'
import type { CallRefusal } from '../proto/server.ts'
import type { Store } from '../store/contract.ts'
import { ROLE_UNITS, type Role } from './names.ts'

/** What a caller must be. */
type Access =
  /** Anybody, also without a certificate; but no node that was removed. */
  | 'anyone'
  /** A node of this swarm, whatever its role. */
  | 'node'
  | 'manager'

/** Every call there is. */
export const ACCESS: Readonly<Record<string, Access>> = {
  '/weft.ca.CA/GetRootCertificate': 'anyone',
  '/weft.ca.CA/IssueNodeCertificate': 'anyone',
  '/weft.ca.Forward/IssueNodeCertificate': 'manager',

  '/weft.dispatcher.Dispatcher/Session': 'node',
  '/weft.dispatcher.Dispatcher/Heartbeat': 'node',
  '/weft.dispatcher.Dispatcher/Describe': 'node',
  '/weft.dispatcher.Dispatcher/Assignments': 'node',
  '/weft.dispatcher.Dispatcher/UpdateTaskStatus': 'node',
  '/weft.dispatcher.Dispatcher/FindNetwork': 'node',
  '/weft.dispatcher.Dispatcher/Attach': 'node',
  '/weft.dispatcher.Dispatcher/Detach': 'node',
  '/weft.dispatcher.Dispatcher/ListenLogs': 'node',
  '/weft.dispatcher.Dispatcher/PublishLogs': 'node',

  '/weft.control.Control/Members': 'manager',
  '/weft.control.Control/Join': 'manager',
  '/weft.control.Control/Request': 'manager',

  '/weft.raft.Raft/Converse': 'manager',
  '/weft.raft.Raft/InstallSnapshot': 'manager',
  '/weft.raft.Raft/Probe': 'manager',
}

/** Calls that end a member's membership when they are refused because its node was removed: the
 * member reads this answer as its last. */
const RAFT = '/weft.raft.Raft/'
const MEMBER_REMOVED = 'member removed'

/** The kinds of caller. `stranger`: no certificate, or none that is believed (expired, not yet
 * valid, of another root), or one of another swarm under the same root. */
export type CallerKind = 'stranger' | 'removed' | 'worker' | 'demoted' | 'manager'

/** What is read of a verified certificate. */
export interface CertificateHolder {
  readonly nodeId: string
  /** Organizational unit. */
  readonly role: string
  readonly clusterId: string
}

/** What is asked of the cluster's state. */
export interface Membership {
  readonly clusterId: string
  /** True for nodes that were removed and whose certificates may still be valid. */
  isRemoved(nodeId: string): boolean
  /** The role a node has; undefined when this manager does not know the node (yet). */
  roleOf(nodeId: string): Role | undefined
}

/** The same, asked of this manager's copy of the state. */
export function membershipOf(store: Store, clusterId: string): Membership {
  return {
    clusterId,
    isRemoved: (nodeId) =>
      store.view((tx) => Object.hasOwn(tx.cluster()?.removedNodes ?? {}, nodeId)),
    roleOf: (nodeId) => store.view((tx) => tx.get('nodes', nodeId)?.role),
  }
}

export function kindOf(caller: CertificateHolder | null, membership: Membership): CallerKind {
  if (caller === null || caller.clusterId !== membership.clusterId) return 'stranger'
  if (membership.isRemoved(caller.nodeId)) return 'removed'
  if (caller.role === ROLE_UNITS.worker) return 'worker'
  if (caller.role !== ROLE_UNITS.manager) return 'stranger'
  return membership.roleOf(caller.nodeId) === 'worker' ? 'demoted' : 'manager'
}

/** True for the holder of a certificate that says more than is so: its node was removed, or is no
 * manager any more. Connections that began with it are not to stand (proto/standing.ts). */
export function isOut(caller: CertificateHolder, membership: Membership): boolean {
  const kind = kindOf(caller, membership)
  return kind === 'removed' || kind === 'demoted'
}

/** Which kinds pass. */
const PASSES: Readonly<Record<Access, ReadonlySet<CallerKind>>> = {
  anyone: new Set<CallerKind>(['stranger', 'worker', 'demoted', 'manager']),
  node: new Set<CallerKind>(['worker', 'demoted', 'manager']),
  manager: new Set<CallerKind>(['manager']),
}

/** Null when `caller` may call `method` (its full name, "/weft.ca.CA/GetRootCertificate"). */
export function authorize(
  caller: CertificateHolder | null,
  method: string,
  membership: Membership,
): CallRefusal | null {
  const access = Object.hasOwn(ACCESS, method) ? ACCESS[method] : undefined
  if (access === undefined) {
    return { code: status.UNIMPLEMENTED, details: 'there is no such call' }
  }
  const kind = kindOf(caller, membership)
  return PASSES[access].has(kind) ? null : refusal(kind, caller, method)
}

function refusal(kind: CallerKind, caller: CertificateHolder | null, method: string): CallRefusal {
  const node = `node ${caller?.nodeId ?? ''}`
  switch (kind) {
    case 'stranger':
      return {
        code: status.UNAUTHENTICATED,
        details:
          'this call needs a certificate of this swarm: there is none, or it is out of date, ' +
          'or another swarm issued it',
      }
    case 'removed':
      return method.startsWith(RAFT)
        ? { code: status.NOT_FOUND, details: MEMBER_REMOVED }
        : { code: status.PERMISSION_DENIED, details: `${node} was removed from this swarm` }
    case 'demoted':
      return { code: status.PERMISSION_DENIED, details: `${node} is no manager any more` }
    default:
      return { code: status.PERMISSION_DENIED, details: `${node} is no manager` }
  }
}

/** Null when `caller` speaks of itself. For calls that name the node they are about. */
export function sameNode(caller: CertificateHolder | null, nodeId: string): CallRefusal | null {
  if (caller !== null && caller.nodeId === nodeId) return null
  return {
    code: status.PERMISSION_DENIED,
    details: 'a node speaks for itself and for no other',
  }
}
