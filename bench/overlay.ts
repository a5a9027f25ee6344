import type { Bench } from './harness.ts'
import { iperfServer, tcpFlow } from './load/iperf3.ts'
import { contestantsOf } from './peers/contestants.ts'
import { kernelVxlan } from './peers/kernel-vxlan.ts'
import { nebula, nebulaNewest } from './peers/nebula.ts'
import { openvswitchUserspace } from './peers/openvswitch-userspace.ts'
import { raw } from './peers/raw.ts'
import { weft } from './peers/weft.ts'
import { wireguardGo, wireguardGoNewest } from './peers/wireguard-go.ts'

const PEERS = [
  weft,
  kernelVxlan,
  wireguardGo,
  wireguardGoNewest,
  nebula,
  nebulaNewest,
  openvswitchUserspace,
  raw,
]

export const bench: Bench = {
  name: 'overlay',
  question: 'How fast is one TCP flow from a task on one host to a task on another?',
  metrics: [{ name: 'tcp', unit: 'Gb/s' }],
  goals: [
    { metric: 'tcp', peer: 'kernel vxlan', atLeast: 0.6 },
    { metric: 'tcp', peer: 'wireguard-go', atLeast: 10 },
    { metric: 'tcp', peer: 'nebula', atLeast: 10 },
  ],
  contestants: (lab) =>
    contestantsOf(lab, PEERS, iperfServer, async (pair, seconds) => ({
      tcp: await tcpFlow(pair, seconds),
    })),
}
