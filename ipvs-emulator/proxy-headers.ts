// The PROXY header in front of a TCP stream, for services with proxyProtocol: bytes that the client
// never sent, put in by who translates the flow. From then on the server's sequence numbers are
// ahead of the client's by the header's length, as the kernel's ip_vs_seq keeps it for the helpers
// of FTP:
//
//   client     SYN s             ack s+1        data at s+1             … ack s+1+n
//   server     SYN s   ack s+1   header at s+1  data at s+1+L   ack s+1+L+n
//
//   WAITING    the SYN is under way
//   ANSWERED   the server has: `base` (s+1) is known, and what an honest client acknowledges
//   PENDING    the client has acknowledged: the header is sent, and sent again until the server has
//              acknowledged all of it
//   DONE       only the shift is left
//
// Nothing of the client passes before the header: until it has acknowledged what the server really
// sent, its segments are dropped, so nobody can speak in the header's place, and a flood of forged
// segments makes no headers. Until the server has acknowledged the header, bytes that reach from
// before the first one over it are dropped as well, and so are fragments, which hide how far they
// reach. The header is a segment of its own. It takes the place of an
// acknowledgement without data, because a server that answers by SYN cookies knows the connection
// by the first segment's sequence number alone.
//
// It is sent again by time (due()), when the client sends something, before a reset of the client
// (which the server believes only at the right place), and when the server reports data behind a
// gap. While it is pending no SACK is passed on: the client has no gap there, and would take the
// report for one withdrawn.
//
// TCP options that speak of the stream are not let into a handshake: data in a SYN (RFC 7413) would
// come before the header, multipath (RFC 8684) numbers the stream by itself.
//
// A record is eight words at the connection's own number, in arrays that are reserved whole with
// the first such flow and given memory page by page: flows without a header cost nothing.

import { checksum, pseudoSumV4, pseudoSumV6, sumBytes, updateSum16 } from '../wire/checksum.ts'
import { IPV4_HEADER_SIZE, PROTOCOL_TCP } from '../wire/ipv4.ts'
import { IPV6_HEADER_SIZE } from '../wire/ipv6.ts'
import { PROXY_HEADER_SIZE_MAX, writeProxyHeader } from '../wire/proxy-protocol.ts'
import {
  sequenceBefore,
  setTcpAcknowledgement,
  setTcpChecksum,
  setTcpFlags,
  setTcpHeaderSize,
  setTcpSequence,
  setTcpUrgent,
  setTcpWindow,
  TCP_ACK,
  TCP_FIN,
  TCP_HEADER_SIZE,
  TCP_OPTION_MSS,
  TCP_OPTION_NOP,
  TCP_OPTION_SACK,
  TCP_OPTION_SACK_PERMITTED,
  TCP_OPTION_TIMESTAMPS,
  TCP_OPTION_WINDOW_SCALE,
  TCP_PSH,
  TCP_RST,
  TCP_SYN,
  tcpAcknowledgement,
  tcpFlags,
  tcpHeaderSize,
  tcpOption,
  tcpSequence,
  tcpWindow,
} from '../wire/tcp.ts'
import {
  blankTcpOptions,
  moveTcpSack,
  rewriteTcpAcknowledgement,
  rewriteTcpSequence,
  rewriteTcpWindow,
} from '../wire/tcp-rewrite.ts'
import { ADDRESSES, type ConnTable, PORTS } from './conn-table.ts'
import { TCP } from './flow.ts'
import {
  PROXY_HEADER_GAP_MS,
  PROXY_HEADER_LOST_MS,
  PROXY_HEADER_RESEND_MS,
  PROXY_HEADER_TRIES_MAX,
} from './limits.ts'
import { addToChecksum, translatedPorts } from './nat.ts'
import { writeIpOf } from './own-packet.ts'
import { type Quoted, readQuoted } from './quoted.ts'

/** What judge() says of a segment of the client: it goes on; the header goes first; the header goes
 * in its place; it comes too early and is dropped. */
export const PROXY_PASS = 0
export const PROXY_BEFORE = 1
export const PROXY_INSTEAD = 2
export const PROXY_EARLY = 3

const WAITING = 1
const ANSWERED = 2
const PENDING = 3
const DONE = 4

// Words of a record.
/** Sequence number of the client's first byte, and of the header's. */
const BASE = 0
const PHASE = 1
/** Bits 0 to 3 version, 4 whether the client sends timestamps, 8 to 15 length, 16 to 31 the
 * client's window. */
