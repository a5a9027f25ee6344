// Goal: the listeners: who gets in, what a stale socket is, streams that end with their client, and
// a client library of another make. Method: real sockets; certificates by the openssl command;
// dockerode as it is used by others.

import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { request as httpsRequest } from 'node:https'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Docker from 'dockerode'
import t, { type Test } from 'tap'
import { EngineApi } from './engine-api.ts'
import { listen } from './server.ts'
import { fakeAgents } from './testing/fake-agents.ts'
import { FakeNode, TestApi } from './testing/fake-node.ts'

function folder(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'weft-server-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** Waits until `holds`; fails the test's time limit otherwise. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5))
}

t.test('a unix socket: its mode, and what stands in its way', async (t) => {
  const node = new FakeNode()
  const api = new EngineApi({ version: '0' }, node, node)
  const path = join(folder(t), 'weft.sock')
  const first = await listen(api, { kind: 'unix', path })
  t.equal(first.address, `unix://${path}`)
  t.equal(statSync(path).mode & 0o777, 0o600)
  await t.rejects(listen(api, { kind: 'unix', path }), /another process listens on/)
  await first.close()
  const gid = process.getgid!()
  const second = await listen(api, { kind: 'unix', path, gid })
  t.equal(statSync(path).mode & 0o777, 0o660)
  await second.close()
  // A socket that its process left behind: bound, and never unlinked.
  execFileSync(process.execPath, [
    '-e',
    `require('net').createServer().listen(${JSON.stringify(path)}, () => process.exit())`,
  ])
  t.ok(existsSync(path), 'it is stale')
  const third = await listen(api, { kind: 'unix', path })
  await third.close()
  writeFileSync(path, '')
  await t.rejects(listen(api, { kind: 'unix', path }), /is no socket/)
  api.close()
})

function hasOpenssl(): boolean {
  try {
    execFileSync('openssl', ['version'])
    return true
  } catch {
    return false
  }
}

t.test(
  'TCP: only clients of the CA',
  { skip: !hasOpenssl() && 'no openssl command' },
  async (t) => {
    const dir = folder(t)
    const ssl = (...args: string[]) => execFileSync('openssl', args, { cwd: dir, stdio: 'pipe' })
    const key = (name: string) => [
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
      '-days',
      '2',
    ]
    ssl('req', '-x509', ...key('ca'), '-subj', '/CN=ca')
    ssl('req', '-x509', ...key('other'), '-subj', '/CN=other')
    for (const name of ['server', 'client']) {
      ssl(
        'req',
        '-x509',
        ...key(name),
        '-subj',
        '/CN=localhost',
        '-CA',
        'ca.pem',
        '-CAkey',
        'ca.key',
        '-addext',
        'subjectAltName=IP:127.0.0.1',
        '-addext',
        'basicConstraints=critical,CA:FALSE',
      )
    }
    const read = (name: string) => readFileSync(join(dir, name), 'utf8')
    const node = new FakeNode()
    const api = new EngineApi({ version: '0' }, node, node)
    const server = { key: read('server.key'), cert: read('server.pem'), ca: read('ca.pem') }
    const listener = await listen(api, { kind: 'tls', host: '127.0.0.1', port: 0, ...server })
    t.teardown(() => listener.close())
    const port = Number(listener.address.split(':').at(-1))
    const ping = (client: object) =>
      new Promise<string | undefined>((resolve) => {
        const options = { host: '127.0.0.1', port, path: '/_ping', ca: server.ca, agent: false }
        const outgoing = httpsRequest({ ...options, ...client }, (response) => {
          response.resume()
          resolve(String(response.statusCode))
        })
        outgoing.on('error', (error: NodeJS.ErrnoException) => resolve(error.code))
        outgoing.end()
      })
    t.equal(await ping({ key: read('client.key'), cert: read('client.pem') }), '200')
    t.not(await ping({}), '200')
    t.not(await ping({ key: read('other.key'), cert: read('other.pem') }), '200')
  },
)

