// Goal: a process task lives its whole life as Swarm means it, also across a kill of its agent, and
// leaves nothing. Method: inside a lab, the real executor with real commands; a second executor on
// the same directories plays the agent that comes back.

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { makeNetworkNamespace, releaseNetworkNamespace } from '../../../dataplane/edge/netns.ts'
import { plain, spawn } from '../../../dataplane/edge/spawn.ts'
import { openTerminal } from '../../../dataplane/edge/terminal.ts'
import { insideLab, run } from '../../../dataplane/edge/testing/lab.ts'
import type { AssignedTask, NetworkItem } from '../../store/assignment.ts'
import type { ContainerSpec } from '../../store/specs.ts'
import type { LogLine, TaskController, TaskHost } from '../executor.ts'
import { ProcessExecutor } from './executor.ts'
import { execute } from './shell.ts'

const t = await insideLab(import.meta.filename)
// The lab's /run is a tmpfs of its own.
const DATA = '/run/weft-data'
const RUN = '/run/weft-run'
const never = new AbortController().signal
const log = { follow: false, tail: -1, sinceMs: 0, stdout: true, stderr: true }

const NETWORK: NetworkItem = {
  id: '',
  name: 'front',
  vni: 4097,
  subnets: [{ subnet: '10.0.1.0/24', gateway: '10.0.1.1' }],
  mtu: null,
  encrypted: true,
  multicast: false,
  ingress: false,
  internal: false,
}

const open = async (dataDirectory = DATA): Promise<ProcessExecutor> => {
  const executor = new ProcessExecutor({
    dataDirectory,
    runDirectory: RUN,
    version: 'test',
    labels: {},
    genericResources: [],
    addresses: () => [],
    network: (id) => ({ ...NETWORK, id, ingress: id === 'ingress' }),
    openTerminal,
    startProgram: spawn,
    egress: null,
    namespaces: { make: makeNetworkNamespace, release: releaseNetworkNamespace },
    wallNs: () => BigInt(Date.now()) * 1_000_000n,
  })
  await executor.open()
  return executor
}

const host: TaskHost = {
  secret: (id) =>
    id === 's1'
      ? { id, name: 'password', data: Buffer.from('hush').toString('base64'), templating: null }
      : undefined,
  config: (id) => {
    const text = 'I am {{.Service.Name}} on {{.Node.Hostname}}, {{secret "password"}}'
    const data = Buffer.from(text).toString('base64')
    return id === 'c1' ? { id, name: 'motd', data, templating: { Name: 'golang' } } : undefined
  },
  node: { id: 'node1', hostname: 'host1' },
  changed: () => {},
  networked: () => Promise.resolve(),
}

/** A program that names a loader needs libraries, which a root file system of one file has not. */
const isStatic = (path: string): boolean =>
  existsSync(path) && !readFileSync(path, 'latin1').includes('/ld-')

let ids = 0
function task(script: string, more: Partial<ContainerSpec> = {}): AssignedTask {
  const container = { Image: 'host', Command: ['/bin/sh', '-c', script], ...more }
  return {
    id: `task${++ids}`,
    serviceId: 'service1',
    slot: 2,
    nodeId: 'node1',
    serviceAnnotations: { name: 'web', labels: { tier: 'front' } },
    spec: { ContainerSpec: container, ForceUpdate: 0, Runtime: 'container' },
    specVersion: 1,
    endpoint: null,
    networks: [],
    desiredState: 'running',
    jobIteration: null,
    logDriver: null,
    assignedGenericResources: [],
  }
}

async function lines(controller: TaskController): Promise<string[]> {
  const found: string[] = []
  for await (const { stream, data } of controller.logs(log, never)) {
    found.push(`${stream}: ${Buffer.from(data).toString().trimEnd()}`)
  }
  return found
}

async function messageOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'no error',
    (error: Error) => error.message,
  )
}

/** Runs a task to its end and returns what it wrote. */
async function toEnd(executor: ProcessExecutor, what: AssignedTask): Promise<string[]> {
  const controller = executor.controller(what, host)
  await controller.prepare(never)
  await controller.start(never)
  await controller.wait(never)
  const found = await lines(controller)
  await controller.remove()
  return found
}

