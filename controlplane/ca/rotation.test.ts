// Goal: the root of a running swarm changes without a node being cut off, in Swarm's order and
// words, also when it is asked for twice, when a node is away, and when an external CA signs.
// Method: planRoot() over states; the reconciler over a store with nodes that really renew; every
// pair of nodes at every moment of a rotation must be able to verify each other. The external CA is
// a double on loopback that also lies.

import t, { type Test } from 'tap'
import type { RootCaState } from '../store/objects.ts'
import { makeNodeCertificate, makeRoot } from './certificate.ts'
import { newToken } from './cluster.ts'
import { makeCsr } from './csr.ts'
import { CaError } from './errors.ts'
import { checkUrl, ExternalCaClient } from './external.ts'
import { generateKey, spkiOf } from './keys.ts'
import { GIVEN_ROOT_LIFE_MS_MIN, NODE_LIFE_MS, ROOT_LIFE_MS, ROTATE_BATCH } from './limits.ts'
import { CaReconciler } from './reconciler.ts'
import { digestText, normalizePem, readRoot } from './root.ts'
import {
  type ExternalPlanner,
  issuerOf,
  issuerOfChain,
  planRoot,
  rotationStep,
} from './rotation.ts'
import { CaService } from './service.ts'
import { Signer } from './signer.ts'
import { answerOf, type CfsslDouble, cfsslDouble, clientOf, refused } from './testing/cfssl.ts'
import {
  CLUSTER_ID,
  NODE_CERT_EXPIRY,
  nodeObject,
  realClock,
  realSleep,
  type TestCluster,
  testCluster,
  until,
} from './testing/cluster.ts'
import { ALICE, NOW_MS, testNode, testSwarm } from './testing/doubles.ts'
import { opensslMissing } from './testing/openssl.ts'
import { readChain, verifyChain } from './x509.ts'

const NodeCertExpiry = NODE_CERT_EXPIRY

const noExternal: ExternalPlanner = {
  isReachable: async () => false,
  crossSign: async () => {
    throw new CaError('UNAVAILABLE', 'none')
  },
}

function stateOf(swarm: { certificate: string; key: string }): RootCaState {
  const { certificate, key } = swarm
  const digest = digestText(readRoot(certificate))
  return { certificate, key, digest, lastForcedRotation: 0, rotation: null }
}

t.test('what a new configuration makes of the root', async (t) => {
  const old = testSwarm()
  const state = stateOf(old)
  const plan = (current: RootCaState, config: object): Promise<RootCaState> =>
    planRoot(current, { NodeCertExpiry, ...config }, noExternal, NOW_MS)

  t.equal(await plan(state, {}), state, 'nothing asked, nothing changed')
  t.equal(await plan(state, { ForceRotate: 0 }), state)
  const forced = await plan(state, { ForceRotate: 1 })
  t.equal(forced.certificate, state.certificate, 'the root that is trusted stays')
  t.equal(forced.lastForcedRotation, 1)
  t.ok(forced.rotation!.key)
  verifyChain(readChain(forced.rotation!.crossSigned), old.trust.certificates, NOW_MS)
  t.equal(await plan(forced, { ForceRotate: 1 }), forced, 'the same again is nothing new')
  const again = await plan(forced, { ForceRotate: 2 })
  t.not(again.rotation!.certificate, forced.rotation!.certificate, 'a restart has another target')
  verifyChain(readChain(again.rotation!.crossSigned), old.trust.certificates, NOW_MS)

  const given = testSwarm()
  const config = { SigningCACert: `\n${given.certificate}\n`, SigningCAKey: given.key }
  const rotating = await plan(state, config)
  t.equal(rotating.rotation!.certificate, given.certificate)
  t.equal(rotating.rotation!.key, given.key)
  t.match(await plan(rotating, config), { rotation: rotating.rotation }, 'goes on as it is')
  const back = await plan(rotating, { SigningCACert: old.certificate, SigningCAKey: old.key })
  t.equal(back.rotation, null, 'back to the old root ends it')
})

