// The objects of the cluster, as the store keeps them. An object is the user's Spec (specs.ts, in
// the Engine API's words) and what the cluster made of it (here, in ours). Objects are values:
// nobody changes one, a transaction replaces it whole. Times are milliseconds since 1970.
//
// Ids are 25 characters of base 36, as Swarm's (ids.ts).

import type {
  ConfigSpec,
  EndpointSpec,
  Labels,
  NetworkSpec,
  NodeRole,
  NodeSpec,
  PortConfig,
  SecretSpec,
  ServiceSpec,
  SwarmSpec,
  TaskSpec,
} from './specs.ts'

export interface Meta {
  /** Raft index of the entry that wrote the object last: its optimistic version. */
  readonly version: number
  readonly createdMs: number
  readonly updatedMs: number
}

interface StoreObject {
  readonly id: string
  readonly meta: Meta
}

// --- the cluster: one object -------------------------------------------------------------------

export interface ClusterObject extends StoreObject {
  readonly spec: SwarmSpec
  readonly rootCa: RootCaState
  readonly joinTokens: { readonly worker: string; readonly manager: string }
  /** Set while managers are to be locked: the key encryption key, base64; version rises with each
   * rotation. */
  readonly unlockKey: { readonly key: string | null; readonly version: number }
  readonly defaultAddressPools: readonly string[]
  /** Prefix length of the subnets cut from the pools. */
  readonly subnetSize: number
  /** UDP port of every node's data plane. */
  readonly dataPathPort: number
  /** Mixed into every tunnel handshake (Noise psk2); newest first, at most three. */
  readonly tunnelKeys: readonly TunnelKey[]
  /** By node id: nodes that were removed, refused until their certificates are out of date. */
  readonly removedNodes: Readonly<Record<string, { readonly forgetMs: number }>>
  /** True once the cluster has had an ingress network: who removes it does not get it back. */
  readonly hadIngress?: boolean
}

export interface TunnelKey {
  /** 32 bytes, base64. */
  readonly key: string
  readonly createdMs: number
}

export interface RootCaState {
  /** PEM of the root(s) that nodes trust. */
  readonly certificate: string
  /** PEM; null when an external CA signs. */
  readonly key: string | null
  /** PEM bundle whose SHA-256 stands in the join tokens. */
  readonly digest: string
  readonly lastForcedRotation: number
  readonly rotation: RootRotation | null
}

export interface RootRotation {
  readonly certificate: string
  readonly key: string | null
  /** The new root's key under a certificate signed by the old root. */
  readonly crossSigned: string
}

// --- nodes -------------------------------------------------------------------------------------

export type NodeState = 'unknown' | 'down' | 'ready' | 'disconnected'
export type CertificateState = 'pending' | 'issued' | 'renew' | 'rotate' | 'failed'

export interface NodeObject extends StoreObject {
  readonly spec: NodeSpec
  /** The role it has, which follows spec.Role (a manager is demoted in several steps). */
  readonly role: NodeRole
  readonly description: NodeDescription | null
  readonly status: { readonly state: NodeState; readonly message: string; readonly address: string }
  readonly manager: ManagerStatus | null
  readonly certificate: NodeCertificate
  /** What the other nodes need to reach its data plane; null until it registered. */
  readonly tunnel: NodeTunnel | null
}

export interface NodeCertificate {
  readonly state: CertificateState
  readonly role: NodeRole
  readonly error: string
  /** PEM; empty while pending. */
  readonly csr: string
  readonly certificate: string
}

export interface ManagerStatus {
  /** Raft id: random, 53 bits, never used again. */
  readonly raftId: number
  /** "address:port" of its control plane. */
  readonly address: string
  readonly isLeader: boolean
  readonly reachability: 'unknown' | 'unreachable' | 'reachable'
}

export interface NodeTunnel {
  /** X25519, base64 of 32 bytes. */
  readonly publicKey: string
  /** Underlay "address:port"; null = behind NAT, it calls first. */
  readonly endpoint: string | null
  /** Node's zone label for zone-aware choice of backends. */
  readonly zone?: string
  /** Behind NAT: "address:port" at which managers hear it. */
  readonly seenAt?: string
}

export interface NodeDescription {
  readonly hostname: string
  readonly platform: { readonly os: string; readonly architecture: string }
  readonly resources: { readonly nanoCpus: number; readonly memoryBytes: number }
  readonly genericResources: readonly import('./specs.ts').GenericResource[]
  readonly engine: {
    readonly version: string
    readonly labels: Labels
    /** "Network/overlay", "Volume/local", "Log/json-file". */
    readonly plugins: readonly { readonly type: string; readonly name: string }[]
  }
  readonly tls: {
    readonly trustRoot: string
    /** Base64 of DER. */
    readonly issuerSubject: string
    readonly issuerPublicKey: string
  } | null
  /** Addresses at which published ports answer on this node. */
  readonly addresses: readonly string[]
}

