// Goal: who shows the right token, or a certificate, gets a certificate for its own key and the
// role that the swarm gives it, once, however often it asks; nobody else gets anything. Method:
// service and signer over a store in memory, with every kind of wrong request.

import { randomBytes } from 'node:crypto'
import t, { type Test } from 'tap'
import { manualClock } from '../../base/clock.ts'
import { StoreError } from '../store/contract.ts'
import { REMOVED_NODES_MAX } from '../store/limits.ts'
import { withRemovedNode } from '../store/removed-nodes.ts'
import { newToken } from './cluster.ts'
import { makeCsr } from './csr.ts'
import { CaError } from './errors.ts'
import { generateKey, spkiOf } from './keys.ts'
import * as limits from './limits.ts'
import { RateLimiter, sourceOf } from './rate.ts'
import { readRoot } from './root.ts'
import { CaService, type IssueOutcome, type Origin } from './service.ts'
import { Signer } from './signer.ts'
import {
  CLUSTER_ID,
  realClock,
  realSleep,
  type TestCluster,
  testCluster,
  until,
} from './testing/cluster.ts'
import { nodeSubject, readChain, verifyChain } from './x509.ts'

const NOBODY: Origin = { caller: null, source: '192.0.2.1' }
const WRONG_TOKEN = {
  code: 'INVALID_ARGUMENT',
  message: 'A valid join token is necessary to join this cluster',
}

interface World extends TestCluster {
  readonly service: CaService
  readonly signer: Signer
  isLeader: boolean
}

async function world(t: Test, signs = true): Promise<World> {
  const cluster = await testCluster()
  const { store } = cluster
  const service = new CaService({
    store,
    clock: realClock,
    sleep: realSleep,
    isLeader: () => made.isLeader,
    forward: async () => {
      throw new CaError('UNAVAILABLE', 'forwarded')
    },
  })
  const signer = new Signer({
    store,
    clock: realClock,
    sleep: realSleep,
    external: async () => {
      throw new CaError('UNAVAILABLE', 'no external CA here')
    },
  })
  if (signs) signer.start()
  t.teardown(async () => {
    service.close()
    await signer.stop()
  })
  const made: World = { ...cluster, service, signer, isLeader: true }
  return made
}

function callerOf(node: { readonly id: string; readonly role: string }): Origin {
  const caller = { nodeId: node.id, role: `swarm-${node.role}`, clusterId: CLUSTER_ID }
  return { caller, source: '192.0.2.9' }
}

function leafOf(w: World, outcome: IssueOutcome): ReturnType<typeof readChain>[number] {
  const chain = readChain(outcome.certificate)
  const { certificates } = readRoot(w.cluster().rootCa.certificate)
  verifyChain(chain, certificates, Date.now())
  return chain[0]!
}

t.test('a token gives a certificate of its role', async (t) => {
  const w = await world(t)
  for (const role of ['worker', 'manager'] as const) {
    const key = generateKey()
    const token = w.cluster().joinTokens[role]
    const request = { csr: makeCsr(key), token, availability: role === 'worker' ? 'drain' : '' }
    const outcome = await w.service.issue(request, NOBODY)
    t.equal(outcome.state, 'ISSUED')
    const leaf = leafOf(w, outcome)
    t.same(nodeSubject(leaf), { nodeId: outcome.nodeId, role, clusterId: CLUSTER_ID })
    t.ok(leaf.spki.equals(spkiOf(key)))
    const node = w.node(outcome.nodeId)!
    t.equal(node.role, role)
    t.equal(node.spec.Role, role)
    t.equal(node.spec.Availability, role === 'worker' ? 'drain' : 'active')
    t.equal(node.certificate.state, 'issued')
    t.match(node.id, /^[0-9a-z]{25}$/)
    // The same again: the same answer, no second node.
    const count = w.store.view((tx) => tx.all('nodes').length)
    t.same(await w.service.issue(request, NOBODY), outcome)
    t.equal(
      w.store.view((tx) => tx.all('nodes').length),
      count,
    )
  }
})

t.test('many at once', async (t) => {
  const w = await world(t)
  const token = w.cluster().joinTokens.worker
  const outcomes = await Promise.all(
    Array.from({ length: 60 }, (_, i) =>
      w.service.issue(
        { csr: makeCsr(generateKey()), token, availability: '' },
        { caller: null, source: `192.0.2.${i}` },
      ),
    ),
  )
  t.equal(new Set(outcomes.map(({ nodeId }) => nodeId)).size, 60)
  for (const outcome of outcomes) t.equal(outcome.state, 'ISSUED')
})

