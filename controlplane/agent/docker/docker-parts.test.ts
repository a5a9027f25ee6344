// Goal: what the Docker executor works out by itself: the request for a container, lines of a log,
// and which interface of a container is which. Method: literal values.

import t from 'tap'
import type { AssignedTask } from '../../store/assignment.ts'
import { task } from '../testing/tasks.ts'
import { createOptions } from './container-spec.ts'
import { engineLines, nanoseconds } from './engine-log.ts'
import { deviceName, nameByAddress6, nameByRoute } from './interfaces.ts'
import { LOG_LINE_BYTES_MAX } from './limits.ts'

const host = {
  secret: () => undefined,
  config: () => undefined,
  node: { id: 'node1', hostname: 'h1' },
  changed: () => {},
  networked: () => Promise.resolve(),
}
const place = { networkMode: 'ov', nameServers: ['10.0.1.1'], files: [] }

function options(spec: object, changes: Partial<AssignedTask> = {}) {
  const ContainerSpec = { Image: 'img', ...spec }
  const template = { ContainerSpec, ForceUpdate: 0, Runtime: 'container' as const }
  return createOptions(task('t1', { spec: template, ...changes }), host, place)
}

t.test('the request for a container', async (t) => {
  t.match(options({}), {
    name: 'web.1.t1',
    Image: 'img',
    Labels: { 'com.docker.swarm.task.id': 't1', 'com.docker.swarm.task': '' },
    HostConfig: { NetworkMode: 'ov', Dns: ['10.0.1.1'], RestartPolicy: { Name: 'no' } },
  })
  t.notOk(Object.hasOwn(options({}), 'Cmd'), "the image's own command")
  const labels = options({ Labels: { mine: 'x', 'com.docker.swarm.task.id': 'other' } }).Labels
  t.match(labels, { mine: 'x', 'com.docker.swarm.task.id': 't1' }, 'nobody poses as another')
  t.same(options({ Env: ['A={{.Task.Slot}}'] }).Env, ['A=1'])
  t.throws(() => options({ Env: ['A={{.Nothing}}'] }), { name: 'TaskError' })
  t.match(options({ Command: ['a'], Args: ['b'] }), { Entrypoint: ['a'], Cmd: ['b'] })
  t.same(options({ Hosts: ['10.1.1.1 a b'] }).HostConfig?.ExtraHosts, ['a:10.1.1.1', 'b:10.1.1.1'])
  const privileges = {
    NoNewPrivileges: true,
    AppArmor: { Mode: 'disabled' },
    Seccomp: { Mode: 'custom', Profile: Buffer.from('{}').toString('base64') },
    SELinuxContext: { Level: 's0' },
  }
  t.same(options({ Privileges: privileges }).HostConfig?.SecurityOpt, [
    'label=level:s0',
    'seccomp={}',
    'apparmor=unconfined',
    'no-new-privileges=true',
  ])
})

t.test('health checks, and generic resources', async (t) => {
  const Healthcheck = { Test: ['CMD', 'true'], StartPeriod: 9e9, StartInterval: 2e9 }
  t.same(options({ Healthcheck }).Healthcheck, Healthcheck)
  const named = (Value: string) => ({ NamedResourceSpec: { Kind: 'gpu', Value } })
  const counted = { DiscreteResourceSpec: { Kind: 'SSD', Value: 3 } }
  const assignedGenericResources = [named('a'), counted, named('b')]
  t.same(options({ Env: ['A=1'] }, { assignedGenericResources }).Env, [
    'A=1',
    'DOCKER_RESOURCE_GPU=a,b',
    'DOCKER_RESOURCE_SSD=3',
  ])
})

t.test("the network's name server is asked without the engine's in between", async (t) => {
  const given = (Options: string[]) => options({ DNSConfig: { Options } }).HostConfig?.DnsOptions
  t.same(options({}).HostConfig?.DnsOptions, ['ndots:0;'])
  t.same(given(['timeout:1']), ['timeout:1', 'ndots:0;'], 'last: it begins a comment')
  t.same(given(['ndots:2', 'rotate']), ['ndots:2', 'rotate'], "the user's own")
  const alone = { ContainerSpec: { Image: 'img' }, ForceUpdate: 0, Runtime: 'container' as const }
  const nowhere = { ...place, nameServers: [] }
  const made = createOptions(task('t1', { spec: alone }), host, nowhere)
  t.same(made.HostConfig?.DnsOptions, [], 'where there is none of ours')
})

