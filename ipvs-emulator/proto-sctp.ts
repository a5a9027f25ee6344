// SCTP as IPVS follows it: states are the real server's as RFC 9260 section 4 draws them, with
// additions of IPVS: INIT1 gives a first INIT that is never answered a short life, REJECTED one
// that was answered by ABORT; the cookie states tell who waits for whom. Source:
// ip_vs_proto_sctp.c; checked cell by cell in proto-sctp.test.ts.
//
// The event is the packet's first chunk. One exception: behind COOKIE-ECHO or COOKIE-ACK an ABORT
// may follow, and counts.

import { type StateMachine, stateTable } from './proto.ts'

export const SCTP_HEADER_SIZE = 12

export const SCTP_INIT1 = 1
export const SCTP_INIT = 2
export const SCTP_ESTABLISHED = 8
export const SCTP_CLOSED = 13

export const SCTP_STATES = 14
export const SCTP_EVENTS = 10

/** Chunk type of an INIT (RFC 9260 section 3.2): the one packet that opens a connection. */
export const CHUNK_INIT = 1
const CHUNK_ABORT = 6
const CHUNK_COOKIE_ECHO = 10
const CHUNK_COOKIE_ACK = 11

const ABBREVIATIONS = 'NO I1 IN CS CR CW CO CE ES SS SR SA RJ CL'.split(' ')
const EVENTS = [
  'data',
  'init',
  'init-ack',
  'cookie-echo',
  'cookie-ack',
  'shutdown',
  'shutdown-ack',
  'shutdown-complete',
  'error',
  'abort',
]

/** Event by chunk type; types beyond count as data. */
const EVENT_OF_CHUNK = [0, 1, 2, 0, 0, 0, 9, 5, 6, 8, 3, 4, 0, 0, 7]

const TABLE = `
                         NO I1 IN CS CR CW CO CE ES SS SR SA RJ CL
  in   data              ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL
  in   init              I1 IN IN CS CR CW CO CE ES SS SR SA IN IN
  in   init-ack          CW CW CW CS CR CO CO CE ES SS SR SA RJ CL
  in   cookie-echo       CR IN IN CR CR CW CO CE ES SS SR SA RJ CL
  in   cookie-ack        ES I1 IN CS CR CW CO ES ES SS SR SA RJ CL
  in   shutdown          SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL
  in   shutdown-ack      CL IN IN CS CR CW CO CE ES CL SR CL RJ CL
  in   shutdown-complete CL CL CL CS CR CW CO CE ES SS SR CL RJ CL
  in   error             CL I1 IN CS CR CW CO CL ES SS SR SA RJ CL
  in   abort             CL CL CL CL CL RJ CL CL CL CL CL CL CL CL
  out  data              ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL
  out  init              CW CW CW CW CW CW CW CW ES CW CW CW CW CW
  out  init-ack          CS CS CS CS CR CW CO CE ES SS SR SA RJ CL
  out  cookie-echo       CE CE CE CE CE CE CE CE ES SS SR SA RJ CL
  out  cookie-ack        ES ES ES ES ES ES ES ES ES SS SR SA RJ CL
  out  shutdown          SS SS SS SS SS SS SS SS SS SS SR SA RJ CL
  out  shutdown-ack      SA SA SA SA SA CW CO CE ES SA SA SA RJ CL
  out  shutdown-complete CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL
  out  error             CL CL CL CL CL CW CO CE ES SS SR SA RJ CL
  out  abort             CL RJ CL CL CL CL CL CL CL CL CL CL CL CL
  only data              ES I1 IN CS CR ES CO CE ES SS SR SA RJ CL
  only init              I1 IN IN IN IN IN CO CE ES SS SR SA IN IN
  only init-ack          CE CE CE CE CE CE CO CE ES SS SR SA RJ CL
  only cookie-echo       ES ES ES ES ES ES CO CE ES SS SR SA RJ CL
  only cookie-ack        ES I1 IN ES ES CW ES ES ES SS SR SA RJ CL
  only shutdown          SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL
  only shutdown-ack      CL IN IN CS CR CW CO CE CL CL SR CL RJ CL
  only shutdown-complete CL CL CL CL CL CW CO CE ES SS CL CL RJ CL
  only error             CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL
  only abort             CL CL CL CL CL RJ CL CL CL CL CL CL CL CL
`

/** Longest retransmission interval plus one second, and the first one plus one (RFC 9260 section
 * 16). */
const RTO_MAX = 61
const RTO_INITIAL = 4

export const SCTP_MACHINE: StateMachine = {
  name: 'SCTP',
  stateNames: [
    'NONE',
    'INIT1',
    'INIT',
    'C-SENT',
    'C-REPLIED',
    'C-WAIT',
    'COOKIE',
    'C-ECHOED',
    'ESTABLISHED',
    'S-SENT',
    'S-RECEIVED',
    'S-ACK-SENT',
    'REJECTED',
    'CLOSED',
  ],
  events: EVENTS,
  timeoutSeconds: [
    2,
    RTO_INITIAL,
    RTO_MAX,
    RTO_MAX,
    RTO_MAX,
    RTO_MAX,
    RTO_MAX,
    RTO_MAX,
    15 * 60,
    RTO_MAX,
    RTO_MAX,
    RTO_MAX,
    RTO_INITIAL,
    RTO_MAX,
  ],
  established: SCTP_ESTABLISHED,
  table: stateTable(TABLE, ABBREVIATIONS, EVENTS),
}

/** Event of the SCTP packet [at, end), -1 when no chunk is there. */
export function sctpEvent(view: DataView, at: number, end: number): number {
  const chunk = at + SCTP_HEADER_SIZE
  if (end - chunk < 4) return -1
  let type = view.getUint8(chunk)
  if (type === CHUNK_COOKIE_ECHO || type === CHUNK_COOKIE_ACK) {
    const length = view.getUint16(chunk + 2)
    const next = chunk + ((length + 3) & ~3)
    if (length >= 4 && end - next >= 4 && view.getUint8(next) === CHUNK_ABORT) type = CHUNK_ABORT
  }
  return type < EVENT_OF_CHUNK.length ? EVENT_OF_CHUNK[type]! : 0
}
