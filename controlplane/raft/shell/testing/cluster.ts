// Members of one process with real disks and transports in memory, for tests.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StorageError } from '../errors.ts'
import { type KeyProvider, memoryKeys } from '../keys.ts'
import type { Member } from '../member.ts'
import type { MemberAddress } from '../members.ts'
import { MemoryHub, type MemoryTransport } from '../memory-transport.ts'
import { drawRaftId, openMember, type StartMode } from '../open-member.ts'
import { ListMachine } from './machine.ts'

const CLUSTER = 'test-cluster'
const DEADLINE_MS = 30_000

export interface TestNode {
  readonly name: string
  readonly directory: string
  readonly keys: KeyProvider
  machine: ListMachine
  member: Member | null
  transport: MemoryTransport | null
  /** What its disk ended it with. */
  fatal: StorageError | null
}

export class TestCluster {
  readonly root: string = mkdtempSync(join(tmpdir(), 'weft-raft-'))
  readonly hub: MemoryHub = new MemoryHub()
  readonly nodes: TestNode[] = []
  readonly #snapshots: { snapshotEntries: number; keptEntries: number }

  constructor(snapshotEntries = 10_000, keptEntries = 500) {
    this.#snapshots = { snapshotEntries, keptEntries }
  }

  addNode(name: string): TestNode {
    const node = {
      name,
      directory: join(this.root, name),
      keys: memoryKeys(),
      machine: new ListMachine(),
      member: null,
      transport: null,
      fatal: null,
    }
    this.nodes.push(node)
    return node
  }

  address(node: TestNode): string {
    return `${node.name}:1`
  }

  async start(node: TestNode, start: StartMode): Promise<Member> {
    node.machine = new ListMachine()
    const { directory, keys, machine } = node
    node.member = await openMember(
      { directory, start, tickMs: 50, ...this.#snapshots },
      {
        machine,
        keys,
        transport: ({ raftId }) => {
          node.transport = this.hub.join(raftId, this.address(node))
          return node.transport
        },
        fatal: (error) => {
          node.fatal = error
        },
      },
    )
    return node.member
  }

  async restart(node: TestNode): Promise<Member> {
    return this.start(node, { kind: 'restart', clusterId: CLUSTER, nodeId: node.name })
  }

  async stop(node: TestNode): Promise<void> {
    const { member } = node
    node.member = null
    await member?.close()
  }

  /** `count` members that found a cluster together. */
  async found(count: number): Promise<TestNode[]> {
    const nodes = Array.from({ length: count }, (_, i) => this.addNode(`node${i + 1}`))
    const founders: MemberAddress[] = nodes.map((node) => ({
      id: drawRaftId(),
      address: this.address(node),
      nodeId: node.name,
    }))
    for (const node of nodes) {
      const address = this.address(node)
      await this.start(node, {
        kind: 'found',
        clusterId: CLUSTER,
        nodeId: node.name,
        address,
        founders,
      })
    }
    return nodes
  }

  /** A node that waits to be added. */
  async join(name: string, contact: Member): Promise<TestNode> {
    const node = this.addNode(name)
    const peers = contact.membership.members()
    await this.start(node, { kind: 'join', clusterId: CLUSTER, nodeId: name, peers })
    return node
  }

  leader(): Promise<TestNode> {
    return until(() => this.nodes.find(({ member }) => member?.isLeader === true))
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map((node) => this.stop(node)))
    rmSync(this.root, { recursive: true, force: true })
  }
}

/** What `look` finds, once it finds something. */
export async function until<T>(
  look: () => T | undefined | null | false | Promise<T | false>,
): Promise<T> {
  const endMs = Date.now() + DEADLINE_MS
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== null && found !== false) return found
    if (Date.now() > endMs) throw new Error(`never so: ${look}`)
    await sleep(5)
  }
}
