// /_ping, /version, /info: what the node is. Where there is an engine, its own answer is the base,
// and ours goes over it.

import { arch, cpus, freemem, hostname, release, totalmem } from 'node:os'
import type { Call, Environment, Reply } from './call.ts'
import { swarmInfo } from './cluster-info.ts'
import { API_MINOR_MAX, API_MINOR_MIN } from './limits.ts'
import type { NodeStatus } from './node-control.ts'
import { time } from './render.ts'
import { here, type Route } from './route.ts'

const ARCHITECTURES: Readonly<Record<string, readonly [go: string, uname: string]>> = {
  x64: ['amd64', 'x86_64'],
  arm64: ['arm64', 'aarch64'],
}

/** The CLI takes its API version from here before every command; no engine is asked. */
function ping({ request }: Call, { node }: Environment): Reply {
  return {
    status: 200,
    text: request.method === 'HEAD' ? '' : 'OK',
    headers: {
      'builder-version': '2',
      'cache-control': 'no-cache, no-store, must-revalidate',
      'content-type': 'text/plain; charset=utf-8',
      pragma: 'no-cache',
      swarm: swarmHeader(node.status()),
    },
  }
}

function swarmHeader({ state, isManager }: NodeStatus): string {
  return state === 'active' ? `active/${isManager ? 'manager' : 'worker'}` : state
}

async function version(_: Call, env: Environment): Promise<Reply> {
  const own = {
    Version: env.version,
    ApiVersion: `1.${API_MINOR_MAX}`,
    MinAPIVersion: `1.${API_MINOR_MIN}`,
    GitCommit: '',
    GoVersion: '',
    Os: 'linux',
    Arch: ARCHITECTURES[arch()]?.[0] ?? arch(),
    KernelVersion: release(),
  }
  const component = {
    Name: 'weft',
    Version: env.version,
    Details: { ApiVersion: own.ApiVersion, MinAPIVersion: own.MinAPIVersion, Os: own.Os },
  }
  const engine = await ask(env, '/version')
  const { Components = [], ...engines } = engine as { Components?: unknown[] }
  const json = {
    Platform: { Name: 'weft' },
    Components: [component, ...Components],
    ...own,
    ...engines,
    ApiVersion: own.ApiVersion,
    MinAPIVersion: own.MinAPIVersion,
  }
  return { status: 200, json }
}

async function info(_: Call, env: Environment): Promise<Reply> {
  const swarm = swarmInfo(env.node)
  const engine = env.engine === null ? {} : await ask(env, '/info')
  const base = Object.keys(engine).length === 0 ? nodeInfo(env) : engine
  const warnings = [
    ...((base.Warnings as string[] | null | undefined) ?? []),
    ...((swarm.Warnings as string[] | undefined) ?? []),
  ]
  const json = { ...base, Swarm: swarm, Warnings: warnings.length === 0 ? null : warnings }
  return { status: 200, json }
}

/** An engine that does not answer leaves the node's own facts standing. */
async function ask(env: Environment, path: string): Promise<Record<string, unknown>> {
  try {
    const answer = await env.engine?.json(path)
    return typeof answer === 'object' && answer !== null ? { ...answer } : {}
  } catch (error) {
    env.log.debug('the local engine does not answer', { path, error: String(error) })
    return {}
  }
}

/** system.Info of a node without an engine. */
function nodeInfo({ version: serverVersion, node }: Environment): Record<string, unknown> {
  return {
    ID: node.status().nodeId,
    Containers: 0,
    ContainersRunning: 0,
    ContainersPaused: 0,
    ContainersStopped: 0,
    Images: 0,
    Driver: 'none',
    DriverStatus: null,
    Plugins: { Volume: ['local'], Network: ['overlay'], Authorization: null, Log: ['json-file'] },
    MemoryLimit: true,
    SwapLimit: true,
    CpuCfsPeriod: true,
    CpuCfsQuota: true,
    CPUShares: true,
    CPUSet: true,
    PidsLimit: true,
    IPv4Forwarding: true,
    Debug: false,
    NFd: 0,
    OomKillDisable: false,
    NGoroutines: 0,
    SystemTime: time(node.clock.wallMs()),
    LoggingDriver: 'json-file',
    CgroupDriver: 'none',
    CgroupVersion: '2',
    NEventsListener: 0,
    KernelVersion: release(),
    OperatingSystem: 'Linux',
    OSVersion: '',
    OSType: 'linux',
    Architecture: ARCHITECTURES[arch()]?.[1] ?? arch(),
    IndexServerAddress: '',
    RegistryConfig: null,
    NCPU: cpus().length,
    MemTotal: totalmem(),
    MemFree: freemem(),
    GenericResources: null,
    DockerRootDir: '',
    HttpProxy: '',
    HttpsProxy: '',
    NoProxy: '',
    Name: hostname(),
    Labels: [],
    ExperimentalBuild: false,
    ServerVersion: serverVersion,
    Runtimes: {},
    DefaultRuntime: '',
    LiveRestoreEnabled: false,
    Isolation: '',
    InitBinary: '',
    ContainerdCommit: { ID: '' },
    RuncCommit: { ID: '' },
    InitCommit: { ID: '' },
    SecurityOptions: [],
    Warnings: null,
  }
}

export const SYSTEM_ROUTES: readonly Route[] = [
  here('GET', '/_ping', ping),
  here('GET', '/version', version),
  here('GET', '/info', info),
]
