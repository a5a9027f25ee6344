// Goal: the transport keeps its contract: messages reach the member they name from the member they
// name and nobody else, trouble is reported, snapshots arrive whole or not at all, bounds hold, and
// certificates change without a gap. Method: members on loopback with real TLS; a stranger who
// speaks the protocol by hand.

import { createServer, type Socket } from 'node:net'
import * as grpc from '@grpc/grpc-js'
import t, { type Test } from 'tap'
import { channelCredentials, channelOptions } from '../../../proto/credentials.ts'
import type { ProtoGrpcType } from '../../../proto/generated/raft.ts'
import type { Frame } from '../../../proto/generated/weft/raft/Frame.ts'
import type { SnapshotChunk } from '../../../proto/generated/weft/raft/SnapshotChunk.ts'
import { IdentityHolder } from '../../../proto/identity.ts'
import { loadProto } from '../../../proto/load.ts'
import { RpcServer } from '../../../proto/server.ts'
import { TestAuthority } from '../../../proto/testing/certificates.ts'
import { encodeMessage } from '../../codec.ts'
import * as messages from '../../messages.ts'
import { QUEUE_MESSAGES_MAX, SNAPSHOT_BYTES_MAX } from './limits.ts'
import { GrpcTransport } from './transport.ts'

const { Raft } = loadProto<ProtoGrpcType>('raft.proto').weft.raft
const CLUSTER = 'test-cluster'
const PATIENCE_MS = 60_000
const INVALID = grpc.status.INVALID_ARGUMENT
const NOT_HERE = grpc.status.FAILED_PRECONDITION
const DENIED = grpc.status.PERMISSION_DENIED
const TOO_LARGE = grpc.status.RESOURCE_EXHAUSTED
const STALLED = grpc.status.DEADLINE_EXCEEDED

class TestMember {
  readonly id: number
  readonly identity: IdentityHolder
  readonly received: messages.Message[] = []
  readonly events: string[] = []
  readonly certificates = new Set<string>()
  #server: RpcServer | null = null
  transport: GrpcTransport | null = null
  port = 0

