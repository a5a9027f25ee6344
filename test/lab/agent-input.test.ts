// What the agent says to input that it cannot take: a status, and a sentence that names the thing.
// Whatever it refuses, it leaves the host as it was; what it refuses while it runs, it goes on
// without.

import './enter.ts'
import { chmodSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { Agent } from '../../cli/lab/agent.ts'
import { labObstacle } from '../../cli/lab/enter.ts'
import type { Host } from '../../cli/lab/host.ts'
import { Lab } from '../../cli/lab/lab.ts'
import { sumOf } from '../../cli/lab/metrics.ts'
import type { ExecResult } from '../../cli/lab/process.ts'
import { newKeyPair, Topology } from '../../cli/lab/topology.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import type { ForwardingTables } from '../../dataplane/tables.ts'
import { hostState } from './host-state.ts'

// biome-ignore lint/suspicious/noExplicitAny: the mistakes are made in plain JSON.
type Loose = any

/** Makes one mistake; the sentence must name the place and the reason. */
type Mistake = readonly [string, (tables: Loose) => void, RegExp]

/** Mistakes of one row are all told at once. */
const SHAPE_MISTAKES: readonly Mistake[] = [
  [
    'a field that is not known',
    (x) => {
      x.networks[0].vnid = 5
    },
    /networks\[0\]\.vnid: .*vni/,
  ],
  [
    'a field of another type',
    (x) => {
      x.endpoints[0].addresses = '10.7.0.2'
    },
    /endpoints\[0\]\.addresses: must be a list/,
  ],
]

const MISTAKES: readonly Mistake[] = [
  [
    'an unknown network',
    (x) => {
      x.endpoints[1].network = 'ingres'
    },
    /endpoints\[1\]\.network: there is no network "ingres"; did you mean "ingress"\?/,
  ],
  [
    'overlapping subnets',
    (x) => {
      x.networks.push({ name: 'aside', vni: 7, subnets: ['10.7.0.128/25'] })
      x.networks[2].subnets.push('10.7.0.0/16')
    },
    /networks\[2\]\.subnets\[1\]: .*overlaps/,
  ],
  [
    'an address outside its subnet',
    (x) => {
      x.endpoints[0].addresses[0] = '10.9.0.2'
    },
    /endpoints\[0\]\.addresses\[0\]: 10\.9\.0\.2 is outside the subnets of network "front"/,
  ],
  [
    'a VIP twice',
    (x) => {
      x.services.push({ ...x.services[0], name: 'again' })
    },
    /services\[2\]\.vips\[0\]: is also that of services\[0\]\.vips\[0\]/,
  ],
  [
    'two nodes with one key',
    (x) => {
      x.peers.push({ ...x.peers[0], name: 'node3', endpoint: '192.168.10.9:4789' })
    },
    /peers\[1\]\.publicKey: is also that of peers\[0\]/,
  ],
  [
    'the own key as a peer’s',
    (x) => {
      const own = newKeyPair()
      x.node.privateKey = own.privateKey
      x.peers.push({ ...x.peers[0], name: 'node4', publicKey: own.publicKey })
    },
    /peers\[2\]\.publicKey: is this node's own key/,
  ],
  [
    'a port published twice',
    (x) => {
      x.publishedPorts.push({ ...x.publishedPorts[0] })
    },
    /publishedPorts\[1\]: tcp\/8000 is published already by publishedPorts\[0\]/,
  ],
]

class Room {
  readonly lab: Lab
  readonly host: Host
  readonly task: Host
  readonly plan: Topology = new Topology()
  readonly agent: Agent

  constructor(lab: Lab, host: Host, task: Host) {
    this.lab = lab
    this.host = host
    this.task = task
    const { plan } = this
    plan.node({ name: 'node1', address: host.address, addresses: [host.address, host.address6] })
    plan.node({ name: 'node2', address: '192.168.10.2' })
    plan.network({ name: 'front', vni: 100, subnets: ['10.7.0.0/24', 'fd00:7::/64'] })
    plan.task({ name: 'task', node: 'node1', networks: ['front'] })
    plan.service({ name: 'web', network: 'front', tasks: ['task'] })
    plan.publish({ protocol: 'tcp', port: 8000, service: 'web', targetPort: 80 })
    this.agent = new Agent(lab, host, 'node1')
  }

  get tables(): ForwardingTables {
    return this.plan.tables('node1')
  }

  /** Runs the agent to its end, which must come by itself. */
  run(tables: ForwardingTables | string, ...more: string[]): Promise<ExecResult> {
    this.agent.write(tables)
    return this.host.exec([...this.agent.command, ...more])
  }

  async state(): Promise<string> {
    return `${await hostState(this.host)}\n${await hostState(this.task)}`
  }
}

function mistaken(room: Room, change: (tables: Loose) => void): ForwardingTables {
  const tables = structuredClone(room.tables)
  change(tables)
  return tables
}

function tableTests(room: Room): void {
  t.test('tables that are no JSON, or not there', async (t) => {
    const broken = await room.run('{ "version": 1,')
    t.equal(broken.status, 2)
    t.match(broken.stderr, /^weft: .*tables\.json: .*JSON/)
    const missing = await room.host.exec([
      ...room.agent.command.map((word) => word.replace('tables.json', 'none.json')),
    ])
    t.equal(missing.status, 2)
    t.match(missing.stderr, /none\.json: .*(no such file|not there|ENOENT)/i)
  })

  t.test('tables that contradict themselves', async (t) => {
    for (const row of [SHAPE_MISTAKES, MISTAKES]) {
      const all = (x: Loose): void => {
        for (const [, change] of row) change(x)
      }
      const { status, stderr } = await room.run(mistaken(room, all))
      t.equal(status, 2)
      for (const [name, , sentence] of row) t.match(stderr, sentence, name)
      t.notMatch(stderr, /\n {4}at /, 'without a stack')
    }
  })

  t.test('the same while it runs: the running tables stay', async (t) => {
    const { agent } = room
    await agent.start(room.tables)
    const version = room.plan.version
    let failures = 0
    for (const [name, change, sentence] of [...SHAPE_MISTAKES.slice(1), ...MISTAKES.slice(0, 2)]) {
      room.plan.version++
      agent.write(mistaken(room, change))
      agent.process?.signal('SIGHUP')
      failures++
      await waitFor(
        async () => {
          const samples = await agent.metrics()
          return sumOf(samples, 'weft_tables_reload_failures_total') >= failures
        },
        { what: `the refusal of ${name}` },
      )
      failures = sumOf(await agent.metrics(), 'weft_tables_reload_failures_total')
      // Metrics and log lines come by different ways.
      const words = (): string =>
        (agent.process?.stderr ?? '')
          .replaceAll('\\"', '"')
          .replace(/path=(\S+) problem="/g, '$1: ')
      await waitFor(() => sentence.test(words()), { what: `the log to say ${sentence}` })
      await waitFor(() => words().includes(`the tables that ran before go on version=${version}`), {
        what: 'the log to say what goes on',
      })
      t.match(words(), /tables refused /, name)
      t.equal(sumOf(await agent.metrics(), 'weft_tables_version'), version, name)
    }
    room.plan.version++
    await agent.reload(room.tables)
    t.equal(sumOf(await agent.metrics(), 'weft_tables_version'), room.plan.version, 'good ones run')
    const { node, ...rest } = room.tables
    const moved = { ...rest, node: { ...node, listenPort: 5000 }, version: 999 }
    agent.write(moved)
    await agent.process?.output(/path=node.listenPort problem="?cannot change while the agent runs/)
    t.equal(await agent.stop(), 0)
  })
}

function hostTests(room: Room): void {
  t.test('a namespace that is not there', async (t) => {
    const tables = mistaken(room, (x) => {
      x.endpoints[0].interface.netns = '/run/netns/nowhere'
    })
    const { status, stderr } = await room.run(tables)
    t.equal(status, 1)
    t.match(stderr, 'network namespace /run/netns/nowhere is not there')
    t.notMatch(stderr, /\n {4}at /)
  })

  t.test('a device name that is taken', async (t) => {
    await room.task.ip(['link add eth0 type veth peer name eth9'])
    const before = await room.state()
    const { status, stderr } = await room.run(room.tables)
    t.equal(status, 1)
    t.match(stderr, 'device eth0 in /run/netns/task exists and is no TAP device')
    t.equal(await room.state(), before, 'what was made until then is undone')
    await room.task.ip(['link del eth0'])
  })

  t.test('an underlay port that is taken', async (t) => {
    const { agent, lab, host } = room
    await agent.start(room.tables)
    const before = await room.state()
    const other = new Agent(lab, host, 'node9')
    const bare = { ...room.tables, endpoints: [], services: [], publishedPorts: [] }
    other.write(bare)
    const command = other.command.map((word) => (word === '127.0.0.1:9323' ? '9324' : word))
    const port = await host.exec(command)
    t.equal(port.status, 1)
    t.match(port.stderr, 'UDP port 4789 is in use')
    t.match(port.stderr, 'stop who uses it, or name another listenPort')
    const metrics = await host.exec(other.command)
    t.equal(metrics.status, 1)
    t.match(metrics.stderr, /127\.0\.0\.1:9323: another process listens there/)
    t.equal(await room.state(), before, 'the agent that runs is not disturbed')
    t.ok(agent.process?.running)
    const twin = await host.exec(agent.command.map((w) => (w === '127.0.0.1:9323' ? '9324' : w)))
    t.equal(twin.status, 1, 'the very same again')
    t.match(twin.stderr, /in use|another agent/)
    t.equal(await room.state(), before, 'not disturbed either')
    t.equal(await agent.stop(), 0)
  })

  t.test('a metrics port that is taken is found before the host is touched', async (t) => {
    const before = await room.state()
    const holder = room.host.spawn([process.execPath, '-e', HOLDER])
    await holder.output(/up/)
    const { status, stderr } = await room.run(room.tables)
    await holder.stop()
    t.equal(status, 1)
    t.match(stderr, /127\.0\.0\.1:9323: another process listens there/)
    t.equal(await room.state(), before)
  })
}

const HOLDER = `require('net').createServer().listen(9323, '127.0.0.1', () => console.log('up'))`

function keyTests(room: Room): void {
  const withKeyFile = (file: string): ForwardingTables =>
    mistaken(room, (x) => {
      delete x.node.privateKey
      x.node.privateKeyFile = file
    })

  t.test('a private key that others may read', async (t) => {
    const file = `${room.lab.folder}/key`
    writeFileSync(file, `${newKeyPair().privateKey}\n`, { mode: 0o600 })
    for (const mode of [0o640, 0o604]) {
      chmodSync(file, mode)
      const { status, stderr } = await room.run(withKeyFile(file))
      t.equal(status, 2, mode.toString(8))
      t.match(stderr, file)
      t.match(stderr, /chmod (0?600|go-rwx)/)
    }
    chmodSync(file, 0o600)
    const check = await room.run(withKeyFile(file), '--check')
    t.equal(check.status, 0, check.stderr)
    const none = await room.run(withKeyFile(`${room.lab.folder}/nokey`))
    t.equal(none.status, 2)
    t.match(none.stderr, /node\.privateKeyFile: .*nokey/)
    writeFileSync(file, 'not a key\n')
    const bad = await room.run(withKeyFile(file))
    t.equal(bad.status, 2)
    t.notMatch(bad.stderr, 'not a key', 'what stands in a key file is never shown')
  })

  t.test('words that the command does not know', async (t) => {
    for (const [words, sentence] of [
      [['--metrcs', '1'], /--metrcs.*--metrics/],
      [['--metrics'], /--metrics/],
      [['--pcap', 'eth9'], /PORT=FILE/],
      [['--pcap', 'eth9=/tmp/x'], /"eth9", which is no local port/],
      [['--log-level', 'loud'], /"loud"/],
      [['more'], /"more"/],
    ] as const) {
      const { status, stderr } = await room.run(room.tables, ...words)
      t.equal(status, 2, words.join(' '))
      t.match(stderr, sentence)
      t.notMatch(stderr, /\n {4}at /)
    }
  })
}

const obstacle = labObstacle()
if (obstacle !== undefined) {
  t.test('input', { skip: obstacle }, async () => {})
} else {
  const lab = new Lab()
  t.teardown(() => lab.close())
  const [host, task, other] = (await lab.hostsNamed('node1', 'task', 'node2')) as [Host, Host, Host]
  await lab.bridge([host, other])
  const room = new Room(lab, host, task)
  const before = await room.state()
  tableTests(room)
  hostTests(room)
  keyTests(room)
  t.test('after all of it the host is as it was', async (t) => {
    t.equal(await room.state(), before)
  })
}
