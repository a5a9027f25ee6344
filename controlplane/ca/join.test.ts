// Goal: a node with a token and an address gets to a certificate over real TLS, through a follower
// too; nobody else does, and nobody can lead a joining node to another swarm or learn its token.
// Method: managers on loopback, right and wrong ones, and a server in the middle that writes down
// what it is told.

import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join as path } from 'node:path'
import type { ServiceDefinition } from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import type { Clock } from '../../base/clock.ts'
import { IdentityHolder } from '../proto/identity.ts'
import { RpcServer } from '../proto/server.ts'
import { requestRenewal } from './ca-client.ts'
import { CA } from './ca-rpc.ts'
import { newToken } from './cluster.ts'
import { makeCsr } from './csr.ts'
import { createIdentity, identityPaths, readIdentity } from './identity.ts'
import { type Joined, join } from './join.ts'
import { generateKey, pemOfKey } from './keys.ts'
import { type Life, Renewer, renewalMs } from './renewer.ts'
import { NodeSecurity } from './security.ts'
import { realClock, realSleep, type TestCluster, testCluster, until } from './testing/cluster.ts'
import { testNode, testSwarm } from './testing/doubles.ts'
import { type TestManager, testManager } from './testing/manager.ts'

const YEAR_MS = 365 * 86_400_000

async function manager(t: Test, cluster: TestCluster): Promise<TestManager> {
  const options = { nodeId: cluster.foundation.nodeId, isLeader: () => true, leader: () => null }
  const made = await testManager(cluster, options)
  t.teardown(() => made.close())
  return made
}

function tryJoin(
  addresses: readonly string[],
  token: string,
  clock: Clock = realClock,
  seconds = 20,
): Promise<Joined> {
  return join({
    addresses,
    token,
    availability: '',
    clock,
    sleep: (_ms, signal) => realSleep(20, signal),
    random: () => 0.5,
    signal: AbortSignal.timeout(seconds * 1000),
  })
}

/** A clock that is off. */
const skewed = (offMs: number): Clock => ({
  nowMs: realClock.nowMs,
  wallMs: () => realClock.wallMs() + offMs,
})

/** Somebody who answers at an address with what he likes and notes what he hears. */
async function impostor(t: Test, certificate: string, heard: unknown[] = []): Promise<string> {
  const swarm = testSwarm(Date.now())
  const node = testNode(swarm, {}, Date.now())
  const server = new RpcServer({
    identity: new IdentityHolder({
      certificate: Buffer.from(node.chain),
      privateKey: Buffer.from(node.keyPem),
      roots: Buffer.from(swarm.certificate),
    }),
    authorize: () => null,
    clock: realClock,
  })
  server.addService(CA.service as ServiceDefinition, {
    GetRootCertificate: (call: { request: unknown }, done: (e: null, v: object) => void) => {
      heard.push(call.request)
      done(null, { certificate })
    },
    IssueNodeCertificate: (call: { request: unknown }, done: (e: null, v: object) => void) => {
      heard.push(call.request)
      done(null, { state: 'ISSUED', nodeId: 'x', certificate: node.chain })
    },
  })
  t.teardown(() => server.close())
  return `127.0.0.1:${await server.listen('127.0.0.1:0')}`
}

