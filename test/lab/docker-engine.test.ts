// Goal: the Engine API answers as a Docker Engine does, status and words, to good requests and bad
// ones. Method: a real dockerd, with a network and mount namespace of its own, and our API over
// made-up agents get the same requests one after another; ids, times, versions and addresses are
// blanked before the answers are compared. Where we differ on purpose, docs/engine-api.md says so.
// Needs dockerd and root; skipped elsewhere.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { fakeAgents, fakeIngress } from '../../controlplane/api/testing/fake-agents.ts'
import { FakeNode, TestApi } from '../../controlplane/api/testing/fake-node.ts'

const API = '/v1.41'
const START_TIMEOUT_MS = 60_000
const NODE_ADDRESS = '192.168.77.2'

interface Answer {
  readonly status: number
  readonly text: string
}

/** A process namespace among them, so that nothing of the engine outlives this program. */
const NAMESPACES = ['-n', '-m', '--pid', '--fork', '--mount-proc', '--kill-child']

function whyNot(): string | false {
  if (process.getuid?.() !== 0) return 'needs root'
  try {
    execFileSync('dockerd', ['--version'], { stdio: 'pipe' })
    execFileSync('unshare', [...NAMESPACES, 'true'], { stdio: 'pipe' })
    return false
  } catch {
    return 'no dockerd, or no namespaces'
  }
}

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

const filter = (value: unknown) => `filters=${encodeURIComponent(JSON.stringify(value))}`
const BUSYBOX = { ContainerSpec: { Image: 'busybox', Args: ['sleep', '100'] } }
const NONE = { Replicated: { Replicas: 0 } }
const service = (more: object) => ({ Name: 'x1', TaskTemplate: BUSYBOX, Mode: NONE, ...more })
const task = (more: object) => service({ TaskTemplate: { ...BUSYBOX, ...more } })
const container = (more: object) =>
  service({ TaskTemplate: { ContainerSpec: { Image: 'busybox', ...more } } })
const port = (more: object) => ({ TargetPort: 80, PublishedPort: 99, ...more })
const file = (name: string, Name = 'x') => ({ SecretID: 'a', SecretName: name, File: { Name } })

type Step = readonly [method: string, path: string, body?: unknown]

/** Before there is a cluster. */
const OUTSIDE: readonly Step[] = [
  ['GET', '/nodes'],
  ['GET', '/swarm'],
  ['GET', '/services/x'],
  ['GET', '/swarm/unlockkey'],
  ['POST', '/swarm/leave'],
  ['POST', '/swarm/unlock', { UnlockKey: 'x' }],
  ['POST', '/swarm/update?version=1', {}],
  ['POST', '/networks/create', { Name: 'x', Driver: 'overlay' }],
  ['POST', '/swarm/init', { ListenAddr: '' }],
  ['POST', '/swarm/init', { ListenAddr: 5 }],
  ['POST', '/swarm/init', { ListenAddr: '0.0.0.0', Spec: { Name: 'foo' } }],
  ['POST', '/swarm/init', '{"a"'],
  ['POST', '/swarm/join', {}],
  ['POST', '/swarm/join', { ListenAddr: '0.0.0.0:2377' }],
  ['POST', '/swarm/join', { ListenAddr: '0.0.0.0:2377', RemoteAddrs: [''] }],
]

const REFUSED: readonly unknown[] = [
  {},
  { Name: 'a' },
  service({ TaskTemplate: { ContainerSpec: {} } }),
  service({ TaskTemplate: { ContainerSpec: { Image: 'BAD IMAGE' } } }),
  service({ Name: 'bad!' }),
  service({ Name: 'x'.repeat(64) }),
  service({ Mode: { Replicated: {}, Global: {} } }),
  service({ Mode: { GlobalJob: {} }, UpdateConfig: {} }),
  service({ UpdateConfig: { FailureAction: 'x' } }),
  service({ UpdateConfig: { Order: 'x' } }),
  service({ UpdateConfig: { MaxFailureRatio: 2 } }),
  service({ UpdateConfig: { Delay: -1 } }),
  service({ UpdateConfig: { Parallelism: -1 } }),
  service({ EndpointSpec: { Mode: 'x' } }),
  service({ EndpointSpec: { Mode: 'dnsrr', Ports: [port({})] } }),
  service({ EndpointSpec: { Ports: [port({}), port({ TargetPort: 81 })] } }),
  task({ Runtime: 'bogus' }),
  task({ Resources: { Limits: { MemoryBytes: 10 } } }),
  task({ Resources: { Limits: { NanoCPUs: 10 } } }),
  task({ RestartPolicy: { Condition: 'sometimes' } }),
  task({ RestartPolicy: { Delay: -1 } }),
  task({ Placement: { Constraints: ['foo'] } }),
  task({ Placement: { Constraints: ['!x==y'] } }),
  task({ Networks: [{ Target: 'nope' }] }),
  task({ Networks: [{ Target: 'ingress' }] }),
  container({ Mounts: [{ Type: 'what', Target: '/x' }] }),
  container({
    Mounts: [
      { Type: 'bind', Source: '/a', Target: '/x' },
      { Type: 'bind', Source: '/b', Target: '/x' },
    ],
  }),
  container({ Healthcheck: { Interval: 5 } }),
  container({ Healthcheck: { Retries: -1 } }),
  container({ Isolation: 'bogus' }),
  container({ Env: 'A=1' }),
  container({ Secrets: [file('n')] }),
  container({ Secrets: [file('n'), file('m')] }),
  container({ Secrets: [file('n'), file('m', 'y')] }),
  container({ Secrets: [file('n', '')] }),
  container({ Secrets: [{ SecretID: 'a', SecretName: 'n' }] }),
  container({ Configs: [{ ConfigID: 'a', ConfigName: 'n' }] }),
  container({ Privileges: { CredentialSpec: {} } }),
  '{"Name":',
]

