import type { Bench } from './harness.ts'
import { nginx, wrk } from './load/http.ts'
import { contestantsOf } from './peers/contestants.ts'
import { kernelVxlan } from './peers/kernel-vxlan.ts'
import { nebulaNewest } from './peers/nebula.ts'
import { raw } from './peers/raw.ts'
import { weft } from './peers/weft.ts'
import { wireguardGo, wireguardGoNewest } from './peers/wireguard-go.ts'

export const bench: Bench = {
  name: 'http',
  question: 'How many 1 KB pages per second does an nginx on another host serve?',
  metrics: [
    { name: 'requests, keep-alive', unit: '1/s' },
    { name: 'new connections', unit: '1/s' },
  ],
  goals: [
    { metric: 'requests, keep-alive', peer: 'kernel vxlan', atLeast: 1 },
    { metric: 'new connections', peer: 'kernel vxlan', atLeast: 1 },
  ],
  contestants: (lab) =>
    contestantsOf(
      lab,
      [weft, kernelVxlan, wireguardGo, wireguardGoNewest, nebulaNewest, raw],
      (pair) => nginx(lab, pair.server),
      async (pair, seconds) => ({
        'requests, keep-alive': await wrk(pair.client, pair.address, seconds, false),
        'new connections': await wrk(pair.client, pair.address, seconds, true),
      }),
    ),
}