t.test('wrong, truncated, rotated and foreign tokens get nothing', async (t) => {
  const w = await world(t)
  const { worker, manager } = w.cluster().joinTokens
  const root = readRoot(w.cluster().rootCa.certificate)
  const foreign = (await testCluster()).cluster().joinTokens.worker
  const wrong = ['', 'x', foreign, newToken(root.pem), `${worker} `, worker.toUpperCase()]
  for (let size = 0; size < worker.length; size += 7) wrong.push(worker.slice(0, size))
  wrong.push(worker.slice(0, -25) + manager.slice(-25, -1))
  await w.change((cluster) => ({
    ...cluster,
    joinTokens: { ...cluster.joinTokens, worker: newToken(root.pem) },
  }))
  wrong.push(worker)
  const before = w.store.index
  for (const [i, token] of wrong.entries()) {
    const origin = { caller: null, source: `198.51.100.${i}` }
    const request = { csr: makeCsr(generateKey()), token, availability: '' }
    await t.rejects(w.service.issue(request, origin), WRONG_TOKEN)
  }
  t.equal(w.store.index, before, 'nothing was written')
  t.equal(
    w.store.view((tx) => tx.all('nodes').length),
    1,
  )
  const request = { csr: makeCsr(generateKey()), availability: '' }
  const now = await w.service.issue({ ...request, token: w.cluster().joinTokens.worker }, NOBODY)
  t.equal(now.state, 'ISSUED')
})

t.test('a right token with a bad request gets nothing either', async (t) => {
  const w = await world(t)
  const token = w.cluster().joinTokens.manager
  const csr = makeCsr(generateKey())
  const bad = [
    { csr: '', token, availability: '' },
    { csr: csr.slice(0, -60), token, availability: '' },
    { csr: randomBytes(3000).toString('base64'), token, availability: '' },
    { csr, token, availability: 'sometimes' },
  ]
  for (const request of bad) {
    await t.rejects(w.service.issue(request, NOBODY), { code: 'INVALID_ARGUMENT' })
  }
  t.equal(
    w.store.view((tx) => tx.all('nodes').length),
    1,
  )
})

t.test('a renewal: by the certificate, for the role in the store', async (t) => {
  const w = await world(t)
  const id = w.foundation.nodeId
  const key = generateKey()
  const renew = { csr: makeCsr(key), token: '', availability: '' }
  const origin = callerOf({ id, role: 'manager' })
  const first = await w.service.issue(renew, origin)
  t.equal(first.nodeId, id)
  t.equal(nodeSubject(leafOf(w, first)).role, 'manager')
  t.same(await w.service.issue(renew, origin), first, 'asking again changes nothing')
  // Told to rotate: the same request is a new one.
  await w.changeNode(id, (node) => ({
    ...node,
    certificate: { ...node.certificate, state: 'rotate' },
  }))
  const second = await w.service.issue({ ...renew, csr: makeCsr(key) }, origin)
  t.not(second.certificate, first.certificate)
  // Demoted: the certificate that it shows does not help.
  await w.changeNode(id, (node) => ({ ...node, role: 'worker' }))
  const demoted = await w.service.issue({ ...renew, csr: makeCsr(generateKey()) }, origin)
  t.equal(nodeSubject(leafOf(w, demoted)).role, 'worker')
  await t.rejects(w.service.issue(renew, callerOf({ id: 'nobody', role: 'manager' })), {
    code: 'NOT_FOUND',
    message: 'node nobody not found when attempting to renew certificate',
  })
})

t.test('a certificate that does not count here is as good as none', async (t) => {
  const w = await world(t)
  const { nodeId } = w.foundation
  const request = { csr: makeCsr(generateKey()), token: '', availability: '' }
  const holders = [
    // Another swarm under the same root, where somebody named a node like ours.
    { nodeId, role: 'swarm-manager', clusterId: 'another' },
    { nodeId, role: 'swarm-owner', clusterId: CLUSTER_ID },
    { nodeId, role: '', clusterId: '' },
  ]
  for (const caller of holders) {
    await t.rejects(w.service.issue(request, { caller, source: 'x' }), WRONG_TOKEN)
  }
  t.equal(w.node(nodeId)!.certificate.csr, w.foundation.certificate.csr)
})

t.test('a removed node is not let in by its old key', async (t) => {
  const w = await world(t)
  const token = w.cluster().joinTokens.worker
  const request = { csr: makeCsr(generateKey()), token, availability: '' }
  const { nodeId } = await w.service.issue(request, NOBODY)
  const certificate = w.node(nodeId)!.certificate.certificate
  await w.store.update((tx) => {
    const node = tx.get('nodes', nodeId)!
    tx.remove('nodes', nodeId)
    tx.update('clusters', withRemovedNode(tx.cluster()!, node, Date.now()))
  })
  const { forgetMs } = w.cluster().removedNodes[nodeId]!
  const endMs = readChain(certificate)[0]!.notAfterMs
  t.ok(forgetMs >= endMs + 7 * 86_400_000)
  await t.rejects(w.service.issue(request, NOBODY), { code: 'PERMISSION_DENIED' })
  // Nor by its certificate, through a manager that has not heard of its removal.
  const renew = { ...request, token: '', csr: makeCsr(generateKey()) }
  const handed = w.service.issueHere(renew, callerOf({ id: nodeId, role: 'worker' }))
  await t.rejects(handed, { code: 'PERMISSION_DENIED' })
})

