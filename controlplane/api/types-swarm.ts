// swarm.Spec and the bodies of /swarm/*: tables of fields (decode.ts), in the order in which
// answers show them.

import {
  BOOL,
  DURATION,
  INT,
  INT64,
  keep,
  LABELS,
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

export const DRIVER: Struct = struct('swarm.Driver', { Name: STRING, Options: LABELS })

const EXTERNAL_CA = struct('swarm.ExternalCA', {
  Protocol: keep(named('swarm.ExternalCAProtocol')),
  URL: keep(STRING),
  Options: LABELS,
  CACert: keep(STRING),
})

export const SWARM_SPEC: Struct = struct('swarm.Spec', {
  Name: STRING,
  Labels: keep(LABELS),
  Orchestration: keep(
    struct('swarm.OrchestrationConfig', { TaskHistoryRetentionLimit: pointer(INT64) }),
  ),
  Raft: keep(
    struct('swarm.RaftConfig', {
      SnapshotInterval: UINT64,
      KeepOldSnapshots: pointer(UINT64),
      LogEntriesForSlowFollowers: UINT64,
      ElectionTick: keep(INT),
      HeartbeatTick: keep(INT),
    }),
  ),
  Dispatcher: keep(struct('swarm.DispatcherConfig', { HeartbeatPeriod: DURATION })),
  CAConfig: keep(
    struct('swarm.CAConfig', {
      NodeCertExpiry: DURATION,
      ExternalCAs: listOfPointers(EXTERNAL_CA),
      SigningCACert: STRING,
      SigningCAKey: STRING,
      ForceRotate: UINT64,
    }),
  ),
  TaskDefaults: keep(struct('swarm.TaskDefaults', { LogDriver: pointer(DRIVER) })),
  EncryptionConfig: keep(struct('swarm.EncryptionConfig', { AutoLockManagers: keep(BOOL) })),
})

const AVAILABILITY = named('swarm.NodeAvailability')

export const INIT_REQUEST: Struct = struct('swarm.InitRequest', {
  ListenAddr: keep(STRING),
  AdvertiseAddr: keep(STRING),
  DataPathAddr: keep(STRING),
  DataPathPort: keep(UINT32),
  ForceNewCluster: keep(BOOL),
  Spec: keep(SWARM_SPEC),
  AutoLockManagers: keep(BOOL),
  Availability: keep(AVAILABILITY),
  DefaultAddrPool: keep(STRINGS),
  SubnetSize: keep(UINT32),
})

export const JOIN_REQUEST: Struct = struct('swarm.JoinRequest', {
  ListenAddr: keep(STRING),
  AdvertiseAddr: keep(STRING),
  DataPathAddr: keep(STRING),
  RemoteAddrs: keep(STRINGS),
  JoinToken: keep(STRING),
  Availability: keep(AVAILABILITY),
})

export const UNLOCK_REQUEST: Struct = struct('swarm.UnlockRequest', { UnlockKey: keep(STRING) })

export const NODE_SPEC: Struct = struct('swarm.NodeSpec', {
  Name: STRING,
  Labels: keep(LABELS),
  Role: named('swarm.NodeRole'),
  Availability: AVAILABILITY,
})