  constructor(authority: TestAuthority, id: number) {
    this.id = id
    this.identity = new IdentityHolder(authority.issue({ nodeId: `node-${id}` }))
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  async start(stallMs?: number): Promise<void> {
    const clock = { nowMs: () => 0, wallMs: () => Date.now() }
    const server = new RpcServer({
      identity: this.identity,
      clock,
      authorize: (peer) =>
        peer?.role === 'swarm-manager' ? null : { code: DENIED, details: 'managers only' },
    })
    this.#server = server
    this.port = await server.listen(`127.0.0.1:${this.port}`)
    this.transport = new GrpcTransport({
      id: this.id,
      clusterId: CLUSTER,
      identity: this.identity,
      server,
      speaksFor: (peer, id) => {
        this.certificates.add(peer.fingerprint)
        return peer.nodeId === `node-${id}`
      },
      ...(stallMs === undefined ? {} : { snapshotStallMs: stallMs }),
    })
    this.transport.start({
      onMessage: (message) => this.received.push(message),
      onUnreachable: (id) => this.events.push(`unreachable ${id}`),
      onSnapshotReport: (id, delivered) => this.events.push(`snapshot ${id} ${delivered}`),
      onRemoved: () => this.events.push('removed'),
    })
  }

  async stop(): Promise<void> {
    await this.transport?.close()
    await this.#server?.close()
    this.transport = null
    this.#server = null
  }

  send(type: messages.MessageType, to: number, fields: Partial<messages.Message> = {}): void {
    this.transport?.send(messages.makeMessage(type, to, { from: this.id, term: 1, ...fields }))
  }
}

async function members(t: Test, ids: number[], stallMs?: number): Promise<TestMember[]> {
  const authority = new TestAuthority(CLUSTER)
  const made = ids.map((id) => new TestMember(authority, id))
  t.teardown(() => Promise.all(made.map((member) => member.stop())))
  for (const member of made) await member.start(stallMs)
  for (const { transport, id } of made) {
    transport?.setPeers(
      new Map(made.filter((other) => other.id !== id).map(({ id, address }) => [id, address])),
    )
  }
  return made
}

/** Waits for `holds`, or fails after a minute. `again` is done meanwhile, every few milliseconds.
 * */
async function until(what: string, holds: () => boolean, again = (): void => {}): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS
  while (!holds()) {
    if (performance.now() > deadline) throw new Error(`waited in vain: ${what}`)
    again()
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

function snapshotOf(data: Uint8Array): messages.Snapshot {
  return { index: 9, term: 1, confState: { ...messages.EMPTY_CONF_STATE, voters: [1, 2] }, data }
}

const patterned = (size: number): Buffer => Buffer.alloc(size, 'what a snapshot holds')

t.test('messages arrive whole, in order, and only at their receiver', async (t) => {
  const [one, two, three] = await members(t, [1, 2, 3])
  const data = patterned(100_000)
  const entries = [{ term: 1, index: 8, type: 'EntryNormal' as const, data }]
  for (let index = 1; index <= 500; index++) one!.send('MsgApp', 2, { index })
  one!.send('MsgApp', 2, { index: 501, entries })
  one!.send('MsgProp', 3, { from: 77, term: 0, entries })
  await until('arrival', () => two!.received.length === 501 && three!.received.length === 1)
  t.same(
    two!.received.map(({ index }) => index),
    Array.from({ length: 501 }, (_, i) => i + 1),
  )
  const { entries: got } = two!.received.at(-1)!
  t.ok(data.equals(Buffer.from(got[0]!.data)))
  t.equal(three!.received[0]?.from, 77, 'a proposal is passed on for whoever made it')
  t.same(one!.received, [])
  t.match(one!.transport!.peers(), [
    { id: 2, connected: true, queuedMessages: 0, queuedBytes: 0, dropped: 0 },
    { id: 3, connected: true },
  ])
})

t.test('who answers at an address', async (t) => {
  const [one, two] = await members(t, [1, 2])
  t.same(await one!.transport!.probe(two!.address, PATIENCE_MS), { id: 2 })
  await two!.stop()
  await t.rejects(one!.transport!.probe(two!.address, PATIENCE_MS))
})

t.test('a member that is gone is reported, and found again when it is back', async (t) => {
  const [one, two] = await members(t, [1, 2])
  one!.send('MsgApp', 2)
  await until('arrival', () => two!.received.length === 1)
  one!.send('MsgApp', 9)
  await until('the unknown', () => one!.events.includes('unreachable 9'))
  await two!.stop()
  await until('notice', () => one!.events.includes('unreachable 2'))
  one!.send('MsgApp', 2)
  one!.send('MsgVote', 2, { index: 4 })
  await until('the append is dropped', () => one!.transport!.peers()[0]!.dropped > 0)
  two!.received.length = 0
  await two!.start()
  await until('return', () => two!.received.length > 0)
  t.match(two!.received[0], { type: 'MsgVote', index: 4 }, 'a vote outlasts the outage')
})

t.test('an address that changes, and a member that leaves', async (t) => {
  const [one, two, three] = await members(t, [1, 2, 3])
  two!.transport!.setPeers(new Map([[1, one!.address]]))
  await two!.stop()
  two!.port = 0
  await two!.start()
  one!.transport!.setPeers(new Map([[2, two!.address]]))
  one!.send('MsgApp', 2)
  await until('arrival', () => two!.received.length === 1)
  one!.send('MsgApp', 3)
  await until('the one that left', () => one!.events.includes('unreachable 3'))
  t.same(three!.received, [])
})

t.test('a removed member is told so, at once and when it knocks', async (t) => {
  const [one, two] = await members(t, [1, 2])
  two!.send('MsgApp', 1)
  await until('arrival', () => one!.received.length === 1)
  one!.transport!.setRemoved(new Set([2]))
  await until('the news', () => two!.events.includes('removed'))
  two!.events.length = 0
  two!.send('MsgSnap', 1, { snapshot: snapshotOf(patterned(10)) })
  await until('the snapshot', () => two!.events.includes('snapshot 1 false'))
  t.ok(two!.events.includes('removed'))
  t.equal(one!.received.length, 1)
})

t.test('snapshots of every size, with progress', async (t) => {
  const [one, two] = await members(t, [1, 2])
  let most = 0
  for (const size of [0, 1, 524_288, 20_000_001]) {
    const data = patterned(size)
    one!.send('MsgSnap', 2, { snapshot: snapshotOf(data) })
    one!.send('MsgSnap', 2, { snapshot: snapshotOf(data) })
    await until(
      'the reports',
      () => one!.events.length === 2,
      () => {
        most = Math.max(most, one!.transport!.peers()[0]!.snapshotSentBytes)
      },
    )
    t.same(one!.events.splice(0), ['snapshot 2 false', 'snapshot 2 true'], 'one at a time')
    const got = two!.received.pop()
    t.equal(got?.snapshot?.index, 9)
    t.ok(data.equals(Buffer.from(got!.snapshot!.data)), `${size} bytes`)
    t.equal(one!.transport!.peers()[0]!.snapshotTotalBytes, 0)
  }
  t.ok(most > 0, 'progress was seen')
  t.same(two!.received, [])
})

t.test('a snapshot ends when its receiver does', async (t) => {
  const [one, two] = await members(t, [1, 2])
  one!.send('MsgSnap', 2, { snapshot: snapshotOf(patterned(200_000_000)) })
  await until('progress', () => one!.transport!.peers()[0]!.snapshotSentBytes > 0)
  await two!.stop()
  await until('the report', () => one!.events.includes('snapshot 2 false'))
  one!.send('MsgSnap', 2, { snapshot: snapshotOf(patterned(10)) })
  const reports = (): string[] => one!.events.filter((event) => event.startsWith('snapshot'))
  await until('the next', () => reports().length === 2)
  t.same(reports(), ['snapshot 2 false', 'snapshot 2 false'])
  t.same(two!.received, [])
})

t.test('certificates are replaced without a gap', async (t) => {
  const authority = new TestAuthority(CLUSTER)
  const [one, two] = [new TestMember(authority, 1), new TestMember(authority, 2)]
  t.teardown(() => Promise.all([one.stop(), two.stop()]))
  await one.start()
  await two.start()
  one.transport!.setPeers(new Map([[2, two.address]]))
  let index = 0
  const send = (): void => one.send('MsgApp', 2, { index: ++index })
  await until('arrival', () => two.received.length > 0, send)
  for (let i = 1; i <= 3; i++) {
    one.identity.replace(authority.issue({ nodeId: 'node-1' }))
    two.identity.replace(authority.issue({ nodeId: 'node-2' }))
    await until('the new certificate', () => two.certificates.size === i + 1, send)
  }
  send()
  await until('the rest', () => two.received.some((message) => message.index === index))
  t.same(
    two.received.map((message) => message.index).sort((a, b) => a - b),
    Array.from({ length: index }, (_, i) => i + 1),
    'nothing was lost',
  )
  t.same(one.events, [], 'and nobody noticed')
})

t.test('a peer that does not read costs a bounded queue', async (t) => {
  const authority = new TestAuthority(CLUSTER)
  const one = new TestMember(authority, 1)
  await one.start()
  t.teardown(() => one.stop())
  // Accepts the connection and never says a word.
  const sockets: Socket[] = []
  const silent = createServer((socket) => sockets.push(socket.pause()))
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    silent.close()
    for (const socket of sockets) socket.destroy()
  })
  const { port } = silent.address() as { port: number }
  one.transport!.setPeers(new Map([[2, `127.0.0.1:${port}`]]))
  for (let i = 0; i < QUEUE_MESSAGES_MAX + 100; i++) one.send('MsgApp', 2)
  await until('the report', () => one.events.includes('unreachable 2'))
  const [status] = one.transport!.peers()
  t.equal(status?.connected, false)
  t.ok(status!.queuedMessages <= QUEUE_MESSAGES_MAX)
})

