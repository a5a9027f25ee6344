// What a user asks for, in the words of the Docker Engine API (v1.41 to v1.50): the JSON that the
// docker CLI sends is, once validated, the Spec that the store keeps and gives back. So there is no
// second vocabulary to translate to, and a field that weft does not act on still survives the
// round trip. Names are the API's own, in its capitals; durations are nanoseconds, sizes are bytes,
// CPU shares are NanoCPUs (10^9 = one core). Optional = the user said nothing.
//
// A Spec is the user's: no component of the cluster changes one (SwarmKit, design/nomenclature.md).

export type Labels = Readonly<Record<string, string>>

export interface Annotations {
  readonly Name: string
  readonly Labels: Labels
}

// --- the cluster -------------------------------------------------------------------------------

export interface ExternalCa {
  readonly Protocol: 'cfssl'
  readonly URL: string
  readonly Options?: Readonly<Record<string, string>>
  /** PEM of the root that this external CA signs for. */
  readonly CACert?: string
}

export interface SwarmSpec extends Annotations {
  readonly Orchestration: { readonly TaskHistoryRetentionLimit: number }
  readonly Raft: {
    readonly SnapshotInterval: number
    readonly KeepOldSnapshots: number
    readonly LogEntriesForSlowFollowers: number
    readonly ElectionTick: number
    readonly HeartbeatTick: number
  }
  /** Nanoseconds. */
  readonly Dispatcher: { readonly HeartbeatPeriod: number }
  readonly CAConfig: {
    /** Nanoseconds. */
    readonly NodeCertExpiry: number
    readonly ExternalCAs?: readonly ExternalCa[]
    readonly SigningCACert?: string
    readonly SigningCAKey?: string
    readonly ForceRotate?: number
  }
  readonly TaskDefaults: { readonly LogDriver?: Driver }
  readonly EncryptionConfig: { readonly AutoLockManagers: boolean }
}

export interface Driver {
  readonly Name: string
  readonly Options?: Readonly<Record<string, string>>
}

// --- nodes -------------------------------------------------------------------------------------

export type NodeRole = 'worker' | 'manager'
export type NodeAvailability = 'active' | 'pause' | 'drain'

export interface NodeSpec {
  readonly Name?: string
  readonly Labels: Labels
  readonly Role: NodeRole
  readonly Availability: NodeAvailability
}

// --- services ----------------------------------------------------------------------------------

export interface ServiceSpec extends Annotations {
  readonly TaskTemplate: TaskSpec
  readonly Mode: ServiceMode
  readonly UpdateConfig?: UpdateConfig
  readonly RollbackConfig?: UpdateConfig
  /** Deprecated place of TaskTemplate.Networks. What a request has here stands there as well: only
   * that counts. */
  readonly Networks?: readonly NetworkAttachmentConfig[]
  readonly EndpointSpec?: EndpointSpec
}

/** Exactly one is set. */
export interface ServiceMode {
  readonly Replicated?: { readonly Replicas: number }
  readonly Global?: Readonly<Record<string, never>>
  readonly ReplicatedJob?: { readonly MaxConcurrent: number; readonly TotalCompletions: number }
  readonly GlobalJob?: Readonly<Record<string, never>>
}

export interface UpdateConfig {
  /** 0 = all at once. */
  readonly Parallelism: number
  readonly Delay?: number
  readonly FailureAction?: 'pause' | 'continue' | 'rollback'
  readonly Monitor?: number
  /** 0..1. */
  readonly MaxFailureRatio?: number
  readonly Order?: 'stop-first' | 'start-first'
}

export interface TaskSpec {
  readonly ContainerSpec?: ContainerSpec
  readonly NetworkAttachmentSpec?: { readonly ContainerID: string }
  readonly PluginSpec?: unknown
  readonly Resources?: ResourceRequirements
  readonly RestartPolicy?: RestartPolicy
  readonly Placement?: Placement
  readonly ForceUpdate: number
  readonly Runtime: 'container' | 'attachment'
  readonly Networks?: readonly NetworkAttachmentConfig[]
  readonly LogDriver?: Driver
}

export interface ContainerSpec {
  readonly Image: string
  readonly Labels?: Labels
  readonly Command?: readonly string[]
  readonly Args?: readonly string[]
  readonly Hostname?: string
  readonly Env?: readonly string[]
  readonly Dir?: string
  readonly User?: string
  readonly Groups?: readonly string[]
  readonly Privileges?: {
    readonly CredentialSpec?: unknown
    readonly SELinuxContext?: {
      readonly Disable?: boolean
      readonly User?: string
      readonly Role?: string
      readonly Type?: string
      readonly Level?: string
    }
    readonly Seccomp?: { readonly Mode?: string; readonly Profile?: string }
    readonly AppArmor?: { readonly Mode?: string }
    readonly NoNewPrivileges?: boolean
  }
  readonly TTY?: boolean
  readonly OpenStdin?: boolean
  readonly ReadOnly?: boolean
  readonly Mounts?: readonly Mount[]
  readonly StopSignal?: string
  readonly StopGracePeriod?: number
  readonly Healthcheck?: Healthcheck
  /** "IP name [alias...]", as in hosts(5). */
  readonly Hosts?: readonly string[]
  readonly DNSConfig?: {
    readonly Nameservers?: readonly string[]
    readonly Search?: readonly string[]
    readonly Options?: readonly string[]
  }
  readonly Secrets?: readonly SecretReference[]
  readonly Configs?: readonly ConfigReference[]
  readonly Isolation?: string
  readonly Init?: boolean
  readonly Sysctls?: Readonly<Record<string, string>>
  readonly CapabilityAdd?: readonly string[]
  readonly CapabilityDrop?: readonly string[]
  readonly Ulimits?: readonly {
    readonly Name: string
    readonly Soft: number
    readonly Hard: number
  }[]
  readonly OomScoreAdj?: number
  /** weft's own, never shown: X-Registry-Auth of the request, for the pull. */
  readonly PullOptions?: { readonly RegistryAuth: string }
}

