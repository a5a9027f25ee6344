// Goal: requests that are odd, but not rare, are answered as a Docker Engine 20.10 was seen to
// answer them, word by word. Method: a table of requests in order, over a made-up node; the same
// requests go to a real engine in test/lab/docker-engine.test.ts, where there is one.

import t, { type Test } from 'tap'
import { FakeNode, TestApi } from './testing/fake-node.ts'

async function start(t: Test): Promise<TestApi> {
  const api = await TestApi.start(new FakeNode())
  t.teardown(() => api.close())
  await api.init()
  return api
}

const INVALID = 'rpc error: code = InvalidArgument desc ='
const filter = (value: unknown) =>
  `filters=${encodeURIComponent(typeof value === 'string' ? value : JSON.stringify(value))}`
const service = (container: object, more: object = {}) => ({
  Name: 's',
  TaskTemplate: { ContainerSpec: { Image: 'busybox', ...container }, ...more },
})

type Case = readonly [method: string, path: string, body: unknown, status: number, words: string]

async function expectAll(t: Test, api: TestApi, cases: readonly Case[]): Promise<void> {
  for (const [method, path, body, status, words] of cases) {
    const answer = await api.call(method, path, body ?? undefined)
    const sent = `${method} ${path} ${JSON.stringify(body ?? '').slice(0, 120)}`
    t.same([answer.status, answer.body?.message ?? answer.text], [status, words], sent)
  }
}

t.test('services', async (t) => {
  const api = await start(t)
  const refuse = (body: unknown, words: string, status = 400): Case => [
    'POST',
    '/v1.41/services/create',
    body,
    status,
    words,
  ]
  const image = (name: string): Case =>
    refuse(
      service({ Image: name }),
      `${INVALID} ContainerSpec: "${name}" is not a valid repository/tag`,
    )
  const mount = (more: object) => service({ Mounts: [{ Source: '/a', Target: '/b', ...more }] })
  const update = (more: object) => ({ ...service({}), RollbackConfig: more })
  const credentials = (more: object) => service({ Privileges: { CredentialSpec: more } })
  const created = await api.post('/secrets/create', { Name: 'a', Data: 'YQ==' })
  const secret = { SecretID: created.body.ID, SecretName: 'other', File: { Name: 'x' } }
  await expectAll(t, api, [
    image('a'.repeat(64)),
    image(`${'x/'.repeat(130)}y:1`),
    refuse(mount({ Type: 'cluster' }), 'invalid MountType: "cluster"'),
    refuse(mount({ BindOptions: { Propagation: 'x' } }), 'invalid MountPropagation: "x"'),
    refuse(update({ FailureAction: 'x' }), 'unrecognized update failure action x'),
    refuse(update({ Order: 'x' }), 'unrecognized update order x'),
    refuse(
      credentials({ File: 'x', Registry: 'y' }),
      'invalid CredentialSpec: cannot specify both "file" and "registry" credential specs',
    ),
    refuse(
      credentials({ Config: 'x' }),
      `${INVALID} CredentialSpec references config 'x', but that config isn't in config ` +
        'references with RuntimeTarget',
    ),
    refuse(service({ Configs: [{ Runtime: {} }] }), `${INVALID} malformed config reference`),
    refuse(service({ Secrets: [secret] }), `${INVALID} secret not found: other`),
    refuse(
      service({ Secrets: 5 }),
      'json: cannot unmarshal number into Go struct field ' +
        'ContainerSpec.TaskTemplate.ContainerSpec.Secrets of type []*swarm.SecretReference',
    ),
    refuse(
      '{"UpdateConfig":{"MaxFailureRatio":1e40}}',
      'json: cannot unmarshal number 1e40 into Go struct field ' +
        'UpdateConfig.UpdateConfig.MaxFailureRatio of type float32',
    ),
    refuse(
      service({}, { Networks: [{ Aliases: ['a'] }] }),
      'a network to attach to must have a Target',
    ),
    refuse(
      service({}, { Resources: { Reservations: { GenericResources: [{}] } } }),
      `${INVALID} Reservations: a generic resource must be named or discrete`,
    ),
    refuse(
      service({ Hostname: 'a{{' }),
      `${INVALID} expanding hostname failed: template: {{: unclosed action`,
    ),
  ])
})

