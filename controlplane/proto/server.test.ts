// Goal: only a verified certificate gives a caller a name, a refusal comes before the handler, and
// certificates change while calls run. Method: real TLS on loopback, certificates by
// testing/certificates.ts, the Raft service's Probe as the method that is called.

import { connect } from 'node:tls'
import * as grpc from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import { channelCredentials, channelOptions, type ServerCheck } from './credentials.ts'
import type { ProtoGrpcType } from './generated/raft.ts'
import type { RaftHandlers } from './generated/weft/raft/Raft.ts'
import { IdentityHolder, type TlsIdentity } from './identity.ts'
import { loadProto } from './load.ts'
import type { Peer } from './peer.ts'
import { type Authorize, RpcServer } from './server.ts'
import { TestAuthority } from './testing/certificates.ts'

const { Raft } = loadProto<ProtoGrpcType>('raft.proto').weft.raft
const HOUR_MS = 3_600_000

interface World {
  readonly server: RpcServer
  readonly identity: IdentityHolder
  readonly address: string
  /** Who `authorize` was asked about. */
  readonly seen: (Peer | null)[]
  wallMs: number
  refuse: grpc.StatusObject['code'] | null
  handled: number
}

async function world(t: Test, authority: TestAuthority): Promise<World> {
  const seen: (Peer | null)[] = []
  const authorize: Authorize = (peer, method) => {
    t.equal(method, '/weft.raft.Raft/Probe')
    seen.push(peer)
    return made.refuse === null ? null : { code: made.refuse, details: 'not you' }
  }
  const identity = new IdentityHolder(authority.issue({ nodeId: 'server' }))
  const clock = { nowMs: () => 0, wallMs: () => made.wallMs }
  const server = new RpcServer({ identity, authorize, clock })
  const handlers: Partial<RaftHandlers> = {
    Probe: (_call, callback) => callback(null, { id: ++made.handled }),
  }
  server.addService(Raft.service, handlers as RaftHandlers)
  const port = await server.listen('127.0.0.1:0')
  const address = `127.0.0.1:${port}`
  const made: World = {
    server,
    identity,
    address,
    seen,
    wallMs: Date.now(),
    refuse: null,
    handled: 0,
  }
  t.teardown(() => server.close())
  return made
}

function probe(client: InstanceType<typeof Raft>): Promise<number> {
  return new Promise((resolve, reject) => {
    client.probe({ clusterId: '' }, { deadline: Date.now() + 20_000 }, (error, answer) =>
      error === null ? resolve(answer?.id ?? 0) : reject(error),
    )
  })
}

async function callOnce(
  address: string,
  identity: TlsIdentity,
  check?: ServerCheck,
): Promise<number> {
  const credentials = channelCredentials(new IdentityHolder(identity), check)
  const client = new Raft(address, credentials, channelOptions())
  try {
    return await probe(client)
  } finally {
    client.close()
  }
}

t.test('a caller is who its certificate says', async (t) => {
  const authority = new TestAuthority()
  const made = await world(t, authority)
  await callOnce(made.address, authority.issue({ nodeId: 'n7', role: 'swarm-worker' }))
  const [peer] = made.seen
  t.match(peer, { nodeId: 'n7', role: 'swarm-worker', clusterId: 'test-cluster' })
  t.match(peer?.fingerprint, /^[0-9A-F]{2}(:[0-9A-F]{2}){31}$/)
})

t.test('whoever is not verified is nobody, but may call', async (t) => {
  const authority = new TestAuthority()
  const stranger = new TestAuthority()
  const made = await world(t, authority)
  const { root } = authority
  const now = Date.now()
  const expired = { fromMs: now - 2 * HOUR_MS, toMs: now - HOUR_MS }
  const future = { fromMs: now + HOUR_MS, toMs: now + 2 * HOUR_MS }
  const callers: Record<string, TlsIdentity> = {
    'of another root, same names': { ...stranger.issue(), roots: root },
    expired: authority.issue({}, expired),
    'not yet valid': authority.issue({}, future),
    'without a role': authority.issue({ role: '' }),
    'without a name': authority.issue({ nodeId: '' }),
  }
  for (const [name, identity] of Object.entries(callers)) {
    await callOnce(made.address, identity)
    t.equal(made.seen.pop(), null, name)
  }
  const bare = grpc.credentials.createSsl(root)
  const client = new Raft(made.address, bare, channelOptions())
  await probe(client)
  client.close()
  t.equal(made.seen.pop(), null, 'without a certificate')
  t.equal(made.handled, 6)
})

