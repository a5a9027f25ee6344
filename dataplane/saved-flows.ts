// The flows of a packet loop as a file's bytes, so that established flows go on when the agent is
// restarted. The balancer writes and reads its entries (ipvs-emulator/flow-state.ts); what it
// cannot know is put around them: when that was, which network each of its zones was, and which
// peer each of the numbers by which flows name their way in, because each start numbers them anew.
//
//   magic(4) "WFSV"  version(2)  0(2)  size of the header(4)
//   header: JSON {"savedMs": wall clock, "zones": {"network": zone}, "peers": {"name": number}}
//   CRC-32C(4) of everything before
//   the balancer's bytes, which have a version and a checksum of their own
//
// Every entry is judged by the tables that run now: one whose network, service, real server or
// address is not there any more is left out, and so is one whose time has run out meanwhile. A flow
// that came by a peer that is gone is ended.

import { crc32c } from '../ipvs-emulator/crc32c.ts'
import type { Director } from '../ipvs-emulator/director.ts'
import { FlowStateError, loadFlows, saveFlows } from '../ipvs-emulator/flow-state.ts'
import { type Balance, MESH_ZONE, twinPeer, twinZone } from './balance.ts'
import { SAVED_HEADER_SIZE_MAX } from './limits.ts'

const MAGIC = 0x57465356
const VERSION = 1
const FIXED_SIZE = 12

/** What became of the entries of a file. */
export interface Restored {
  readonly loaded: number
  readonly dropped: number
}

/** Numbers of this start, by name. */
export interface FlowNumbers {
  readonly zones: ReadonlyMap<string, number>
  readonly peers: ReadonlyMap<string, number>
}

interface Header {
  readonly savedMs: number
  readonly zones: Readonly<Record<string, number>>
  /** Absent = as they are now. */
  readonly peers?: Readonly<Record<string, number>>
}

/** The flows as bytes. */
export function packFlows(
  director: Director,
  { zones, peers }: FlowNumbers,
  wallMs: number,
): Uint8Array<ArrayBuffer> {
  const header: Header = {
    savedMs: wallMs,
    zones: Object.fromEntries(zones),
    peers: Object.fromEntries(peers),
  }
  const text = new TextEncoder().encode(JSON.stringify(header))
  const flows = saveFlows(director)
  const bytes = new Uint8Array(FIXED_SIZE + text.length + 4 + flows.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, MAGIC)
  view.setUint16(4, VERSION)
  view.setUint32(8, text.length)
  bytes.set(text, FIXED_SIZE)
  const end = FIXED_SIZE + text.length
  view.setUint32(end, crc32c(view, 0, end))
  bytes.set(flows, end + 4)
  return bytes
}

/** Takes over what packFlows() made. `numbers` as they are now. Throws FlowStateError for bytes
 * that are damaged or of another version; then nothing has been taken over. */
export function unpackFlows(
  balance: Balance,
  numbers: FlowNumbers,
  wallMs: number,
  bytes: Uint8Array,
): Restored {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const header = readHeader(view, bytes)
  const zones = renumbered(header.zones, numbers.zones).set(MESH_ZONE, MESH_ZONE)
  const peers = renumbered(header.peers ?? Object.fromEntries(numbers.peers), numbers.peers)
  const peerOf = (peer: number): number => peers.get(peer) ?? -1
  const zoneOf = (zone: number): number => {
    if (twinPeer(zone) < 0) return zones.get(zone) ?? -1
    const peer = peerOf(twinPeer(zone))
    return peer < 0 ? -1 : twinZone(peer)
  }
  const from = FIXED_SIZE + view.getUint32(8) + 4
  // A clock that was set back tells nothing; the flows' own timeouts then run anew.
  const elapsedMs = Math.max(wallMs - header.savedMs, 0)
  const read = loadFlows(balance.director, bytes.subarray(from), elapsedMs, zoneOf)
  const ended = balance.adopt(peerOf)
  return { loaded: read.loaded - ended, dropped: read.skipped + ended }
}

/** From the numbers of then to those of now. */
function renumbered(
  then: Readonly<Record<string, number>>,
  now: ReadonlyMap<string, number>,
): Map<number, number> {
  const numbers = new Map<number, number>()
  for (const [name, number] of Object.entries(then)) {
    const present = now.get(name)
    if (present !== undefined) numbers.set(number, present)
  }
  return numbers
}

function readHeader(view: DataView, bytes: Uint8Array): Header {
  if (view.byteLength < FIXED_SIZE + 4 || view.getUint32(0) !== MAGIC) {
    throw new FlowStateError('not a file of saved flows')
  }
  if (view.getUint16(4) !== VERSION) {
    throw new FlowStateError(`version ${view.getUint16(4)}, but ${VERSION} is understood`)
  }
  const size = view.getUint32(8)
  const end = FIXED_SIZE + size
  if (size > SAVED_HEADER_SIZE_MAX || end + 4 > view.byteLength) {
    throw new FlowStateError('cut short')
  }
  if (crc32c(view, 0, end) !== view.getUint32(end)) throw new FlowStateError('damaged')
  const header: unknown = JSON.parse(new TextDecoder().decode(bytes.subarray(FIXED_SIZE, end)))
  const { savedMs, zones, peers } = (header ?? {}) as Partial<Header>
  if (typeof savedMs !== 'number' || typeof zones !== 'object' || zones === null) {
    throw new FlowStateError('has no header')
  }
  return { savedMs, zones, ...(peers === undefined ? {} : { peers }) }
}
