// The first objects of a swarm: the cluster and its founder; the ingress network comes with them
// (entry.ts). Pure.

import type { InitRequest } from '../../controlplane/api/node-control.ts'
import type { Foundation } from '../../controlplane/ca/cluster.ts'
import type { Unversioned } from '../../controlplane/store/contract.ts'
import type {
  ClusterObject,
  ManagerStatus,
  NodeDescription,
  NodeObject,
  NodeTunnel,
} from '../../controlplane/store/objects.ts'

const KEY_BYTES = 32

export function seedCluster(
  id: string,
  request: InitRequest,
  foundation: Foundation,
  random: (size: number) => Uint8Array,
  wallMs: number,
): Unversioned<ClusterObject> {
  const { spec } = request
  // The signing key has moved into the root's state: it is kept in one place.
  const { SigningCACert: _cert, SigningCAKey: _key, ...CAConfig } = spec.CAConfig
  const newKey = (): string => Buffer.from(random(KEY_BYTES)).toString('base64')
  const isLocked = spec.EncryptionConfig.AutoLockManagers
  return {
    id,
    spec: { ...spec, CAConfig },
    rootCa: foundation.rootCa,
    joinTokens: foundation.joinTokens,
    unlockKey: isLocked ? { key: newKey(), version: 1 } : { key: null, version: 0 },
    defaultAddressPools: request.defaultAddressPools,
    subnetSize: request.subnetSize,
    dataPathPort: request.dataPathPort,
    tunnelKeys: [{ key: newKey(), createdMs: wallMs }],
    removedNodes: {},
    hadIngress: true,
  }
}

export interface Founder {
  readonly manager: ManagerStatus
  readonly description: NodeDescription
  readonly tunnel: NodeTunnel | null
  readonly address: string
}

/** The founder is known whole from the first entry on; its first session only confirms it. */
export function seedNode(
  { nodeId, certificate }: Foundation,
  { availability }: InitRequest,
  { manager, description, tunnel, address }: Founder,
): Unversioned<NodeObject> {
  return {
    id: nodeId,
    spec: { Labels: {}, Role: 'manager', Availability: availability },
    role: 'manager',
    description,
    status: { state: 'unknown', message: '', address },
    manager,
    certificate,
    tunnel,
  }
}
