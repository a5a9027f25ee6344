// How long a connection lives in each state of its protocol, in ticks. Settable while running
// (ipvsadm --set, and per state).

import { TCP, UDP } from './flow.ts'
import { TICK_MS } from './limits.ts'
import type { StateMachine } from './proto.ts'
import { SCTP_ESTABLISHED, SCTP_MACHINE } from './proto-sctp.ts'
import { TCP_ESTABLISHED, TCP_FIN_WAIT, TCP_MACHINE } from './proto-tcp.ts'
import { UDP_MACHINE, UDP_NORMAL } from './proto-udp.ts'
import type { RealServer } from './service.ts'

/** Life of a new connection until its first state (IP_VS_CONN: 3 s). */
export const FIRST_TIMEOUT_TICKS: number = 3000 / TICK_MS

export function ticksOf(seconds: number): number {
  return Math.ceil((seconds * 1000) / TICK_MS)
}

export class Timeouts {
  readonly tcp: Int32Array = ticks(TCP_MACHINE)
  readonly udp: Int32Array = ticks(UDP_MACHINE)
  readonly sctp: Int32Array = ticks(SCTP_MACHINE)

  of(protocol: number, state: number): number {
    return (protocol === TCP ? this.tcp : protocol === UDP ? this.udp : this.sctp)[state]!
  }

  /** Timeout of a connection of `server` in `state`: its service's own where the connection is
   * established (UDP always is), else the protocol's. */
  forServer(protocol: number, state: number, server: RealServer | null | undefined): number {
    const own = server?.pool.service.idleTicks ?? 0
    if (own === 0) return this.of(protocol, state)
    const established =
      protocol === UDP || state === (protocol === TCP ? TCP_ESTABLISHED : SCTP_ESTABLISHED)
    return established ? own : this.of(protocol, state)
  }

  /** `ipvsadm --set tcp tcpfin udp`, in seconds: ESTABLISHED, FIN_WAIT and UDP; 0 leaves a value
   * alone. */
  set(tcpSeconds: number, tcpFinSeconds: number, udpSeconds: number): void {
    if (tcpSeconds !== 0) this.tcp[TCP_ESTABLISHED] = ticksOf(tcpSeconds)
    if (tcpFinSeconds !== 0) this.tcp[TCP_FIN_WAIT] = ticksOf(tcpFinSeconds)
    if (udpSeconds !== 0) this.udp[UDP_NORMAL] = ticksOf(udpSeconds)
  }

  /** The three values of `ipvsadm -L --timeout` in seconds. */
  get(): [number, number, number] {
    const seconds = (value: number): number => (value * TICK_MS) / 1000
    return [
      seconds(this.tcp[TCP_ESTABLISHED]!),
      seconds(this.tcp[TCP_FIN_WAIT]!),
      seconds(this.udp[UDP_NORMAL]!),
    ]
  }
}

function ticks(machine: StateMachine): Int32Array {
  return Int32Array.from(machine.timeoutSeconds, ticksOf)
}