t.test('what is refused, in whose words', async (t) => {
  const old = testSwarm()
  const state = stateOf(old)
  const given = testSwarm()
  const key = generateKey()
  const years = (ms: number): string =>
    makeRoot(key, { notBeforeMs: NOW_MS, notAfterMs: NOW_MS + ms })
  const external = 'there must be at least one valid, reachable external CA corresponding to the'
  const cases: readonly [object, string | RegExp, RootCaState?][] = [
    [
      { SigningCAKey: given.key },
      'if a signing CA key is provided, the signing CA cert must also be provided',
    ],
    [
      { SigningCACert: given.certificate + old.certificate, SigningCAKey: given.key },
      'the desired CA certificate cannot contain multiple certificates',
    ],
    [
      { SigningCACert: years(GIVEN_ROOT_LIFE_MS_MIN - 86_400_000) },
      'CA certificate expires too soon',
    ],
    [{ SigningCACert: testSwarm(NOW_MS + ROOT_LIFE_MS / 2).certificate }, /not valid yet/],
    [{ SigningCACert: given.certificate, SigningCAKey: old.key }, /does not belong/],
    [{ SigningCACert: given.certificate, SigningCAKey: 'x' }, /could not read the private key/],
    [{ SigningCACert: 'x' }, /malformed PEM/],
    [{ SigningCACert: testNode(old).chain }, /not a CA/],
    [{ SigningCACert: given.certificate }, `${external} desired CA certificate`],
    [{ ForceRotate: 1 }, `${external} current CA certificate`, { ...state, key: null }],
    [{ ExternalCAs: [{ Protocol: 'cfssl', URL: 'http://x/' }] }, /must be https/],
    [{ ExternalCAs: [{ Protocol: 'cfssl', URL: 'https://x/', CACert: 'x' }] }, /malformed PEM/],
  ]
  for (const [config, message, current = state] of cases) {
    const planned = planRoot(current, { NodeCertExpiry, ...config }, noExternal, NOW_MS)
    await t.rejects(planned, { code: 'INVALID_ARGUMENT', message })
  }
})

/** Nodes that renew when they are told to and report what they have. */
class Fleet {
  readonly #cluster: TestCluster
  readonly #service: CaService
  readonly trusted = new Map<string, string>()
  /** The chain each shows, and what it trusts: as it was joined until it renews. */
  readonly shown = new Map<string, string>()
  readonly away = new Set<string>()

  constructor(cluster: TestCluster, service: CaService) {
    this.#cluster = cluster
    this.#service = service
  }

  async join(count: number): Promise<void> {
    const { store, foundation, cluster } = this.#cluster
    const { certificate } = foundation
    await store.update((tx) => {
      for (let i = 0; i < count; i++) {
        const id = `n${i}`
        tx.create('nodes', nodeObject(id, { ...certificate, role: 'worker' }))
        this.shown.set(id, certificate.certificate)
        this.trusted.set(id, cluster().rootCa.certificate)
      }
    })
    this.shown.set(foundation.nodeId, certificate.certificate)
    this.trusted.set(foundation.nodeId, cluster().rootCa.certificate)
    for (const id of this.shown.keys()) await this.#report(id)
  }

  /** What every agent does once a moment: follow what the store says. */
  async turn(): Promise<void> {
    const nodes = this.#cluster.store.view((tx) => tx.all('nodes'))
    const root = this.#cluster.cluster().rootCa.certificate
    for (const { id, certificate, role } of nodes) {
      if (this.away.has(id)) continue
      this.trusted.set(id, root)
      if (certificate.state === 'rotate') {
        const caller = { nodeId: id, role: `swarm-${role}`, clusterId: CLUSTER_ID }
        const request = { csr: makeCsr(generateKey()), token: '', availability: '' }
        const outcome = await this.#service.issue(request, { caller, source: id })
        this.shown.set(id, outcome.certificate)
      }
      await this.#report(id)
    }
  }

  async #report(id: string): Promise<void> {
    const trust = readRoot(this.trusted.get(id)!)
    const issuer = issuerOfChain(readChain(this.shown.get(id)!), trust)
    await this.#cluster.changeNode(id, (node) => ({
      ...node,
      description: {
        hostname: id,
        platform: { os: 'linux', architecture: 'x86_64' },
        resources: { nanoCpus: 1, memoryBytes: 1 },
        genericResources: [],
        engine: { version: '', labels: {}, plugins: [] },
        tls: {
          trustRoot: trust.pem,
          issuerSubject: issuer.subject,
          issuerPublicKey: issuer.publicKey,
        },
        addresses: [],
      },
    }))
  }

  /** Throws unless each node that is here can verify each other. Nodes that trust the same root
   * are asked once. */
  checkAll(): void {
    const isHere = ([id]: readonly [string, string]): boolean => !this.away.has(id)
    const roots = new Set([...this.trusted].filter(isHere).map(([, root]) => root))
    const chains = [...this.shown].filter(isHere).map(([, chain]) => readChain(chain))
    for (const root of roots) {
      const { certificates } = readRoot(root)
      for (const chain of chains) verifyChain(chain, certificates, Date.now())
    }
  }
}