t.test('what is written is what is meant', async (t) => {
  const api = await start(t)
  const given = service(
    {
      Isolation: 'HYPERV',
      Mounts: [
        { Type: 'BIND', Source: '/a', Target: '/b', BindOptions: { Propagation: 'RSLAVE' } },
      ],
    },
    { RestartPolicy: { Delay: 5 }, Placement: { Preferences: [{}] } },
  )
  t.equal(
    (await api.post('/services/create', { ...given, Labels: { z: '1', a: '2' } })).status,
    201,
  )
  const { Spec } = (await api.get('/services/s')).body
  t.equal(Spec.TaskTemplate.ContainerSpec.Isolation, 'hyperv')
  t.match(Spec.TaskTemplate.ContainerSpec.Mounts, [
    { Type: 'bind', BindOptions: { Propagation: 'rslave' } },
  ])
  t.same(Spec.TaskTemplate.RestartPolicy, { Condition: 'any', Delay: 5, MaxAttempts: 0 })
  t.same(Spec.TaskTemplate.Placement, {}, 'a preference for nothing is none')
  t.same(Object.keys(Spec.Labels), ['a', 'z'], 'maps in the order in which Go writes them')
})

t.test('filters and switches', async (t) => {
  const api = await start(t)
  await api.post('/secrets/create', { Name: 'ab', Data: 'YQ==' })
  const names = async (filters: unknown): Promise<string[]> => {
    const { body } = await api.get(`/v1.41/secrets?${filter(filters)}`)
    return body.map(({ Spec }: { Spec: { Name: string } }) => Spec.Name)
  }
  t.same(await names(null), ['ab'])
  t.same(await names({ name: null }), ['ab'])
  t.same(await names({ name: [] }), ['ab'])
  t.same(await names({ name: { x: false } }), [], 'the key counts, not its boolean')
  t.same(await names({ name: { a: null } }), ['ab'])
  const words = (kind: string, type: string) =>
    `json: cannot unmarshal ${kind} into Go value of type ${type}`
  const switched = (name: string) =>
    `invalid value for ${name}: x: strconv.ParseBool: parsing "x": invalid syntax`
  const get = (path: string, status: number, text: string): Case => [
    'GET',
    path,
    null,
    status,
    text,
  ]
  await expectAll(t, api, [
    get(`/v1.41/secrets?${filter({ foo: [] })}`, 400, "Invalid filter 'foo'"),
    get(`/v1.41/secrets?${filter({ name: { a: 1 } })}`, 500, words('number', 'bool')),
    get(`/v1.41/secrets?${filter({ name: [1] })}`, 500, words('array', 'map[string]bool')),
    get(`/v1.41/secrets?${filter('{')}`, 500, 'unexpected end of JSON input'),
    get(`/v1.41/services?${filter('{')}`, 400, 'unexpected end of JSON input'),
    get(`/v1.42/secrets?${filter('{')}`, 400, 'invalid filter'),
    get('/v1.41/services?status=x', 400, switched('status')),
    get('/v1.41/services/x?insertDefaults=x', 400, switched('insertDefaults')),
    get('/v1.41/networks/x?verbose=x', 400, switched('verbose')),
    get(
      `/v1.41/networks?${filter({ dangling: ['1', '0'] })}`,
      400,
      'got more than one value for filter key "dangling"',
    ),
    ['OPTIONS', '/v1.41/services/x/y', null, 200, ''],
  ])
  const roles = await api.get(`/nodes?${filter({ role: ['Manager'], membership: ['ACCEPTED'] })}`)
  t.equal(roles.body.length, 1)
})

