// What an overlay peer gives a benchmark: two places that can talk through it. Every peer has two
// hosts of its own, joined by a veth pair of MTU 1500; the daemons of the others are idle
// meanwhile.

import { existsSync } from 'node:fs'
import { labEnvironment } from '../../cli/lab/enter.ts'
import type { Host } from '../../cli/lab/host.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { PEER_READY_MS } from '../limits.ts'

/** Two places and the address under which the first reaches the second. */
export interface Pair {
  readonly client: Host
  readonly server: Host
  readonly address: string
}

export interface Peer {
  readonly name: string
  /** Throws with one sentence when the peer cannot be had here. */
  readonly setup: (lab: Lab) => Promise<Pair>
}

/** Two hosts PREFIXa and PREFIXb on a veth pair; ready for heavy loads of short connections. */
export async function twoHosts(lab: Lab, prefix: string): Promise<[Host, Host]> {
  const [a, b] = (await lab.hostsNamed(`${prefix}a`, `${prefix}b`)) as [Host, Host]
  await lab.veth(a, b)
  await Promise.all([a, b].map(manyPorts))
  return [a, b]
}

/** More source ports, reused at once: a benchmark of new connections must not run out of them. */
export async function manyPorts(host: Host): Promise<void> {
  await host.sysctl('net.ipv4.ip_local_port_range', '1024 65535')
  await host.sysctl('net.ipv4.tcp_tw_reuse', '1')
}

/** Path of a command. Throws "NAME is not installed". */
export function command(name: string): string {
  for (const folder of (labEnvironment().PATH ?? '').split(':')) {
    if (existsSync(`${folder}/${name}`)) return `${folder}/${name}`
  }
  throw new Error(`${name} is not installed`)
}

/** Waits until datagrams pass from client to server through the peer. */
export async function untilReachable(pair: Pair): Promise<Pair> {
  const port = 7
  const program = `const s=require('dgram').createSocket('udp4');
    s.on('message',(m,f)=>s.send(m,f.port,f.address));s.bind(${port},()=>console.log('up'))`
  const echo = pair.server.spawn([process.execPath, '-e', program])
  await echo.output(/up/)
  const look = (): Promise<string> => pair.client.probe.udp(`${pair.address}:${port}`, 'x', 250)
  const what = `an answer from ${pair.address}`
  await waitFor(look, { what, timeoutMs: PEER_READY_MS }).finally(() => echo.stop())
  await pair.client.release()
  return pair
}
