// A member as a process of its own: the product's member, disk and transport, under a service of
// keys and values that clients call over the network. The benchmark and the tests of real processes
// start it; nothing else does.
//
//   node member.ts CONFIG.json
//
// It prints one line of JSON when it serves, and one whenever leadership changes. Orders come as
// lines of JSON on standard input: see Order.

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { loadPackageDefinition, Server, ServerCredentials, status } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { IdentityHolder } from '../../controlplane/proto/identity.ts'
import { RpcServer } from '../../controlplane/proto/server.ts'
import { GrpcTransport } from '../../controlplane/raft/shell/grpc/transport.ts'
import { fileKeys } from '../../controlplane/raft/shell/keys.ts'
import type { Member } from '../../controlplane/raft/shell/member.ts'
import type { ChangeRequest } from '../../controlplane/raft/shell/membership.ts'
import { openMember, type StartMode } from '../../controlplane/raft/shell/open-member.ts'
import { KvMachine, putEntry } from './kv-machine.ts'
import { servePuts } from './put-server.ts'

export interface MemberConfig {
  readonly directory: string
  readonly start: StartMode
  /** host:port for the other members, and for clients. */
  readonly address: string
  readonly clients: string
  /** For the benchmark's load, if there is to be any. */
  readonly puts?: string
  /** PEM files. */
  readonly tls: { readonly certificate: string; readonly key: string; readonly roots: string }
  readonly snapshotEntries?: number
  readonly keptEntries?: number
}

export type Order =
  | { readonly id: number; readonly kind: 'change'; readonly request: ChangeRequest }
  | { readonly id: number; readonly kind: 'status' }
  | { readonly id: number; readonly kind: 'metrics' }
  /** Puts so many keys, as fast as they go. */
  | {
      readonly id: number
      readonly kind: 'fill'
      readonly count: number
      readonly valueBytes: number
    }
  /** Which of these keys this member does not have, after a read barrier. */
  | { readonly id: number; readonly kind: 'missing'; readonly keys: readonly string[] }
  | { readonly id: number; readonly kind: 'close' }

/** Puts under way while a member is filled. */
const FILLERS = 1_000

const config: MemberConfig = JSON.parse(readFileSync(process.argv[2]!, 'utf8'))
const machine = new KvMachine()
const { member, rpc } = await open()
const clients = await serveClients()
const putServer = config.puts === undefined ? null : await servePuts(config.puts, putValue)

function say(fields: object): void {
  process.stdout.write(`${JSON.stringify(fields)}\n`)
}

async function open(): Promise<{ member: Member; rpc: RpcServer }> {
  const pem = (name: keyof MemberConfig['tls']): Buffer => readFileSync(config.tls[name])
  const identity = new IdentityHolder({
    certificate: pem('certificate'),
    privateKey: pem('key'),
    roots: pem('roots'),
  })
  const clock = { nowMs: () => performance.now(), wallMs: () => Date.now() }
  const refusal = { code: status.UNAUTHENTICATED, details: 'members only' }
  const server = new RpcServer({
    identity,
    clock,
    authorize: (peer) => (peer === null ? refusal : null),
  })
  let opened: Member | null = null
  const { directory, start, snapshotEntries, keptEntries } = config
  opened = await openMember(
    {
      directory,
      start,
      ...(snapshotEntries === undefined ? {} : { snapshotEntries }),
      ...(keptEntries === undefined ? {} : { keptEntries }),
    },
    {
      machine,
      keys: fileKeys(`${directory}.key`),
      transport: ({ raftId, clusterId }) =>
        new GrpcTransport({
          id: raftId,
          clusterId,
          identity,
          server,
          speaksFor: ({ nodeId }, id) => opened?.speaksFor(nodeId, id) ?? true,
        }),
    },
  )
  await server.listen(config.address)
  return { member: opened, rpc: server }
}

async function serveClients(): Promise<Server> {
  const path = fileURLToPath(new URL('kv.proto', import.meta.url))
  const loaded = loadPackageDefinition(loadSync(path, { longs: Number }))
  const { KV, Maintenance } = loaded.etcdserverpb as unknown as Record<
    string,
    { service: Parameters<Server['addService']>[0] }
  >
  const server = new Server({ 'grpc.enable_channelz': 0 })
  server.addService(KV!.service, { Put: put, Range: range })
  server.addService(Maintenance!.service, { Status: leaderStatus })
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(config.clients, ServerCredentials.createInsecure(), (error) => {
      if (error === null) resolve()
      else reject(error)
    })
  })
  return server
}

type Reply = (error: { code: number; details: string } | null, answer?: object) => void

function failed(error: Error): { code: number; details: string } {
  const { code } = error as { code?: string }
  const isUnknown = code === 'lost-leadership' || code === 'shut-down'
  return { code: isUnknown ? status.UNKNOWN : status.UNAVAILABLE, details: error.message }
}

async function putValue(key: Uint8Array, value: Uint8Array): Promise<number> {
  return (await member.propose(putEntry(key, value))).index
}

function put({ request }: { request: { key: Uint8Array; value: Uint8Array } }, reply: Reply): void {
  member.propose(putEntry(request.key, request.value)).then(
    ({ index }) => reply(null, { header: { revision: index } }),
    (error: Error) => reply(failed(error)),
  )
}

function range({ request }: { request: { key: Uint8Array } }, reply: Reply): void {
  member.readBarrier(2_000).then(
    (index) => {
      const value = machine.get(Buffer.from(request.key).toString('latin1'))
      const kvs = value === undefined ? [] : [{ key: request.key, value }]
      reply(null, { header: { revision: index }, kvs })
    },
    (error: Error) => reply(failed(error)),
  )
}

function leaderStatus(_call: unknown, reply: Reply): void {
  const { term, lead, applied } = member.status()
  const isReady = lead !== member.id || member.isLeader
  const header = { memberId: member.id, revision: applied, raftTerm: term }
  reply(null, { header, leader: isReady ? lead : 0, raftIndex: applied, raftTerm: term })
}

async function fill(count: number, valueBytes: number): Promise<number> {
  const value = Buffer.alloc(valueBytes, 120)
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < count) await putValue(Buffer.from(`fill-${next++}`), value)
  }
  await Promise.all(Array.from({ length: FILLERS }, worker))
  return member.appliedIndex
}

async function obey(order: Order): Promise<unknown> {
  switch (order.kind) {
    case 'change':
      await member.membership.change(order.request)
      return null
    case 'status':
      return { ...member.status(), keys: machine.size }
    case 'metrics':
      return member.metrics()
    case 'fill':
      return fill(order.count, order.valueBytes)
    case 'missing':
      await member.readBarrier(20_000)
      return order.keys.filter((key) => machine.get(key) === undefined)
    case 'close':
      clients.forceShutdown()
      putServer?.close()
      await member.close()
      await rpc.close()
      return null
  }
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const order: Order = JSON.parse(line)
  obey(order).then(
    (answer) => {
      say({ answer: order.id, value: answer })
      if (order.kind === 'close') process.exit(0)
    },
    (error: Error) => say({ answer: order.id, error: error.message }),
  )
})
process.stdin.on('end', () => process.exit(0))
member.leadership.on(({ term, leads }) => say({ term, leads }))
say({ serves: true, id: member.id })