const KIND = 2
/** ANSWERED: what the client must acknowledge. Later: what it acknowledged last. */
const ACKNOWLEDGEMENT = 3
const TIMESTAMP = 4
const TIMESTAMP_ECHO = 5
/** When the header was sent last, in milliseconds modulo 2^32. */
const SENT_MS = 6
/** How often the timer came; 0 = none runs. It outlives the flow until it comes the next time. */
const TRIES = 7
const STRIDE = 8

const VERSION_MASK = 15
const HAS_TIMESTAMPS = 16
const TIMESTAMPS_SIZE = 12
/** Words of a flow as it is saved: all but the timer's. */
export const PROXY_SAVED_WORDS = 6
/** Options that a SYN may bring. */
const SYN_OPTIONS: number =
  (1 << TCP_OPTION_MSS) |
  (1 << TCP_OPTION_WINDOW_SCALE) |
  (1 << TCP_OPTION_SACK_PERMITTED) |
  (1 << TCP_OPTION_TIMESTAMPS)

export class ProxyHeaders {
  /** Flows that have one. While it is 0, nothing else needs to be asked. */
  count = 0
  /** When due() has something, on the clock of the calls; Infinity = nothing waits. */
  dueMs: number = Number.POSITIVE_INFINITY
  readonly #tables: readonly [ConnTable, ConnTable]
  #records: readonly [Int32Array, Int32Array] = [new Int32Array(0), new Int32Array(0)]
  /** A ring of the flows under a timer, in the order in which they are due. */
  #waiting: Int32Array = new Int32Array(256)
  #waitingDueMs: Float64Array = new Float64Array(256)
  #first = 0
  #waitingCount = 0
  readonly #scratch: DataView = new DataView(new ArrayBuffer(PROXY_HEADER_SIZE_MAX))
  readonly #quoted: Quoted = { l4At: 0, protocol: 0 }

  constructor(tables: readonly [ConnTable, ConnTable]) {
    this.#tables = tables
  }

