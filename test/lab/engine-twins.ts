// A Docker Engine and our Engine API side by side: a real dockerd, with network, mount and process
// namespaces of its own, and the API over made-up agents. Both get the same requests one after
// another; ids, times, versions and addresses are blanked before the answers are compared.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { fakeAgents, fakeIngress } from '../../controlplane/api/testing/fake-agents.ts'
import { FakeNode, TestApi } from '../../controlplane/api/testing/fake-node.ts'

const API = '/v1.41'
const START_TIMEOUT_MS = 60_000
const NODE_ADDRESS = '192.168.77.2'

export interface Answer {
  readonly status: number
  readonly text: string
}

/** A process namespace among them, so that nothing of the engine outlives this program. */
const NAMESPACES = ['-n', '-m', '--pid', '--fork', '--mount-proc', '--kill-child']

/** Why there can be no engine here. */
export function whyNoEngine(): string | false {
  if (process.getuid?.() !== 0) return 'needs root'
  try {
    execFileSync('dockerd', ['--version'], { stdio: 'pipe' })
    execFileSync('unshare', [...NAMESPACES, 'true'], { stdio: 'pipe' })
    return false
  } catch {
    return 'no dockerd, or no namespaces'
  }
}

export type Step = readonly [method: string, path: string, body?: unknown]

function call(socketPath: string, method: string, path: string, body?: unknown): Promise<Answer> {
  const text = body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body)
  const headers: Record<string, string> =
    text === null ? {} : { 'content-type': 'application/json' }
  return new Promise((resolve, reject) => {
    const options = { socketPath, method, path: API + path, headers, agent: false }
    const outgoing = httpRequest(options, async (response) => {
      const chunks: Buffer[] = []
      for await (const chunk of response) chunks.push(chunk as Buffer)
      resolve({ status: response.statusCode!, text: Buffer.concat(chunks).toString() })
    })
    outgoing.on('error', reject)
    outgoing.end(text ?? undefined)
  })
}

/** Starts an engine; it ends with the test. Returns its socket. */
async function startEngine(t: Test): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-dockerd-'))
  const socket = join(folder, 'docker.sock')
  const script =
    `ip link set lo up; ip link add d0 type dummy; ip addr add ${NODE_ADDRESS}/24 dev d0; ` +
    `ip link set d0 up; exec dockerd --data-root ${folder}/data --exec-root ${folder}/exec ` +
    `-H unix://${socket} --bridge=none --iptables=false --ip-forward=false --ip-masq=false ` +
    `--storage-driver=vfs --pidfile ${folder}/pid`
  const command = ['--pdeathsig', 'KILL', 'unshare', ...NAMESPACES, 'sh', '-c', script]
  // Nobody reads the pipe: it closes when the last process of the engine has ended.
  const engine: ChildProcess = spawn('setpriv', command, { stdio: ['ignore', 'pipe', 'ignore'] })
  engine.stdout?.resume()
  const ended = new Promise((resolve) => engine.once('close', resolve))
  t.teardown(async () => {
    engine.kill('SIGKILL')
    await ended
    rmSync(folder, { recursive: true, force: true })
  })
  const deadline = performance.now() + START_TIMEOUT_MS
  for (;;) {
    const isUp = await call(socket, 'GET', '/_ping').then(
      ({ status }) => status === 200,
      () => false,
    )
    if (isUp) return socket
    if (performance.now() > deadline) throw new Error('dockerd does not come up')
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

const BLANKS: readonly (readonly [RegExp, string])[] = [
  // Allocated a moment later.
  [/(,|(?<=\{))"VirtualIPs":\[[^\]]*\]/g, ''],
  [/\b[0-9a-z]{25}\b/g, 'ID'],
  [/\d{4}-\d\d-\d\dT[0-9:.]+Z/g, 'TIME'],
  [/SWMTKN-1-[^"]+/g, 'TOKEN'],
  [/"Index":\d+/g, '"Index":N'],
  [/\d+\.\d+\.\d+\.\d+(?=[/"])/g, 'IP'],
]

function blanked({ text }: Answer): string {
  return BLANKS.reduce((whole, [pattern, blank]) => whole.replace(pattern, blank), text).trim()
}

/** Sends one request to both. */
export type Compare = (step: Step) => Promise<{ readonly real: Answer; readonly ours: Answer }>

export interface Twins {
  /** A failed assertion where status or text differ. */
  readonly compare: Compare
  /** Makes a cluster of each, and waits for the ingress network. */
  init(): Promise<void>
  /** Without comparing. */
  callReal(...step: Step): Promise<Answer>
  callOurs(...step: Step): Promise<Answer>
}

/** Both end with the test. */
export async function startTwins(t: Test): Promise<Twins> {
  const theirs = await startEngine(t)
  const node = new FakeNode()
  t.teardown(fakeAgents(node))
  const api = await TestApi.start(node)
  t.teardown(() => api.close())
  const callReal = (...step: Step): Promise<Answer> => call(theirs, ...step)
  const callOurs = (...step: Step): Promise<Answer> => call(api.socketPath, ...step)
  const compare: Compare = async (step) => {
    const [method, path, body] = step
    const real = await callReal(...step).catch((error: Error): Answer => {
      return { status: 0, text: `no answer: ${error.message}` }
    })
    const ours = await callOurs(...step)
    const text = typeof body === 'string' ? body : JSON.stringify(body ?? '')
    const sent = `${method} ${path} ${text.slice(0, 200)}`
    t.same([ours.status, blanked(ours)], [real.status, blanked(real)], sent)
    return { real, ours }
  }
  const init = async (): Promise<void> => {
    await compare([
      'POST',
      '/swarm/init',
      { ListenAddr: '127.0.0.1:2377', AdvertiseAddr: NODE_ADDRESS },
    ])
    await fakeIngress(node)
    // The engine makes its ingress network a moment later.
    for (;;) {
      const { status } = await callReal('GET', '/networks/ingress?scope=swarm')
      if (status === 200) return
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
  return { compare, init, callReal, callOurs }
}
