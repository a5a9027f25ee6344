// TCP as IPVS follows it: not the endpoints' machine, but what a box in the middle can conclude
// from flags. Source: the kernel's net/netfilter/ipvs/ip_vs_proto_tcp.c, checked cell by cell in
// proto-tcp.test.ts. Where kernels differ, the newer one counts: an ACK without a known connection
// leads to ESTABLISHED (since sloppy_tcp), so that flows taken over in mid-life are treated as live
// ones.
//
// The secure table keeps a connection out of ESTABLISHED until its server has answered, so that a
// flood of forged ACKs cannot make long-lived entries (sysctl secure_tcp).

import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from '../wire/tcp.ts'
import { type StateMachine, stateTable } from './proto.ts'

export const TCP_NONE = 0
export const TCP_ESTABLISHED = 1
export const TCP_SYN_SENT = 2
export const TCP_SYN_RECV = 3
export const TCP_FIN_WAIT = 4
export const TCP_TIME_WAIT = 5
export const TCP_CLOSE = 6
export const TCP_CLOSE_WAIT = 7
export const TCP_LAST_ACK = 8
export const TCP_LISTEN = 9
export const TCP_SYNACK = 10

export const TCP_STATES = 11
export const TCP_EVENTS = 4
/** tcpEvent() of a segment with none of the four flags: the connection goes to CLOSE. */
export const TCP_EVENT_NONE: number = -1

const ABBREVIATIONS = ['NO', 'ES', 'SS', 'SR', 'FW', 'TW', 'CL', 'CW', 'LA', 'LI', 'SA']
const EVENTS = ['syn', 'fin', 'ack', 'rst']

const NORMAL = `
           NO ES SS SR FW TW CL CW LA LI SA
  in   syn SR ES ES SR SR SR SR SR SR SR SR
  in   fin CL CW SS TW TW TW CL CW LA LI TW
  in   ack ES ES SS ES FW TW CL CW CL LI ES
  in   rst CL CL CL SR CL CL CL CL LA LI SR
  out  syn SS ES SS SR SS SS SS SS SS LI SR
  out  fin TW FW SS TW FW TW CL TW LA LI TW
  out  ack ES ES SS ES FW TW CL CW LA ES ES
  out  rst CL CL SS CL CL TW CL CL CL CL CL
  only syn SR ES ES SR SR SR SR SR SR SR SR
  only fin CL FW SS TW FW TW CL CW LA LI TW
  only ack ES ES SS ES FW TW CL CW CL LI ES
  only rst CL CL CL SR CL CL CL CL LA LI CL
`

const SECURE = `
           NO ES SS SR FW TW CL CW LA LI SA
  in   syn SR ES ES SR SR SR SR SR SR SR SA
  in   fin CL CW SS TW TW TW CL CW LA LI SA
  in   ack ES ES SS SR FW TW CL CW CL LI SA
  in   rst CL CL CL SR CL CL CL CL LA LI CL
  out  syn SS ES SS SA SS SS SS SS SS LI SA
  out  fin TW FW SS TW FW TW CL TW LA LI TW
  out  ack ES ES SS ES FW TW CL CW LA ES ES
  out  rst CL CL SS CL CL TW CL CL CL CL CL
  only syn SA ES ES SR SA SA SA SA SA SA SA
  only fin CL FW SS TW FW TW CL CW LA LI TW
  only ack ES ES SS ES FW TW CL CW CL LI ES
  only rst CL CL CL SR CL CL CL CL LA LI CL
`

export const TCP_MACHINE: StateMachine = {
  name: 'TCP',
  stateNames: [
    'NONE',
    'ESTABLISHED',
    'SYN_SENT',
    'SYN_RECV',
    'FIN_WAIT',
    'TIME_WAIT',
    'CLOSE',
    'CLOSE_WAIT',
    'LAST_ACK',
    'LISTEN',
    'SYNACK',
  ],
  events: EVENTS,
  timeoutSeconds: [2, 15 * 60, 2 * 60, 60, 2 * 60, 2 * 60, 10, 60, 30, 2 * 60, 2 * 60],
  established: TCP_ESTABLISHED,
  table: stateTable(NORMAL, ABBREVIATIONS, EVENTS),
}

/** The table that replaces TCP_MACHINE.table while secure_tcp is on. */
export const TCP_SECURE_TABLE: Uint8Array = stateTable(SECURE, ABBREVIATIONS, EVENTS)

/** Event of a segment by its flags: RST before SYN before FIN before ACK; TCP_EVENT_NONE without
 * any. */
export function tcpEvent(flags: number): number {
  if ((flags & TCP_RST) !== 0) return 3
  if ((flags & TCP_SYN) !== 0) return 0
  if ((flags & TCP_FIN) !== 0) return 1
  return (flags & TCP_ACK) !== 0 ? 2 : TCP_EVENT_NONE
}