t.test('a task runs, writes, ends, and is gone', async (t) => {
  const executor = await open()
  const what = task('echo "$GREETING from $(hostname)"; echo oops >&2; cat /etc/hosts', {
    Env: ['GREETING=hello {{.Task.Slot}} {{index .Service.Labels "tier"}}', 'PATH'],
    Hostname: '{{.Service.Name}}-{{.Task.Slot}}',
    Hosts: ['192.0.2.9 printer'],
  })
  const written = await toEnd(executor, what)
  t.ok(written.includes('stdout: hello 2 front from web-2'), written.join('\n'))
  t.ok(written.includes('stderr: oops'))
  t.ok(written.includes('stdout: 192.0.2.9 printer'))
  t.same(await executor.remains(), [])
})

t.test('it is alone: its own network, processes, /run and names', async (t) => {
  const script = 'echo pid $$; cat /proc/net/dev | grep -c :; ls /run; cat /etc/resolv.conf'
  const executor = await open()
  const written = await toEnd(executor, task(script))
  t.ok(
    written.some((line) => /^stdout: pid \d\d?$/.test(line)),
    written.join('\n'),
  )
  t.ok(written.includes('stdout: 1'), 'no interface but lo')
  t.notOk(written.some((line) => line.includes('weft-data')))
  t.ok(written.includes('stdout: options ndots:0'))
})

t.test('secrets and configs are files with owners and modes', async (t) => {
  const executor = await open()
  const written = await toEnd(
    executor,
    task('stat -c "%a %n" /run/secrets/password; cat /run/secrets/password /run/motd; echo', {
      Secrets: [
        {
          SecretID: 's1',
          SecretName: 'password',
          File: { Name: 'password', UID: '0', GID: '0', Mode: 0o440 },
        },
      ],
      Configs: [
        {
          ConfigID: 'c1',
          ConfigName: 'motd',
          File: { Name: '/run/motd', UID: '0', GID: '0', Mode: 0o444 },
        },
      ],
    }),
  )
  t.same(written, ['stdout: 440 /run/secrets/password', 'stdout: hushI am web on host1, hush'])
  t.notOk(readdirSync(`${DATA}/tasks`).length, 'nothing of it on the disk')
})

t.test('a task is told which things it was given', async (t) => {
  const executor = await open()
  const named = (Value: string) => ({ NamedResourceSpec: { Kind: 'gpu', Value } })
  const written = await toEnd(executor, {
    ...task('echo $DOCKER_RESOURCE_GPU'),
    assignedGenericResources: [named('a'), named('b')],
  })
  t.same(written, ['stdout: a,b'])
})

t.test("a command by Node's own means", async (t) => {
  t.same(await execute(plain, 'sh', ['-c', 'cat; echo $0; exit 3']), { status: 3, output: 'sh\n' })
  await t.rejects(execute(plain, 'no-such-program', []), { code: 'ENOENT' })
})

t.test('exit codes and what could not start are told', async (t) => {
  const executor = await open()
  const failing = executor.controller(task('echo dying >&2; exit 3'), host)
  await failing.prepare(never)
  await failing.start(never)
  t.equal(await messageOf(failing.wait(never)), 'task: non-zero exit (3)')
  t.same(failing.status().container?.exitCode, 3)
  await failing.remove()
  const unmakable = {
    Type: 'bind',
    Source: '/proc/weft/x',
    Target: '/x',
    BindOptions: { CreateMountpoint: true },
  } as const
  const rejected: [Partial<ContainerSpec>, RegExp][] = [
    [{ Image: 'nginx:latest' }, /^No such image: nginx:latest/],
    [{ Image: 'file:///not/there' }, /^No such image/],
    [{ OpenStdin: true }, /does not support an open standard input/],
    [{ CapabilityAdd: ['CAP_NET_ADMIN'] }, /does not support added capabilities/],
    [{ User: 'nobody-here' }, /unable to find user nobody-here/],
    [{ Env: ['A={{.Nope}}'] }, /there is no "Nope"/],
    [{ Command: [] }, /no command specified/],
    [{ Mounts: [{ Type: 'bind', Source: '/nowhere', Target: '/x' }] }, /bind source path does not/],
    [{ Mounts: [unmakable] }, /type "bind": ENOENT/],
    [{ Sysctls: { 'kernel.panic': '1' } }, /not in a separate namespace/],
  ]
  for (const [more, message] of rejected) {
    const controller = executor.controller(task('true', more), host)
    t.match(await messageOf(controller.prepare(never)), message)
    await controller.remove()
  }
  const lost = executor.controller(task('true', { Dir: '/no/such/place' }), host)
  await lost.prepare(never)
  t.match(await messageOf(lost.start(never)), /cannot start: .*no such directory/)
  await lost.remove()
  t.same(await executor.remains(), [])
})