const TAKEN: readonly { readonly Name: string }[] = [
  { Name: 'g1', TaskTemplate: BUSYBOX, Mode: NONE } as { Name: string },
  service({ Name: 'g2', TaskTemplate: { ...BUSYBOX, Networks: [{ Target: 'n1' }] } }),
  service({ Name: 'g3', Networks: [{ Target: 'n1' }] }),
  service({
    Name: 'g4',
    TaskTemplate: {
      ...BUSYBOX,
      RestartPolicy: { MaxAttempts: 3, Window: 0 },
      Resources: { Limits: { NanoCPUs: 5e8, MemoryBytes: 5e7, Pids: 9 } },
      Placement: { Preferences: [{ Spread: { SpreadDescriptor: 'node.labels.a' } }] },
      LogDriver: { Name: 'json-file', Options: { a: 'b' } },
    },
    UpdateConfig: {},
    RollbackConfig: { Parallelism: 2, Delay: 5, Monitor: 7, MaxFailureRatio: 0.3 },
  }),
  service({
    Name: 'g5',
    TaskTemplate: {
      ContainerSpec: {
        Image: 'busybox',
        Labels: { a: 'b' },
        Command: ['a'],
        Env: ['A=1'],
        Groups: ['g'],
        Privileges: { SELinuxContext: { Disable: true } },
        TTY: true,
        Mounts: [
          { Source: '/tmp', Target: '/x', BindOptions: { Propagation: 'rprivate' } },
          { Type: 'tmpfs', Target: '/t', TmpfsOptions: { SizeBytes: 5, Mode: 511 } },
        ],
        StopGracePeriod: 5e9,
        Healthcheck: { Test: ['NONE'] },
        Hosts: ['1.2.3.4 a'],
        DNSConfig: { Nameservers: ['1.1.1.1'] },
        Init: true,
        CapabilityAdd: ['NET_ADMIN'],
        Ulimits: [{ Name: 'nofile', Soft: 1, Hard: 2 }],
      },
    },
  }),
  service({ Name: 'g6', Mode: { ReplicatedJob: { MaxConcurrent: 0, TotalCompletions: 0 } } }),
  service({ Name: 'g7', EndpointSpec: { Mode: 'dnsrr' } }),
]

const BLOBS: readonly unknown[] = [
  {},
  { Name: 'a' },
  { Name: 'a b', Data: 'YQ==' },
  { Name: 'x'.repeat(65), Data: 'YQ==' },
  { Name: 'a', Data: 5 },
  { Name: 'ok', Data: 'YQ==', Labels: null },
  { Name: 'OK', Data: 'YQ==' },
  { Name: 'ok', Data: 'YQ==' },
  { Name: 't', Data: 'YQ==', Templating: { Name: 'golang' } },
]

const NETWORKS: readonly object[] = [
  { Name: 'n1' },
  { Name: 'n1' },
  {},
  { Name: 'b!' },
  { Name: 'n2', Attachable: true, Internal: true, Options: { encrypted: '' }, Labels: { a: 'b' } },
  { Name: 'n3', Ingress: true },
  { Name: 'n4', Ingress: true, Attachable: true },
  { Name: 'n5', IPAM: { Config: [{ Subnet: '10.1.2.3' }] } },
  { Name: 'n5', IPAM: { Config: [{ Subnet: '10.98.0.0/24', Gateway: '1.2.3.4' }] } },
  { Name: 'n6', IPAM: { Driver: 'nope' } },
  { Name: 'bridge' },
  { Name: 'ingress' },
].map((network) => ({ Driver: 'overlay', ...network }))

