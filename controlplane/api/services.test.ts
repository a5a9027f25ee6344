// Goal: services and tasks in a Docker Engine's words. Method: requests as clients send them, among
// them those that a Docker Engine 20.10 was seen to refuse, over a made-up node; tasks are put into
// its store.

import t, { type Test } from 'tap'
import type { TaskObject } from '../store/objects.ts'
import type { ServiceSpec } from '../store/specs.ts'
import { FakeNode, newNode, TestApi } from './testing/fake-node.ts'

async function start(t: Test): Promise<{ node: FakeNode; api: TestApi }> {
  const node = new FakeNode()
  const api = await TestApi.start(node)
  t.teardown(() => api.close())
  await api.init()
  return { node, api }
}

const RPC = 'rpc error: code ='
const INVALID = `${RPC} InvalidArgument desc =`
const image = (more: object = {}) => ({ ContainerSpec: { Image: 'busybox', ...more } })
const minimal = (more: object = {}) => ({ Name: 'web', TaskTemplate: image(), ...more })

t.test('create and inspect', async (t) => {
  const { api } = await start(t)
  const created = await api.post('/v1.44/services/create', {
    name: 'lc',
    taskTEMPLATE: { containerspec: { image: 'busybox', args: ['sleep', '100'] } },
    mode: { replicated: { replicas: 1 } },
  })
  t.equal(created.status, 201)
  t.match(created.body, { ID: /^[0-9a-z]{25}$/, Warnings: null })
  const { body } = await api.get('/services/lc')
  t.same(Object.keys(body), ['ID', 'Version', 'CreatedAt', 'UpdatedAt', 'Spec', 'Endpoint'])
  t.same(body.Spec, {
    Name: 'lc',
    Labels: {},
    TaskTemplate: {
      ContainerSpec: { Image: 'busybox', Args: ['sleep', '100'], Isolation: 'default' },
      ForceUpdate: 0,
      Runtime: 'container',
    },
    Mode: { Replicated: { Replicas: 1 } },
  })
  t.same(body.Endpoint, { Spec: {} })
  const full = (await api.get('/services/lc?insertDefaults=true')).body.Spec
  t.match(full, {
    TaskTemplate: {
      ContainerSpec: { StopGracePeriod: 10e9, DNSConfig: {} },
      RestartPolicy: { Condition: 'any', Delay: 5e9, MaxAttempts: 0 },
    },
    UpdateConfig: { Parallelism: 1, FailureAction: 'pause', Monitor: 5e9, Order: 'stop-first' },
    RollbackConfig: { Parallelism: 1, MaxFailureRatio: 0 },
  })
  const old = await api.post('/v1.41/services/create', { TaskTemplate: image() })
  t.same(Object.keys(old.body), ['ID'], 'old engines gave no warnings')
  t.match((await api.get(`/services/${old.body.ID}`)).body.Spec.Name, /^[a-z]+_[a-z]+\d{4}$/)
})

