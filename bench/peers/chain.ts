// The places of a load-balancing benchmark: client ── front ── back, each joint a veth pair. The
// front balances, the back serves; the client knows only the front.

import type { Host } from '../../cli/lab/host.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import { manyPorts } from './pair.ts'

export interface Chain {
  readonly client: Host
  readonly front: Host
  readonly back: Host
  /** The front's address as the client knows it. */
  readonly frontAddress: string
  /** The back's address as the front knows it. */
  readonly backAddress: string
}

export async function chain(lab: Lab, prefix: string): Promise<Chain> {
  const names = [`${prefix}c`, `${prefix}f`, `${prefix}b`]
  const [client, front, back] = (await lab.hostsNamed(...names)) as [Host, Host, Host]
  await lab.veth(client, front)
  await lab.veth(front, back)
  await Promise.all([client, front, back].map(manyPorts))
  return { client, front, back, frontAddress: front.address, backAddress: back.address }
}

/** Lets the back answer the client through the front, as a router would. */
export async function routed(one: Chain): Promise<void> {
  await one.front.sysctl('net.ipv4.ip_forward', '1')
  const frontInside = one.front.addresses[1]!
  await one.back.ip([`route add default via ${frontInside}`])
  await one.client.ip([`route add default via ${one.frontAddress}`])
}