t.test('ports of mode "host" get numbers, which stay', async (t) => {
  const ports = [
    { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, PublishMode: 'host' },
    { Protocol: 'udp', TargetPort: 53, PublishMode: 'host' },
  ] as const
  const hosted = (more: object = {}): AssignedTask => ({
    ...task('sleep 60'),
    networks: [{ networkId: 'ingress', addresses: ['10.0.0.9/24'], aliases: [] }],
    endpoint: { spec: { Ports: ports }, ports, virtualIps: [] },
    ...more,
  })
  const executor = await open()
  const what = hosted()
  const controller = executor.controller(what, host)
  t.same(controller.hostPorts?.(), [])
  await controller.prepare(never)
  const [first, second] = controller.hostPorts!()
  t.same(first, ports[0])
  t.ok(second!.PublishedPort! > 49_152, 'one that is free')
  t.same(controller.status().hostPorts, [], 'before it runs')
  await controller.start(never)
  t.same(controller.status().hostPorts, [first, second])
  await executor.close()
  const next = await open()
  const again = next.controller(what, host)
  t.same(again.hostPorts?.(), [first, second], 'for the next agent, too')
  await again.remove()
  const homeless = next.controller(hosted({ networks: [] }), host)
  t.match(await messageOf(homeless.prepare(never)), /ingress network/)
  await homeless.remove()
})

t.test('on the network of the node, and on none', async (t) => {
  const executor = await open()
  const script = 'readlink /proc/self/ns/net; grep -c : /proc/net/dev; cat /etc/resolv.conf'
  const on = (Target: string, more: Partial<ContainerSpec> = {}): AssignedTask => {
    const plain = task(script, more)
    return { ...plain, spec: { ...plain.spec, Networks: [{ Target }] } }
  }
  const hosted = await toEnd(executor, on('host'))
  t.equal(hosted[0], `stdout: ${readlinkSync('/proc/self/ns/net')}`, "the node's own")
  const own = readFileSync('/etc/resolv.conf', 'utf8').split('\n')[0]
  t.equal(hosted[2], `stdout: ${own}`, 'with its name servers')
  const alone = await toEnd(executor, on('none'))
  t.not(alone[0], hosted[0])
  t.equal(alone[1], 'stdout: 1', 'no interface but lo')
  const meddling = executor.controller(on('host', { Sysctls: { 'net.core.somaxconn': '1' } }), host)
  t.match(await messageOf(meddling.prepare(never)), /not allowed in host network namespace/)
  await meddling.remove()
  t.same(await executor.remains(), [])
})