t.test('a refused call reaches no handler', async (t) => {
  const authority = new TestAuthority()
  const made = await world(t, authority)
  made.refuse = grpc.status.PERMISSION_DENIED
  const error = { code: grpc.status.PERMISSION_DENIED, details: 'not you' }
  await t.rejects(callOnce(made.address, authority.issue()), error)
  t.equal(made.handled, 0)
})

t.test('a certificate runs out while its connection stands', async (t) => {
  const authority = new TestAuthority()
  const made = await world(t, authority)
  const holder = new IdentityHolder(authority.issue({}, { toMs: Date.now() + 2 * HOUR_MS }))
  const client = new Raft(made.address, channelCredentials(holder), channelOptions())
  t.teardown(() => client.close())
  await probe(client)
  t.ok(made.seen.pop())
  made.wallMs += 3 * HOUR_MS
  await probe(client)
  t.equal(made.seen.pop(), null)
})

t.test('a server that is no manager of this cluster is not talked to', async (t) => {
  const authority = new TestAuthority()
  const made = await world(t, authority)
  const caller = authority.issue()
  const unavailable = { code: grpc.status.UNAVAILABLE }
  const foreign = { ...caller, roots: new TestAuthority().root }
  await t.rejects(callOnce(made.address, foreign), unavailable, 'another root')
  made.identity.replace(authority.issue({ role: 'swarm-worker' }))
  await t.rejects(callOnce(made.address, caller), unavailable, 'a worker')
  made.identity.replace(authority.issue({ nodeId: 'other' }))
  const mustBe: ServerCheck = ({ nodeId }) => (nodeId === 'server' ? null : `it is ${nodeId}`)
  await t.rejects(callOnce(made.address, caller, mustBe), unavailable, 'another node')
  t.equal(made.handled, 0)
  made.identity.replace(authority.issue({ nodeId: 'server' }))
  t.equal(await callOnce(made.address, caller, mustBe), 1)
})

t.test('certificates and roots change under running connections', async (t) => {
  const [older, newer] = [new TestAuthority(), new TestAuthority()]
  const made = await world(t, older)
  const both = Buffer.concat([older.root, newer.root])
  const holder = new IdentityHolder({ ...older.issue({ nodeId: 'a' }), roots: both })
  const standing = new Raft(made.address, channelCredentials(holder), channelOptions())
  t.teardown(() => standing.close())
  await probe(standing)
  made.identity.replace({ ...newer.issue({ nodeId: 'server' }), roots: newer.root })
  t.equal(await probe(standing), 2, 'the connection stands')
  await callOnce(made.address, { ...older.issue(), roots: both })
  t.equal(made.seen.at(-1), null, 'the old root is believed no more')
  holder.replace({ ...newer.issue({ nodeId: 'b' }), roots: newer.root })
  const fresh = new Raft(made.address, channelCredentials(holder), channelOptions())
  t.teardown(() => fresh.close())
  await probe(fresh)
  t.match(made.seen.at(-1), { nodeId: 'b' })
})

t.test('an identity that does not fit together changes nothing', async (t) => {
  const authority = new TestAuthority()
  const good = authority.issue()
  const holder = new IdentityHolder(good)
  const crossed = { ...authority.issue(), privateKey: good.privateKey }
  t.throws(() => holder.replace(crossed), /mismatch/)
  t.throws(() => holder.replace({ ...good, roots: Buffer.from('nonsense') }))
  t.throws(() => new IdentityHolder({ ...good, certificate: Buffer.from('nonsense') }))
  t.equal(holder.identity, good)
})

t.test('no session is resumed, and no TLS below 1.3 is spoken', async (t) => {
  const authority = new TestAuthority()
  const made = await world(t, authority)
  const port = Number(made.address.split(':')[1])
  const options = { port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] }
  const first = connect(options)
  await new Promise((resolve) => first.once('secureConnect', resolve))
  // The server's first HTTP/2 frames come behind whatever tickets it sends.
  await new Promise((resolve) => first.once('data', resolve))
  const session = first.getSession()!
  first.destroy()
  const again = connect({ ...options, session })
  await new Promise((resolve) => again.once('secureConnect', resolve))
  t.equal(again.isSessionReused(), false)
  again.destroy()
  const old = connect({ ...options, maxVersion: 'TLSv1.2' })
  const error = await new Promise<Error>((resolve) => old.once('error', resolve))
  t.match(error.message, /protocol version|alert/i)
})

t.test('an address that cannot be had is told in a sentence, and by nobody else', async (t) => {
  const authority = new TestAuthority()
  const { address } = await world(t, authority)
  const { server } = await world(t, authority)
  const written = t.capture(process.stderr, 'write')
  await t.rejects(server.listen(address), { message: 'bind: address already in use' })
  await t.rejects(server.listen('192.0.2.1:0'), {
    message: 'bind: cannot assign requested address',
  })
  t.equal(written().length, 0)
})