const INSIDE: readonly Step[] = [
  ['POST', '/swarm/init', { ListenAddr: '127.0.0.1:2377' }],
  ['POST', '/swarm/leave'],
  ['POST', '/swarm/update?version=abc', {}],
  ['POST', '/swarm/unlock', { UnlockKey: 'x' }],
  ['GET', '/swarm/unlockkey'],
  ...[5, [1], { role: 5 }, { foo: ['x'] }, { role: ['boss'] }, { id: ['zz'] }].map(
    (value): Step => ['GET', `/nodes?${filter(value)}`],
  ),
  ['GET', '/nodes?filters=xx'],
  ['GET', '/nodes/nope'],
  ['DELETE', '/nodes/nope?force=1'],
  ...['secrets', 'configs'].flatMap((noun): Step[] => [
    ...BLOBS.map((blob): Step => ['POST', `/${noun}/create`, blob]),
    ['GET', `/${noun}/ok`],
    ['GET', `/${noun}/t`],
    ['GET', `/${noun}/nope`],
    ['GET', `/${noun}?${filter({ name: ['ok'] })}`],
    ['GET', `/${noun}?${filter({ foo: ['ok'] })}`],
    ['POST', `/${noun}/ok/update?version=1`, { Name: 'ok', Data: 'Yg==' }],
    ['POST', `/${noun}/ok/update?version=1`, { Name: 'ok', Labels: { a: 'b' } }],
    ['POST', `/${noun}/ok/update`, { Name: 'ok' }],
  ]),
  ...NETWORKS.map((network): Step => ['POST', '/networks/create', network]),
  ['GET', '/networks/nope?scope=swarm'],
  ['GET', `/networks?${filter({ type: ['bad'] })}`],
  ...REFUSED.map((body): Step => ['POST', '/services/create', body]),
  ...TAKEN.flatMap((body): Step[] => [
    ['POST', '/services/create', body],
    ['GET', `/services/${body.Name}`],
    ['GET', `/services/${body.Name}?insertDefaults=true`],
  ]),
  ['POST', '/services/create', service({ Name: 'g1' })],
  ['GET', `/services?status=true&${filter({ name: ['g1'] })}`],
  ['GET', `/services?${filter({ foo: ['g1'] })}`],
  ['POST', '/services/g1/update', service({ Name: 'g1' })],
  ['POST', '/services/g1/update?version=1', service({ Name: 'g1' })],
  ['POST', '/services/g1/update?version=1', service({ Name: 'other' })],
  ['POST', '/services/g1/update?version=1', service({ Name: 'g1', Mode: { Global: {} } })],
  ['POST', '/services/g1/update?version=1&rollback=previous', service({ Name: 'g1' })],
  ['POST', '/services/g1/update?version=1&rollback=foo', service({ Name: 'g1' })],
  ['GET', '/services/g1/logs'],
  ['GET', '/services/nope/logs?stdout=1'],
  ['GET', '/tasks/nope'],
  ...[{ foo: ['x'] }, { 'desired-state': ['zzz'] }, { service: ['nope'] }].map(
    (value): Step => ['GET', `/tasks?${filter(value)}`],
  ),
  ['DELETE', '/networks/n1'],
  ['DELETE', '/services/nope'],
  ['PUT', '/services/create'],
  ['PATCH', '/secrets/x'],
  ['POST', '/swarm/leave?force=1'],
]

t.test('a Docker Engine and we', { skip: whyNot() }, async (t) => {
  const theirs = await startEngine(t)
  const node = new FakeNode()
  t.teardown(fakeAgents(node))
  const api = await TestApi.start(node)
  t.teardown(() => api.close())
  const compare = async ([method, path, body]: Step) => {
    const real = await call(theirs, method, path, body)
    const ours = await call(api.socketPath, method, path, body)
    const sent = `${method} ${path} ${JSON.stringify(body ?? '').slice(0, 200)}`
    t.same([ours.status, blanked(ours)], [real.status, blanked(real)], sent)
  }
  for (const step of OUTSIDE) await compare(step)
  const init = { ListenAddr: '127.0.0.1:2377', AdvertiseAddr: NODE_ADDRESS }
  await compare(['POST', '/swarm/init', init])
  await fakeIngress(node)
  // The engine makes its ingress network a moment later.
  for (;;) {
    const { status } = await call(theirs, 'GET', '/networks/ingress?scope=swarm')
    if (status === 200) break
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  for (const step of INSIDE) await compare(step)
})
