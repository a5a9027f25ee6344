// Goal: a port of mode "host" leads from one node's addresses to the task there: over TCP and UDP,
// IPv4 and IPv6, with the client's own address, on no other node, and no longer than the task is;
// and the task hears of a client that has gone.
// Method: two real agents, a service without a network that publishes 8080, and a client outside.

import './enter.ts'
import process from 'node:process'
import { pageService, type ShownTask, Swarm } from '../../cli/lab/swarm.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest, type Test } from './lab-test.ts'

const ECHO = `
const socket = require('node:dgram').createSocket({ type: 'udp6' })
socket.on('message', (_, from) => socket.send(from.address, from.port, from.address))
socket.bind(53)
`
const ASK = `
const [, address, port] = process.argv
const socket = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4')
socket.on('message', (answer) => { console.log(String(answer)); process.exit(0) })
socket.on('error', () => process.exit(1))
socket.send('who am I', Number(port), address)
setTimeout(() => process.exit(1), 2000)
`

/** Insists on talking to whoever asks first until it is told that nobody is there, and then says so
 * to all. */
const INSISTENT = `
const socket = require('node:dgram').createSocket('udp6')
let timer, refused = false
const end = (error) => {
  if (!error || refused) return
  refused = true
  clearInterval(timer)
  socket.disconnect()
}
socket.on('error', end)
socket.on('message', (_, { address, port }) => {
  if (refused) return socket.send('nobody there', port, address)
  socket.connect(port, address, () => {
    timer = setInterval(() => socket.send('there', end), 50)
  })
})
socket.bind(53)
`

const hostPort = (Protocol: string, TargetPort: number, PublishedPort?: number) => ({
  Protocol,
  TargetPort,
  PublishMode: 'host',
  ...(PublishedPort === undefined ? {} : { PublishedPort }),
})

interface Published {
  readonly Status: { readonly PortStatus?: { readonly Ports?: { PublishedPort: number }[] } }
}

async function web(t: Test, swarm: Swarm): Promise<void> {
  const page = pageService('web', [], 1, {}) as { EndpointSpec: object }
  const EndpointSpec = { Ports: [hostPort('tcp', 80, 8080), hostPort('tcp', 80)] }
  await swarm.service({ ...page, EndpointSpec })
  const [task] = await swarm.converged('web', 1)
  const node = swarm.nodeOf(task!, await swarm.manager.nodes())
  const other = swarm.nodes.find((one) => one !== node)!
  const ports = (task as unknown as Published).Status.PortStatus?.Ports ?? []
  t.equal(ports.length, 2, 'the API shows them')
  t.same(task!.NetworksAttachments ?? [], [], 'and no network that nobody asked for')

  const get = async (address: string, port: number): Promise<string> => {
    const url = `http://${address.includes(':') ? `[${address}]` : address}:${port}/`
    const got = await swarm.client.probe.try('get', url, { timeoutMs: 5_000 })
    return got.error ?? got.body.trim()
  }
  for (const { PublishedPort } of ports) {
    for (const [address, own] of [
      [node.host.address, swarm.client.address],
      [node.host.address6, swarm.client.address6],
    ] as const) {
      await waitFor(async () => (await get(address, PublishedPort)).endsWith(` saw ${own}`), {
        what: `an answer at port ${PublishedPort} of ${address} with the client's address`,
      })
    }
    t.match(await get(other.host.address, PublishedPort), /REFUSED/, 'not on another node')
  }
  const local = await node.host.exec(['curl', '-s', '-m', '10', 'http://127.0.0.1:8080/'])
  t.match(local.stdout, / saw /, 'on the node itself')

  t.comment('one to a node: the scheduler keeps them apart')
  await swarm.change('web', (spec) => {
    spec.Mode.Replicated.Replicas = 3
  })
  await waitFor(
    async () => {
      const tasks = await swarm.tasks('web')
      const waits = tasks.filter(({ Status }) => /host-mode port/.test(Status.Err ?? ''))
      const runs = tasks.filter(({ Status }) => Status.State === 'running')
      return waits.length === 1 && runs.length === 2
    },
    { what: 'two that run and one that waits', timeoutMs: 60_000 },
  )
  await waitFor(async () => (await get(other.host.address, 8080)).includes(' saw '), {
    what: 'an answer of the other node',
    timeoutMs: 30_000,
  })
  await swarm.ask('DELETE', '/services/web')
  await waitFor(async () => /REFUSED/.test(await get(node.host.address, 8080)), {
    what: 'the port to be gone with its task',
    timeoutMs: 60_000,
  })
}

async function names(t: Test, swarm: Swarm): Promise<void> {
  await swarm.network('front')
  await swarm.service({
    Name: 'names',
    Mode: { Replicated: { Replicas: 1 } },
    TaskTemplate: {
      ContainerSpec: {
        Image: 'host',
        Command: [process.execPath, '-e', ECHO],
        StopGracePeriod: 1_000_000_000,
      },
      Networks: [{ Target: 'front' }],
    },
    EndpointSpec: { Ports: [hostPort('udp', 53, 5353)] },
  })
  const [task] = (await swarm.converged('names', 1)) as [ShownTask]
  const { host } = swarm.nodeOf(task, await swarm.manager.nodes())
  for (const [address, own] of [
    [host.address, `::ffff:${swarm.client.address}`],
    [host.address6, swarm.client.address6],
  ] as const) {
    const ask = [process.execPath, '-e', ASK, address, '5353']
    const got = await waitFor(
      async () => {
        const { status, stdout } = await swarm.client.exec(ask)
        return status === 0 && stdout.trim()
      },
      { what: `an answer from port 5353/udp of ${address}`, timeoutMs: 30_000 },
    )
    t.equal(got, own)
  }
}

async function errors(t: Test, swarm: Swarm): Promise<void> {
  await swarm.service({
    Name: 'insistent',
    Mode: { Replicated: { Replicas: 1 } },
    TaskTemplate: {
      ContainerSpec: {
        Image: 'host',
        Command: [process.execPath, '-e', INSISTENT],
        StopGracePeriod: 1_000_000_000,
      },
    },
    EndpointSpec: { Ports: [hostPort('udp', 53, 5454)] },
  })
  const [task] = (await swarm.converged('insistent', 1)) as [ShownTask]
  const { host } = swarm.nodeOf(task, await swarm.manager.nodes())
  // The first to ask is told "there" and goes.
  const ask = [process.execPath, '-e', ASK, host.address, '5454']
  const said = await waitFor(
    async () => {
      const { stdout } = await swarm.client.exec(ask)
      return stdout.trim() === 'nobody there'
    },
    { what: 'the task to know that its first client has gone', timeoutMs: 30_000 },
  )
  t.ok(said)
}

labTest('ports of mode "host"', async (t, lab) => {
  const swarm = await Swarm.start(lab, { count: 2 })
  await t.test('TCP', (t) => web(t as unknown as Test, swarm))
  await t.test('UDP', (t) => names(t as unknown as Test, swarm))
  await t.test('ICMP errors', (t) => errors(t as unknown as Test, swarm))
})
