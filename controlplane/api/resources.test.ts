// Goal: secrets, configs and networks in a Docker Engine's words. Method: requests as clients send
// them over a made-up node; a server on a unix socket stands for the local engine.

import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { FakeNode, TestApi } from './testing/fake-node.ts'

type Answerer = (request: IncomingMessage, response: ServerResponse, body: string) => void

/** A server that stands for an engine of API 1.41. */
async function fakeEngine(t: Test, answer: Answerer): Promise<{ path: string; seen: string[] }> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-engine-'))
  const seen: string[] = []
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks).toString()
    if (request.url === '/_ping') return void response.setHeader('api-version', '1.41').end()
    seen.push(`${request.method} ${request.url} ${body}`.trim())
    answer(request, response, body)
  })
  server.on('upgrade', (request, socket) => {
    seen.push(`UPGRADE ${request.url}`)
    socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n')
    socket.on('data', (data: Buffer) => socket.write(data.toString().toUpperCase()))
    socket.on('end', () => socket.end('bye'))
  })
  const path = join(folder, 'engine.sock')
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
    rmSync(folder, { recursive: true, force: true })
  })
  return { path, seen }
}

async function start(t: Test, engine?: string): Promise<{ node: FakeNode; api: TestApi }> {
  const node = new FakeNode()
  node.engineSocket = engine ?? null
  const api = await TestApi.start(node)
  t.teardown(() => api.close())
  await api.init()
  return { node, api }
}

const INVALID = 'rpc error: code = InvalidArgument desc ='

t.test('secrets', async (t) => {
  const { api } = await start(t)
  const create = async (body: unknown) => {
    const answer = await api.post('/v1.41/secrets/create', body)
    return [answer.status, answer.body.message ?? Object.keys(answer.body)]
  }
  const size = `${INVALID} secret data must be larger than 0 and less than 512000 bytes`
  t.same(await create({ Data: 'YQ==' }), [400, `${INVALID} name must be provided`])
  t.same(await create({ Name: 'nodata' }), [400, size])
  const big = Buffer.alloc(512_000).toString('base64')
  t.same(await create({ Name: 'big', Data: big }), [400, size])
  t.match(await create({ Name: 'bad name', Data: 'YQ==' }), [400, /only 64 \[a-zA-Z0-9-_\.\]/])
  t.same(await create({ Name: 'ok', Labels: { a: 'b' }, Data: 'YQ==' }), [201, ['ID']])
  t.same(await create({ Name: 'ok', Data: 'YQ==' }), [
    409,
    'rpc error: code = AlreadyExists desc = secret ok already exists',
  ])
  const query = '?Name=q&Labels={}&Data=YQ=='
  const twice = await api.post(`/secrets/create${query}`, { Name: 'q', Data: 'YQ==' })
  t.equal(twice.status, 201, 'what SDKs repeat in the query is ignored')
  const { body } = await api.get('/secrets/ok')
  t.same(body.Spec, { Name: 'ok', Labels: { a: 'b' } }, 'never its data')
  t.notMatch((await api.get('/secrets')).text, /YQ==/)
  const update = async (version: string, spec: unknown) => {
    const answer = await api.post(`/secrets/ok/update?version=${version}`, spec)
    return [answer.status, answer.body?.message]
  }
  const at = String(body.Version.Index)
  t.same(await update('', { Name: 'ok' }), [400, 'invalid secret version'])
  t.same(await update(at, { Name: 'ok', Data: 'Yg==' }), [
    400,
    `${INVALID} only updates to Labels are allowed`,
  ])
  t.same(await update('1000', { Name: 'ok', Data: 'YQ==' }), [
    500,
    'rpc error: code = Unknown desc = update out of sequence',
  ])
  t.same(await update(at, { Name: 'ok', Labels: { c: 'd' } }), [200, undefined])
  t.same((await api.get('/secrets/ok')).body.Spec.Labels, { c: 'd' })
  const names = async (filters: unknown) => {
    const answer = await api.get(`/secrets?filters=${encodeURIComponent(JSON.stringify(filters))}`)
    return answer.body.map(({ Spec }: { Spec: { Name: string } }) => Spec.Name)
  }
  t.same(await names({ name: { o: true } }), ['ok'])
  t.same(await names({ names: ['o'] }), [])
  t.same(await names({ label: ['c=d'] }), ['ok'])
})