const port = (more: object) => ({ TargetPort: 80, PublishedPort: 99, ...more })
const secret = (name: string, file = 'x') => ({
  SecretID: 'nope',
  SecretName: name,
  File: { Name: file, UID: '0', GID: '0', Mode: 292 },
})
/** Bodies of POST /services/create, and what is answered. */
const REFUSED: readonly (readonly [string, unknown, number, string])[] = [
  ['no container', { Name: 'a' }, 400, 'mismatched Runtime and *Spec fields'],
  [
    'no image',
    { Name: 'a', TaskTemplate: { ContainerSpec: {} } },
    400,
    `${INVALID} ContainerSpec: image reference must be provided`,
  ],
  ['half', '{"Name":', 400, 'unexpected EOF'],
  [
    'type',
    { Name: 5 },
    400,
    'json: cannot unmarshal number into Go struct field ServiceSpec.Name of type string',
  ],
  [
    'modes',
    minimal({ Mode: { Replicated: { Replicas: 1 }, Global: {} } }),
    400,
    'must specify only one service mode',
  ],
  [
    'replicas',
    minimal({ Mode: { Replicated: { Replicas: 1e9 } } }),
    400,
    `${INVALID} Replicas: must be at most 100000, not 1000000000`,
  ],
  [
    'completions',
    minimal({ Mode: { ReplicatedJob: { MaxConcurrent: 1, TotalCompletions: 100_001 } } }),
    400,
    `${INVALID} TotalCompletions: must be at most 100000, not 100001`,
  ],
  [
    'memory',
    minimal({ TaskTemplate: { ...image(), Resources: { Limits: { MemoryBytes: 10 } } } }),
    400,
    `${INVALID} invalid memory value 10: Must be at least 4MiB`,
  ],
  [
    'constraint',
    minimal({ TaskTemplate: { ...image(), Placement: { Constraints: ['foo'] } } }),
    500,
    `${RPC} Unknown desc = constraint expected one operator from ==, !=`,
  ],
  [
    'restart',
    minimal({ TaskTemplate: { ...image(), RestartPolicy: { Condition: 'sometimes' } } }),
    400,
    'invalid RestartCondition: "sometimes"',
  ],
  [
    'mounts',
    minimal({
      TaskTemplate: image({
        Mounts: [
          { Type: 'bind', Source: '/a', Target: '/x' },
          { Type: 'bind', Source: '/b', Target: '/x' },
        ],
      }),
    }),
    400,
    `${INVALID} ContainerSpec: duplicate mount point: /x`,
  ],
  [
    'ports',
    minimal({ EndpointSpec: { Ports: [port({}), port({ TargetPort: 81 })] } }),
    400,
    `${INVALID} EndpointSpec: duplicate published ports provided`,
  ],
  [
    'dnsrr',
    minimal({ EndpointSpec: { Mode: 'dnsrr', Ports: [port({})] } }),
    400,
    `${INVALID} EndpointSpec: port published with ingress mode can't be used with dnsrr mode`,
  ],
  [
    'secret',
    minimal({ TaskTemplate: image({ Secrets: [secret('n')] }) }),
    400,
    `${INVALID} secret not found: n`,
  ],
  [
    'targets',
    minimal({ TaskTemplate: image({ Secrets: [secret('n'), secret('m')] }) }),
    400,
    `${INVALID} secret references 'n' and 'm' have a conflicting target: 'x'`,
  ],
  [
    'network',
    minimal({ TaskTemplate: { ...image(), Networks: [{ Target: 'nope' }] } }),
    500,
    'network nope not found',
  ],
  [
    'ingress',
    minimal({ TaskTemplate: { ...image(), Networks: [{ Target: 'ingress' }] } }),
    400,
    `${INVALID} Service cannot be explicitly attached to the ingress network "ingress"`,
  ],
  [
    'name',
    minimal({ Name: 'bad_name!' }),
    400,
    `${INVALID} name must be valid as a DNS name component`,
  ],
  [
    'job',
    minimal({ Mode: { GlobalJob: {} }, UpdateConfig: {} }),
    400,
    `${INVALID} Jobs may not have an update config`,
  ],
  [
    'image',
    { Name: 'a', TaskTemplate: { ContainerSpec: { Image: 'Bad Image' } } },
    400,
    `${INVALID} ContainerSpec: "Bad Image" is not a valid repository/tag`,
  ],
  ['order', minimal({ UpdateConfig: { Order: 'x' } }), 400, 'unrecognized update order x'],
]

t.test('what is refused, and how', async (t) => {
  const { api, node } = await start(t)
  await node.store.update((tx) =>
    tx.create('networks', {
      id: 'ing',
      spec: { Name: 'ingress', Labels: {}, Driver: 'overlay', Ingress: true },
      allocation: null,
      pendingDelete: false,
    }),
  )
  for (const [name, body, status, message] of REFUSED) {
    const answer = await api.post('/v1.41/services/create', body)
    t.same([answer.status, answer.body.message], [status, message], name)
  }
  t.same((await api.get('/services')).body, [], 'nothing was written')
  const images = ['a/b:1', 'host:5000/a@sha256:'.concat('a'.repeat(64)), 'file:///srv/root', 'host']
  for (const Image of images) {
    const answer = await api.post('/services/create', {
      TaskTemplate: { ContainerSpec: { Image } },
    })
    t.equal(answer.status, 201, Image)
  }
})

t.test('placeholders are tried out before anything is written', async (t) => {
  const { api } = await start(t)
  const container = (more: object): object => minimal({ TaskTemplate: image(more) })
  const volume = (Source: string): object => ({ Type: 'volume', Source, Target: '/x' })
  for (const [body, what] of [
    [container({ Env: ['A=b', 'C={{.Nothing}}'] }), 'expanding env failed: '],
    [container({ Hostname: '{{.Task.Nothing}}' }), 'expanding hostname failed: '],
    [container({ Mounts: [volume('{{if .Task}}')] }), 'expanding mounts failed: '],
    [container({ Env: ['A={{.Service.Labels.tier}}'] }), 'expanding env failed: '],
  ] as const) {
    const { status, body: answer } = await api.post('/services/create', body)
    t.equal(status, 400)
    t.ok(answer.message.startsWith(`${INVALID} ${what}template: {{`), answer.message)
  }
  const good = container({
    Env: ['A={{.Service.Labels.tier}} {{index .Service.Labels "none"}} {{.Task.Slot}}'],
    Hostname: '{{.Node.Hostname}}-{{.Service.Name}}',
    Mounts: [volume('v-{{.Node.ID}}')],
  })
  t.equal((await api.post('/services/create', { ...good, Labels: { tier: 'x' } })).status, 201)
})

