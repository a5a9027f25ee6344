// How a node gets into a swarm: it founds one, joins one, or goes on alone with what it has of one.
// Each writes down first what it is about to do, and the node's certificate before anything that
// others could see of it (node-files.ts).

import { randomBytes } from 'node:crypto'
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import { ingressNetwork } from '../../controlplane/allocator/ingress.ts'
import { ApiError } from '../../controlplane/api/errors.ts'
import type { InitRequest, JoinRequest } from '../../controlplane/api/node-control.ts'
import { foundCluster } from '../../controlplane/ca/cluster.ts'
import {
  createIdentity,
  identityPaths,
  type NodeIdentity,
  readIdentity,
} from '../../controlplane/ca/identity.ts'
import { join } from '../../controlplane/ca/join.ts'
import { newId } from '../../controlplane/store/ids.ts'
import { hostPart, type NodeAddresses } from './addresses.ts'
import { seedCluster, seedNode } from './cluster-seed.ts'
import { READY_WAIT_MS } from './limits.ts'
import type { Manager } from './manager.ts'
import type { SwarmMembership } from './membership.ts'
import type { NodeFiles, NodeState } from './node-files.ts'
import { newPrng, sleep } from './system.ts'

export type GivenRequest = Pick<
  InitRequest,
  'listenAddress' | 'advertiseAddress' | 'dataPathAddress'
>

/** What an attempt is given by the node that makes it. */
export interface Entry {
  readonly files: NodeFiles
  readonly clock: Clock
  readonly log: Logger
  /** Ends the attempt. */
  readonly signal: AbortSignal
  readonly addressTowards: (remote: string) => Promise<string | null>
  readonly addresses: (given: GivenRequest, fallback: string | null) => NodeAddresses
  /** Makes the node's part in the swarm; it is the node's to close, also when the attempt fails. */
  readonly adopt: (identity: NodeIdentity, state: NodeState) => Promise<SwarmMembership>
}

const POLL_MS = 10

/** Founds a swarm; resolves with the node's id. */
export async function found(request: InitRequest, entry: Entry): Promise<string> {
  const { files, clock } = entry
  const addresses = entry.addresses(request, null)
  const { advertiseAddress: address } = addresses
  const clusterId = newId((size) => randomBytes(size))
  const foundation = foundCluster(clusterId, request.spec.CAConfig, clock.wallMs())
  const { root, privateKey, certificate, nodeId } = foundation
  const state: NodeState = { phase: 'founding', ...addresses, managers: [address] }
  files.writeState(state)
  const chain = certificate.certificate
  const identity = createIdentity(identityPaths(files.directory), root, { privateKey, chain })
  const membership = await entry.adopt(identity, state)
  membership.dataPlane.usePort(request.dataPathPort)
  await membership.start({ kind: 'found', clusterId, nodeId, address })
  const manager = await leading(membership, entry)
  const raftId = manager.member.id
  const founder = {
    manager: { raftId, address, isLeader: true, reachability: 'reachable' as const },
    description: await membership.describe(),
    tunnel: membership.dataPlane.tunnel(),
    address: hostPart(address),
  }
  await manager.store.update((tx) => {
    const random = (size: number): Uint8Array => randomBytes(size)
    tx.create('clusters', seedCluster(clusterId, request, foundation, random, clock.wallMs()))
    tx.create('nodes', seedNode(foundation, request, founder))
    tx.create('networks', ingressNetwork(newId(random)))
  })
  membership.saveState({ phase: 'member' })
  membership.startAgent()
  const isReady = (): boolean =>
    manager.store.view((tx) => tx.get('nodes', nodeId))?.status.state === 'ready'
  await until(isReady, READY_WAIT_MS, entry)
  return nodeId
}

/** What a manager goes on with alone: its identity, under the addresses that are asked for now.
 * Throws ApiError where there is nothing to go on with. */
export function planRefounding(
  request: InitRequest,
  { files, clock, addresses }: Entry,
  running: NodeIdentity | null,
): { readonly identity: NodeIdentity; readonly state: NodeState } {
  const before = files.readState()
  const stored = (): NodeIdentity | null =>
    before === null ? null : readIdentity(identityPaths(files.directory), clock.wallMs())
  const identity = running ?? stored()
  if (before === null || identity?.subject.role !== 'manager' || !files.hasRaft) {
    throw new ApiError(503, 'There is no swarm on this node to make a new one of.')
  }
  const advertiseAddress = request.advertiseAddress || before.advertiseAddress
  const now = addresses({ ...request, advertiseAddress }, null)
  return { identity, state: { phase: 'member', ...now, managers: [now.advertiseAddress] } }
}

/** The manager's part, once it leads. */
export async function leading(membership: SwarmMembership, entry: Entry): Promise<Manager> {
  const { manager } = membership
  if (manager === null) throw new Error('the manager part has not started')
  manager.member.campaign()
  await until(() => manager.isLeader, READY_WAIT_MS, entry)
  if (!manager.isLeader) throw new Error('this manager did not become the leader in time')
  return manager
}

/** Joins a swarm; resolves once the node has a session there, and a manager votes. */
export async function joinSwarm(request: JoinRequest, entry: Entry): Promise<void> {
  const { files, clock, log, signal } = entry
  const { remoteAddresses, joinToken: token, availability } = request
  const towards = await entry.addressTowards(remoteAddresses[0]!)
  const state: NodeState = {
    phase: 'joining',
    ...entry.addresses(request, towards),
    managers: remoteAddresses,
  }
  files.writeState(state)
  const prng = newPrng()
  const random = (): number => prng.float()
  const joined = await join({
    addresses: remoteAddresses,
    token,
    availability,
    clock,
    sleep,
    random,
    signal,
    log,
  })
  const identity = createIdentity(identityPaths(files.directory), joined.root, joined)
  const membership = await entry.adopt(identity, state)
  membership.saveState({ phase: 'member' })
  await membership.start(null)
  membership.startAgent()
  await until(() => isIn(membership), Number.POSITIVE_INFINITY, entry)
}

function isIn(membership: SwarmMembership): boolean {
  if (!membership.agent.isConnected) return false
  if (!membership.isManager) return true
  const { manager } = membership
  return manager !== null && manager.store.view((tx) => tx.cluster()) !== undefined
}

/** Waits until something is so, or long enough. Rejects when the attempt is ended. */
async function until(isSo: () => boolean, limitMs: number, entry: Entry): Promise<void> {
  const untilMs = entry.clock.nowMs() + limitMs
  while (!isSo() && entry.clock.nowMs() < untilMs) {
    if (entry.signal.aborted) throw new Error('the agent was told to leave or to stop')
    await sleep(POLL_MS)
  }
}
