// Goal: for every call of the control plane and every kind of caller, the table decides, and it
// decides as the issue of trust demands: without a verified certificate nothing but the CA's two
// calls, a worker nothing of a manager's, a removed node nothing at all. Method: every service of
// every .proto file on a real server with TLS, every kind of certificate, one call of each; what
// must happen is written down here a second time, by hand.

import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import {
  Client,
  connectivityState,
  credentials,
  type GrpcObject,
  type ServiceClientConstructor,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import t from 'tap'
import { channelOptions } from '../proto/credentials.ts'
import { IdentityHolder } from '../proto/identity.ts'
import { loadProto } from '../proto/load.ts'
import { RpcServer } from '../proto/server.ts'
import { ACCESS, authorize, isOut, kindOf, type Membership, sameNode } from './authorize.ts'
import type { Role } from './names.ts'
import { realClock, until } from './testing/cluster.ts'
import { ALICE, type TestNode, type TestSwarm, testNode, testSwarm } from './testing/doubles.ts'

const DAY_MS = 86_400_000
const REMOVED = 'removedremovedremovedremo'
const DEMOTED = 'demoteddemoteddemoteddemo'
const OPEN = ['/weft.ca.CA/GetRootCertificate', '/weft.ca.CA/IssueNodeCertificate']

const membership: Membership = {
  clusterId: ALICE.clusterId,
  isRemoved: (nodeId) => nodeId === REMOVED,
  roleOf: (nodeId): Role | undefined => (nodeId === DEMOTED ? 'worker' : undefined),
}

interface Service {
  readonly name: string
  readonly definition: ServiceDefinition
}

function servicesOf(object: GrpcObject, path = ''): Service[] {
  return Object.entries(object).flatMap(([name, value]): Service[] => {
    if (typeof value === 'function') {
      const { service } = value as ServiceClientConstructor
      return [{ name: `${path}${name}`, definition: service }]
    }
    return 'format' in value ? [] : servicesOf(value as GrpcObject, `${path}${name}.`)
  })
}

const folder = fileURLToPath(new URL('../proto/', import.meta.url))
const services = readdirSync(folder)
  .filter((name) => name.endsWith('.proto'))
  .flatMap((file) => servicesOf(loadProto<GrpcObject>(file)))
const methods = services.flatMap(({ definition }) =>
  Object.values(definition).map(({ path }) => path),
)

/** A handler that can be told from the gate: it answers with a code that the gate does not use. */
function reached(definition: ServiceDefinition): UntypedServiceImplementation {
  const answer = (call: { emit?: (event: string, error: object) => void }, done: unknown): void => {
    const error = { code: status.DATA_LOSS, details: 'reached' }
    if (typeof done === 'function') done(error)
    else call.emit?.('error', error)
  }
  return Object.fromEntries(Object.keys(definition).map((name) => [name, answer]))
}

/** Calls any method with an empty message; resolves to the status code, null if no connection. */
function call(address: string, method: string, root: TestSwarm, node: TestNode | null) {
  const client = new Client(
    address,
    credentials.createSsl(
      Buffer.from(root.certificate),
      node === null ? null : Buffer.from(node.keyPem),
      node === null ? null : Buffer.from(node.chain),
      { checkServerIdentity: () => undefined },
    ),
    channelOptions(),
  )
  const bytes = (value: Buffer): Buffer => value
  return new Promise<number>((resolve) => {
    const deadline = Date.now() + 30_000
    const stream = client.makeBidiStreamRequest(method, bytes, bytes, { deadline })
    stream.on('error', () => {})
    stream.on('data', () => {})
    stream.on('status', ({ code }) => resolve(code))
    stream.write(Buffer.alloc(0))
    stream.end()
  }).finally(() => client.close())
}

t.test('the table names every call there is, and no other', async (t) => {
  t.ok(methods.length >= 6, `${methods.length} calls`)
  for (const method of methods) t.ok(ACCESS[method], `${method} has a row`)
  const packages = new Set(services.map(({ name }) => name.slice(0, name.lastIndexOf('.'))))
  for (const method of Object.keys(ACCESS)) {
    const owner = method.slice(1, method.lastIndexOf('.'))
    // A row may come before its service has landed, but not outlive one of its methods.
    if (packages.has(owner)) t.ok(methods.includes(method), `${method} exists`)
  }
})

t.test('every call by every kind of caller, over TLS', async (t) => {
  const swarm = testSwarm(Date.now())
  const own = testNode(swarm, {}, Date.now())
  const server = new RpcServer({
    identity: new IdentityHolder({
      certificate: Buffer.from(own.chain),
      privateKey: Buffer.from(own.keyPem),
      roots: Buffer.from(swarm.certificate),
    }),
    authorize: (peer, method) => authorize(peer, method, membership),
    clock: realClock,
  })
  for (const { definition } of services) server.addService(definition, reached(definition))
  const address = `127.0.0.1:${await server.listen('127.0.0.1:0')}`
  t.teardown(() => server.close())

  const now = Date.now()
  const old = testSwarm(now - 365 * DAY_MS)
  // The same root key, so that nothing but the life is wrong.
  const expired = testNode(swarm, {}, now - 100 * DAY_MS)
  const early = testNode(swarm, {}, now + 365 * DAY_MS)
  const isOpen = (method: string): boolean => OPEN.includes(method)
  const isWorkers = (method: string): boolean =>
    isOpen(method) || method.startsWith('/weft.dispatcher.')
  const kinds: readonly [string, TestNode | null, (method: string) => boolean][] = [
    ['nobody', null, isOpen],
    ['expired a while ago', expired, isOpen],
    ['a clock one year ahead', early, isOpen],
    ['of another root of the same name', testNode(testSwarm(now), {}, now), isOpen],
    ['of an older root', testNode(old, {}, now), isOpen],
    ['of another swarm of the same root', testNode(swarm, { clusterId: 'other' }, now), isOpen],
    ['worker', testNode(swarm, { nodeId: 'w', role: 'worker' }, now), isWorkers],
    ['demoted', testNode(swarm, { nodeId: DEMOTED }, now), isWorkers],
    ['removed manager', testNode(swarm, { nodeId: REMOVED }, now), () => false],
    ['removed worker', testNode(swarm, { nodeId: REMOVED, role: 'worker' }, now), () => false],
    ['manager', testNode(swarm, { nodeId: 'm' }, now), () => true],
  ]
  for (const [kind, node, mayCall] of kinds) {
    for (const method of methods) {
      const code = await call(address, method, swarm, node)
      const passed = code === status.DATA_LOSS
      t.equal(passed, mayCall(method), `${kind}: ${method}: ${status[code]}`)
      if (!passed) {
        const refusals = [status.UNAUTHENTICATED, status.PERMISSION_DENIED, status.NOT_FOUND]
        t.ok(refusals.includes(code), `${kind}: ${method} is refused by the gate`)
      }
    }
    for (const method of ['/weft.ca.CA/Other', '/weft.none.None/Any', '/', '/constructor']) {
      t.equal(await call(address, method, swarm, node), status.UNIMPLEMENTED, `${kind}: ${method}`)
    }
  }
})

/** Calls every method at once on one connection; what has ended is in `codes`. */
function standingCalls(address: string, root: TestSwarm, node: TestNode) {
  const client = new Client(
    address,
    credentials.createSsl(
      Buffer.from(root.certificate),
      Buffer.from(node.keyPem),
      Buffer.from(node.chain),
      { checkServerIdentity: () => undefined },
    ),
    channelOptions(),
  )
  const codes = new Map<string, number>()
  const bytes = (value: Buffer): Buffer => value
  const streams = methods.map((method) => {
    const stream = client.makeBidiStreamRequest(method, bytes, bytes, {})
    stream.on('error', () => {})
    stream.on('data', () => {})
    stream.on('status', ({ code }) => codes.set(method, code))
    stream.write(Buffer.alloc(0))
    // A unary call is handled once its request is whole.
    stream.end()
    return stream
  })
  return {
    codes,
    isConnected: () => client.getChannel().getConnectivityState(false) === connectivityState.READY,
    close: () => {
      for (const stream of streams) stream.cancel()
      client.close()
    },
  }
}

t.test('calls that stand end when their caller loses the right to them', async (t) => {
  const swarm = testSwarm(Date.now())
  const own = testNode(swarm, {}, Date.now())
  const removed = new Set<string>()
  const demoted = new Set<string>()
  const now: Membership = {
    clusterId: ALICE.clusterId,
    isRemoved: (nodeId) => removed.has(nodeId),
    roleOf: (nodeId) => (demoted.has(nodeId) ? 'worker' : undefined),
  }
  const server = new RpcServer({
    identity: new IdentityHolder({
      certificate: Buffer.from(own.chain),
      privateKey: Buffer.from(own.keyPem),
      roots: Buffer.from(swarm.certificate),
    }),
    authorize: (peer, method) => authorize(peer, method, now),
    clock: realClock,
  })
  t.teardown(() => server.close())
  let running = 0
  const held = (call: { on: (event: string, then: () => void) => void }): void => {
    running += 1
    call.on('cancelled', () => {
      running -= 1
    })
  }
  for (const { definition } of services) {
    server.addService(
      definition,
      Object.fromEntries(Object.keys(definition).map((name) => [name, held])),
    )
  }
  const address = `127.0.0.1:${await server.listen('127.0.0.1:0')}`
  const isWorkers = (method: string): boolean =>
    OPEN.includes(method) || method.startsWith('/weft.dispatcher.')
  const kinds: readonly [string, Role, Set<string> | null, (method: string) => boolean][] = [
    ['a worker that is removed', 'worker', removed, () => false],
    ['a manager that is removed', 'manager', removed, () => false],
    ['a manager that is demoted', 'manager', demoted, isWorkers],
    ['a worker that is demoted', 'worker', demoted, isWorkers],
    ['a manager', 'manager', null, () => true],
  ]
  for (const [i, [kind, role, list, mayGoOn]] of kinds.entries()) {
    const nodeId = `node${i}`
    const calls = standingCalls(address, swarm, testNode(swarm, { nodeId, role }, Date.now()))
    const begins = methods.filter((method) => role === 'manager' || isWorkers(method))
    await until(`${kind}: its calls run`, () => running === begins.length)
    list?.add(nodeId)
    server.recheck((peer) => isOut(peer, now))
    const ends = begins.filter((method) => !mayGoOn(method))
    await until(`${kind}: they end`, () => ends.every((method) => calls.codes.has(method)))
    for (const method of begins) {
      const expected = mayGoOn(method)
        ? undefined
        : authorize({ nodeId, role: `swarm-${role}`, clusterId: ALICE.clusterId }, method, now)
            ?.code
      t.equal(calls.codes.get(method), expected, `${kind}: ${method}`)
    }
    await until(`${kind}: handlers know`, () => running === begins.length - ends.length)
    if (ends.length === begins.length) {
      await until(`${kind}: its connection is closed`, () => !calls.isConnected())
    } else {
      t.ok(calls.isConnected(), `${kind}: its connection stands`)
    }
    calls.close()
    await until(`${kind}: all is over`, () => running === 0)
  }
})

t.test('kinds, and what they are told', async (t) => {
  const holder = (nodeId: string, role: string, clusterId: string = ALICE.clusterId) => ({
    nodeId,
    role,
    clusterId,
  })
  t.equal(kindOf(null, membership), 'stranger')
  t.equal(kindOf(holder('x', 'swarm-manager', 'other'), membership), 'stranger')
  t.equal(kindOf(holder('x', 'swarm-owner'), membership), 'stranger')
  t.equal(kindOf(holder('x', 'swarm-worker'), membership), 'worker')
  t.equal(kindOf(holder('x', 'swarm-manager'), membership), 'manager')
  t.equal(kindOf(holder(DEMOTED, 'swarm-manager'), membership), 'demoted')
  t.equal(kindOf(holder(REMOVED, 'swarm-manager'), membership), 'removed')
  const promoted = { ...membership, roleOf: (): Role => 'manager' }
  t.equal(kindOf(holder('x', 'swarm-worker'), promoted), 'worker', 'not before its certificate')

  const raft = '/weft.raft.Raft/Converse'
  const told = (nodeId: string, role: string, method: string): unknown =>
    authorize(holder(nodeId, role), method, membership)
  t.same(told(REMOVED, 'swarm-manager', raft), {
    code: status.NOT_FOUND,
    details: 'member removed',
  })
  t.match(told(REMOVED, 'swarm-worker', '/weft.dispatcher.Dispatcher/Session'), {
    code: status.PERMISSION_DENIED,
    details: /was removed/,
  })
  t.match(told(DEMOTED, 'swarm-manager', raft), { details: /no manager any more/ })
  t.match(told('x', 'swarm-worker', raft), { details: 'node x is no manager' })
  t.match(authorize(null, raft, membership), { code: status.UNAUTHENTICATED })
})

t.test('a node speaks for itself', async (t) => {
  const worker = { nodeId: 'w1', role: 'swarm-worker', clusterId: ALICE.clusterId }
  t.equal(sameNode(worker, 'w1'), null)
  for (const [caller, id] of [
    [worker, 'w2'],
    [worker, ''],
    [null, 'w1'],
    [null, ''],
  ] as const) {
    t.match(sameNode(caller, id), { code: status.PERMISSION_DENIED })
  }
})