t.test('bytes that are no HTTP, headers and bodies without end', async (t) => {
  const node = new FakeNode()
  const api = await TestApi.start(node)
  t.teardown(() => api.close())
  await api.init()
  const send = (bytes: string | Buffer) =>
    new Promise<string>((resolve) => {
      const socket = connect(api.socketPath)
      let received = ''
      socket.on('data', (data: Buffer) => {
        received += data.toString('latin1')
      })
      socket.on('error', () => {})
      socket.on('close', () => resolve(received))
      socket.end(bytes)
    })
  t.match(await send('\x16\x03\x01\0\0garbage\r\n\r\n'), /^HTTP\/1\.1 400/)
  t.match(await send(`GET /_ping HTTP/1.1\r\nX: ${'x'.repeat(80_000)}\r\n\r\n`), /^HTTP\/1\.1 431/)
  const large = 'x'.repeat(5 * 1024 * 1024)
  const answer = await api.call('POST', '/configs/create', { Name: 'a', Data: large })
  t.equal(answer.status, 413)
  const deep = `{"Name":${'['.repeat(5_000)}`
  t.equal((await api.call('POST', '/configs/create', deep)).status, 400)
  t.equal((await api.get('/_ping')).status, 200, 'it goes on')
})

t.test('streams show their headers at once and end with their client', async (t) => {
  const node = new FakeNode()
  const api = await TestApi.start(node)
  t.teardown(() => api.close())
  await api.init()
  await api.post('/services/create', {
    Name: 'web',
    TaskTemplate: { ContainerSpec: { Image: 'a' } },
  })
  let aborted = 0
  node.logs = async function* (_, signal) {
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    aborted += 1
    // Nothing was logged.
    yield* []
  }
  const docker = new Docker({ socketPath: api.socketPath })
  const logs = await docker.getService('web').logs({ stdout: true, follow: true })
  t.ok(logs, 'the headers are there, though no line is')
  ;(logs as unknown as { destroy(): void }).destroy()
  await until(() => aborted === 1)
  const events = await docker.getEvents({ filters: { type: ['secret'] } })
  const lines: string[] = []
  events.on('data', (data: Buffer) => lines.push(data.toString()))
  await api.post('/secrets/create', { Name: 's', Data: 'YQ==' })
  await until(() => lines.length > 0)
  t.match(JSON.parse(lines[0]!), { Type: 'secret', Action: 'create' })
  ;(events as unknown as { destroy(): void }).destroy()
  t.pass('both ended')
})

t.test('dockerode', async (t) => {
  const node = new FakeNode()
  t.teardown(fakeAgents(node))
  const api = await TestApi.start(node)
  t.teardown(() => api.close())
  const docker = new Docker({ socketPath: api.socketPath })
  await t.rejects(docker.listNodes(), /HTTP code 503/)
  const id = await docker.swarmInit({ ListenAddr: '127.0.0.1:2377', ForceNewCluster: false })
  t.match(id, /^[0-9a-z]{25}$/)
  const swarm = await docker.swarmInspect()
  const { Version, Spec } = swarm as unknown as { Version: { Index: number }; Spec: object }
  await docker.swarmUpdate({ version: Version.Index, ...Spec })
  t.equal((await docker.listNodes()).length, 1)
  const network = await docker.createNetwork({ Name: 'net', Driver: 'overlay', Labels: { a: 'b' } })
  t.match(await docker.getNetwork(network.id).inspect(), { Scope: 'swarm', Labels: { a: 'b' } })
  const secret = await docker.createSecret({ Name: 's', Labels: {}, Data: 'YQ==' } as never)
  const { id: secretId } = secret as unknown as { id: string }
  const inspected = await docker.getSecret(secretId).inspect()
  await docker
    .getSecret(secretId)
    .update({ version: Number(inspected.Version?.Index), Name: 's', Labels: { x: 'y' } } as never)
  t.same((await docker.getSecret(secretId).inspect()).Spec?.Labels, { x: 'y' })
  const spec = {
    Name: 'web',
    TaskTemplate: { ContainerSpec: { Image: 'busybox' }, Networks: [{ Target: 'net' }] },
    Mode: { Replicated: { Replicas: 2 } },
  }
  const service = (await docker.createService(spec)) as unknown as Docker.Service
  const { Version: at } = await service.inspect()
  await service.update({ ...spec, version: at.Index, Mode: { Replicated: { Replicas: 3 } } })
  await until(() => node.store.view((tx) => tx.all('tasks').length) >= 3)
  const tasks = await docker.listTasks({
    filters: { service: ['web'], 'desired-state': ['running'] },
  })
  t.equal(tasks.length, 3)
  t.equal((await docker.listServices({ filters: { name: ['web'] } })).length, 1)
  await service.remove()
  await docker.getSecret(secretId).remove()
  await docker.getNetwork(network.id).remove()
  await t.rejects(docker.getNode(id).remove({}), /HTTP code 400/)
  t.equal((await docker.info()).Swarm.LocalNodeState, 'active')
})
