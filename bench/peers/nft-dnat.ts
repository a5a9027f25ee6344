// nf_tables destination NAT on the plain underlay: what the kernel does for a published port of
// Docker on one host. The back must route its answers through the front.

import { type Chain, routed } from './chain.ts'
import { command } from './pair.ts'

export async function nftDnat(one: Chain, port: number): Promise<void> {
  await routed(one)
  const rules = [
    'table ip mesh {',
    'chain prerouting {',
    'type nat hook prerouting priority -100',
    `tcp dport ${port} dnat to ${one.backAddress}:80`,
    '}',
    '}',
  ]
  await one.front.must([command('nft'), '-f', '-'], { input: `${rules.join('\n')}\n` })
  // A benchmark of new connections must not fill the table of the remembered ones.
  await one.front.sysctl('net.netfilter.nf_conntrack_max', '1000000').catch(() => {})
}