export interface Healthcheck {
  /** ["NONE"], ["CMD", ...] or ["CMD-SHELL", command]; [] = the image's. */
  readonly Test?: readonly string[]
  readonly Interval?: number
  readonly Timeout?: number
  readonly StartPeriod?: number
  readonly StartInterval?: number
  readonly Retries?: number
}

export interface FileTarget {
  readonly Name: string
  readonly UID: string
  readonly GID: string
  readonly Mode: number
}

export interface SecretReference {
  readonly File?: FileTarget
  readonly SecretID: string
  readonly SecretName: string
}

export interface ConfigReference {
  readonly File?: FileTarget
  readonly Runtime?: Readonly<Record<string, never>>
  readonly ConfigID: string
  readonly ConfigName: string
}

export interface Mount {
  readonly Type: 'bind' | 'volume' | 'tmpfs' | 'npipe' | 'cluster' | 'image'
  readonly Source?: string
  readonly Target: string
  readonly ReadOnly?: boolean
  readonly Consistency?: string
  readonly BindOptions?: {
    readonly Propagation?: string
    readonly NonRecursive?: boolean
    readonly CreateMountpoint?: boolean
    readonly ReadOnlyNonRecursive?: boolean
    readonly ReadOnlyForceRecursive?: boolean
  }
  readonly VolumeOptions?: {
    readonly NoCopy?: boolean
    readonly Labels?: Labels
    readonly DriverConfig?: { readonly Name?: string; readonly Options?: Labels }
    readonly Subpath?: string
  }
  readonly TmpfsOptions?: {
    readonly SizeBytes?: number
    readonly Mode?: number
    readonly Options?: readonly (readonly string[])[]
  }
}

export interface Resources {
  readonly NanoCPUs?: number
  readonly MemoryBytes?: number
  readonly Pids?: number
  readonly GenericResources?: readonly GenericResource[]
}

/** Exactly one is set. */
export interface GenericResource {
  readonly NamedResourceSpec?: { readonly Kind: string; readonly Value: string }
  readonly DiscreteResourceSpec?: { readonly Kind: string; readonly Value: number }
}

export interface ResourceRequirements {
  readonly Limits?: Resources
  readonly Reservations?: Resources
}

export interface RestartPolicy {
  readonly Condition?: 'none' | 'on-failure' | 'any'
  readonly Delay?: number
  /** 0 = without limit. */
  readonly MaxAttempts?: number
  readonly Window?: number
}

export interface Placement {
  readonly Constraints?: readonly string[]
  readonly Preferences?: readonly { readonly Spread?: { readonly SpreadDescriptor: string } }[]
  /** 0 = without limit. */
  readonly MaxReplicas?: number
  readonly Platforms?: readonly { readonly Architecture?: string; readonly OS?: string }[]
}

export interface NetworkAttachmentConfig {
  /** A network's ID once stored; requests may name it. */
  readonly Target: string
  readonly Aliases?: readonly string[]
  readonly DriverOpts?: Labels
}

export interface EndpointSpec {
  readonly Mode?: 'vip' | 'dnsrr'
  readonly Ports?: readonly PortConfig[]
}

export interface PortConfig {
  readonly Name?: string
  readonly Protocol: 'tcp' | 'udp' | 'sctp'
  readonly TargetPort: number
  /** 0 or absent = one is chosen (ingress) or the engine chooses (host). */
  readonly PublishedPort?: number
  readonly PublishMode: 'ingress' | 'host'
}

// --- networks, secrets, configs ----------------------------------------------------------------

export interface IpamConfig {
  readonly Subnet?: string
  readonly IPRange?: string
  readonly Gateway?: string
  readonly AuxiliaryAddresses?: Labels
}

export interface NetworkSpec extends Annotations {
  /** Always "overlay". */
  readonly Driver: string
  /** encrypted=false|true, multicast=true, com.docker.network.driver.mtu,
   * com.docker.network.driver.overlay.vxlanid_list. */
  readonly Options?: Labels
  readonly Internal?: boolean
  readonly Attachable?: boolean
  readonly Ingress?: boolean
  readonly EnableIPv4?: boolean
  readonly EnableIPv6?: boolean
  readonly IPAM?: {
    readonly Driver?: string
    readonly Options?: Labels
    readonly Config?: readonly IpamConfig[]
  }
}

export interface SecretSpec extends Annotations {
  /** Base64. */
  readonly Data?: string
  readonly Driver?: Driver
  readonly Templating?: Driver
}

export interface ConfigSpec extends Annotations {
  /** Base64. */
  readonly Data?: string
  readonly Templating?: Driver
}
