// A manager as far as the CA goes: a real gRPC server with the CA on it and, where it leads, signer
// and reconciler, over a store in memory that managers of one test share.

import { IdentityHolder } from '../../proto/identity.ts'
import { RpcServer } from '../../proto/server.ts'
import { authorize, membershipOf } from '../authorize.ts'
import { CaForwarder, serveCa } from '../ca-rpc.ts'
import { generateKey, pemOfKey, spkiOf } from '../keys.ts'
import { NODE_LIFE_MS } from '../limits.ts'
import type { Sleep } from '../loop.ts'
import { CaReconciler } from '../reconciler.ts'
import { issue } from '../root.ts'
import { CaService } from '../service.ts'
import { type ExternalSign, Signer } from '../signer.ts'
import { signingOf } from '../signing.ts'
import { CLUSTER_ID, realClock, realSleep, type TestCluster } from './cluster.ts'

export interface TestManager {
  readonly address: string
  readonly holder: IdentityHolder
  close(): Promise<void>
}

export interface TestManagerOptions {
  readonly nodeId: string
  readonly isLeader: () => boolean
  readonly leader: () => string | null
  /** Paces the reconciler's ticks. */
  readonly tick?: Sleep
  readonly external?: ExternalSign
  /** What the server shows; default: a certificate of its own for its node. */
  readonly wallMs?: number
}

export async function testManager(
  cluster: TestCluster,
  options: TestManagerOptions,
): Promise<TestManager> {
  const { store } = cluster
  const holder = new IdentityHolder(identityOf(cluster, options))
  const membership = membershipOf(store, CLUSTER_ID)
  const server = new RpcServer({
    identity: holder,
    authorize: (peer, method) => authorize(peer, method, membership),
    clock: realClock,
  })
  const forwarder = new CaForwarder({
    identity: holder,
    clusterId: CLUSTER_ID,
    leader: options.leader,
  })
  const times = { clock: realClock, sleep: realSleep }
  const { isLeader, external = async () => Promise.reject(new Error('none')) } = options
  const service = new CaService({ store, ...times, isLeader, forward: forwarder.forward })
  const signer = new Signer({ store, ...times, external })
  const reconciler = new CaReconciler({
    store,
    clock: realClock,
    sleep: options.tick ?? realSleep,
  })
  serveCa(server, service)
  const address = `127.0.0.1:${await server.listen('127.0.0.1:0')}`
  if (isLeader()) {
    signer.start()
    reconciler.start()
  }
  return {
    address,
    holder,
    async close() {
      service.close()
      forwarder.close()
      await Promise.all([signer.stop(), reconciler.stop()])
      await server.close()
    },
  }
}

function identityOf(cluster: TestCluster, { nodeId, wallMs = Date.now() }: TestManagerOptions) {
  const object = cluster.cluster()
  const signing = signingOf(object)
  if (signing.kind !== 'internal') throw new Error('a test manager needs a root with a key')
  const key = generateKey()
  const subject = { nodeId, role: 'manager' as const, clusterId: CLUSTER_ID }
  return {
    certificate: Buffer.from(issue(signing.root, spkiOf(key), subject, wallMs, NODE_LIFE_MS)),
    privateKey: Buffer.from(pemOfKey(key)),
    roots: Buffer.from(object.rootCa.certificate),
  }
}
