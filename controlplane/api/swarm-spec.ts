// swarm.Spec: defaults, and what is refused. A field that is absent or 0 has its default, at init
// and at update alike (moby, daemon/cluster/convert/swarm.go; swarmkit, controlapi/cluster.go).

import type { SwarmSpec } from '../store/specs.ts'
import { badRequest, invalidArgument } from './errors.ts'

const SECOND_NS = 1e9
const HOUR_NS = 3600 * SECOND_NS

/** Heartbeats are ours: Swarm has 5 s and needs 15 s to see that a node is dead. */
const HEARTBEAT_DEFAULT_NS = 1 * SECOND_NS
const CERTIFICATE_EXPIRY_DEFAULT_NS = 2160 * HOUR_NS
const CERTIFICATE_EXPIRY_MIN_NS = HOUR_NS

/** What a request may leave out. */
export interface GivenSwarmSpec {
  readonly Name?: string
  readonly Labels: Readonly<Record<string, string>>
  readonly Orchestration: Partial<SwarmSpec['Orchestration']>
  readonly Raft: Partial<SwarmSpec['Raft']>
  readonly Dispatcher: Partial<SwarmSpec['Dispatcher']>
  readonly CAConfig: Partial<SwarmSpec['CAConfig']>
  readonly TaskDefaults: SwarmSpec['TaskDefaults']
  readonly EncryptionConfig: SwarmSpec['EncryptionConfig']
}

/** Fills in defaults and refuses what cannot be. */
export function completeSwarmSpec(given: GivenSwarmSpec): SwarmSpec {
  const { Name = 'default', Raft, CAConfig } = given
  if (Name !== 'default') throw badRequest('swarm spec must be named "default"')
  const heartbeat = given.Dispatcher.HeartbeatPeriod ?? HEARTBEAT_DEFAULT_NS
  if (heartbeat < 0) throw invalidArgument('heartbeat time period cannot be a negative duration')
  const expiry = CAConfig.NodeCertExpiry ?? CERTIFICATE_EXPIRY_DEFAULT_NS
  if (expiry < CERTIFICATE_EXPIRY_MIN_NS) {
    throw invalidArgument('minimum certificate expiry time is: 1h0m0s')
  }
  for (const { Protocol } of CAConfig.ExternalCAs ?? []) {
    if (Protocol !== 'cfssl') throw badRequest(`invalid protocol: ${JSON.stringify(Protocol)}`)
  }
  const limit = given.Orchestration.TaskHistoryRetentionLimit ?? 5
  return {
    Name,
    Labels: given.Labels,
    Orchestration: { TaskHistoryRetentionLimit: limit },
    Raft: {
      SnapshotInterval: Raft.SnapshotInterval ?? 10_000,
      KeepOldSnapshots: Raft.KeepOldSnapshots ?? 0,
      LogEntriesForSlowFollowers: Raft.LogEntriesForSlowFollowers ?? 500,
      ElectionTick: Raft.ElectionTick || 10,
      HeartbeatTick: Raft.HeartbeatTick || 1,
    },
    Dispatcher: { HeartbeatPeriod: heartbeat },
    CAConfig: { ...CAConfig, NodeCertExpiry: expiry },
    TaskDefaults: given.TaskDefaults,
    EncryptionConfig: given.EncryptionConfig,
  }
}