t.test('names and ports are taken; host ports may be shared', async (t) => {
  const { api } = await start(t)
  const ports = (PublishMode: string) => ({
    EndpointSpec: { Ports: [{ TargetPort: 80, PublishedPort: 8088, PublishMode }] },
  })
  const { ID } = (await api.post('/services/create', minimal(ports('ingress')))).body
  const again = await api.post('/services/create', minimal())
  t.same(
    [again.status, again.body.message],
    [
      409,
      `${RPC} AlreadyExists desc = name conflicts with an existing object: ` +
        'service web already exists',
    ],
  )
  const clash = await api.post('/services/create', { ...minimal(ports('ingress')), Name: 'web2' })
  t.same(
    [clash.status, clash.body.message],
    [400, `${INVALID} port '8088' is already in use by service 'web' (${ID}) as an ingress port`],
  )
  t.equal((await api.call('DELETE', '/services/web')).status, 200)
  t.equal((await api.get('/services/web')).status, 404, 'gone at once')
  t.equal((await api.call('DELETE', '/services/web')).body.message, 'service web not found')
  t.equal((await api.post('/services/create', minimal(ports('host')))).status, 201)
  const shared = { ...minimal(ports('host')), Name: 'web3' }
  t.equal((await api.post('/services/create', shared)).status, 201)
  const udp = { Ports: [{ TargetPort: 53, PublishedPort: 8088, Protocol: 'udp' }] }
  const other = { ...minimal({ EndpointSpec: udp }), Name: 'dns' }
  t.equal((await api.post('/services/create', other)).status, 201)
})

t.test('update, rollback, what may not change', async (t) => {
  const { api } = await start(t)
  await api.post('/services/create', minimal())
  const read = async () => (await api.get('/services/web')).body
  const post = async (query: string, body: unknown) => {
    const answer = await api.post(`/services/web/update?${query}`, body)
    return [answer.status, answer.body.message ?? answer.body]
  }
  const version = async () => `version=${(await read()).Version.Index}`
  t.same(await post('', minimal()), [
    400,
    'invalid service version \'\': strconv.ParseUint: parsing "": invalid syntax',
  ])
  t.same(await post('version=0', minimal({ Mode: { Global: {} } })), [
    501,
    `${RPC} Unimplemented desc = service mode change is not allowed`,
  ])
  t.same(await post('version=1', minimal({ Name: 'other' })), [
    501,
    `${RPC} Unimplemented desc = renaming services is not supported`,
  ])
  t.same(await post('version=999', minimal()), [
    500,
    `${RPC} Unknown desc = update out of sequence`,
  ])
  const { ID } = await read()
  t.same(await post(`${await version()}&rollback=previous`, minimal()), [
    400,
    `${RPC} FailedPrecondition desc = service ${ID} does not have a previous spec`,
  ])
  const scaled = minimal({ Mode: { Replicated: { Replicas: 3 } } })
  t.same(await post(await version(), scaled), [200, { Warnings: null }])
  const updated = await read()
  t.equal(updated.Spec.Mode.Replicated.Replicas, 3)
  t.equal(updated.PreviousSpec.Mode.Replicated.Replicas, 1)
  t.same(await post(`${await version()}&rollback=previous`, scaled), [200, { Warnings: null }])
  const back = await read()
  t.equal(back.Spec.Mode.Replicated.Replicas, 1)
  t.match(back.UpdateStatus, {
    State: 'rollback_started',
    Message: 'manually requested rollback',
  })
})