interface World extends TestCluster {
  readonly fleet: Fleet
  readonly configure: (config: object) => Promise<void>
}

async function world(t: Test, count: number): Promise<World> {
  const cluster = await testCluster()
  const { store } = cluster
  const times = { clock: realClock, sleep: realSleep }
  const service = new CaService({
    store,
    ...times,
    isLeader: () => true,
    forward: () => Promise.reject(new Error('not here')),
  })
  const signer = new Signer({ store, ...times, external: () => Promise.reject(new Error('none')) })
  // Ticks come faster here; nothing depends on how long one is.
  const sleep = (_ms: number, signal: AbortSignal): Promise<void> => realSleep(20, signal)
  const reconciler = new CaReconciler({ store, clock: realClock, sleep })
  signer.start()
  reconciler.start()
  t.teardown(async () => {
    service.close()
    await Promise.all([signer.stop(), reconciler.stop()])
  })
  const fleet = new Fleet(cluster, service)
  await fleet.join(count)
  const configure = async (config: object): Promise<void> => {
    const { rootCa } = cluster.cluster()
    const planned = await planRoot(rootCa, { NodeCertExpiry, ...config }, noExternal, Date.now())
    await cluster.change((c) => ({ ...c, rootCa: planned }))
  }
  return { ...cluster, fleet, configure }
}

t.test('a rotation, with everybody able to talk to everybody all along', async (t) => {
  const w = await world(t, 80)
  const before = w.cluster()
  const batches: number[] = []
  w.store.watch((event) => {
    if (event.kind === 'reset') return
    const told = event.changes.filter(
      (change) =>
        change.table === 'nodes' &&
        change.kind === 'update' &&
        change.object.certificate.state === 'rotate' &&
        change.old.certificate.state === 'issued',
    )
    if (told.length > 0) batches.push(told.length)
  })
  await w.configure({ ForceRotate: 1 })
  const target = w.cluster().rootCa.rotation!.certificate
  const endMs = Date.now() + 60_000
  while (w.cluster().rootCa.rotation !== null && Date.now() < endMs) {
    await w.fleet.turn()
    w.fleet.checkAll()
    await realSleep(10, AbortSignal.timeout(1000))
  }
  const after = w.cluster()
  t.equal(after.rootCa.rotation, null)
  t.equal(after.rootCa.certificate, target)
  t.equal(after.rootCa.digest, digestText(readRoot(target)))
  t.not(after.joinTokens.worker, before.joinTokens.worker)
  t.not(after.joinTokens.manager, before.joinTokens.manager)
  t.ok(batches.length >= 3 && Math.max(...batches) <= ROTATE_BATCH, `batches of ${batches}`)
  await w.fleet.turn()
  w.fleet.checkAll()
  const { certificates } = readRoot(target)
  for (const chain of w.fleet.shown.values()) {
    verifyChain(readChain(chain).slice(0, 1), certificates, Date.now())
  }
})

t.test('a node that is away holds it up; a restart takes another target', async (t) => {
  const w = await world(t, 3)
  w.fleet.away.add('n1')
  await w.configure({ ForceRotate: 1 })
  const first = w.cluster().rootCa.rotation!
  await until('n1 is told', () => w.node('n1')!.certificate.state === 'rotate')
  for (let i = 0; i < 5; i++) {
    await w.fleet.turn()
    w.fleet.checkAll()
  }
  t.equal(w.cluster().rootCa.rotation!.certificate, first.certificate, 'it waits for n1')
  await w.configure({ ForceRotate: 2 })
  const second = w.cluster().rootCa.rotation!
  t.not(second.certificate, first.certificate)
  const endMs = Date.now() + 60_000
  w.fleet.away.delete('n1')
  while (w.cluster().rootCa.rotation !== null && Date.now() < endMs) {
    await w.fleet.turn()
    w.fleet.checkAll()
    await realSleep(10, AbortSignal.timeout(1000))
  }
  t.equal(w.cluster().rootCa.certificate, second.certificate)
})

t.test('removed nodes are forgotten in time', async (t) => {
  const w = await world(t, 0)
  await w.change((c) => ({
    ...c,
    removedNodes: {
      due: { forgetMs: Date.now() - 1 },
      kept: { forgetMs: Date.now() + 86_400_000 },
    },
  }))
  await until('one is forgotten', () => !('due' in w.cluster().removedNodes))
  t.same(Object.keys(w.cluster().removedNodes), ['kept'])
})

