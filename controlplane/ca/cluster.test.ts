// Goal: a swarm may be founded with external CAs in its configuration; those that could never be
// asked found nothing. Method: foundCluster() as it is, and who signs under what it made.

import t from 'tap'
import type { ClusterObject, RootCaState } from '../store/objects.ts'
import type { ExternalCa } from '../store/specs.ts'
import { type Foundation, foundCluster } from './cluster.ts'
import { EXTERNAL_CAS_MAX } from './limits.ts'
import { type Signing, signingOf } from './signing.ts'
import { CLUSTER_ID, clusterObject, NODE_CERT_EXPIRY } from './testing/cluster.ts'

const OTHER: ExternalCa = { Protocol: 'cfssl', URL: 'https://ca.example/sign' }

function found(ExternalCAs: readonly ExternalCa[]): Foundation {
  return foundCluster(CLUSTER_ID, { NodeCertExpiry: NODE_CERT_EXPIRY, ExternalCAs }, Date.now())
}

t.test('a swarm signs itself until its root goes over to the external CA', async (t) => {
  const foundation = found([OTHER])
  const made = clusterObject(foundation, { ExternalCAs: [OTHER] }) as ClusterObject
  const signing = (rootCa: RootCaState): Signing => signingOf({ ...made, rootCa })
  t.equal(signing(foundation.rootCa).kind, 'internal')
  t.match(signing({ ...foundation.rootCa, key: null }), { kind: 'external', urls: [OTHER.URL] })
})

t.test('an external CA that could never be asked founds nothing', async (t) => {
  const error = { code: 'INVALID_ARGUMENT' }
  t.throws(() => found([{ ...OTHER, URL: 'http://ca.example/sign' }]), error)
  t.throws(() => found([OTHER, { ...OTHER, URL: 'ca' }]), error)
  t.throws(() => found([{ ...OTHER, CACert: 'none' }]), error)
  t.throws(() => found(Array(EXTERNAL_CAS_MAX + 1).fill(OTHER)), error)
  t.ok(found(Array(EXTERNAL_CAS_MAX).fill(OTHER)))
})