  /** The flow `connection` gets a header of `version` (PROXY_V1, PROXY_V2). It has just begun. */
  open(connection: number, version: number): void {
    if (this.#records[0].length === 0) {
      const [four, six] = this.#tables
      this.#records = [
        new Int32Array((four.capacity + 1) * STRIDE),
        new Int32Array((six.capacity + 1) * STRIDE),
      ]
    }
    const records = this.#records[connection & 1]!
    const at = (connection >>> 1) * STRIDE
    if (records[at + PHASE] === 0) this.count++
    const length = this.#writeHeader(connection, version, this.#scratch, 0)
    records[at + PHASE] = WAITING
    records[at + KIND] = version | (length << 8)
  }

  /** The flow has ended. */
  forget(connection: number): void {
    if (!this.holds(connection)) return
    this.#records[connection & 1]![(connection >>> 1) * STRIDE + PHASE] = 0
    this.count--
  }

  /** True when the flow has a header. To be asked only while `count` is not 0. */
  holds(connection: number): boolean {
    return this.#records[connection & 1]![(connection >>> 1) * STRIDE + PHASE] !== 0
  }

  /** What the server's sequence numbers are ahead by of what the client sends next. */
  shiftOf(connection: number): number {
    if (this.count === 0) return 0
    const records = this.#records[connection & 1]!
    const at = (connection >>> 1) * STRIDE
    return records[at + PHASE]! >= PENDING ? lengthOf(records[at + KIND]!) : 0
  }

  /** True when the SYN at `l4At` is the one that the server has answered. */
  isBegunBy(connection: number, view: DataView, l4At: number): boolean {
    const records = this.#records[connection & 1]!
    const at = (connection >>> 1) * STRIDE
    return (
      records[at + PHASE]! > WAITING && ((tcpSequence(view, l4At) + 1) | 0) === records[at + BASE]
    )
  }

  /** What becomes of a segment of the client, as it sent it: PROXY_*. `end` is that of the whole
   * packet, `isFragment` that there is more of it elsewhere. To be called before it is tracked. */
  judge(
    connection: number,
    view: DataView,
    l4At: number,
    end: number,
    isFragment: boolean,
    nowMs: number,
  ): number {
    const records = this.#records[connection & 1]!
    const at = (connection >>> 1) * STRIDE
    const flags = tcpFlags(view, l4At)
    const payloadSize = end - l4At - tcpHeaderSize(view, l4At)
    const phase = records[at + PHASE]!
    if ((flags & TCP_SYN) !== 0) return payloadSize > 0 || isFragment ? PROXY_EARLY : PROXY_PASS
    if (phase === DONE) return PROXY_PASS
    if (isFragment || reachesOver(tcpSequence(view, l4At), payloadSize, records[at + BASE]!)) {
      return PROXY_EARLY
    }
    if (phase < PENDING) {
      if ((flags & TCP_RST) !== 0) return PROXY_PASS
      if (phase === WAITING || (flags & TCP_ACK) === 0) return PROXY_EARLY
      if ((tcpAcknowledgement(view, l4At) | 0) !== records[at + ACKNOWLEDGEMENT]) return PROXY_EARLY
      records[at + PHASE] = PENDING
      this.#startTimer(connection, records, at, nowMs)
    } else if ((flags & TCP_RST) === 0 && elapsed(records, at, nowMs) < PROXY_HEADER_GAP_MS) {
      this.#note(records, at, view, l4At)
      return PROXY_PASS
    }
    if ((flags & TCP_RST) === 0) this.#note(records, at, view, l4At)
    records[at + SENT_MS] = nowMs | 0
    const isBare = payloadSize === 0 && (flags & (TCP_FIN | TCP_RST)) === 0
    return isBare ? PROXY_INSTEAD : PROXY_BEFORE
  }

  /** Rewrites a segment of the client, already translated, for the server. */
  shiftForward(connection: number, view: DataView, l4At: number, partial: boolean): void {
    const records = this.#records[connection & 1]!
    const at = (connection >>> 1) * STRIDE
    if ((tcpFlags(view, l4At) & TCP_SYN) !== 0) {
      blankTcpOptions(view, l4At, SYN_OPTIONS, partial)
      return
    }
    const phase = records[at + PHASE]!
    if (phase < PENDING) return
    const sequence = tcpSequence(view, l4At)
    // A keep-alive before the first byte: shifted, it would lie within the header, and its byte
    // with it. Later such numbers may be of the stream's next 2 GB.
    if (phase === PENDING && sequenceBefore(sequence, records[at + BASE]!)) return
    rewriteTcpSequence(view, l4At, (sequence + lengthOf(records[at + KIND]!)) | 0, partial)
  }

  /** Rewrites a segment of the server for the client. True when the header is to be sent again. */
  shiftReply(
    connection: number,
    view: DataView,
    l4At: number,
    partial: boolean,
    nowMs: number,
  ): boolean {
    const records = this.#records[connection & 1]!
    const at = (connection >>> 1) * STRIDE
    const flags = tcpFlags(view, l4At)
    const length = lengthOf(records[at + KIND]!)
    if ((flags & TCP_SYN) !== 0) {
      this.#answered(records, at, view, l4At)
      // The header takes its share of the first window (which no scale applies to).
      rewriteTcpWindow(view, l4At, Math.max(tcpWindow(view, l4At) - length, 0), partial)
      return false
    }
    const phase = records[at + PHASE]!
    if (phase < PENDING || (flags & (TCP_ACK | TCP_RST)) === 0) return false
    const acknowledgement = tcpAcknowledgement(view, l4At)
    const base = records[at + BASE]!
    const ahead = (acknowledgement - base) | 0
    const acknowledged = phase === DONE || ahead >= length
    if (acknowledged || (flags & TCP_RST) !== 0) records[at + PHASE] = DONE
    if ((flags & TCP_ACK) === 0) return false
    if (acknowledged) {
      rewriteTcpAcknowledgement(view, l4At, (acknowledgement - length) | 0, partial)
      moveTcpSack(view, l4At, -length, partial)
      return false
    }
    if (ahead > 0) rewriteTcpAcknowledgement(view, l4At, base, partial)
    const hasGap = blankTcpOptions(view, l4At, ~(1 << TCP_OPTION_SACK), partial)
    if (!hasGap || elapsed(records, at, nowMs) < PROXY_HEADER_LOST_MS) return false
    records[at + SENT_MS] = nowMs | 0
    return true
  }

  /** The server takes the connection. When it takes another one from the same client and port,
   * which only it can know, that one gets its own header. */
  #answered(records: Int32Array, at: number, view: DataView, l4At: number): void {
    const base = tcpAcknowledgement(view, l4At) | 0
    if (records[at + PHASE]! >= PENDING && records[at + BASE] === base) return
    records[at + BASE] = base
    records[at + PHASE] = ANSWERED
    records[at + ACKNOWLEDGEMENT] = (tcpSequence(view, l4At) + 1) | 0
  }

  /** Keeps what a header that is sent later says of the client. */
  #note(records: Int32Array, at: number, view: DataView, l4At: number): void {
    if ((tcpFlags(view, l4At) & TCP_ACK) !== 0) {
      records[at + ACKNOWLEDGEMENT] = tcpAcknowledgement(view, l4At) | 0
    }
    let kind = (records[at + KIND]! & 0xffef) | (tcpWindow(view, l4At) << 16)
    const option = tcpOption(view, l4At, TCP_OPTION_TIMESTAMPS)
    if (option >= 0 && view.getUint8(option + 1) === 10) {
      kind |= HAS_TIMESTAMPS
      records[at + TIMESTAMP] = view.getInt32(option + 2)
      records[at + TIMESTAMP_ECHO] = view.getInt32(option + 6)
    }
    records[at + KIND] = kind
  }

  /** An ICMP error on its way to the client quotes a segment as the server was sent it, at
   * `icmpAt`: gives it the client's numbers. */
  unquote(connection: number, view: DataView, icmpAt: number, end: number): void {
    const records = this.#records[connection & 1]!
    const at = (connection >>> 1) * STRIDE
    const phase = records[at + PHASE]!
    const quoted = this.#quoted
    if (phase < PENDING || !readQuoted(quoted, view, icmpAt + 8, end)) return
    if (quoted.protocol !== TCP) return
    const sequence = tcpSequence(view, quoted.l4At)
    const base = records[at + BASE]!
    if (phase === PENDING && sequenceBefore(sequence, base)) return
    let own = (sequence - lengthOf(records[at + KIND]!)) | 0
    if (phase === PENDING && sequenceBefore(own, base)) own = base
    // The quoted header begins at an even place of the message; its checksum may be cut off.
    const changedEnd = Math.min(quoted.l4At + TCP_HEADER_SIZE, end)
    const before = sumBytes(view, quoted.l4At, changedEnd, 0)
    const whole = changedEnd - quoted.l4At === TCP_HEADER_SIZE
    rewriteTcpSequence(view, quoted.l4At, own, !whole)
    const change = updateSum16(0, before, sumBytes(view, quoted.l4At, changedEnd, 0))
    const check = icmpAt + 2
    view.setUint16(check, addToChecksum(view.getUint16(check), change))
  }

  /** Writes at `out` the IP packet that carries the header to the server of `connection`. Returns
   * its length, at most 20 + 20 + 12 + 56 or 40 + 20 + 12 + PROXY_HEADER_SIZE_MAX. */
  write(connection: number, view: DataView, out: number): number {
    const table = this.#tables[connection & 1]!
    const entry = connection >>> 1
    const records = this.#records[connection & 1]!
    const at = entry * STRIDE
    const kind = records[at + KIND]!
    const ipv4 = table.words === 1
    const tcpAt = out + (ipv4 ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE)
    const hasTimestamps = (kind & HAS_TIMESTAMPS) !== 0
    const headerSize = TCP_HEADER_SIZE + (hasTimestamps ? TIMESTAMPS_SIZE : 0)
    const payloadAt = tcpAt + headerSize
    const end = payloadAt + this.#writeHeader(connection, kind & VERSION_MASK, view, payloadAt)
    view.setInt32(tcpAt, translatedPorts(table, entry, 0))
    setTcpSequence(view, tcpAt, records[at + BASE]!)
    setTcpAcknowledgement(view, tcpAt, records[at + ACKNOWLEDGEMENT]!)
    setTcpHeaderSize(view, tcpAt, headerSize)
    setTcpFlags(view, tcpAt, TCP_ACK | TCP_PSH)
    setTcpWindow(view, tcpAt, kind >>> 16)
    setTcpUrgent(view, tcpAt, 0)
    if (hasTimestamps) {
      const option = tcpAt + TCP_HEADER_SIZE
      view.setUint16(option, (TCP_OPTION_NOP << 8) | TCP_OPTION_NOP)
      view.setUint16(option + 2, (TCP_OPTION_TIMESTAMPS << 8) | 10)
      view.setInt32(option + 4, records[at + TIMESTAMP]!)
      view.setInt32(option + 8, records[at + TIMESTAMP_ECHO]!)
    }
    const size = end - tcpAt
    writeIpOf(table, entry, 0, view, out, size)
    const pseudo = ipv4
      ? pseudoSumV4(view, out, PROTOCOL_TCP, size)
      : pseudoSumV6(view, out, PROTOCOL_TCP, size)
    setTcpChecksum(view, tcpAt, 0)
    setTcpChecksum(view, tcpAt, checksum(view, tcpAt, end, pseudo))
    return end - out
  }

  #writeHeader(connection: number, version: number, view: DataView, at: number): number {
    const { records, stride, words } = this.#tables[connection & 1]!
    const record = (connection >>> 1) * stride
    const ports = records[record + PORTS]!
    const client = record + ADDRESSES
    return writeProxyHeader(
      version,
      view,
      at,
      words,
      records,
      client,
      client + words,
      ports >>> 16,
      ports & 0xffff,
    )
  }

  // -- time
  // ---------------------------------------------------------------------------------------

  /** The next flow whose header is to be sent again, -1 = none now. Looks at one flow that is due:
   * `more()` tells whether there are others. */
  due(nowMs: number): number {
    if (!this.more(nowMs)) return -1
    const connection = this.#waiting[this.#first]!
    this.#first = (this.#first + 1) & (this.#waiting.length - 1)
    this.#waitingCount--
    const records = this.#records[connection & 1]!
    const at = (connection >>> 1) * STRIDE
    const tries = records[at + TRIES]! + 1
    const goesOn = records[at + PHASE] === PENDING && tries <= PROXY_HEADER_TRIES_MAX
    records[at + TRIES] = goesOn ? tries : 0
    if (goesOn) this.#wait(connection, nowMs)
    this.#setDue()
    // It is sent when the timer comes for the 1st, 2nd, 4th, 8th … time.
    const comes = tries - 1
    if (!goesOn || (comes & (comes - 1)) !== 0) return -1
    records[at + SENT_MS] = nowMs | 0
    return connection
  }

  /** True while due() has a flow to look at. */
  more(nowMs: number): boolean {
    return nowMs >= this.dueMs
  }

  #startTimer(connection: number, records: Int32Array, at: number, nowMs: number): void {
    const runs = records[at + TRIES]! !== 0
    records[at + TRIES] = 1
    // One that an earlier flow of this number left running comes early, which does no harm.
    if (runs) return
    this.#wait(connection, nowMs)
    this.#setDue()
  }

  #wait(connection: number, nowMs: number): void {
    if (this.#waitingCount === this.#waiting.length) this.#grow()
    const place = (this.#first + this.#waitingCount) & (this.#waiting.length - 1)
    this.#waiting[place] = connection
    this.#waitingDueMs[place] = nowMs + PROXY_HEADER_RESEND_MS
    this.#waitingCount++
  }

  #setDue(): void {
    this.dueMs =
      this.#waitingCount === 0 ? Number.POSITIVE_INFINITY : this.#waitingDueMs[this.#first]!
  }

  #grow(): void {
    const size = this.#waiting.length
    const waiting = new Int32Array(size * 2)
    const due = new Float64Array(size * 2)
    for (let i = 0; i < size; i++) {
      waiting[i] = this.#waiting[(this.#first + i) & (size - 1)]!
      due[i] = this.#waitingDueMs[(this.#first + i) & (size - 1)]!
    }
    this.#waiting = waiting
    this.#waitingDueMs = due
    this.#first = 0
  }

  // -- restart
  // ------------------------------------------------------------------------------------

  /** Copies PROXY_SAVED_WORDS words that restore() takes to `view` at `at`. */
  save(connection: number, view: DataView, at: number): void {
    const records = this.#records[connection & 1]!
    const record = (connection >>> 1) * STRIDE
    for (let i = 0; i < PROXY_SAVED_WORDS; i++) view.setInt32(at + 4 * i, records[record + i]!)
  }

  /** Gives a flow that was loaded what save() wrote. False when it cannot be: then the flow has no
   * header, and must be ended. */
  restore(connection: number, view: DataView, at: number, nowMs: number): boolean {
    const phase = view.getInt32(at + 4 * PHASE)
    const kind = view.getInt32(at + 4 * KIND)
    const version = kind & VERSION_MASK
    if (phase < WAITING || phase > DONE || (version !== 1 && version !== 2)) return false
    if (lengthOf(kind) !== this.#writeHeader(connection, version, this.#scratch, 0)) return false
    this.open(connection, version)
    const records = this.#records[connection & 1]!
    const record = (connection >>> 1) * STRIDE
    for (let i = 0; i < PROXY_SAVED_WORDS; i++) records[record + i] = view.getInt32(at + 4 * i)
    records[record + SENT_MS] = (nowMs - PROXY_HEADER_GAP_MS) | 0
    if (phase === PENDING) this.#startTimer(connection, records, record, nowMs)
    return true
  }
}

/** True for bytes that begin before `base` and end behind it. They are not shifted, and would lie
 * where the header does. Nobody sends them but who wants to write a header of his own. */
function reachesOver(sequence: number, size: number, base: number): boolean {
  return sequenceBefore(sequence, base) && sequenceBefore(base, sequence + size)
}

function lengthOf(kind: number): number {
  return (kind >>> 8) & 0xff
}

/** Milliseconds since the header was sent last. */
function elapsed(records: Int32Array, at: number, nowMs: number): number {
  return (nowMs - records[at + SENT_MS]!) | 0
}
