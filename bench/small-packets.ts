import type { Bench } from './harness.ts'
import { iperfServer, udpFlood } from './load/iperf3.ts'
import { contestantsOf } from './peers/contestants.ts'
import { kernelVxlan } from './peers/kernel-vxlan.ts'
import { nebulaNewest } from './peers/nebula.ts'
import { openvswitchUserspace } from './peers/openvswitch-userspace.ts'
import { raw } from './peers/raw.ts'
import { weft } from './peers/weft.ts'
import { wireguardGo, wireguardGoNewest } from './peers/wireguard-go.ts'

const PEERS = [
  weft,
  kernelVxlan,
  wireguardGo,
  wireguardGoNewest,
  nebulaNewest,
  openvswitchUserspace,
  raw,
]

export const bench: Bench = {
  name: 'small-packets',
  question: 'How many UDP datagrams of a flood arrive per second?',
  metrics: [
    { name: 'udp 64 B', unit: '1/s' },
    { name: 'udp 1300 B', unit: '1/s' },
  ],
  goals: [
    { metric: 'udp 64 B', peer: 'kernel vxlan', atLeast: 1.3 },
    { metric: 'udp 1300 B', peer: 'kernel vxlan', atLeast: 1.3 },
  ],
  contestants: (lab) =>
    contestantsOf(lab, PEERS, iperfServer, async (pair, seconds) => ({
      'udp 64 B': await udpFlood(pair, seconds, 64),
      'udp 1300 B': await udpFlood(pair, seconds, 1300),
    })),
}