t.test('labels of published ports', async (t) => {
  const { api } = await start(t)
  const Ports = [
    { TargetPort: 80, PublishedPort: 8080, PublishMode: 'ingress' },
    { TargetPort: 53, PublishedPort: 8053, PublishMode: 'ingress', Protocol: 'udp' },
    { TargetPort: 81, PublishedPort: 8081, PublishMode: 'host' },
  ]
  const of = (label: string, value: string) =>
    minimal({ Labels: { [`weft.port.${label}`]: value, other: 'x' }, EndpointSpec: { Ports } })
  const refused = [
    ['8080.proxy-protocol', 'v3', 'must be v1 or v2, not "v3"'],
    ['8080.proxy-protocol', '', 'must be v1 or v2, not ""'],
    ['8082.proxy-protocol', 'v1', 'the service does not publish port 8082'],
    ['80.proxy-protocol', 'v1', 'the service does not publish port 80'],
    ['8053.proxy-protocol', 'v1', 'the PROXY protocol is for TCP, not UDP'],
    ['8081.proxy-protocol', 'v1', 'port 8081 is published in mode host, past the routing mesh'],
    ['8080.proxy', 'v1', 'ports have no option "proxy", but proxy-protocol'],
    ['8080', 'v1', 'it is named weft.port.PORT.proxy-protocol, with a published port'],
    ['x.proxy-protocol', 'v1', 'it is named weft.port.PORT.proxy-protocol, with a published port'],
  ] as const
  const fault = (label: string, why: string) => [400, `${INVALID} label weft.port.${label}: ${why}`]
  for (const [label, value, why] of refused) {
    const answer = await api.post('/services/create', of(label, value))
    t.same([answer.status, answer.body.message], fault(label, why))
  }
  t.same((await api.get('/services')).body, [], 'nothing was written')
  const good = of('8080.proxy-protocol', 'v2')
  t.equal((await api.post('/services/create', good)).status, 201)
  const before = (await api.get('/services/web')).body
  t.equal(before.Spec.Labels['weft.port.8080.proxy-protocol'], 'v2')
  const query = `version=${before.Version.Index}`
  const gone = { ...good, EndpointSpec: { Ports: Ports.slice(1) } }
  const answer = await api.post(`/services/web/update?${query}`, gone)
  const why = 'the service does not publish port 8080'
  t.same([answer.status, answer.body.message], fault('8080.proxy-protocol', why))
  t.same((await api.get('/services/web')).body, before, 'nothing was changed')
})

t.test('credentials for the registry are kept and never shown', async (t) => {
  const { api, node } = await start(t)
  const auth = { 'x-registry-auth': 'c2VjcmV0' }
  await api.call('POST', '/services/create', minimal(), auth)
  const stored = () => {
    const { spec, previousSpec } = node.store.view((tx) => tx.all('services')[0]!)
    const of = (from: ServiceSpec | null) => from?.TaskTemplate.ContainerSpec?.PullOptions
    return [of(spec)?.RegistryAuth, of(previousSpec)?.RegistryAuth]
  }
  t.same(stored(), ['c2VjcmV0', undefined])
  const { Version } = (await api.get('/services/web')).body
  await api.post(`/services/web/update?version=${Version.Index}`, minimal({ Labels: { a: 'b' } }))
  t.same(stored(), ['c2VjcmV0', 'c2VjcmV0'], 'carried over')
  t.notMatch((await api.get('/services/web')).text, /c2VjcmV0|PullOptions/)
  t.notMatch((await api.get('/services')).text, /c2VjcmV0|PullOptions/)
})

t.test('older clients cannot mean newer fields', async (t) => {
  const { api } = await start(t)
  const TaskTemplate = image({
    OomScoreAdj: 10,
    Healthcheck: { Test: ['NONE'], StartInterval: 2e9 },
    Privileges: { NoNewPrivileges: true },
  })
  await api.post('/v1.41/services/create', { Name: 'old', TaskTemplate })
  await api.post('/v1.46/services/create', { Name: 'new', TaskTemplate })
  const container = async (name: string) =>
    (await api.get(`/services/${name}`)).body.Spec.TaskTemplate.ContainerSpec
  t.match(await container('new'), {
    OomScoreAdj: 10,
    Healthcheck: { StartInterval: 2e9 },
    Privileges: { NoNewPrivileges: true },
  })
  t.same(await container('old'), {
    Image: 'busybox',
    Isolation: 'default',
    Healthcheck: { Test: ['NONE'] },
    Privileges: { CredentialSpec: null, SELinuxContext: null },
  })
})

function task(id: string, service: { id: string; spec: ServiceSpec }, more: Partial<TaskObject>) {
  return {
    id,
    serviceId: service.id,
    slot: 1,
    nodeId: '',
    serviceAnnotations: { name: service.spec.Name, labels: service.spec.Labels },
    spec: service.spec.TaskTemplate,
    specVersion: 0,
    endpoint: null,
    networks: [],
    status: {
      state: 'running' as const,
      atMs: 0,
      message: 'started',
      error: '',
      container: { id: 'c0', pid: 7, exitCode: 0 },
      hostPorts: [],
      isServing: true,
    },
    desiredState: 'running' as const,
    jobIteration: null,
    logDriver: null,
    assignedGenericResources: [],
    ...more,
  }
}