t.test('a secret and a config in use stay', async (t) => {
  const { api } = await start(t)
  const secret = (await api.post('/secrets/create', { Name: 's1', Data: 'YQ==' })).body.ID
  const config = (await api.post('/configs/create', { Name: 'c1', Data: 'YQ==' })).body.ID
  t.equal((await api.get('/configs/c1')).body.Spec.Data, 'YQ==', 'configs are shown')
  const File = { Name: 'x', UID: '0', GID: '0', Mode: 292 }
  const ContainerSpec = {
    Image: 'busybox',
    Secrets: [{ SecretID: secret, SecretName: 's1', File }],
    Configs: [{ ConfigID: config, ConfigName: 'c1', File }],
  }
  await api.post('/services/create', { Name: 'web', TaskTemplate: { ContainerSpec } })
  for (const [path, noun] of [
    ['/secrets/s1', 'secret'],
    ['/configs/c1', 'config'],
  ]) {
    const { status, body } = await api.call('DELETE', path!)
    const name = path!.slice(-2)
    t.equal(status, 400)
    t.equal(body.message, `${INVALID} ${noun} '${name}' is in use by the following service: web`)
  }
  await api.call('DELETE', '/services/web')
  const removed = await api.call('DELETE', '/secrets/s1')
  t.equal(removed.status, 204)
  t.equal(removed.text, '')
  t.equal((await api.call('DELETE', '/secrets/s1')).body.message, 'secret s1 not found')
})

t.test('networks', async (t) => {
  const { api, node } = await start(t)
  const create = async (body: object, version = '1.41') => {
    const answer = await api.post(`/v${version}/networks/create`, { Driver: 'overlay', ...body })
    return [answer.status, answer.body.message ?? Object.keys(answer.body)]
  }
  t.same(await create({ Name: 'n1', Attachable: true, Labels: { a: 'b' } }), [
    201,
    ['Id', 'Warning'],
  ])
  t.same(await create({ Name: 'n1' }), [409, 'network with name n1 already exists'])
  const IPAM = { Config: [{ Subnet: '10.1.2.3' }] }
  t.same(await create({ Name: 'b', IPAM }), [
    500,
    'Invalid subnet 10.1.2.3 : invalid CIDR address: 10.1.2.3',
  ])
  t.equal((await create({ Name: 'b', IPAM }, '1.44'))[0], 400)
  const outside = { Config: [{ Subnet: '10.1.2.0/24', Gateway: '10.1.3.1' }] }
  t.match(await create({ Name: 'b', IPAM: outside }), [
    400,
    /subnet 10.1.2.0\/24 does not contain gateway 10.1.3.1/,
  ])
  t.equal((await create({ Name: 'b', Ingress: true, Attachable: true }))[0], 400)
  t.equal((await create({ Name: 'host' }))[0], 409)
  const { id } = node.store.view((tx) => tx.find('networks', 'name', 'n1')[0]!)
  await node.store.update((tx) => {
    const allocation = { vni: 4097, subnets: [{ subnet: '10.0.1.0/24', gateway: '10.0.1.1' }] }
    tx.update('networks', { ...tx.get('networks', id)!, allocation })
  })
  const { body } = await api.get('/v1.41/networks/n1?scope=swarm')
  t.match(body.Created, /Z$/)
  t.same(
    { ...body, Created: '' },
    {
      Name: 'n1',
      Id: id,
      Created: '',
      Scope: 'swarm',
      Driver: 'overlay',
      EnableIPv6: false,
      IPAM: {
        Driver: 'default',
        Options: null,
        Config: [{ Subnet: '10.0.1.0/24', Gateway: '10.0.1.1' }],
      },
      Internal: false,
      Attachable: true,
      Ingress: false,
      ConfigFrom: { Network: '' },
      ConfigOnly: false,
      Containers: null,
      Options: { 'com.docker.network.driver.overlay.vxlanid_list': '4097' },
      Labels: { a: 'b' },
    },
  )
  const TaskTemplate = { ContainerSpec: { Image: 'busybox' }, Networks: [{ Target: 'n1' }] }
  const service = (await api.post('/services/create', { Name: 'web', TaskTemplate })).body.ID
  const { Spec } = (await api.get('/services/web')).body
  t.same(Spec.TaskTemplate.Networks, [{ Target: id }], 'names become ids')
  const precondition = 'rpc error: code = FailedPrecondition desc ='
  t.same((await api.call('DELETE', '/networks/n1')).body, {
    message: `${precondition} network ${id} is in use by service ${service}`,
  })
  const verbose = (await api.get('/networks/n1?verbose=true')).body
  t.same(Object.keys(verbose.Services), ['web'])
  await api.call('DELETE', '/services/web')
  t.equal((await api.call('DELETE', '/networks/n1')).status, 204)
  t.equal((await api.get('/networks/n1')).body.message, 'network n1 not found')
  t.same(await create({ Name: 'n1' }), [201, ['Id', 'Warning']], 'its name is free at once')
})

