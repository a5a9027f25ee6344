// Goal: no request, however made, reaches a fault of ours: each is answered, in words that are
// meant for people. Method: good bodies and paths with random parts replaced by random values,
// given to the API without a socket. WEFT_FUZZ_RUNS and WEFT_FUZZ_SEED as for the other fuzz tests.

import t from 'tap'
import { prng } from '../../base/prng.ts'
import { EngineApi } from './engine-api.ts'
import type { ApiRequest } from './node-control.ts'
import { once } from './target.ts'
import { fakeAgents } from './testing/fake-agents.ts'
import { FakeNode } from './testing/fake-node.ts'

const RUNS = Number(process.env.WEFT_FUZZ_RUNS ?? 3_000)
const seed = Number(process.env.WEFT_FUZZ_SEED ?? 7)

/** What JavaScript says of its own faults. */
const FAULT =
  /undefined|is not a function|cannot read prop|is not iterable|cannot convert|invalid time/i

const FILE = { Name: 'x', UID: '0', GID: '0', Mode: 292 }
const SERVICE = {
  Name: 'web',
  Labels: { a: 'b' },
  TaskTemplate: {
    ContainerSpec: {
      Image: 'busybox:latest',
      Args: ['sleep', '1000'],
      Env: ['A=1'],
      Mounts: [{ Type: 'bind', Source: '/a', Target: '/b', TmpfsOptions: { Options: [['a']] } }],
      Healthcheck: { Test: ['CMD', 'true'], Interval: 5e9, StartInterval: 1e9 },
      Secrets: [{ File: FILE, SecretID: 's', SecretName: 's' }],
      Configs: [{ File: FILE, ConfigID: 's', ConfigName: 's' }],
      Privileges: { CredentialSpec: { Config: 'a' }, SELinuxContext: { Disable: true } },
      Ulimits: [{ Name: 'nofile', Soft: 1, Hard: 2 }],
    },
    Resources: { Limits: { NanoCPUs: 1e9, MemoryBytes: 5e7 }, Reservations: {} },
    RestartPolicy: { Condition: 'any', Delay: 1, MaxAttempts: 3, Window: 0 },
    Placement: { Constraints: ['node.role==manager'], Preferences: [{ Spread: {} }] },
    Networks: [{ Target: 'n1', Aliases: ['a'] }],
    LogDriver: { Name: 'json-file', Options: {} },
    ForceUpdate: 0,
  },
  Mode: { Replicated: { Replicas: 2 } },
  UpdateConfig: { Parallelism: 1, Delay: 5, MaxFailureRatio: 0.3, Order: 'stop-first' },
  Networks: [{ Target: 'n1' }],
  EndpointSpec: { Mode: 'vip', Ports: [{ TargetPort: 80, PublishedPort: 8088, Protocol: 'tcp' }] },
}
/** One that refers to nothing else. */
const PLAIN = {
  Name: 'web',
  TaskTemplate: { ContainerSpec: { Image: 'busybox', TTY: true, StopGracePeriod: 1e9 } },
  Mode: { Replicated: { Replicas: 1 } },
  EndpointSpec: SERVICE.EndpointSpec,
}
const NETWORK = {
  Name: 'n1',
  Driver: 'overlay',
  Options: { 'com.docker.network.driver.mtu': '1400' },
  IPAM: {
    Driver: 'default',
    Config: [{ Subnet: '10.5.0.0/24', Gateway: '10.5.0.1', AuxiliaryAddresses: { a: '10.5.0.2' } }],
  },
}
const SWARM = {
  Name: 'default',
  Labels: {},
  Orchestration: { TaskHistoryRetentionLimit: 5 },
  Raft: { SnapshotInterval: 1, ElectionTick: 10, HeartbeatTick: 1 },
  Dispatcher: { HeartbeatPeriod: 5e9 },
  CAConfig: { NodeCertExpiry: 7e15, ExternalCAs: [{ Protocol: 'cfssl', URL: 'x', Options: {} }] },
  TaskDefaults: { LogDriver: { Name: 'a' } },
  EncryptionConfig: { AutoLockManagers: false },
}
const INIT = {
  ListenAddr: '0.0.0.0:2377',
  DataPathPort: 4789,
  DefaultAddrPool: ['10.0.0.0/8'],
  SubnetSize: 24,
  Spec: SWARM,
}
const BLOB = { Name: 's', Labels: {}, Data: 'YQ==', Templating: { Name: 'golang' } }

type Target = readonly [method: string, path: string, body?: unknown]