t.test('a step of a rotation', async (t) => {
  const { certificate, key } = testSwarm()
  const rotation = { certificate, key, crossSigned: '' }
  const issued = { state: 'issued' as const, role: 'worker' as const, error: '' }
  const meta = { version: 1, createdMs: 0, updatedMs: 0 }
  const nodes = Array.from({ length: 50 }, (_, i) => ({
    ...nodeObject(`n${i}`, { ...issued, csr: '', certificate: '' }),
    meta,
  }))
  const step = rotationStep(rotation, nodes, new Set(['n0', 'n1']))
  t.equal(step.waiting, 50)
  t.equal(step.rotate.length, ROTATE_BATCH)
  t.notOk(step.rotate.includes('n0'))
  t.same(rotationStep(rotation, [], new Set()), { rotate: [], waiting: 0 })
  // Who has been told, or waits for an answer, is not told again; who failed is.
  const states = ['pending', 'renew', 'rotate', 'issued', 'failed'] as const
  const mixed = states.map((state) => ({
    ...nodes[0]!,
    id: state,
    certificate: { ...nodes[0]!.certificate, state },
  }))
  t.same(rotationStep(rotation, mixed, new Set()).rotate, ['failed', 'issued'])
})

async function external(
  t: Test,
  swarm = testSwarm(Date.now()),
  next?: ReturnType<typeof testSwarm>,
): Promise<{ double: CfsslDouble; client: ExternalCaClient; swarm: typeof swarm }> {
  const double = await cfsslDouble(swarm, next)
  t.teardown(() => double.close())
  const tls = clientOf(swarm, ALICE)
  const client = new ExternalCaClient(() => tls, realClock.wallMs)
  return { double, client, swarm }
}

const skip = opensslMissing

t.test('an external CA signs what was asked for, and nothing else', { skip }, async (t) => {
  const { double, client, swarm } = await external(t)
  const csr = makeCsr(generateKey())
  const subject = { ...ALICE, nodeId: 'n1', role: 'worker' as const }
  const signing = {
    kind: 'external' as const,
    urls: [double.url],
    intermediate: '',
    trust: swarm.trust,
  }
  const chain = await client.sign(signing, csr, subject)
  verifyChain(readChain(chain), swarm.trust.certificates, Date.now())
  t.match(double.requests[0], {
    hosts: ['swarm-worker', 'n1'],
    certificate_request: csr,
    subject: { CN: 'n1', names: [{ O: ALICE.clusterId, OU: 'swarm-worker' }] },
  })
  const other = (change: object): string =>
    testNode(swarm, { ...subject, ...change }, Date.now()).chain
  const lies: readonly [string, string, RegExp][] = [
    ['another key', answerOf(other({})), /is for another key/],
    [
      'another root',
      answerOf(testNode(testSwarm(Date.now()), subject, Date.now()).chain),
      /cannot be used/,
    ],
    [
      'out of date',
      answerOf(testNode(swarm, subject, Date.now() - 2 * NODE_LIFE_MS).chain),
      /expired/,
    ],
    ['the root itself', answerOf(swarm.certificate), /another key/],
    ['not PEM', answerOf('x'), /cannot be used/],
    ['not JSON', '<html>', /not JSON/],
    ['null', 'null', /refused/],
    ['a refusal', refused('not today'), /refused: not today/],
    ['an endless answer', 'x'.repeat(300_000), /over 262144 bytes/],
  ]
  for (const [name, answer, message] of lies) {
    double.lie = () => answer
    await t.rejects(client.sign(signing, csr, subject), { message }, name)
  }
  // The right key, but a role or a name that was not asked for.
  const key = generateKey()
  const own = makeCsr(key)
  for (const change of [{ role: 'manager' as const }, { nodeId: 'n2' }, { clusterId: 'c2' }]) {
    const validity = { notBeforeMs: Date.now() - 1000, notAfterMs: Date.now() + NODE_LIFE_MS }
    const wrong = { ...subject, ...change }
    const pem = makeNodeCertificate(swarm.signing.signer, spkiOf(key), wrong, validity)
    double.lie = () => answerOf(pem)
    await t.rejects(client.sign(signing, own, subject), /names another node, role or swarm/)
  }
  // Nobody there, then somebody.
  double.lie = () => null
  const gone = ['https://localhost:1/']
  await t.rejects(client.sign({ ...signing, urls: gone }, csr, subject), { code: 'UNAVAILABLE' })
  await t.rejects(client.sign({ ...signing, urls: [] }, csr, subject), { code: 'UNAVAILABLE' })
  t.ok(await client.sign({ ...signing, urls: [...gone, double.url] }, csr, subject))
  t.ok(await client.isReachable([...gone, double.url]))
  t.notOk(await client.isReachable(gone))
  // A server under another root is not believed.
  const stranger = await external(t)
  t.notOk(await client.isReachable([stranger.double.url]))
  t.throws(() => checkUrl('http://x/'), { code: 'INVALID_ARGUMENT' })
  t.throws(() => checkUrl('x'), { code: 'INVALID_ARGUMENT' })
})