t.test("ports in host mode are the engine's", async (t) => {
  const port = { Protocol: 'tcp' as const, TargetPort: 80, PublishedPort: 8080 }
  const ports = [
    { ...port, PublishMode: 'host' as const },
    { ...port, PublishedPort: 9090, PublishMode: 'ingress' as const },
  ]
  const made = options({}, { endpoint: { spec: {}, ports, virtualIps: [] } })
  t.same(made.HostConfig?.PortBindings, { '80/tcp': [{ HostPort: '8080' }] })
  t.same(made.ExposedPorts, { '80/tcp': {} })
})

async function* bytes(...chunks: (Buffer | string)[]): AsyncGenerator<Buffer> {
  for (const chunk of chunks) yield Buffer.from(chunk as string)
}

function frame(stream: number, text: string): Buffer {
  const head = Buffer.from([stream, 0, 0, 0, 0, 0, 0, 0])
  head.writeUInt32BE(Buffer.byteLength(text), 4)
  return Buffer.concat([head, Buffer.from(text)])
}

async function lines(chunks: AsyncIterable<Buffer>, isTerminal = false): Promise<string[]> {
  const found: string[] = []
  for await (const { stream, timestampNs, data } of engineLines(chunks, isTerminal)) {
    found.push(`${stream} ${timestampNs} ${Buffer.from(data).toString()}`)
  }
  return found
}

t.test('lines of a log', async (t) => {
  // No details: the driver adds nothing.
  const time = '1970-01-01T00:00:01.000000002Z '
  const whole = Buffer.concat([
    frame(1, `${time} out\n`),
    frame(2, `${time} err\n`),
    frame(1, `${time} a long `),
    frame(1, `${time} line\n`),
    frame(1, `${time} its end`),
  ])
  const wanted = [
    'stdout 1000000002 out\n',
    'stderr 1000000002 err\n',
    'stdout 1000000002 a long line\n',
    'stdout 1000000002 its end',
  ]
  t.same(await lines(bytes(whole)), wanted)
  const single = [...whole].map((byte) => Buffer.from([byte]))
  t.same(await lines(bytes(...single)), wanted, 'however it is cut')
  t.same(await lines(bytes(`${time} a\r\n${time}`, ' b\n'), true), [
    'stdout 1000000002 a\r\n',
    'stdout 1000000002 b\n',
  ])
  await t.rejects(lines(bytes(frame(3, 'disk full'))), /disk full/)
  await t.rejects(lines(bytes(frame(9, 'x'))), /not understood/)
  await t.rejects(lines(bytes(Buffer.from([1, 0, 0, 0, 255, 255, 255, 255]))), /not understood/)
  const endless = frame(1, `${time} ${'x'.repeat(LOG_LINE_BYTES_MAX)}`)
  t.equal((await lines(bytes(endless, endless))).length, 2, 'a line without an end is cut')
})

t.test('what the log driver adds to a line', async (t) => {
  const time = '1970-01-01T00:00:01Z'
  const found: unknown[] = []
  const pieces = [frame(1, `${time} tier=a+b,x%3Dy=%2C one `), frame(1, `${time} tier=a+b more\n`)]
  const whole = bytes(...pieces, frame(1, `${time}  .\n`))
  for await (const { attributes, data } of engineLines(whole, false)) {
    found.push([attributes, Buffer.from(data).toString()])
  }
  t.same(found, [
    [{ tier: 'a b', 'x=y': ',' }, 'one more\n'],
    [{}, '.\n'],
  ])
})

t.test('times', async (t) => {
  t.equal(nanoseconds('1970-01-01T00:00:01Z'), '1000000000')
  t.equal(nanoseconds('1970-01-01T01:00:00.5+01:00'), '500000000')
  for (const text of ['', 'now', '1970-01-01', '1970-13-01T00:00:00Z']) {
    t.equal(nanoseconds(text), null, text)
  }
})

t.test('interfaces', async (t) => {
  t.match(deviceName('t1', 'n1'), /^wft[0-9a-f]{10}$/)
  t.not(deviceName('t1', 'n1'), deviceName('t1', 'n2'))
  const route = [
    'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT',
    'eth2\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\t0\t0\t0',
    'eth0\t0000070A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0',
    'eth1\t0001070A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0',
  ].join('\n')
  t.equal(nameByRoute(route, '10.7.0.3/24'), 'eth0')
  t.equal(nameByRoute(route, '10.7.1.3/24'), 'eth1')
  t.equal(nameByRoute(route, '10.7.1.3/25'), null, 'another subnet')
  t.equal(nameByRoute('', '10.7.1.3/24'), null)
  t.equal(nameByRoute(route, 'nonsense'), null)
  const six = 'fd000000000000000000000000000003 05 40 00 80     eth1\n'
  t.equal(nameByAddress6(six, 'fd00::3/64'), 'eth1')
  t.equal(nameByAddress6(six, 'fd00::4/64'), null)
})
