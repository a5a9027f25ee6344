// swarm.ServiceSpec and all that it contains: tables of fields (decode.ts), in the order in which
// answers show them.

import {
  BOOL,
  DURATION,
  FILE_MODE,
  FLOAT32,
  INT,
  INT64,
  keep,
  LABELS,
  list,
  listOfPointers,
  named,
  pointer,
  STRING,
  STRINGS,
  type Struct,
  struct,
  UINT32,
  UINT64,
} from './decode.ts'
import { DRIVER } from './types-swarm.ts'

const FILE = {
  Name: keep(STRING),
  UID: keep(STRING),
  GID: keep(STRING),
  Mode: keep(FILE_MODE),
}

const SECRET_REFERENCE = struct('swarm.SecretReference', {
  File: pointer(struct('swarm.SecretReferenceFileTarget', FILE)),
  SecretID: keep(STRING),
  SecretName: keep(STRING),
})

const CONFIG_REFERENCE = struct('swarm.ConfigReference', {
  File: pointer(struct('swarm.ConfigReferenceFileTarget', FILE)),
  Runtime: pointer(struct('swarm.ConfigReferenceRuntimeTarget', {})),
  ConfigID: keep(STRING),
  ConfigName: keep(STRING),
})

const MOUNT = struct('mount.Mount', {
  Type: named('mount.Type'),
  Source: STRING,
  Target: STRING,
  ReadOnly: BOOL,
  Consistency: named('mount.Consistency'),
  BindOptions: pointer(
    struct('mount.BindOptions', {
      Propagation: named('mount.Propagation'),
      NonRecursive: BOOL,
      CreateMountpoint: BOOL,
      ReadOnlyNonRecursive: BOOL,
      ReadOnlyForceRecursive: BOOL,
    }),
  ),
  VolumeOptions: pointer(
    struct('mount.VolumeOptions', {
      NoCopy: BOOL,
      Labels: LABELS,
      Subpath: STRING,
      DriverConfig: pointer(struct('mount.Driver', { Name: STRING, Options: LABELS })),
    }),
  ),
  ImageOptions: pointer(struct('mount.ImageOptions', { Subpath: STRING })),
  TmpfsOptions: pointer(
    struct('mount.TmpfsOptions', { SizeBytes: INT64, Mode: FILE_MODE, Options: list(STRINGS) }),
  ),
  ClusterOptions: pointer(struct('mount.ClusterOptions', {})),
})

const HEALTHCHECK = struct('container.HealthConfig', {
  Test: STRINGS,
  Interval: DURATION,
  Timeout: DURATION,
  StartPeriod: DURATION,
  StartInterval: DURATION,
  Retries: INT,
})

const PRIVILEGES = struct('swarm.Privileges', {
  CredentialSpec: pointer(
    struct('swarm.CredentialSpec', {
      Config: keep(STRING),
      File: keep(STRING),
      Registry: keep(STRING),
    }),
  ),
  SELinuxContext: pointer(
    struct('swarm.SELinuxContext', {
      Disable: keep(BOOL),
      User: keep(STRING),
      Role: keep(STRING),
      Type: keep(STRING),
      Level: keep(STRING),
    }),
  ),
  Seccomp: pointer(
    struct('swarm.SeccompOpts', {
      Mode: named('swarm.SeccompMode'),
      // Go: []byte, so base64.
      Profile: STRING,
    }),
  ),
  AppArmor: pointer(struct('swarm.AppArmorOpts', { Mode: named('swarm.AppArmorMode') })),
  NoNewPrivileges: keep(BOOL),
})

const CONTAINER_SPEC = struct('swarm.ContainerSpec', {
  Image: STRING,
  Labels: LABELS,
  Command: STRINGS,
  Args: STRINGS,
  Hostname: STRING,
  Env: STRINGS,
  Dir: STRING,
  User: STRING,
  Groups: STRINGS,
  Privileges: pointer(PRIVILEGES),
  Init: pointer(BOOL),
  StopSignal: STRING,
  TTY: BOOL,
  OpenStdin: BOOL,
  ReadOnly: BOOL,
  Mounts: list(MOUNT),
  StopGracePeriod: pointer(DURATION),
  Healthcheck: pointer(HEALTHCHECK),
  Hosts: STRINGS,
  DNSConfig: pointer(
    struct('swarm.DNSConfig', { Nameservers: STRINGS, Search: STRINGS, Options: STRINGS }),
  ),
  Secrets: listOfPointers(SECRET_REFERENCE),
  Configs: listOfPointers(CONFIG_REFERENCE),
  Isolation: named('container.Isolation'),
  Sysctls: LABELS,
  CapabilityAdd: STRINGS,
  CapabilityDrop: STRINGS,
  Ulimits: listOfPointers(
    struct('units.Ulimit', { Name: keep(STRING), Hard: keep(INT64), Soft: keep(INT64) }),
  ),
  OomScoreAdj: INT64,
})

