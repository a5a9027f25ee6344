// Who the members are and where they can be reached. The core knows ids alone; the addresses travel
// in the context of membership changes, are applied with them, and are kept in every snapshot, so
// each member's book says the same at the same index.
//
//   snapshot of a member   u32 length of the book (top bit: no state machine yet), the book, the
//                          state machine
//
// Book and contexts are JSON: rare, small, and read by people when something is wrong.

import type { ConfState, NodeId } from '../messages.ts'
import { MAX_ADDRESS_LENGTH, MAX_ID_LENGTH, MAX_MEMBERS, MAX_REMOVED } from './limits.ts'

export interface MemberAddress {
  readonly id: NodeId
  /** host:port */
  readonly address: string
  /** The node that runs it: it keeps its name when it comes back under another Raft id. */
  readonly nodeId: string
}

const HEAD_BYTES = 4

export class MemberBook {
  readonly #members = new Map<NodeId, MemberAddress>()
  #removed: NodeId[] = []

  get(id: NodeId): MemberAddress | null {
    return this.#members.get(id) ?? null
  }

  /** By ascending id. */
  all(): readonly MemberAddress[] {
    return [...this.#members.values()].sort((a, b) => a.id - b.id)
  }

  /** Ids that were members and never will be again. */
  removed(): ReadonlySet<NodeId> {
    return new Set(this.#removed)
  }

  put(member: MemberAddress): void {
    this.#members.set(member.id, member)
  }

  /** Forgets who is not in `config` and notes those that are gone for good. */
  follow(config: ConfState): void {
    const { voters, votersOutgoing, learners, learnersNext } = config
    const present = new Set([...voters, ...votersOutgoing, ...learners, ...learnersNext])
    for (const id of [...this.#members.keys()]) if (!present.has(id)) this.remove(id)
  }

  remove(id: NodeId): void {
    this.#members.delete(id)
    if (!this.#removed.includes(id)) this.#removed.push(id)
    this.#removed = this.#removed.slice(-MAX_REMOVED)
  }

  encode(): Uint8Array {
    const text = JSON.stringify({ members: this.all(), removed: this.#removed })
    return new TextEncoder().encode(text)
  }

  /** Takes what encode() gave. Throws a RangeError for anything else. */
  static decode(bytes: Uint8Array): MemberBook {
    const book = new MemberBook()
    const { members, removed } = parse(bytes) as { members?: unknown; removed?: unknown }
    for (const member of checkMembers(members)) book.put(member)
    if (!Array.isArray(removed) || !removed.every((id) => Number.isSafeInteger(id))) {
      throw new RangeError('a book of members says who was removed')
    }
    book.#removed = removed
    return book
  }
}

/** The context of a membership change: what must be known of those that it adds. */
export function encodeContext(members: readonly MemberAddress[]): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(members))
}

/** Empty for what encodeContext() does not make. */
export function decodeContext(bytes: Uint8Array | undefined): readonly MemberAddress[] {
  if (bytes === undefined || bytes.length === 0) return []
  try {
    return checkMembers(parse(bytes))
  } catch {
    return []
  }
}

/** Throws a RangeError unless this is a list of members. */
export function checkMembers(value: unknown): readonly MemberAddress[] {
  if (!Array.isArray(value) || value.length > MAX_MEMBERS) throw new RangeError('not members')
  return value.map((item) => {
    const { id, address, nodeId } = (item ?? {}) as Record<string, unknown>
    if (!Number.isSafeInteger(id) || (id as number) < 1) throw new RangeError(`not a member: ${id}`)
    if (typeof address !== 'string' || address.length > MAX_ADDRESS_LENGTH) {
      throw new RangeError('not an address')
    }
    if (typeof nodeId !== 'string' || nodeId.length > MAX_ID_LENGTH) {
      throw new RangeError('not a node id')
    }
    return { id: id as number, address, nodeId }
  })
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    throw new RangeError('not a book of members')
  }
}

/** `machine` is null where there is no state machine yet: a founder's first snapshot. */
export function joinSnapshot(book: MemberBook, machine: Uint8Array | null): Uint8Array {
  const head = book.encode()
  const bytes = new Uint8Array(HEAD_BYTES + head.length + (machine?.length ?? 0))
  const flag = machine === null ? 0x8000_0000 : 0
  new DataView(bytes.buffer).setUint32(0, (flag | head.length) >>> 0)
  bytes.set(head, HEAD_BYTES)
  if (machine !== null) bytes.set(machine, HEAD_BYTES + head.length)
  return bytes
}

/** Throws a RangeError for what joinSnapshot() does not make. */
export function splitSnapshot(bytes: Uint8Array): {
  book: MemberBook
  machine: Uint8Array | null
} {
  if (bytes.length < HEAD_BYTES) throw new RangeError('not a snapshot of a member')
  const word = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)
  const end = HEAD_BYTES + (word & 0x7fff_ffff)
  if (end > bytes.length) throw new RangeError('not a snapshot of a member')
  const book = MemberBook.decode(bytes.subarray(HEAD_BYTES, end))
  return { book, machine: word >= 0x8000_0000 ? null : bytes.subarray(end) }
}