t.test('a terminal: the task sees one, and it outlives the agent', async (t) => {
  mkdirSync('/run/shared', { recursive: true })
  const script =
    'for n in 0 1 2; do test -t $n && echo $n; done; echo "$TERM"; echo own > /dev/tty; ' +
    'until [ -e /run/tty/go ]; do sleep 0.05; done; echo late >&2; exit 4'
  const what = task(script, {
    TTY: true,
    Mounts: [{ Type: 'bind', Source: '/run/shared', Target: '/run/tty' }],
  })
  const executor = await open()
  const controller = executor.controller(what, host)
  await controller.prepare(never)
  await controller.start(never)
  const held = readdirSync('/proc/self/fd').filter((fd) => {
    return existsSync(`/proc/self/fd/${fd}`) && /ptmx/.test(readlinkSync(`/proc/self/fd/${fd}`))
  })
  t.same(held, [], 'the agent keeps nothing of it')
  await executor.close()
  const next = await open()
  const again = next.controller(what, host)
  writeFileSync('/run/shared/go', '')
  t.equal(await messageOf(again.wait(never)), 'task: non-zero exit (4)')
  const expected = ['0', '1', '2', 'xterm', 'own', 'late'].map((text) => `stdout: ${text}`)
  t.same(await lines(again), expected)
  await again.remove()
  rmSync('/run/shared/go')
})

t.test('a stop signal, and a kill when it is not heard', async (t) => {
  const executor = await open()
  const polite = task('trap "echo bye; exit 0" USR1; echo up; while :; do sleep 0.05; done', {
    StopSignal: 'SIGUSR1',
  })
  const deaf = task('trap "" TERM; echo up; while :; do sleep 0.05; done', {
    StopGracePeriod: 200e6,
  })
  for (const [what, words] of [
    [polite, ['stdout: up', 'stdout: bye']],
    [deaf, ['stdout: up']],
  ] as const) {
    const controller = executor.controller(what, host)
    await controller.prepare(never)
    await controller.start(never)
    const stop = new AbortController()
    for await (const _ of controller.logs({ ...log, follow: true }, stop.signal)) stop.abort()
    await controller.shutdown(never)
    t.same(await lines(controller), words)
    await controller.shutdown(never)
    await controller.remove()
  }
})

t.test('one that is killed from outside ends with 137', async (t) => {
  const executor = await open()
  const controller = executor.controller(task('sleep 60'), host)
  await controller.prepare(never)
  await controller.start(never)
  process.kill(controller.status().container!.pid, 'SIGKILL')
  t.equal(await messageOf(controller.wait(never)), 'task: non-zero exit (137)')
  await controller.remove()
})

t.test('a task outlives its agent, and the next one takes it over', async (t) => {
  const what = task('echo one; while [ ! -e /run/go ]; do sleep 0.05; done; echo two; exit 7', {
    Mounts: [{ Type: 'bind', Source: '/run/shared', Target: '/run/go-directory' }],
  })
  mkdirSync('/run/shared', { recursive: true })
  const before = await open()
  const first = before.controller(
    {
      ...what,
      spec: {
        ...what.spec,
        ContainerSpec: {
          ...what.spec.ContainerSpec!,
          Command: [
            '/bin/sh',
            '-c',
            'echo one; while [ ! -e /run/go-directory/go ]; do sleep 0.05; done; echo two; exit 7',
          ],
        },
      },
    },
    host,
  )
  await first.prepare(never)
  await first.start(never)
  const { pid } = first.status().container!
  await before.close()
  const executor = await open()
  const second = executor.controller(what, host)
  await second.prepare(never)
  await second.start(never)
  t.equal(second.status().container!.pid, pid, 'the same process')
  writeFileSync('/run/shared/go', '')
  t.equal(await messageOf(second.wait(never)), 'task: non-zero exit (7)')
  await executor.close()
  const after = await open()
  const third = after.controller(what, host)
  t.equal(await messageOf(third.wait(never)), 'task: non-zero exit (7)', 'told again after the end')
  t.same(await lines(third), ['stdout: one', 'stdout: two'], 'no line lost or doubled')
  await after.close()
  t.same(await executor.remains(), [what.id])
  await executor.removeRemains(what.id)
  t.same(await executor.remains(), [])
})

