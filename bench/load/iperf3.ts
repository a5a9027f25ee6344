// iperf3 as a load: a server that stays, a client per measurement, figures from its JSON report.

import type { Yield } from '../harness.ts'
import { TOOL_SLACK_MS } from '../limits.ts'
import { command, type Pair } from '../peers/pair.ts'

interface Report {
  readonly error?: string
  readonly end?: {
    readonly sum_received?: { readonly bits_per_second: number }
    readonly sum?: {
      readonly packets: number
      readonly lost_packets: number
      readonly seconds: number
    }
  }
}

const PORT = 5201

/** Starts the server and waits for its socket. */
export async function iperfServer(pair: Pair): Promise<void> {
  const server = pair.server.spawn([command('iperf3'), '-s', '-p', String(PORT), '--forceflush'])
  await server.output(/Server listening/)
}

async function client(
  pair: Pair,
  address: string,
  seconds: number,
  args: string[],
): Promise<Report> {
  const fixed = ['-J', '-c', address, '-p', String(PORT), '-t', String(seconds)]
  const lifeMs = seconds * 1000 + TOOL_SLACK_MS
  const result = await pair.client.exec([command('iperf3'), ...fixed, ...args], { lifeMs })
  const report = JSON.parse(result.stdout || '{"error":"iperf3 said nothing"}') as Report
  if (report.error !== undefined) throw new Error(`iperf3: ${report.error}`)
  return report
}

/** One TCP flow: gigabits per second that arrived. */
export async function tcpFlow(
  pair: Pair,
  seconds: number,
  address: string = pair.address,
): Promise<number> {
  const report = await client(pair, address, seconds, [])
  const bits = report.end?.sum_received?.bits_per_second
  if (!bits) throw new Error('iperf3 received nothing')
  return bits / 1e9
}

/** A flood of UDP datagrams with `size` bytes of payload: how many arrived per second. */
export async function udpFlood(pair: Pair, seconds: number, size: number): Promise<Yield[string]> {
  const report = await client(pair, pair.address, seconds, ['-u', '-b', '0', '-l', String(size)])
  const sum = report.end?.sum
  if (!sum) throw new Error('iperf3 received nothing')
  return (sum.packets - sum.lost_packets) / sum.seconds
}
