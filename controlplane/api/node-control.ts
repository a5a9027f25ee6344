// What the Engine API needs of the node it speaks for. The agent implements it; tests have a double
// (testing/fake-node.ts). Calls that fail reject with an ApiError (errors.ts) when the words are
// the user's to read; anything else becomes status 500 with its message.
//
// Where a request runs:
//   - reads of the cluster on any manager, after `readBarrier`: the store there is as fresh as the
//     leader's was when the request came;
//   - writes and logs on the leader; a manager that is not it hands the whole request to `forward`,
//     and the leader's agent gives it to `EngineApi.handleForwarded` (server.ts). It is never
//     forwarded twice;
//   - everything that is not of the cluster, on this node.

import type { Clock } from '../../base/clock.ts'
import type { Store } from '../store/contract.ts'
import type { RootCaState } from '../store/objects.ts'
import type { NodeAvailability, SwarmSpec } from '../store/specs.ts'

/** As `docker info` shows it. */
export type LocalNodeState = 'inactive' | 'pending' | 'active' | 'error' | 'locked'

export interface NodeStatus {
  readonly state: LocalNodeState
  /** '' while inactive. */
  readonly nodeId: string
  /** The node's address without a port; '' while unknown. */
  readonly address: string
  /** True from the moment that its certificate says so, also while no leader is known. */
  readonly isManager: boolean
  /** Why the state is `error`. */
  readonly error: string
  /** Managers that the node knows, with "address:port" of their control plane. */
  readonly managers: readonly { readonly nodeId: string; readonly address: string }[]
}

/** Checked and complete: defaults are filled in, except where '' lets the node choose. */
export interface InitRequest {
  readonly listenAddress: string
  readonly advertiseAddress: string
  readonly dataPathAddress: string
  readonly dataPathPort: number
  /** CIDRs; empty = the default pool. */
  readonly defaultAddressPools: readonly string[]
  readonly subnetSize: number
  readonly forceNewCluster: boolean
  readonly spec: SwarmSpec
  readonly availability: NodeAvailability
}

export interface JoinRequest {
  readonly listenAddress: string
  readonly advertiseAddress: string
  readonly dataPathAddress: string
  /** "address:port", at least one. */
  readonly remoteAddresses: readonly string[]
  readonly joinToken: string
  readonly availability: NodeAvailability
}

export interface ClusterAccess {
  readonly store: Store
  readonly isLeader: boolean
}

/** A request as HTTP has it, free of sockets. */
export interface ApiRequest {
  readonly method: string
  /** Path and query, with or without the version. */
  readonly path: string
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: AsyncIterable<Uint8Array>
  /** Aborted when the client is gone. */
  readonly signal: AbortSignal
}

export interface ApiResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** Pulled as fast as the client reads. `return()` is called when the client is gone. */
  readonly body: AsyncIterable<Uint8Array>
}

export interface NodeControl {
  readonly clock: Clock
  /** Of the local engine, as "/var/run/docker.sock"; null where there is none. */
  readonly engineSocket: string | null
  /** `size` bytes that nobody can guess. */
  random(size: number): Uint8Array
  status(): NodeStatus
  /** Resolves with the node's id once it leads a cluster of one. */
  init(request: InitRequest): Promise<string>
  /** Resolves once the node is part of the cluster. */
  join(request: JoinRequest): Promise<void>
  /** The guards of a manager are the API's; `force` has passed them. */
  leave(force: boolean): Promise<void>
  /** `key`: "SWMKEY-1-…", well-formed. */
  unlock(key: string): Promise<void>
  /** Null on workers, and on managers that are not ready. */
  cluster(): ClusterAccess | null
  /** Hands the request to the leader. Rejects with an ApiError (`noLeader`) where none is known. */
  forward(request: ApiRequest): Promise<ApiResponse>
  /** Resolves once the local store holds all that was committed anywhere when it was called. */
  readBarrier(): Promise<void>
}

/** Which lines of which tasks: what `docker service logs` asks for. */
export interface LogSubscription {
  /** Tasks to read, running or not; with `follow`, later tasks of the services as well. */
  readonly serviceIds: readonly string[]
  readonly taskIds: readonly string[]
  readonly follow: boolean
  readonly stdout: boolean
  readonly stderr: boolean
  /** Milliseconds since 1970; null = from the beginning. */
  readonly sinceMs: number | null
  /** Lines of each task; null = all. */
  readonly tail: number | null
}

export interface LogLine {
  readonly nodeId: string
  readonly serviceId: string
  readonly taskId: string
  readonly stream: 'stdout' | 'stderr'
  /** Nanoseconds since 1970 do not fit a number: milliseconds, and what is behind them. */
  readonly atMs: number
  /** 0..999,999. */
  readonly atNanos: number
  /** What the log driver adds (--log-opt labels=…). */
  readonly attributes: Readonly<Record<string, string>>
  /** Without the line feed. */
  readonly text: Uint8Array
}

/** Hooks into parts of the node that the API sets going but does not contain. */
export interface NodeServices {
  /** The root's state under a new CAConfig; called for each update of the swarm, on the leader.
   * Rejects with the code INVALID_ARGUMENT for what Swarm refuses (ca/rotation.ts, planRoot). */
  planRoot(current: RootCaState, config: SwarmSpec['CAConfig']): Promise<RootCaState>
  /** Implemented by the leader's log broker; ends when `signal` aborts, or all was read. */
  logs(subscription: LogSubscription, signal: AbortSignal): AsyncIterable<LogLine>
  /** Makes sure that the engine here has a network for an attachable overlay of the cluster, given
   * by name or id, before a container is attached to it: with the label ENGINE_NETWORK_LABEL
   * (store/labels.ts). Null when the cluster has no such overlay, or there is no engine. Workers
   * ask their manager. */
  ensureEngineNetwork(network: string): Promise<EngineNetwork | null>
}

export interface EngineNetwork {
  /** By which the engine knows it. */
  readonly name: string
  /** Addresses of the name servers on it. */
  readonly nameServers: readonly string[]
}