t.test('health: starting until healthy, failed when it is not', async (t) => {
  const executor = await open()
  const healthy = executor.controller(
    task('sleep 0.3; touch /run/ok; sleep 60', {
      Healthcheck: { Test: ['CMD-SHELL', 'test -e /run/ok'], Interval: 50e6, Retries: 100 },
    }),
    host,
  )
  await healthy.prepare(never)
  await healthy.start(never)
  const stop = new AbortController()
  const waiting = messageOf(healthy.wait(stop.signal))
  stop.abort()
  t.match(await waiting, /abort/i)
  await healthy.remove()
  const sick = executor.controller(
    task('touch /run/ok; sleep 0.5; rm /run/ok; sleep 60', {
      Healthcheck: {
        Test: ['CMD-SHELL', 'test -e /run/ok || { echo it is gone; exit 1; }'],
        Interval: 50e6,
        Retries: 2,
        StartPeriod: 5e9,
        StartInterval: 50e6,
      },
    }),
    host,
  )
  await sick.prepare(never)
  await sick.start(never)
  t.equal(await messageOf(sick.wait(never)), 'task: unhealthy container: it is gone')
  await sick.remove()
})

t.test('a root file system, its own user, volumes and a read-only root', async (t) => {
  mkdirSync('/run/rootfs/bin', { recursive: true })
  mkdirSync('/run/rootfs/etc', { recursive: true })
  const busybox = ['/bin/busybox', '/usr/bin/busybox'].find(isStatic)
  if (busybox === undefined) {
    t.pass('root file system', { skip: 'no static shell (Debian package busybox-static)' })
    return
  }
  run('cp', busybox, '/run/rootfs/bin/sh')
  writeFileSync('/run/rootfs/etc/passwd', 'root:x:0:0::/:/bin/sh\n')
  const executor = await open()
  const image = 'file:///run/rootfs'
  const written = await toEnd(
    executor,
    task('echo $0 in "$(pwd)"; echo x > /made && echo written; ls /vol; echo y > /vol/y', {
      Image: image,
      Dir: '/bin',
      Mounts: [{ Type: 'volume', Source: 'data', Target: '/vol' }],
    }),
  )
  t.ok(written.includes('stdout: written'), written.join('\n'))
  t.notOk(existsSync('/run/rootfs/made'), 'the image stays as it was')
  const again = await toEnd(
    executor,
    task('cat /vol/y; echo x > /made || echo refused', {
      Image: image,
      ReadOnly: true,
      Mounts: [{ Type: 'volume', Source: 'data', Target: '/vol' }],
    }),
  )
  t.ok(again.includes('stdout: y') && again.includes('stdout: refused'), again.join('\n'))
})

t.test("the host's root, read-only, though the task's own files are on it", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-process-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const executor = await open(folder)
  const script = 'echo x > /etc/weft-made || echo refused; echo y > /run/y && echo written'
  const written = await toEnd(executor, task(script, { ReadOnly: true }))
  t.ok(written.includes('stdout: refused'), written.join('\n'))
  t.ok(written.includes('stdout: written'))
  t.notOk(written.some((line) => line.includes('inside.sh')))
})

t.test('logs are followed, cut by tail and time, and rotated', async (t) => {
  const executor = await open()
  const what = {
    ...task('i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; sleep 60'),
    logDriver: { Name: 'json-file', Options: { 'max-size': '40k', 'max-file': '2' } },
  }
  const controller = executor.controller(what, host)
  await controller.prepare(never)
  await controller.start(never)
  const stop = new AbortController()
  const seen: LogLine[] = []
  for await (const line of controller.logs({ ...log, follow: true }, stop.signal)) {
    seen.push(line)
    if (Buffer.from(line.data).toString() === 'line 2999\n') stop.abort()
  }
  t.equal(seen.length, 3000)
  t.ok(seen.every((line, n) => Buffer.from(line.data).toString() === `line ${n}\n`))
  const kept = await lines(controller)
  t.ok(kept.length < 2500 && kept.at(-1) === 'stdout: line 2999', `${kept.length} lines kept`)
  const tail: LogLine[] = []
  for await (const line of controller.logs({ ...log, tail: 2 }, never)) tail.push(line)
  t.equal(tail.length, 2)
  await controller.remove()
  t.notOk(readFileSync('/proc/mounts', 'utf8').includes(what.id))
})

t.test('no watch is left open', async (t) => {
  const open = process.getActiveResourcesInfo().filter((name) => /FSEvent/.test(name))
  t.same(open, [])
})