t.test('networks at the top of a service, where they were of old', async (t) => {
  const { api } = await start(t)
  const { Id: id } = (await api.post('/networks/create', { Name: 'n1', Driver: 'overlay' })).body
  const atTop = { ContainerSpec: { Image: 'busybox' } }
  await api.post('/services/create', {
    Name: 'old',
    TaskTemplate: atTop,
    Networks: [{ Target: 'n1' }],
  })
  const old = (await api.get('/services/old')).body.Spec
  t.same(old.Networks, [{ Target: id }], 'networks are shown where they were given')
  t.equal(old.TaskTemplate.Networks, undefined)
})

t.test('networks of the cluster and of the engine are one list', async (t) => {
  const local = { Name: 'none', Id: 'f'.repeat(64), Scope: 'local', Driver: 'null', Labels: {} }
  const twin = { ...local, Name: 'n1', Labels: { 'io.weft.network.id': 'x' } }
  const engine = await fakeEngine(t, (request, response) => {
    if (request.url?.startsWith('/networks/prune')) {
      return void response.end('{"NetworksDeleted":["local1"]}')
    }
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(request.method === 'GET' ? [local, twin] : { Id: 'local' }))
  })
  const { api } = await start(t, engine.path)
  await api.post('/networks/create', { Name: 'n1', Driver: 'overlay' })
  const names = (await api.get('/networks')).body.map(({ Name }: { Name: string }) => Name)
  t.same(names, ['n1', 'none'])
  const bridge = { Name: 'mine', Driver: 'bridge' }
  t.equal((await api.post('/v1.48/networks/create', bridge)).body.Id, 'local')
  t.match(engine.seen.at(-1), /^POST \/v1\.41\/networks\/create .*"mine"/, 'with its version')
  const pruned = (await api.post('/networks/prune')).body
  t.same(pruned, { NetworksDeleted: ['n1', 'local1'] })
})

t.test("names of the cluster's and the engine's networks", async (t) => {
  const own = ['bridge', 'both', 'local']
  const engine = await fakeEngine(t, (request, response) => {
    const [, given] = /\/networks\/([\w-]+)$/.exec(request.url ?? '') ?? []
    response.setHeader('content-type', 'application/json')
    response.statusCode = given === undefined || own.includes(given) ? 200 : 404
    // The twin of an overlay is no network of its own.
    const twin = { Name: 'front', Labels: { 'io.weft.network.id': 'id' } }
    const all = [...own.map((Name) => ({ Name, Labels: null })), twin]
    response.end(JSON.stringify(given === undefined ? all : { Name: given }))
  })
  const { api, node } = await start(t, engine.path)
  for (const Name of ['front', 'both']) {
    t.equal((await api.post('/networks/create', { Name, Driver: 'overlay' })).status, 201)
  }
  const taken = await api.post('/networks/create', { Name: 'front', Driver: 'bridge' })
  t.match([taken.status, taken.body.message], [409, 'network with name front already exists'])
  t.notOk(
    engine.seen.some((line) => line.startsWith('POST')),
    'the engine was not asked',
  )
  const { readBarrier } = node
  node.readBarrier = () => Promise.reject(new Error('no leader'))
  await api.post('/networks/create', { Name: 'x' })
  t.ok(engine.seen.at(-1)?.startsWith('POST'), 'it needs no leader')
  node.readBarrier = readBarrier
  const ambiguous = 'network both is ambiguous (2 matches found based on name)'
  for (const method of ['GET', 'DELETE']) {
    const { status, body } = await api.call(method, '/networks/both')
    t.same([status, body.message], [400, ambiguous], method)
  }
  const { Id } = (await api.get('/networks/both?scope=swarm')).body
  t.equal((await api.call('DELETE', `/networks/${Id}`)).status, 204)
  t.equal((await api.call('DELETE', '/networks/front')).status, 204)
  const service = (Target: string) => ({
    TaskTemplate: { ContainerSpec: { Image: 'busybox' }, Networks: [{ Target }] },
  })
  const local = await api.post('/services/create', service('local'))
  t.equal(local.status, 403)
  t.match(local.body.message, /^The network local cannot be used with services\. Only networks/)
  const none = await api.post('/services/create', service('none-such'))
  t.same([none.status, none.body.message], [500, 'network none-such not found'])
})

