// How a member begins: it founds a cluster, joins one, comes back, or goes on alone from what is
// left of one.
//
//   found   the first member, or one of several founders that all name each other
//   join    empty: it takes a Raft id of its own and hears the rest from the leader, once the
//           cluster has added it
//   restart from its directory
//   force-new-cluster   from its directory, as the only member of a cluster
//
// Raft ids are drawn at random here and kept nowhere but in the directory. Whoever lost the
// directory therefore comes back as somebody new; nothing can hand it its old id again.
//
// force-new-cluster takes all of the log, committed or not as far as is known here: what had been
// acknowledged stays, and what had not may take effect, as it might have anyway. The others are
// noted as removed, and this member gets a new Raft id, so whoever of the old cluster is still
// alive cannot disturb the new one.

import { randomBytes } from 'node:crypto'
import { type Logger, silentLogger } from '../../../base/log.ts'
import { prngOfState } from '../../../base/prng.ts'
import { decodeConfChange } from '../codec.ts'
import { foundingState } from '../memory-storage.ts'
import { type ConfState, EMPTY_CONF_STATE, type NodeId, type Snapshot } from '../messages.ts'
import type { Identity } from './directory.ts'
import { StorageError } from './errors.ts'
import type { KeyProvider } from './keys.ts'
import * as limits from './limits.ts'
import { Member, type StateMachine } from './member.ts'
import {
  checkMembers,
  decodeContext,
  joinSnapshot,
  type MemberAddress,
  MemberBook,
  splitSnapshot,
} from './members.ts'
import { checkAddress } from './membership.ts'
import { foundingWrite, MemberStorage } from './storage.ts'
import type { StorageStart } from './storage-protocol.ts'
import type { Transport } from './transport-contract.ts'

export type StartMode =
  /** `founders` are all members, this one included, and alike for all of them; by default this one
   * alone. */
  | {
      readonly kind: 'found'
      readonly clusterId: string
      readonly nodeId: string
      readonly address: string
      readonly founders?: readonly MemberAddress[]
    }
  /** `peers`: members to answer before the leader told of them; may also come later, by
   * learnPeers(). */
  | {
      readonly kind: 'join'
      readonly clusterId: string
      readonly nodeId: string
      readonly peers?: readonly MemberAddress[]
    }
  /** What is known of the identity is checked against the directory. */
  | { readonly kind: 'restart'; readonly clusterId?: string; readonly nodeId?: string }
  | { readonly kind: 'force-new-cluster'; readonly address: string; readonly nodeId?: string }

export interface OpenOptions {
  readonly directory: string
  readonly start: StartMode
  /** Default 10,000 and 500. */
  readonly snapshotEntries?: number
  readonly keptEntries?: number
  /** Default 100. Shorter in tests only. */
  readonly tickMs?: number
}

export interface OpenDependencies {
  readonly machine: StateMachine
  readonly keys: KeyProvider
  /** Called once the identity is known. */
  readonly transport: (self: Identity) => Transport
  readonly logger?: Logger
  /** The disk failed: the process must end. By default it does, with status 74 and a line on
   * standard error. */
  readonly fatal?: (error: StorageError) => void
}

/** EX_IOERR of sysexits.h. */
const DISK_FAILED_STATUS = 74

/** A Raft id that nobody has had: 53 random bits. */
export function drawRaftId(): NodeId {
  for (;;) {
    const id = Number(randomBytes(8).readBigUInt64BE() >> 11n)
    if (id >= 1 && id <= Number.MAX_SAFE_INTEGER - 2) return id
  }
}

/** Starts a member. Rejects with a StorageError that says what is wrong with its directory. */
export async function openMember(
  options: OpenOptions,
  { machine, keys, transport, logger = silentLogger, fatal = endProcess }: OpenDependencies,
): Promise<Member> {
  // The disk may fail before there is a member.
  let member: Member | null = null as Member | null
  const storage = await MemberStorage.open({
    ...storageStart(options),
    keys,
    logger,
    fatal: (error) => {
      member?.halt()
      fatal(error)
    },
  })
  try {
    const { start } = options
    if (start.kind === 'force-new-cluster') await refound(storage, start, machine)
    const { state } = storage
    const { snapshotEntries = limits.SNAPSHOT_ENTRIES, keptEntries = limits.KEPT_ENTRIES } = options
    const { tickMs = limits.TICK_MS } = options
    const random = seededPrng()
    member = new Member(
      { machine, random, logger, snapshotEntries, keptEntries, tickMs },
      storage,
      transport(state.identity),
    )
    if (state.firstPeers !== '' && state.snapshot === null) {
      await member.learnPeers(checkMembers(JSON.parse(state.firstPeers)))
    }
    return member
  } catch (error) {
    await (member ?? storage).close()
    throw error
  }
}

