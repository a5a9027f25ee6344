// npm run bench -- agents
//
// What does it cost a manager to have a thousand nodes? Simulated agents in one process, the
// manager's dispatcher in another; between them real gRPC over mutual TLS on loopback, a connection
// per agent, heartbeats of one second. Measured once all have registered and know each other: the
// manager's CPU and its resident memory, and the heartbeats that it answered, as agents that starve
// send fewer. WEFT_BENCH_AGENTS names another number of agents.

import { type ChildProcess, fork } from 'node:child_process'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { TestAuthority } from '../controlplane/proto/testing/certificates.ts'
import type { Bench, Yield } from './harness.ts'
import type { AgentsOrder } from './load/agents-client.ts'
import type { ManagerOrder, ManagerReport } from './load/agents-manager.ts'

const AGENTS = Number(process.env.WEFT_BENCH_AGENTS ?? 1000)
const REGISTER_TIMEOUT_MS = 120_000
/** After the last registration: everybody is told of everybody, and garbage is collected. */
const SETTLE_MS = 5_000

type Usage = Extract<ManagerReport, { kind: 'usage' }>

function start(file: string): ChildProcess {
  const path = fileURLToPath(new URL(file, import.meta.url))
  // As the launcher starts an agent.
  const execArgv = ['--disable-warning=ExperimentalWarning', '--max-semi-space-size=4']
  return fork(path, { execArgv, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

class Scene {
  readonly registeredMs: number
  readonly #manager: ChildProcess

  private constructor(manager: ChildProcess, registeredMs: number) {
    this.#manager = manager
    this.registeredMs = registeredMs
  }

  static async open(): Promise<Scene> {
    const authority = new TestAuthority()
    const roots = String(authority.root)
    const manager = start('./load/agents-manager.ts')
    const nodeIds = Array.from({ length: AGENTS }, (_, i) => `node${i}`)
    const own = authority.issue({ nodeId: 'manager' })
    const order: ManagerOrder = {
      certificate: String(own.certificate),
      privateKey: String(own.privateKey),
      roots,
      nodeIds,
    }
    const listening = ask(manager, order)
    const agents = start('./load/agents-client.ts')
    const report = await listening
    if (report.kind !== 'listening') throw new Error('the manager does not listen')
    const clients: AgentsOrder = {
      manager: report.address,
      roots,
      agents: nodeIds.map((nodeId) => {
        const { certificate, privateKey } = authority.issue({ nodeId, role: 'swarm-worker' })
        return { nodeId, certificate: String(certificate), privateKey: String(privateKey) }
      }),
    }
    const startMs = performance.now()
    agents.send(clients)
    for (;;) {
      const { ready } = (await ask(manager, 'usage')) as Usage
      if (ready === AGENTS) break
      if (performance.now() - startMs > REGISTER_TIMEOUT_MS) throw new Error(`${ready} registered`)
      await wait(100)
    }
    const registeredMs = performance.now() - startMs
    await wait(SETTLE_MS)
    return new Scene(manager, registeredMs)
  }

  async measure(seconds: number): Promise<Yield> {
    const before = (await ask(this.#manager, 'usage')) as Usage
    const startMs = performance.now()
    await wait(seconds * 1000)
    const after = (await ask(this.#manager, 'usage')) as Usage
    const elapsedMs = performance.now() - startMs
    if (after.sessions !== AGENTS) throw new Error(`only ${after.sessions} sessions are left`)
    return {
      heartbeats: (1000 * (after.beats - before.beats)) / elapsedMs,
      cpu: (100 * (after.cpuMs - before.cpuMs)) / elapsedMs,
      resident: after.residentBytes / 1e6,
      registered: this.registeredMs / 1000,
    }
  }
}

function ask(child: ChildProcess, message: ManagerOrder | string): Promise<ManagerReport> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`a process ended: ${code}`))
    child.once('message', (report: ManagerReport) => {
      child.off('exit', onExit)
      resolve(report)
    })
    child.once('exit', onExit)
    child.send(message)
  })
}

export const bench: Bench = {
  name: 'agents',
  hasPeers: false,
  question: `What do ${AGENTS} agents with sessions and heartbeats of 1 s cost their manager?`,
  metrics: [
    { name: 'heartbeats', unit: '1/s' },
    { name: 'cpu', unit: '% of a core' },
    { name: 'resident', unit: 'MB' },
    { name: 'registered', unit: 's' },
  ],
  goals: [
    { metric: 'cpu', atMost: 50 },
    { metric: 'resident', atMost: 500 },
  ],
  // The processes end when this one does.
  contestants: async () => {
    const scene = await Scene.open()
    return [{ name: 'weft', measure: (seconds) => scene.measure(seconds) }]
  },
}