interface Stranger {
  readonly converse: (...frames: Frame[]) => Promise<grpc.ServiceError>
  readonly install: (...chunks: SnapshotChunk[]) => Promise<grpc.ServiceError>
}

/** Speaks the protocol by hand, as node-1. */
function strangerTo(t: Test, member: TestMember, identity: IdentityHolder): Stranger {
  const client = new Raft(member.address, channelCredentials(identity), channelOptions())
  t.teardown(() => client.close())
  return {
    converse: (...frames) =>
      new Promise((resolve) => {
        const call = client.converse((error) => resolve(error!))
        call.on('error', () => {})
        for (const frame of frames) call.write(frame)
      }),
    install: (...chunks) =>
      new Promise((resolve) => {
        const call = client.installSnapshot()
        call.on('error', (error: grpc.ServiceError) => resolve(error))
        call.on('data', () => {})
        for (const chunk of chunks) call.write(chunk)
        if (chunks.length > 2) call.end()
      }),
  }
}

t.test('callers that are not who they say, and bytes that are no messages', async (t) => {
  const [one, two] = await members(t, [1, 2])
  const { converse } = strangerTo(t, two!, one!.identity)
  const message = (type: messages.MessageType, from: number, to = 2): Uint8Array =>
    encodeMessage(messages.makeMessage(type, to, { from, term: 1 }))
  const as = (fields: object): Frame => ({
    introduction: { clusterId: CLUSTER, from: 1, to: 2, ...fields },
  })
  const hello = as({})
  const say = (...bytes: Uint8Array[]): Frame => ({ messages: bytes })
  const megabyte = Buffer.alloc(1 << 20)
  const cases: [string, Frame[], grpc.status, RegExp][] = [
    ['no introduction', [say()], INVALID, /introduction/],
    ['id 0', [as({ from: 0 })], INVALID, /id/],
    ['an id beyond what numbers hold', [as({ from: '18446744073709551615' })], INVALID, /id/],
    ['another cluster', [as({ clusterId: 'x' })], NOT_HERE, /another cluster/],
    ['another member', [as({ to: 3 })], NOT_HERE, /member 2 lives here, not 3/],
    ['a false name', [as({ from: 3 })], DENIED, /node-1 does not speak for member 3/],
    ['garbage', [hello, say(Buffer.from([0xff, 1, 2]))], INVALID, /no message/],
    ['empty', [hello, say(Buffer.alloc(0))], INVALID, /no message/],
    ['a false sender', [hello, say(message('MsgApp', 3))], INVALID, /other members/],
    ['a false receiver', [hello, say(message('MsgApp', 1, 3))], INVALID, /other members/],
    ['a snapshot', [hello, say(message('MsgSnap', 1))], INVALID, /snapshot among/],
    ['five megabytes', [hello, say(...Array(5).fill(megabyte))], TOO_LARGE, /larger/],
  ]
  for (const [name, frames, code, details] of cases) {
    t.match(await converse(...frames), { code, details }, name)
  }
  t.same(two!.received, [])
  // A message may be lost, as Raft allows: on a slow machine its connection may have been given up.
  const again = () => one!.send('MsgApp', 2)
  await until('arrival after all that', () => two!.received.length > 0, again)
})