t.test('networks, secrets, logs and events', async (t) => {
  const api = await start(t)
  await api.post('/networks/create', { Name: 'n', Driver: 'overlay' })
  await api.post('/networks/create', { Name: 'in', Driver: 'overlay', Ingress: true })
  const network = (more: object, status: number, words: string): Case => [
    'POST',
    '/v1.41/networks/create',
    { Name: 'x', Driver: 'overlay', ...more },
    status,
    words,
  ]
  const config = (more: object) => ({ IPAM: { Config: [more] } })
  const ipam = `${INVALID} ipam configuration:`
  const parse = (text: string) => `strconv.ParseInt: parsing "${text}"`
  const streams = 'Bad parameters: you must choose at least one stream'
  const get = (path: string, status: number, words: string): Case => [
    'GET',
    `/v1.41${path}`,
    null,
    status,
    words,
  ]
  await expectAll(t, api, [
    network({ Scope: 'local' }, 403, 'cannot downgrade network scope for overlay networks'),
    network(
      { Driver: 'macvlan', Scope: 'swarm' },
      400,
      'a network of the driver "macvlan" cannot be of scope swarm: only overlay networks are',
    ),
    network({ Name: 'none' }, 403, 'operation is not permitted on predefined none network '),
    network({ Name: 'bridge' }, 409, 'network with name bridge already exists'),
    network(config({}), 500, 'Invalid subnet  : invalid CIDR address: '),
    network(config({ Subnet: '10.9.0.0/24', IPRange: 'x' }), 400, `${ipam} invalid range x`),
    network(
      config({ Subnet: '10.9.0.0/24', IPRange: '10.8.0.0/25' }),
      400,
      `${ipam} subnet 10.9.0.0/24 does not contain range 10.8.0.0/25`,
    ),
    get('/networks/n?scope=global', 404, 'network n not found'),
    [
      'POST',
      '/secrets/create',
      { Name: 's', Data: 'YQ==', Driver: {} },
      400,
      `${INVALID} secret driver must have a name`,
    ],
    get('/tasks/nope/logs', 500, streams),
    get('/services/nope/logs?follow=1', 500, streams),
    get('/events?since=x', 500, `${parse('x')}: invalid syntax`),
    get('/events?until=99999999999999999999', 500, `${parse('9'.repeat(20))}: value out of range`),
    get('/events?since=5&until=1', 400, '`since` time (5) cannot be after `until` time (1)'),
    get(`/events?since=-1&until=1&${filter({ foo: ['x'] })}`, 200, ''),
  ])
  await api.post('/services/create', service({}))
  const failed = (text: string) => `could not parse since timestamp: ${parse(text)}`
  await expectAll(t, api, [
    get('/services/s/logs?stdout=1&since=1h', 500, `${failed('1h')}: invalid syntax`),
    get('/services/s/logs?stdout=1&tail=-1', 500, 'negative tail values not supported'),
    get('/services/s/logs?stdout=1&since=-1', 200, ''),
  ])
  const custom = (await api.get(`/networks?${filter({ type: ['custom'] })}`)).body
  t.same(custom.map(({ Name }: { Name: string }) => Name).sort(), ['in', 'n'])
  t.same((await api.get(`/networks?${filter({ type: ['builtin'] })}`)).body, [])
  t.notOk('Services' in (await api.get('/networks/n?verbose=true')).body, 'none: left out')
})

t.test('prune', async (t) => {
  const api = await start(t)
  const prune = async (filters: unknown) =>
    (await api.call('POST', `/v1.41/networks/prune?${filter(filters)}`)).body
  t.same(await prune({}), { NetworksDeleted: null })
  await api.post('/networks/create', { Name: 'n', Driver: 'overlay' })
  t.same(await prune({ until: ['1h'] }), { NetworksDeleted: null }, 'it is younger')
  t.same(await prune({ until: ['1h30m10s'] }), { NetworksDeleted: null })
  t.same(await prune({ until: ['2001-02-03T04'] }), { NetworksDeleted: null })
  t.same(await prune({ until: ['1000000000.5'] }), { NetworksDeleted: null })
  t.match(await prune({ until: ['x'] }), {
    message: 'failed to parse value as time or duration: "x"',
  })
  t.match(await prune({ until: ['1h', '2h'] }), { message: /more than one until/ })
  t.same(await prune({ until: ['9999-01-01'] }), { NetworksDeleted: ['n'] })
})
