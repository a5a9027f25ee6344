// Goal: the Engine API answers as a Docker Engine does, status and words, to good requests and bad
// ones. Method: a table of requests for a real dockerd and our API (engine-twins.ts), and their
// answers compared. Where we differ on purpose, docs/engine-api.md says so. Needs dockerd and root;
// skipped elsewhere.

import t from 'tap'
import { type Step, startTwins, whyNoEngine } from './engine-twins.ts'

const filter = (value: unknown) => `filters=${encodeURIComponent(JSON.stringify(value))}`
const BUSYBOX = { ContainerSpec: { Image: 'busybox', Args: ['sleep', '100'] } }
const NONE = { Replicated: { Replicas: 0 } }
const service = (more: object) => ({ Name: 'x1', TaskTemplate: BUSYBOX, Mode: NONE, ...more })
const task = (more: object) => service({ TaskTemplate: { ...BUSYBOX, ...more } })
const container = (more: object) =>
  service({ TaskTemplate: { ContainerSpec: { Image: 'busybox', ...more } } })
const port = (more: object) => ({ TargetPort: 80, PublishedPort: 99, ...more })
const file = (name: string, Name = 'x') => ({ SecretID: 'a', SecretName: name, File: { Name } })

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
  container({ Privileges: { CredentialSpec: { File: 'a', Registry: 'b' } } }),
  container({ Privileges: { CredentialSpec: { Config: 'a', File: 'b' } } }),
  container({ Privileges: { CredentialSpec: { Config: 'a' } } }),
  container({ Configs: [{ Runtime: {} }] }),
  container({ Image: 'a'.repeat(64) }),
  container({ Image: `${'x/'.repeat(130)}y:1` }),
  container({ Mounts: [{ Type: 'cluster', Source: 'v', Target: '/x' }] }),
  container({ Mounts: [{ Source: '/a', Target: '/x', BindOptions: { Propagation: 'x' } }] }),
  service({ RollbackConfig: { FailureAction: 'x' } }),
  service({ RollbackConfig: { Order: 'x' } }),
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
  {
    ...container({
      Isolation: 'HYPERV',
      Mounts: [
        { Type: 'BIND', Source: '/a', Target: '/b', BindOptions: { Propagation: 'SHARED' } },
      ],
    }),
    Labels: { z: '1', a: '2' },
    Name: 'g8',
  } as { Name: string },
  {
    ...task({ RestartPolicy: { Delay: 5 }, Placement: { Preferences: [{}] } }),
    Name: 'g9',
  } as { Name: string },
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
  ...['_', 'a.', '.a', 'a..b', 'ä', 'x'.repeat(64), 'a\n'].map((Name) => ({ Name, Data: 'YQ==' })),
  ...['YQ', '=', '-_==', 'Y\nQ=='].map((Data, at) => ({ Name: `d${at}`, Data })),
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
  { Name: 'none' },
  { Name: 'x', Scope: 'local' },
  { Name: 'x', IPAM: { Config: [{}] } },
  { Name: 'x', IPAM: { Config: [{ Subnet: '10.9.0.0/24', IPRange: 'x' }] } },
  { Name: 'x', IPAM: { Config: [{ Subnet: '10.9.0.0/24', IPRange: '10.8.0.0/25' }] } },
  { Name: 'x', IPAM: { Config: [{ Subnet: '10.9.0.0/24', Gateway: 'x' }] } },
].map((network) => ({ Driver: 'overlay', ...network }))

/** The beginning of no id: those are random letters and digits, one in 1,296 begins with "zz". */
const NO_ID = 'no-id'

/** Of every list: how filters are read. */
const FILTERS: readonly unknown[] = [
  { id: [NO_ID], label: [] },
  { id: [NO_ID], label: null },
  { id: { [NO_ID]: false } },
  { id: { [NO_ID]: 1 } },
  { id: [1] },
  { id: NO_ID },
  { foo: [] },
]

const INSIDE: readonly Step[] = [
  ['POST', '/swarm/init', { ListenAddr: '127.0.0.1:2377' }],
  ['POST', '/swarm/leave'],
  ['POST', '/swarm/update?version=abc', {}],
  ['POST', '/swarm/unlock', { UnlockKey: 'x' }],
  ['GET', '/swarm/unlockkey'],
  ...[5, [1], { role: 5 }, { foo: ['x'] }, { role: ['boss'] }, { id: [NO_ID] }].map(
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
  ...['/nodes', '/services', '/secrets', '/configs', '/tasks'].flatMap((path): Step[] => [
    ...FILTERS.map((value): Step => ['GET', `${path}?${filter(value)}`]),
    ['GET', `${path}?filters={`],
    ['OPTIONS', path],
    ['GET', `${path}/nope/x`],
  ]),
  ...[{ role: ['Manager'] }, { membership: ['Accepted'] }, { membership: ['x'] }].map(
    (value): Step => ['GET', `/nodes?${filter({ ...value, id: [NO_ID] })}`],
  ),
  ['GET', '/services/g1?insertDefaults=x'],
  ['GET', '/services?status=x'],
  ['GET', '/networks/n1?verbose=x'],
  ['GET', '/networks/n1?scope=global'],
  ['GET', `/networks?${filter({ dangling: ['true', 'false'] })}`],
  ['POST', `/networks/prune?${filter({ until: ['x'] })}`],
  ['POST', `/networks/prune?${filter({ label: ['nobody'] })}`],
  ['GET', '/tasks/nope/logs'],
  ...['since=x', 'since=1h', 'since=-1', 'tail=-1', 'tail=x', 'since=99999999999999999999'].map(
    (query): Step => ['GET', `/services/g1/logs?stdout=1&${query}`],
  ),
  ...['since=x', 'until=x', 'since=5&until=1', 'since=-1&until=1', 'since=1.5&until=2'].map(
    (query): Step => ['GET', `/events?${query}`],
  ),
  ['GET', `/events?until=1&${filter({ foo: ['x'] })}`],
  ['PUT', '/services/create'],
  ['PATCH', '/secrets/x'],
  ['POST', '/swarm/leave?force=1'],
]

t.test('a Docker Engine and we', { skip: whyNoEngine() }, async (t) => {
  const { compare, init } = await startTwins(t)
  for (const step of OUTSIDE) await compare(step)
  await init()
  for (const step of INSIDE) await compare(step)
})
