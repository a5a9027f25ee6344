// Goal: whole members, disks and all, work over the real transport: they found a cluster, take in a
// member by a snapshot, outlive their leader, and end the one that is removed. Method: four members
// in this process, each with its own server on loopback.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { IdentityHolder } from '../../../proto/identity.ts'
import { RpcServer } from '../../../proto/server.ts'
import { TestAuthority } from '../../../proto/testing/certificates.ts'
import { memoryKeys } from '../keys.ts'
import type { Member } from '../member.ts'
import type { MemberAddress } from '../members.ts'
import { drawRaftId, openMember, type StartMode } from '../open-member.ts'
import { until } from '../testing/cluster.ts'
import { ListMachine, text } from '../testing/machine.ts'
import { GrpcTransport } from './transport.ts'

const CLUSTER = 'test-cluster'
const authority = new TestAuthority(CLUSTER)
const clock = { nowMs: () => performance.now(), wallMs: () => Date.now() }

class Node {
  readonly machine: ListMachine = new ListMachine()
  readonly #identity: IdentityHolder
  readonly #server: RpcServer
  readonly #directory: string
  readonly name: string
  address = ''
  member: Member | null = null

  constructor(root: string, name: string) {
    this.name = name
    this.#directory = join(root, name)
    this.#identity = new IdentityHolder(authority.issue({ nodeId: name }))
    this.#server = new RpcServer({ identity: this.#identity, clock, authorize: () => null })
  }

  async listen(): Promise<void> {
    this.address = `127.0.0.1:${await this.#server.listen('127.0.0.1:0')}`
  }

  async start(start: StartMode): Promise<Member> {
    this.member = await openMember(
      { directory: this.#directory, start, snapshotEntries: 50, keptEntries: 5 },
      {
        machine: this.machine,
        keys: memoryKeys(),
        transport: ({ raftId, clusterId }) =>
          new GrpcTransport({
            id: raftId,
            clusterId,
            identity: this.#identity,
            server: this.#server,
            speaksFor: () => true,
          }),
        fatal: (error) => t.fail(error.message),
      },
    )
    return this.member
  }

  async stop(): Promise<void> {
    await this.member?.close()
    this.member = null
    await this.#server.close()
  }
}

t.test('members over gRPC', { timeout: 110_000 }, async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'weft-raft-grpc-'))
  const nodes = ['one', 'two', 'three', 'four'].map((name) => new Node(root, name))
  t.teardown(async () => {
    await Promise.all(nodes.map((node) => node.stop()))
    rmSync(root, { recursive: true, force: true })
  })
  for (const node of nodes) await node.listen()
  const founding = nodes.slice(0, 3)
  const founders: MemberAddress[] = founding.map(({ name, address }) => ({
    id: drawRaftId(),
    address,
    nodeId: name,
  }))
  for (const { name, address } of founding) {
    const node = nodes.find((each) => each.name === name)!
    await node.start({ kind: 'found', clusterId: CLUSTER, nodeId: name, address, founders })
  }
  const first = await until(() => founding.find(({ member }) => member?.isLeader === true))
  const words = Array.from({ length: 200 }, (_, i) => `word ${i}`)
  await Promise.all(words.map((word) => first.member!.propose(text(word))))

  const late = nodes[3]!
  const peers = first.member!.membership.members()
  const joining = await late.start({ kind: 'join', clusterId: CLUSTER, nodeId: late.name, peers })
  const { membership } = first.member!
  const entry = { id: joining.id, address: late.address, nodeId: late.name }
  await membership.change({ kind: 'add-voter', member: entry })
  await joining.readBarrier()
  t.same(late.machine.texts, words, 'the joiner has all of it')

  await first.stop()
  const rest = nodes.filter((node) => node !== first)
  const second = await until(() => rest.find(({ member }) => member?.isLeader === true))
  await second.member!.propose(text('after'))
  for (const node of rest) {
    await node.member!.readBarrier()
    t.same(node.machine.texts, [...words, 'after'], `${node.name} agrees`)
  }

  const removed = rest.find((node) => node !== second)!
  await second.member!.membership.change({ kind: 'remove', id: removed.member!.id })
  await until(() => removed.member!.status().isRemoved)
  t.pass('and the one that is removed learns it')
})
