import process from 'node:process'
import { fileURLToPath } from 'node:url'
import type { Bench } from './harness.ts'
import { TOOL_SLACK_MS } from './limits.ts'
import { contestantsOf } from './peers/contestants.ts'
import { kernelVxlan } from './peers/kernel-vxlan.ts'
import { nebulaNewest } from './peers/nebula.ts'
import { openvswitchUserspace } from './peers/openvswitch-userspace.ts'
import type { Pair } from './peers/pair.ts'
import { raw } from './peers/raw.ts'
import { weft } from './peers/weft.ts'
import { wireguardGo, wireguardGoNewest } from './peers/wireguard-go.ts'

const TOOL = [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  fileURLToPath(new URL('./load/ping-pong.ts', import.meta.url)),
]
const PORT = '5300'

async function serve(pair: Pair): Promise<void> {
  await pair.server.spawn([...TOOL, 'serve', PORT]).output(/listening/)
}

export const bench: Bench = {
  name: 'latency',
  question: 'How long does a 64-byte message take one way over TCP (half a round trip)?',
  metrics: [
    { name: 'p50', unit: 'µs' },
    { name: 'p99', unit: 'µs' },
  ],
  goals: [
    { metric: 'p50', peer: 'kernel vxlan', atMost: 1.5 },
    { metric: 'p99', peer: 'kernel vxlan', atMost: 2 },
  ],
  contestants: (lab) =>
    contestantsOf(
      lab,
      [weft, kernelVxlan, wireguardGo, wireguardGoNewest, nebulaNewest, openvswitchUserspace, raw],
      serve,
      async (pair, seconds) => {
        const lifeMs = seconds * 1000 + TOOL_SLACK_MS
        const argv = [...TOOL, 'ask', pair.address, PORT, String(seconds)]
        const got = JSON.parse(await pair.client.must(argv, { lifeMs })) as Record<string, number>
        return { p50: got.p50!, p99: got.p99! }
      },
    ),
}
