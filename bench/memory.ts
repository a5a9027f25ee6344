import { readFileSync } from 'node:fs'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import type { Agent } from '../cli/lab/agent.ts'
import type { Lab } from '../cli/lab/lab.ts'
import { sumOf } from '../cli/lab/metrics.ts'
import { must } from '../cli/lab/process.ts'
import { pause, waitFor } from '../cli/lab/wait.ts'
import type { Bench, Yield } from './harness.ts'
import { type WeftPair, weftAgents, weftPair } from './peers/weft.ts'

const OPEN_FLOWS = fileURLToPath(new URL('./load/open-flows.ts', import.meta.url))
const FLOWS = 100_000
/** Every flow is a source port towards one of these ports of the VIP. */
const TARGET_PORTS = [9001, 9002]
const FIRST_SOURCE_PORT = 10_000
/** The kernel's accounting ticks 100 times a second: 30 s resolve 0.03 % of a core. */
const IDLE_SECONDS = 30
/** An agent that has just started is not yet idle. */
const SETTLE_MS = 3000

function residentMb(pid: number): number {
  const line = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(line?.[1]) / 1024
}

/** Processor time of a process so far, in clock ticks (proc_pid_stat(5), fields 14 and 15). */
function cpuTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11]) + Number(fields[12])
}

async function openFlows(pair: WeftPair, vip: string, agent: Agent): Promise<number> {
  const [client] = pair.tasks
  const targets = TARGET_PORTS.map((port) => `${vip}:${port}`)
  const count = FLOWS / TARGET_PORTS.length
  const tool = [process.execPath, OPEN_FLOWS, String(FIRST_SOURCE_PORT), String(count), ...targets]
  const open = async (): Promise<number> => sumOf(await agent.metrics(), 'weft_flows_open')
  // A datagram lost on the way is a flow not opened: once more opens the rest.
  for (let round = 0; round < 5; round++) {
    await client.must(tool, { lifeMs: 120_000 })
    if ((await open()) >= FLOWS) break
  }
  const what = `${FLOWS} open flows`
  return waitFor(async () => ((await open()) >= FLOWS * 0.99 ? open() : undefined), { what })
}

async function measure(lab: Lab, pair: WeftPair, vip: string, seconds: number): Promise<Yield> {
  const agents = await weftAgents(lab, pair.plan)
  const agent = agents.get(pair.hosts[0].name)!
  try {
    const pid = agent.process!.pid
    await pause(SETTLE_MS)
    const idleSeconds = Math.max(seconds, IDLE_SECONDS)
    const before = cpuTicks(pid)
    await pause(idleSeconds * 1000)
    const ticksPerSecond = Number(await must(['getconf', 'CLK_TCK']))
    const cpu = ((cpuTicks(pid) - before) / ticksPerSecond / idleSeconds) * 100
    const idle = residentMb(pid)
    const flows = await openFlows(pair, vip, agent)
    return {
      'resident, idle': idle,
      'resident, 100,000 flows': residentMb(pid),
      'flows open': flows,
      'processor, idle': cpu,
    }
  } finally {
    await Promise.all([...agents.values()].map((one) => one.stop()))
  }
}

export const bench: Bench = {
  name: 'memory',
  question: 'What does an agent cost that does nothing, and one with 100,000 open flows?',
  metrics: [
    { name: 'resident, idle', unit: 'MB' },
    { name: 'resident, 100,000 flows', unit: 'MB' },
    { name: 'flows open', unit: '1' },
    { name: 'processor, idle', unit: '% of a core' },
  ],
  goals: [
    { metric: 'resident, idle', atMost: 90 },
    { metric: 'resident, 100,000 flows', atMost: 120 },
    { metric: 'flows open', atLeast: FLOWS * 0.99 },
    { metric: 'processor, idle', atMost: 0.5 },
  ],
  async contestants(lab) {
    const pair = await weftPair(lab)
    const vip = pair.plan.service({ name: 'sink', network: 'bench', tasks: ['t2'] })[0]!
    const program = TARGET_PORTS.map(
      (port) => `require('dgram').createSocket('udp4').bind({port:${port},address:'0.0.0.0'});`,
    )
    pair.tasks[1].spawn([process.execPath, '-e', program.join('')])
    return [{ name: 'weft', measure: (seconds) => measure(lab, pair, vip, seconds) }]
  },
}