t.test('snapshots that are not what they say', async (t) => {
  const [one, two] = await members(t, [1, 2], 200)
  const { install } = strangerTo(t, two!, one!.identity)
  const intro = { clusterId: CLUSTER, from: 1, to: 2 }
  const encoded = (from: number): Uint8Array =>
    encodeMessage(
      messages.makeMessage('MsgSnap', 2, {
        from,
        term: 1,
        snapshot: snapshotOf(messages.NO_BYTES),
      }),
    )
  const header = {
    introduction: intro,
    message: encoded(1),
    sizeBytes: 4,
    digest: Buffer.alloc(32),
  }
  const data = Buffer.from('abcd')
  const cases: [string, SnapshotChunk[], grpc.status, RegExp][] = [
    ['no header', [{ data }], INVALID, /header/],
    ['two headers', [{ header }, { header }], INVALID, /one header/],
    ['too many bytes', [{ header }, { data }, { data }], INVALID, /more bytes/],
    ['too few', [{ header }, { data: data.subarray(1) }, {}], INVALID, /fewer/],
    ['other bytes', [{ header }, { data }, {}], INVALID, /digest/],
    ['no snapshot', [{ header: { ...header, message: Buffer.from([1]) } }], INVALID, /no snapshot/],
    [
      'endless',
      [{ header: { ...header, sizeBytes: SNAPSHOT_BYTES_MAX + 1 } }],
      INVALID,
      /no snapshot/,
    ],
    [
      'a false name',
      [{ header: { ...header, introduction: { ...intro, from: 3 } } }],
      DENIED,
      /does not speak/,
    ],
    [
      'a false sender',
      [{ header: { ...header, message: encoded(3) } }, { data }, {}],
      DENIED,
      /other members/,
    ],
    ['stalled', [{ header }, { data }], STALLED, /stalled/],
  ]
  for (const [name, chunks, code, details] of cases) {
    t.match(await install(...chunks), { code, details }, name)
  }
  t.same(two!.received, [])
})

t.test('workers and strangers get no further than the gate', async (t) => {
  const authority = new TestAuthority(CLUSTER)
  const two = new TestMember(authority, 2)
  await two.start()
  t.teardown(() => two.stop())
  const frame = { introduction: { clusterId: CLUSTER, from: 1, to: 2 } }
  const worker = authority.issue({ nodeId: 'node-1', role: 'swarm-worker' })
  const other = { ...new TestAuthority(CLUSTER).issue({ nodeId: 'node-1' }), roots: worker.roots }
  for (const identity of [worker, other]) {
    const { converse, install } = strangerTo(t, two, new IdentityHolder(identity))
    t.match(await converse(frame), { code: DENIED })
    t.match(await install({}), { code: DENIED })
  }
})