const TARGETS: readonly Target[] = [
  ['POST', '/swarm/init', INIT],
  ['POST', '/swarm/update?version=1', SWARM],
  ['POST', '/swarm/join', { ListenAddr: '0.0.0.0', RemoteAddrs: ['1.2.3.4'], JoinToken: 'x' }],
  ['POST', '/swarm/unlock', { UnlockKey: 'x' }],
  ['POST', '/nodes/vm/update?version=1', { Role: 'manager', Availability: 'active', Labels: {} }],
  ['POST', '/services/create', SERVICE],
  ['POST', '/services/create', PLAIN],
  ['POST', '/services/web/update?version=5', PLAIN],
  ['POST', '/services/web/update?version=1&rollback=previous&registryAuthFrom=spec', SERVICE],
  ['POST', '/networks/create', NETWORK],
  ['POST', '/secrets/create', BLOB],
  ['POST', '/configs/s/update?version=1', BLOB],
  ['DELETE', '/services/web'],
  ['DELETE', '/networks/n1'],
  ['DELETE', '/nodes/vm?force=1'],
  ['GET', '/nodes?filters={"role":["manager"]}'],
  ['GET', '/tasks?filters={"service":{"web":true},"_up-to-date":{"true":true}}'],
  ['GET', '/services?status=true&filters={"label":["a=b"]}'],
  ['GET', '/services/web?insertDefaults=true'],
  ['GET', '/services/web/logs?stdout=1&tail=10&since=5&details=1&timestamps=1'],
  ['GET', '/networks?filters={"dangling":["true"],"type":["custom"]}'],
  ['GET', '/networks/n1?verbose=true'],
  ['GET', '/events?since=1&until=2&filters={"type":["service"]}'],
  ['GET', '/info'],
  ['GET', '/version'],
]

const random = prng(seed)
const pick = <V>(values: readonly V[]): V => values[random.below(values.length)]!

const SCALARS: readonly unknown[] = [
  ...[null, true, false, 0, -1, 1, 0.5, 1e18, 1e30, '', 'a', 'web', '-', '\0', 'x'.repeat(300)],
  ...['10.0.0.0/8', '::1/64', 'é', '__proto__', [], {}, [[]], [null], { a: null }, { '': {} }],
]

/** `value` with parts of it gone, doubled or replaced. */
function mutate(value: unknown): unknown {
  if (random.below(12) === 0) return pick(SCALARS)
  if (Array.isArray(value)) {
    const items = value.map(mutate)
    return random.below(8) === 0 ? [...items, ...items] : items
  }
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value)
    .filter(() => random.below(15) !== 0)
    .map(([key, item]) => [random.below(15) === 0 ? key.toUpperCase() : key, mutate(item)])
  return Object.fromEntries(entries)
}

/** Every third time, something else in the place of up to two characters. */
function mangle(text: string): string {
  if (random.below(3) > 0) return text
  const at = random.below(text.length + 1)
  const put = pick(['', '%', '"', '{', '}', '\\u00', '&version=', '?', '/', '\0', '9'.repeat(30)])
  return text.slice(0, at) + put + text.slice(at + random.below(3))
}

interface Sent {
  readonly status: number
  readonly answer: string
  /** For the report. */
  readonly request: string
}

async function send(api: EngineApi, [method, path, body]: Target): Promise<Sent> {
  const text = body === undefined ? '' : mangle(JSON.stringify(body))
  // A stream without an end ends with its client.
  const gone = new AbortController()
  const timer = setTimeout(() => gone.abort(), 100)
  const version = pick(['', '/v1.24', '/v1.41', '/v1.44', '/v1.50', '/v1.51', '/v0.1'])
  const request: ApiRequest = {
    method: random.below(20) === 0 ? pick(['PUT', 'HEAD', 'DELETE', 'x']) : method,
    path: version + mangle(path),
    headers: { 'content-type': 'application/json', 'x-registry-auth': pick(['', 'YQ==']) },
    body: once(Buffer.from(text)),
    signal: gone.signal,
  }
  const { status, body: stream } = await api.handle(request)
  const chunks: Uint8Array[] = []
  for await (const chunk of stream) chunks.push(chunk)
  clearTimeout(timer)
  const answer = Buffer.concat(chunks).toString()
  return { status, answer, request: `${request.method} ${request.path} ${text}` }
}

t.test('random requests', async (t) => {
  const node = new FakeNode()
  t.teardown(fakeAgents(node))
  const api = new EngineApi({ version: '0' }, node, node)
  t.teardown(() => api.close())
  const bad: string[] = []
  const good = new Set<string>()
  for (let run = 0; run < RUNS; run += 1) {
    // A cluster is there most of the time, with something in it.
    if (node.state === 'inactive') await send(api, ['POST', '/swarm/init', INIT])
    const [method, path, body] = pick(TARGETS)
    const sent = await send(api, [method, path, random.below(4) === 0 ? body : mutate(body)])
    const { status, answer } = sent
    if (status < 300) good.add(`${method} ${path.split('?', 1)[0]}`)
    const message = status >= 400 && answer !== '' ? JSON.parse(answer).message : ''
    const isPlain = typeof message === 'string' && !FAULT.test(message)
    if (status < 200 || status > 599 || !isPlain) bad.push(`${sent.request}: ${answer}`)
  }
  t.same(bad.slice(0, 5), [], `seed ${seed}, ${bad.length} of ${RUNS}`)
  t.ok(good.has('POST /services/create'), 'services were made')
  t.ok(good.size > TARGETS.length / 2, `most can be good: ${[...good].join(' ')}`)
})