t.test('worker and manager join, and stay who they are on disk', async (t) => {
  const cluster = await testCluster()
  const { address } = await manager(t, cluster)
  const folder = mkdtempSync(path(tmpdir(), 'weft-join-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const role of ['worker', 'manager'] as const) {
    const joined = await tryJoin([address], cluster.cluster().joinTokens[role])
    t.equal(joined.subject.role, role)
    t.equal(cluster.node(joined.subject.nodeId)?.role, role)
    const paths = identityPaths(path(folder, role))
    createIdentity(paths, joined.root, joined)
    t.same(readIdentity(paths, Date.now())!.subject, joined.subject)
  }
})

t.test('through a manager that does not lead', async (t) => {
  const cluster = await testCluster()
  const leader = await manager(t, cluster)
  let known: string | null = leader.address
  const follower = await testManager(cluster, {
    nodeId: 'fo11owerfo11owerfo11ower0',
    isLeader: () => false,
    leader: () => known,
  })
  t.teardown(() => follower.close())
  const { worker } = cluster.cluster().joinTokens
  const joined = await tryJoin([follower.address], worker)
  t.equal(joined.subject.role, 'worker')
  // A renewal is handed on with its caller.
  const holder = new IdentityHolder({
    certificate: Buffer.from(joined.chain),
    privateKey: Buffer.from(pemOfKey(joined.privateKey)),
    roots: Buffer.from(joined.root.pem),
  })
  const { clusterId, nodeId } = joined.subject
  const csr = makeCsr(generateKey())
  const renewed = await requestRenewal(follower.address, holder, clusterId, csr)
  t.match(renewed, { nodeId, state: 'ISSUED' })
  // Wrong tokens are as wrong there.
  const wrong = newToken(cluster.cluster().rootCa.certificate)
  await t.rejects(tryJoin([follower.address], wrong), { code: 'INVALID_ARGUMENT' })
  // Without a leader it goes on trying; a second address helps.
  known = null
  await t.rejects(tryJoin([follower.address], worker, realClock, 1), { code: 'UNAVAILABLE' })
  t.ok(await tryJoin([follower.address, leader.address], worker))
})

t.test('nothing but the right token', async (t) => {
  const cluster = await testCluster()
  const { address } = await manager(t, cluster)
  const { worker } = cluster.cluster().joinTokens
  const before = cluster.store.view((tx) => tx.all('nodes').length)
  for (const token of [
    '',
    worker.slice(0, -1),
    worker.slice(0, 30),
    `${worker}0`,
    'SWMTKN-1-x-y',
  ]) {
    await t.rejects(tryJoin([address], token), { code: 'UNKNOWN', message: 'invalid join token' })
  }
  // Another digest: the root is not believed, and the token never sent.
  const other = newToken(testSwarm().certificate)
  const mixed = other.slice(0, -25) + worker.slice(-25)
  for (const token of [other, mixed]) {
    await t.rejects(tryJoin([address], token), /remote CA does not match fingerprint/)
  }
  // Rotated.
  const { certificate } = cluster.cluster().rootCa
  await cluster.change((c) => ({
    ...c,
    joinTokens: { worker: newToken(certificate), manager: newToken(certificate) },
  }))
  await t.rejects(tryJoin([address], worker), {
    code: 'INVALID_ARGUMENT',
    message: /A valid join token is necessary/,
  })
  t.equal(
    cluster.store.view((tx) => tx.all('nodes').length),
    before,
  )
})

t.test('somebody in the middle', async (t) => {
  const cluster = await testCluster()
  const { certificate } = cluster.cluster().rootCa
  const { worker } = cluster.cluster().joinTokens
  const secret = worker.slice(-25)
  const forged = testSwarm(Date.now()).certificate
  const bundles = [forged, certificate + forged, forged + certificate, '', 'x', randomBytes(99)]
  for (const bundle of bundles) {
    const heard: unknown[] = []
    const address = await impostor(t, bundle.toString('latin1'), heard)
    await t.rejects(tryJoin([address], worker))
    t.notMatch(JSON.stringify(heard), secret, 'the secret is not told')
  }
  // The right root, but no certificate under it: TLS ends it before the token is sent.
  const heard: unknown[] = []
  const address = await impostor(t, certificate, heard)
  await t.rejects(tryJoin([address], worker, realClock, 1))
  t.equal(heard.length, 1)
  t.notMatch(JSON.stringify(heard), secret)
  // With an honest manager besides it, the join finds that one.
  const honest = await manager(t, cluster)
  const joined = await tryJoin([await impostor(t, forged), honest.address], worker)
  t.equal(joined.root.pem, certificate)
})

t.test('a worker cannot pass for a manager', async (t) => {
  const cluster = await testCluster()
  const { address } = await manager(t, cluster)
  const joined = await tryJoin([address], cluster.cluster().joinTokens.worker)
  const identity = new IdentityHolder({
    certificate: Buffer.from(joined.chain),
    privateKey: Buffer.from(pemOfKey(joined.privateKey)),
    roots: Buffer.from(joined.root.pem),
  })
  const heard: unknown[] = []
  const server = new RpcServer({ identity, authorize: () => null, clock: realClock })
  server.addService(CA.service as ServiceDefinition, {
    GetRootCertificate: (_call: unknown, done: (e: null, v: object) => void) =>
      done(null, { certificate: joined.root.pem }),
    IssueNodeCertificate: (call: { request: unknown }) => heard.push(call.request),
  })
  t.teardown(() => server.close())
  const fake = `127.0.0.1:${await server.listen('127.0.0.1:0')}`
  const { manager: token } = cluster.cluster().joinTokens
  await t.rejects(tryJoin([fake], token, realClock, 1), /the server is no manager/)
  t.same(heard, [], 'the manager token is not told')
})

t.test('clocks a year apart', async (t) => {
  const cluster = await testCluster()
  const { address } = await manager(t, cluster)
  const { worker } = cluster.cluster().joinTokens
  for (const offMs of [YEAR_MS, -YEAR_MS]) {
    await t.rejects(
      tryJoin([address], worker, skewed(offMs)),
      { message: /check .*clock/ },
      `${offMs} ms off`,
    )
  }
  // The manager's own certificate ran out: TLS refuses it, and says what to look at.
  const late = await testManager(cluster, {
    nodeId: 'late',
    isLeader: () => true,
    leader: () => null,
    wallMs: Date.now() - YEAR_MS,
  })
  t.teardown(() => late.close())
  await t.rejects(tryJoin([late.address], worker, realClock, 1), /check the clocks/)
})

t.test('nobody there', async (t) => {
  await t.rejects(tryJoin([], newToken(testSwarm().certificate)), { code: 'INVALID_ARGUMENT' })
  const { certificate } = testSwarm()
  await t.rejects(tryJoin(['127.0.0.1:1'], newToken(certificate)), { code: 'UNAVAILABLE' })
})

t.test('a running node renews, changes its role and its root', async (t) => {
  const cluster = await testCluster()
  const { address } = await manager(t, cluster)
  const folder = mkdtempSync(path(tmpdir(), 'weft-join-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const joined = await tryJoin([address], cluster.cluster().joinTokens.worker)
  const paths = identityPaths(folder)
  let managers: readonly string[] = ['127.0.0.1:1', address]
  const security = new NodeSecurity({
    paths,
    identity: createIdentity(paths, joined.root, joined),
    clock: realClock,
    sleep: realSleep,
    random: () => 0,
    managers: () => managers,
  })
  security.start()
  t.teardown(() => security.stop())
  let changes = 0
  security.onChange(() => changes++)
  const { nodeId } = joined.subject
  const first = security.holder.identity.certificate
  const follow = (): void => {
    const { role, certificate } = cluster.node(nodeId)!
    security.follow({ role, certificateState: certificate.state })
  }
  follow()
  t.equal(changes, 0, 'nothing to do')
  // Told to rotate.
  await cluster.changeNode(nodeId, (node) => ({
    ...node,
    certificate: { ...node.certificate, state: 'rotate' },
  }))
  follow()
  await until('it renewed', () => changes === 1)
  t.notSame(security.holder.identity.certificate, first)
  t.equal(cluster.node(nodeId)!.certificate.state, 'issued')
  // Promoted, while no manager can be reached at first.
  managers = []
  await cluster.changeNode(nodeId, (node) => ({ ...node, role: 'manager' }))
  follow()
  managers = [address]
  await until('it is a manager', () => security.subject.role === 'manager')
  t.equal(readIdentity(paths, Date.now())!.subject.role, 'manager')
  // A root that its certificate does not lead to is not believed.
  const before = security.tlsInfo
  t.equal(before.trustRoot, joined.root.pem)
  t.notOk(security.followRoot(testSwarm(Date.now()).certificate))
  t.equal(security.tlsInfo.trustRoot, before.trustRoot)
  t.ok(security.followRoot(joined.root.pem))
})

t.test('when a certificate is renewed', async (t) => {
  const life: Life = { notBeforeMs: 1000, notAfterMs: 2000 }
  t.equal(renewalMs(life, 0), 1500)
  t.equal(renewalMs(life, 0.5), 1650)
  t.equal(renewalMs(life, 1), 1800)
  let wallMs = 1000
  let current = life
  let renewals = 0
  let failures = 0
  const sleeps: number[] = []
  const renewer = new Renewer({
    clock: { nowMs: () => wallMs, wallMs: () => wallMs },
    // Time passes as it is slept, so that a run of years takes no time.
    sleep: async (ms, signal) => {
      sleeps.push(ms)
      wallMs += ms
      await realSleep(0, signal)
    },
    random: () => 0.5,
    life: () => current,
    renew: async () => {
      if (failures < 3) throw new Error('no manager')
      renewals += 1
      current = { notBeforeMs: wallMs, notAfterMs: wallMs + 86_400_000 }
    },
    onError: () => failures++,
  })
  renewer.start()
  await until('three renewals', () => renewals >= 3)
  await renewer.stop()
  t.equal(sleeps[0], 650)
  t.same(sleeps.slice(1, 4), [750, 1500, 3000], 'it backs off')
  t.ok(sleeps.every((ms) => ms > 0 && ms <= 600_000))
  t.ok(wallMs > 2 * 0.65 * 86_400_000)
})