t.test("what is not the cluster's passes through", async (t) => {
  const engine = await fakeEngine(t, (request, response, body) => {
    response.setHeader('x-engine', 'yes')
    response.statusCode = request.url?.includes('missing') ? 404 : 200
    response.end(`${request.method} ${request.url} ${body}`)
  })
  const { api, node } = await start(t, engine.path)
  const answer = await api.post('/v1.50/containers/abc/start?x=1', { a: 1 })
  t.equal(answer.text, 'POST /v1.41/containers/abc/start?x=1 {"a":1}')
  t.equal(answer.headers['x-engine'], 'yes')
  t.equal(answer.headers['api-version'], '1.50')
  t.equal((await api.get('/v1.41/images/missing/json')).status, 404)
  await api.post('/networks/create', { Name: 'ov', Driver: 'overlay', Attachable: true })
  await api.post('/networks/create', { Name: 'closed', Driver: 'overlay' })
  const run = { Image: 'busybox', HostConfig: { NetworkMode: 'ov' } }
  t.equal((await api.post('/containers/create?name=a', run)).status, 200)
  t.equal(node.preparedNetworks.length, 1, 'the engine has its twin before')
  const id = node.preparedNetworks[0]!
  const byId = {
    HostConfig: { NetworkMode: id },
    NetworkingConfig: { EndpointsConfig: { [id]: {} } },
  }
  await api.post('/containers/create', byId)
  t.match(engine.seen.at(-1), /"NetworkMode":"ov".*"EndpointsConfig":\{"ov":\{\}\}/)
  const closed = await api.post('/containers/create', { HostConfig: { NetworkMode: 'closed' } })
  t.equal(closed.status, 403)
  t.match(closed.body.message, /network closed not manually attachable$/)
  await api.post(`/networks/${id}/connect`, { Container: 'abc' })
  t.match(engine.seen.at(-1), /^POST \/networks\/ov\/connect/)
})

t.test('upgraded connections are joined to the engine', async (t) => {
  const engine = await fakeEngine(t, (_, response) => response.end())
  const { api } = await start(t, engine.path)
  const socket = connect(api.socketPath)
  let received = ''
  socket.on('data', (data: Buffer) => {
    received += data.toString()
    if (received.endsWith('\r\n\r\n')) socket.write('hello')
    if (received.endsWith('HELLO')) socket.end()
  })
  socket.write(
    'POST /v1.50/containers/x/attach HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\n' +
      'Upgrade: tcp\r\nContent-Length: 0\r\n\r\n',
  )
  await new Promise((resolve) => socket.once('close', resolve))
  t.match(received, /^HTTP\/1\.1 101 UPGRADED\r\n/)
  t.match(received, /HELLObye$/)
  t.same(engine.seen, ['UPGRADE /v1.41/containers/x/attach'])
})

t.test('an offer of another protocol on a path of ours is declined', async (t) => {
  const { api } = await start(t)
  const offer = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': '' }
  const { status, body } = await api.call('GET', '/nodes', undefined, offer)
  t.equal(status, 200)
  t.equal(body.length, 1)
  const engines = await api.call('POST', '/v1.50/session', undefined, offer)
  t.equal(engines.status, 501, 'a path of the engine that is not there')
})

t.test('an engine that is down is said to be', async (t) => {
  const { api } = await start(t, '/nonexistent/engine.sock')
  const { status, body } = await api.get('/containers/json')
  t.equal(status, 503)
  t.match(body.message, /Cannot connect to the Docker daemon at unix:\/\/\/nonexistent/)
  t.equal((await api.get('/info')).status, 200, 'the node can still be asked about')
  t.equal((await api.get('/nodes')).status, 200)
})