const GENERIC_RESOURCE = struct('swarm.GenericResource', {
  NamedResourceSpec: pointer(struct('swarm.NamedGenericResource', { Kind: STRING, Value: STRING })),
  DiscreteResourceSpec: pointer(
    struct('swarm.DiscreteGenericResource', { Kind: STRING, Value: INT64 }),
  ),
})

const RESOURCES = struct('swarm.ResourceRequirements', {
  Limits: pointer(struct('swarm.Limit', { NanoCPUs: INT64, MemoryBytes: INT64, Pids: INT64 })),
  Reservations: pointer(
    struct('swarm.Resources', {
      NanoCPUs: INT64,
      MemoryBytes: INT64,
      GenericResources: list(GENERIC_RESOURCE),
    }),
  ),
  SwapBytes: pointer(INT64),
  MemorySwappiness: pointer(INT64),
})

const RESTART_POLICY = struct('swarm.RestartPolicy', {
  Condition: named('swarm.RestartPolicyCondition'),
  Delay: pointer(DURATION),
  MaxAttempts: pointer(UINT64),
  Window: pointer(DURATION),
})

const PLACEMENT = struct('swarm.Placement', {
  Constraints: STRINGS,
  Preferences: list(
    struct('swarm.PlacementPreference', {
      Spread: pointer(struct('swarm.SpreadOver', { SpreadDescriptor: keep(STRING) })),
    }),
  ),
  MaxReplicas: UINT64,
  Platforms: list(struct('swarm.Platform', { Architecture: STRING, OS: STRING })),
})

const NETWORK_ATTACHMENT = struct('swarm.NetworkAttachmentConfig', {
  Target: STRING,
  Aliases: STRINGS,
  DriverOpts: LABELS,
})

export const TASK_SPEC: Struct = struct('swarm.TaskSpec', {
  ContainerSpec: pointer(CONTAINER_SPEC),
  PluginSpec: pointer(struct('runtime.PluginSpec', {})),
  NetworkAttachmentSpec: pointer(
    struct('swarm.NetworkAttachmentSpec', { ContainerID: keep(STRING) }),
  ),
  Resources: pointer(RESOURCES),
  RestartPolicy: pointer(RESTART_POLICY),
  Placement: pointer(PLACEMENT),
  Networks: list(NETWORK_ATTACHMENT),
  LogDriver: pointer(DRIVER),
  ForceUpdate: keep(UINT64),
  Runtime: named('swarm.RuntimeType'),
})

const UPDATE_CONFIG = struct('swarm.UpdateConfig', {
  Parallelism: keep(UINT64),
  Delay: DURATION,
  FailureAction: STRING,
  Monitor: DURATION,
  MaxFailureRatio: keep(FLOAT32),
  Order: keep(STRING),
})

const PORT = struct('swarm.PortConfig', {
  Name: STRING,
  Protocol: named('swarm.PortConfigProtocol'),
  TargetPort: UINT32,
  PublishedPort: UINT32,
  PublishMode: named('swarm.PortConfigPublishMode'),
})

export const SERVICE_SPEC: Struct = struct('swarm.ServiceSpec', {
  Name: STRING,
  Labels: keep(LABELS),
  TaskTemplate: keep(TASK_SPEC),
  Mode: keep(
    struct('swarm.ServiceMode', {
      Replicated: pointer(struct('swarm.ReplicatedService', { Replicas: pointer(UINT64) })),
      Global: pointer(struct('swarm.GlobalService', {})),
      ReplicatedJob: pointer(
        struct('swarm.ReplicatedJob', {
          MaxConcurrent: pointer(UINT64),
          TotalCompletions: pointer(UINT64),
        }),
      ),
      GlobalJob: pointer(struct('swarm.GlobalJob', {})),
    }),
  ),
  UpdateConfig: pointer(UPDATE_CONFIG),
  RollbackConfig: pointer(UPDATE_CONFIG),
  Networks: list(NETWORK_ATTACHMENT),
  EndpointSpec: pointer(
    struct('swarm.EndpointSpec', { Mode: named('swarm.ResolutionMode'), Ports: list(PORT) }),
  ),
})