t.test('tasks: shape, filters, and what is up to date', async (t) => {
  const { api, node } = await start(t)
  await api.post('/services/create', minimal({ Labels: { stack: 'st' } }))
  const service = node.store.view((tx) => tx.all('services')[0]!)
  await node.store.update((tx) => {
    tx.create('nodes', newNode('w1', { hostname: 'worker' }))
    tx.create('tasks', task('aa1', service, { nodeId: 'w1' }))
    const older = { ...service.spec.TaskTemplate, ForceUpdate: 9 }
    const shutdown = { desiredState: 'shutdown' as const, spec: older, specVersion: 5, slot: 2 }
    tx.create('tasks', task('aa2', service, shutdown))
    const attached = { Runtime: 'attachment' as const, ForceUpdate: 0 }
    tx.create('tasks', task('bb1', service, { serviceId: '', spec: attached, nodeId: 'w1' }))
  })
  const { body } = await api.get('/v1.41/tasks/web.1.aa1')
  t.same(Object.keys(body), [
    'ID',
    'Version',
    'CreatedAt',
    'UpdatedAt',
    'Labels',
    'Spec',
    'ServiceID',
    'Slot',
    'NodeID',
    'Status',
    'DesiredState',
  ])
  t.same(body.Status, {
    Timestamp: '1970-01-01T00:00:00Z',
    State: 'running',
    Message: 'started',
    ContainerStatus: { ContainerID: 'c0', PID: 7, ExitCode: 0 },
    PortStatus: {},
  })
  t.equal(body.Spec.Runtime, undefined)
  const ids = async (filters: unknown) => {
    const answer = await api.get(`/tasks?filters=${encodeURIComponent(JSON.stringify(filters))}`)
    return answer.body.map?.(({ ID }: { ID: string }) => ID) ?? answer.body.message
  }
  t.same(await ids({}), ['aa1', 'aa2'])
  t.same(await ids({ service: { web: true } }), ['aa1', 'aa2'])
  t.same(await ids({ service: { web: true }, '_up-to-date': { true: true } }), ['aa1'])
  t.same(await ids({ node: { worker: true } }), ['aa1'])
  t.same(await ids({ label: ['stack=st'], 'desired-state': ['shutdown'] }), ['aa2'])
  t.same(await ids({ runtime: ['attachment'] }), ['bb1'])
  t.same(await ids({ name: ['web.2'] }), ['aa2'])
  t.equal(await ids({ service: ['nope'] }), 'service nope not found')
  t.equal(await ids({ 'desired-state': ['zzz'] }), "Invalid desired-state filter: 'zzz'")
  const status = (await api.get('/services?status=true')).body[0].ServiceStatus
  t.same(status, { RunningTasks: 2, DesiredTasks: 1, CompletedTasks: 0 })
})

t.test('logs: frames, details, a terminal', async (t) => {
  const { api, node } = await start(t)
  await api.post('/services/create', minimal())
  const line = (stream: 'stdout' | 'stderr', text: string) => ({
    nodeId: 'n',
    serviceId: 's',
    taskId: 't',
    stream,
    atMs: Date.parse('2026-11-23T10:10:48.287Z'),
    atNanos: 42,
    attributes: { 'a b': 'c&d' },
    text: Buffer.from(text),
  })
  node.lines = [line('stdout', 'one'), line('stderr', 'two')]
  t.equal((await api.get('/services/web/logs')).status, 500)
  const { headers, text } = await api.get('/services/web/logs?stdout=1&stderr=1&tail=5&since=1.5')
  t.equal(headers['content-type'], 'application/vnd.docker.multiplexed-stream')
  t.equal(text, '\x01\0\0\0\0\0\0\x04one\n\x02\0\0\0\0\0\0\x04two\n')
  t.match(node.logRequests.at(-1), { tail: 5, sinceMs: 1500, stdout: true, follow: false })
  const query = 'stdout=1&details=1&timestamps=1'
  const detailed = (await api.get(`/services/web/logs?${query}`)).text
  t.match(
    detailed.slice(8),
    '2026-11-23T10:10:48.287000042Z a+b=c%26d,com.docker.swarm.node.id=n,' +
      'com.docker.swarm.service.id=s,com.docker.swarm.task.id=t one\n',
  )
  const tty = { Name: 'term', TaskTemplate: image({ TTY: true }) }
  await api.post('/services/create', tty)
  const raw = await api.get('/services/term/logs?stdout=1')
  t.equal(raw.headers['content-type'], 'application/vnd.docker.raw-stream')
  t.equal(raw.text, 'one\ntwo\n')
})