t.test('between own and external roots', { skip }, async (t) => {
  const next = testSwarm(Date.now())
  const { double, client, swarm } = await external(t, testSwarm(Date.now()), next)
  const plan = (current: RootCaState, config: object): Promise<RootCaState> =>
    planRoot(current, { NodeCertExpiry, ...config }, client, Date.now())
  const ExternalCAs = [{ Protocol: 'cfssl' as const, URL: double.url }]
  const ours = stateOf(swarm)
  // The same root, its key given away to the external CA and taken back.
  const away = await plan(ours, { SigningCACert: swarm.certificate, ExternalCAs })
  t.match(away, { key: null, rotation: null, certificate: swarm.certificate })
  const back = await plan(away, { SigningCACert: swarm.certificate, SigningCAKey: swarm.key })
  t.match(back, { key: swarm.key, rotation: null })
  // From an external root to one of our own: the external CA cross-signs it.
  const given = { SigningCACert: next.certificate, SigningCAKey: next.key, ExternalCAs }
  const rotating = await plan(away, given)
  const [cross] = readChain(rotating.rotation!.crossSigned)
  verifyChain([cross!], swarm.trust.certificates, Date.now())
  t.ok(cross!.spki.equals(next.trust.certificates[0]!.spki))
  t.equal(double.requests.at(-1)?.profile, 'CA')
  double.lie = () => answerOf(swarm.certificate)
  await t.rejects(plan(away, given), /unable to generate a cross-signed certificate/)
  // From one external CA to another: nobody here could sign for it.
  const foreign = [
    ...ExternalCAs,
    { Protocol: 'cfssl' as const, URL: double.url, CACert: next.certificate },
  ]
  await t.rejects(plan(away, { SigningCACert: next.certificate, ExternalCAs: foreign }), {
    message: 'rotating from one external CA to a different external CA is not supported',
  })
})

t.test('a cluster whose external CA signs', { skip }, async (t) => {
  const swarm = testSwarm(Date.now())
  const config = { SigningCACert: swarm.certificate, SigningCAKey: swarm.key }
  const cluster = await testCluster(realClock, config)
  const { double, client } = await external(t, swarm)
  await cluster.change((c) => ({
    ...c,
    rootCa: { ...c.rootCa, key: null },
    spec: {
      ...c.spec,
      CAConfig: { NodeCertExpiry, ExternalCAs: [{ Protocol: 'cfssl', URL: double.url }] },
    },
  }))
  const times = { clock: realClock, sleep: realSleep }
  const { store } = cluster
  const service = new CaService({
    store,
    ...times,
    isLeader: () => true,
    forward: () => Promise.reject(new Error('not here')),
  })
  const retries = (_ms: number, signal: AbortSignal): Promise<void> => realSleep(20, signal)
  const signer = new Signer({ store, clock: realClock, sleep: retries, external: client.sign })
  signer.start()
  t.teardown(async () => {
    service.close()
    await signer.stop()
  })
  const token = newToken(normalizePem(swarm.certificate))
  await cluster.change((c) => ({ ...c, joinTokens: { worker: token, manager: '' } }))
  const request = { csr: makeCsr(generateKey()), token, availability: '' }
  const origin = { caller: null, source: 'x' }
  const outcome = await service.issue(request, origin)
  t.equal(outcome.state, 'ISSUED')
  // It lies for a while: nothing is issued, and it is asked again.
  let lies = 3
  double.lie = () => (lies-- > 0 ? refused('busy') : null)
  const patient = { ...request, csr: makeCsr(generateKey()) }
  t.equal((await service.issue(patient, origin)).state, 'ISSUED')
  t.ok(lies < 0)
})

t.test('the issuer, as nodes report it', async (t) => {
  const swarm = testSwarm()
  const chain = readChain(testNode(swarm).chain)
  t.same(issuerOfChain(chain, swarm.trust), issuerOf(swarm.certificate))
  t.equal(issuerOfChain(chain, testSwarm().trust).publicKey, '')
})