// --- services ----------------------------------------------------------------------------------

export type UpdateState =
  | 'updating'
  | 'paused'
  | 'completed'
  | 'rollback_started'
  | 'rollback_paused'
  | 'rollback_completed'

export interface ServiceObject extends StoreObject {
  readonly spec: ServiceSpec
  /** Names this spec among those that the service has had: 0 for the first, then the meta.version
   * that an update took the place of. Not comparable with meta.version. */
  readonly specVersion: number
  readonly previousSpec: ServiceSpec | null
  readonly previousSpecVersion: number | null
  readonly endpoint: ServiceEndpoint
  readonly updateStatus: {
    readonly state: UpdateState
    readonly startedMs: number
    readonly completedMs: number | null
    readonly message: string
  } | null
  readonly jobStatus: { readonly iteration: number; readonly lastExecutionMs: number } | null
  /** True from its removal until its tasks are gone and its addresses free. */
  readonly pendingDelete: boolean
}

/** What the allocator made of spec.EndpointSpec. */
export interface ServiceEndpoint {
  readonly spec: EndpointSpec
  readonly ports: readonly PortConfig[]
  readonly virtualIps: readonly VirtualIp[]
}

export interface VirtualIp {
  readonly networkId: string
  /** With prefix length: "10.0.1.2/24". An IPv6 network adds a second entry. */
  readonly address: string
}

// --- tasks -------------------------------------------------------------------------------------

/** In this order; a task's state never goes back. SwarmKit, design/task_model.md. */
export const TASK_STATES = [
  'new',
  'pending',
  'assigned',
  'accepted',
  'preparing',
  'ready',
  'starting',
  'running',
  'complete',
  'shutdown',
  'failed',
  'rejected',
  'remove',
  'orphaned',
] as const
export type TaskState = (typeof TASK_STATES)[number]

const STATE_RANK: ReadonlyMap<TaskState, number> = new Map(
  TASK_STATES.map((state, rank) => [state, rank]),
)

/** Position of `state` in the life of a task: compare with that of another. */
export function stateRank(state: TaskState): number {
  return STATE_RANK.get(state)!
}

/** True when the task will not run any more. */
export function isTerminal(state: TaskState): boolean {
  return stateRank(state) > stateRank('running')
}

export interface TaskObject extends StoreObject {
  /** '' for the attachment of a container that no service made. */
  readonly serviceId: string
  /** From 1 (jobs: from 0); null for tasks of global services, which belong to their node. */
  readonly slot: number | null
  /** '' until it is assigned. */
  readonly nodeId: string
  /** Name and labels of its service when it was made. */
  readonly serviceAnnotations: { readonly name: string; readonly labels: Labels }
  readonly spec: TaskSpec
  /** ServiceObject.specVersion that it was made of; null for attachments. */
  readonly specVersion: number | null
  readonly endpoint: ServiceEndpoint | null
  readonly networks: readonly TaskNetwork[]
  readonly status: TaskStatus
  readonly desiredState: TaskState
  readonly jobIteration: number | null
  readonly logDriver: import('./specs.ts').Driver | null
  readonly assignedGenericResources: readonly import('./specs.ts').GenericResource[]
}

export interface TaskNetwork {
  readonly networkId: string
  /** With prefix length, at most one per family. */
  readonly addresses: readonly string[]
  readonly aliases: readonly string[]
  /** It is the ingress network, and the task publishes nothing through the mesh: it is on it for
   * its ports of mode "host", where the node's data plane publishes these. */
  readonly forHostPorts?: true
}

export interface TaskStatus {
  readonly state: TaskState
  readonly atMs: number
  readonly message: string
  readonly error: string
  readonly container: {
    readonly id: string
    readonly pid: number
    readonly exitCode: number
  } | null
  /** Ports of mode "host" as the node published them. */
  readonly hostPorts: readonly PortConfig[]
  /** False while a running task must not be given new flows (not ready, or draining). */
  readonly isServing: boolean
}

// --- networks, secrets, configs ----------------------------------------------------------------

export interface NetworkObject extends StoreObject {
  readonly spec: NetworkSpec
  /** What the allocator gave it; null until then. */
  readonly allocation: NetworkAllocation | null
  readonly pendingDelete: boolean
}

export interface NetworkAllocation {
  readonly vni: number
  readonly subnets: readonly {
    readonly subnet: string
    readonly gateway: string
    readonly ipRange?: string
  }[]
}

export interface SecretObject extends StoreObject {
  readonly spec: SecretSpec
}

export interface ConfigObject extends StoreObject {
  readonly spec: ConfigSpec
}