function storageStart({ directory, start }: OpenOptions): Omit<StorageStart, 'keys' | 'mailbox'> {
  const common = { directory, expected: {}, founding: null, takesRestored: false }
  switch (start.kind) {
    case 'found': {
      const { founding, identity } = foundingOf(start)
      return { ...common, expected: identity, founding }
    }
    case 'join': {
      const { clusterId, nodeId, peers = [] } = start
      const identity = { clusterId, nodeId, raftId: drawRaftId() }
      const firstPeers = JSON.stringify(checkMembers(peers))
      return { ...common, expected: identity, founding: { identity, write: null, firstPeers } }
    }
    case 'restart': {
      const { clusterId, nodeId } = start
      const expected = {
        ...(clusterId === undefined ? {} : { clusterId }),
        ...(nodeId === undefined ? {} : { nodeId }),
      }
      return { ...common, expected }
    }
    case 'force-new-cluster': {
      const { nodeId } = start
      return { ...common, expected: nodeId === undefined ? {} : { nodeId }, takesRestored: true }
    }
  }
}

function foundingOf(start: StartMode & { kind: 'found' }): {
  identity: Identity
  founding: NonNullable<StorageStart['founding']>
} {
  const { clusterId, nodeId } = start
  const alone = [{ id: drawRaftId(), address: checkAddress(start.address), nodeId }]
  const founders = checkMembers(start.founders ?? alone)
  const self = founders.find((founder) => founder.nodeId === nodeId)
  if (self === undefined) throw new RangeError(`node ${nodeId} is not among the founders`)
  const book = new MemberBook()
  for (const founder of founders) book.put(founder)
  const voters = founders.map(({ id }) => id).sort((a, b) => a - b)
  const { snapshot, hardState } = foundingState(votersOnly(voters), joinSnapshot(book, null))
  const identity = { clusterId, nodeId, raftId: self.id }
  return {
    identity,
    founding: { identity, write: foundingWrite(snapshot, hardState), firstPeers: '' },
  }
}

function votersOnly(voters: readonly NodeId[]): ConfState {
  return { ...EMPTY_CONF_STATE, voters }
}

/** Replays all there is and writes it down as the state of a new cluster. */
async function refound(
  storage: MemberStorage,
  start: StartMode & { kind: 'force-new-cluster' },
  machine: StateMachine,
): Promise<void> {
  const { state } = storage
  const { snapshot, entries, hardState } = state
  if (snapshot === null) {
    const { raftId } = state.identity
    throw new StorageError('no-state', `Member ${raftId} joined but never heard of its cluster.`)
  }
  const old = splitSnapshot(snapshot.data)
  if (old.machine !== null) machine.restore(old.machine, snapshot.index)
  const { book } = old
  for (const { type, data, index } of entries) {
    if (type !== 'EntryNormal') {
      for (const member of decodeContext(decodeConfChange({ data })?.context)) book.put(member)
    } else if (data.length > 0) {
      machine.apply(data, index)
    }
  }
  const identity = { ...state.identity, raftId: drawRaftId() }
  for (const { id } of book.all()) book.remove(id)
  book.remove(state.identity.raftId)
  const address = checkAddress(start.address)
  book.put({ id: identity.raftId, address, nodeId: identity.nodeId })
  const last = entries.at(-1) ?? snapshot
  const founded: Snapshot = {
    index: last.index,
    term: last.term,
    confState: votersOnly([identity.raftId]),
    data: joinSnapshot(book, machine.snapshot()),
  }
  const term = Math.max(hardState.term, last.term)
  await storage.refound(identity, founded, { term, vote: 0, commit: last.index })
}

function seededPrng(): ReturnType<typeof prngOfState> {
  const seed = randomBytes(16)
  const word = (at: number): number => seed.readUInt32LE(at)
  return prngOfState(word(0) | 1, word(4), word(8), word(12))
}

function endProcess(error: StorageError): void {
  process.stderr.write(`weft: ${error.message}\n`)
  process.exit(DISK_FAILED_STATUS)
}