t.test('removed nodes are remembered up to a number', async (t) => {
  const { cluster, node, foundation } = await testCluster()
  const removedNodes = Object.fromEntries(
    Array.from({ length: REMOVED_NODES_MAX }, (_, i) => [`r${i}`, { forgetMs: i }]),
  )
  const full = { ...cluster(), removedNodes }
  const after = withRemovedNode(full, node(foundation.nodeId)!, Date.now()).removedNodes
  t.equal(Object.keys(after).length, REMOVED_NODES_MAX)
  t.ok(foundation.nodeId in after)
  t.notOk('r0' in after, 'the one that was due first made room')
})

t.test('without a signer it is pending; a signer that comes later finds it', async (t) => {
  const w = await world(t, false)
  const token = w.cluster().joinTokens.worker
  const request = { csr: makeCsr(generateKey()), token, availability: '' }
  const asked = w.service.issue(request, NOBODY)
  await until('the request is stored', () => w.store.view((tx) => tx.all('nodes').length === 2))
  w.signer.start()
  t.equal((await asked).state, 'ISSUED')
})

t.test('a damaged request in the store fails by itself', async (t) => {
  const w = await world(t, false)
  const id = w.foundation.nodeId
  await w.changeNode(id, (node) => ({
    ...node,
    certificate: { ...node.certificate, state: 'renew', csr: 'x' },
  }))
  const other = w.service.issue(
    { csr: makeCsr(generateKey()), token: w.cluster().joinTokens.worker, availability: '' },
    NOBODY,
  )
  w.signer.start()
  t.equal((await other).state, 'ISSUED')
  await until('it failed', () => w.node(id)!.certificate.state === 'failed')
  t.match(w.node(id)!.certificate.error, /malformed PEM/)
})

t.test('a manager that does not lead hands on, and takes nothing handed on', async (t) => {
  const w = await world(t)
  w.isLeader = false
  const request = { csr: makeCsr(generateKey()), token: 'x', availability: '' }
  await t.rejects(w.service.issue(request, NOBODY), { message: 'forwarded' })
  await t.rejects(w.service.issueHere(request, NOBODY), { code: 'UNAVAILABLE' })
})

t.test('refusals of the store are refusals to try elsewhere', async (t) => {
  const { store } = await testCluster()
  const service = new CaService({
    store: {
      view: (read) => store.view(read),
      batch: store.batch.bind(store),
      watch: (listener) => store.watch(listener),
      index: 0,
      update: async () => {
        throw new StoreError('lost-leadership', 'lost')
      },
    },
    clock: realClock,
    sleep: realSleep,
    isLeader: () => true,
    forward: async () => ({ nodeId: '', state: 'PENDING', certificate: '', error: '' }),
  })
  t.teardown(() => service.close())
  const token = store.view((tx) => tx.cluster()!.joinTokens.worker)
  const request = { csr: makeCsr(generateKey()), token, availability: '' }
  await t.rejects(service.issue(request, NOBODY), { code: 'UNAVAILABLE' })
})

t.test('requests are bounded, per source and together', async (t) => {
  const w = await world(t)
  const request = { csr: makeCsr(generateKey()), token: 'x', availability: '' }
  let refused = 0
  for (let i = 0; i < limits.REQUESTS_PER_SOURCE_BURST + 20; i++) {
    await w.service.issue(request, NOBODY).catch((error: CaError) => {
      if (error.code === 'RESOURCE_EXHAUSTED') refused += 1
    })
  }
  t.ok(refused >= 10, `${refused} refused`)
  const clock = manualClock()
  const two = { burst: 2, perSecond: 1 }
  const limiter = new RateLimiter(clock, two, { burst: 5, perSecond: 1 }, 2)
  const take = (source: string): boolean => limiter.take(source)
  t.same(['a', 'a', 'a', 'b', 'b', 'c', 'c'].map(take), [
    true,
    true,
    false,
    true,
    true,
    true,
    false,
  ])
  clock.advance(1000)
  t.same(['d', 'd'].map(take), [true, false], 'one more for all')
  clock.advance(1_000_000)
  t.same(['c', 'c', 'c'].map(take), [true, true, false], 'never more than the burst')
})

t.test('what counts as one source', async (t) => {
  t.equal(sourceOf('192.0.2.1:4711'), '192.0.2.1')
  t.equal(sourceOf('[::ffff:192.0.2.1]:4711'), '192.0.2.1')
  t.equal(sourceOf('[2001:DB8:0:7:1:2:3:4]:1'), '2001:db8:0:7::/64')
  t.equal(sourceOf('[2001:db8:0:7::4]:1'), '2001:db8:0:7::/64')
  t.equal(sourceOf('[::1]:1'), '0:0:0:0::/64')
  t.equal(sourceOf('[fe80::1%eth0]:1'), 'fe80:0:0:0::/64')
})
