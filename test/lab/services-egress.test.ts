// Goal: a task reaches what is outside, with the address of its node, and is reached from nowhere
// by that way; a task on internal networks alone is not; and nothing of it is left on the host.
// Method: two real agents, tasks that ask a server outside, and the host's rules before and after.

import './enter.ts'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { type ShownTask, Swarm } from '../../cli/lab/swarm.ts'
import type { SwarmNode } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest, type Test } from './lab-test.ts'

const SAW = `require('node:http').createServer((request, response) => {
  response.end('saw ' + request.socket.remoteAddress.replace('::ffff:', ''))
}).listen(8000, '::', () => console.log('listening'))`

const hasNat = spawnSync('iptables', ['-t', 'nat', '-S']).status === 0

/** Rules, settings, devices and routes; the mesh's own device stays as long as the agent. */
async function state({ host }: SwarmNode): Promise<string[]> {
  const texts = await Promise.all([
    host.must(['iptables', '-S']),
    host.must(['iptables', '-t', 'nat', '-S']),
    host.must(['sysctl', 'net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding']),
    host.must(['ip', '-br', 'link']),
    host.must(['ip', '-4', 'route', 'show', 'table', 'all']),
  ])
  return texts.flatMap((text) => text.split('\n')).filter((line) => !/\bweft0\b/.test(line))
}

const service = (Name: string, node: string, networks: readonly string[]) => ({
  Name,
  Mode: { Replicated: { Replicas: 1 } },
  TaskTemplate: {
    ContainerSpec: { Image: 'host', Command: ['sleep', '1000'], StopGracePeriod: 1e6 },
    Networks: networks.map((Target) => ({ Target })),
    Placement: { Constraints: [`node.hostname==${node}`] },
  },
})

const inside = (node: SwarmNode, { ID }: ShownTask, ...command: string[]): string[] => {
  return ['nsenter', `--net=${node.runDirectory}/netns/${ID}`, '--', ...command]
}

/** What a task's request gets, '' for nothing. */
async function get(node: SwarmNode, task: ShownTask, address: string): Promise<string> {
  const curl = ['curl', '-s', '-m', '3', `http://${address}:8000/`]
  return (await node.host.exec(inside(node, task, ...curl))).stdout
}

async function nobodyComesIn(t: Test, swarm: Swarm, node: SwarmNode): Promise<void> {
  const [free] = (await swarm.running('free')) as [ShownTask]
  const [front] = (await swarm.running('front')) as [ShownTask]
  const file = join(node.dataDirectory, 'tasks', free.ID, 'egress')
  const address = readFileSync(file, 'utf8')
  const listener = node.host.spawn(inside(node, free, process.execPath, '-e', SAW))
  await listener.output(/listening/)
  t.match(await get(node, free, address), /saw/, 'it listens')
  t.equal(await get(node, front, address), '', 'not from another task')
  await swarm.client.ip([`route add ${address}/32 via ${node.host.address}`])
  const curl = ['curl', '-s', '-m', '2', `http://${address}:8000/`]
  t.equal((await swarm.client.exec(curl)).stdout, '', 'not from outside')
  await listener.stop()
}

labTest('a way outside', async (t, lab) => {
  if (!hasNat) {
    t.pass('masquerading', { skip: 'iptables has no table "nat" here' })
    return
  }
  const swarm = await Swarm.start(lab, { count: 2 })
  const node = swarm.nodes[1]!
  const before = await state(node)
  await swarm.client.spawn([process.execPath, '-e', SAW]).output(/listening/)
  await swarm.network('front')
  await swarm.network('secret', { Internal: true })
  await swarm.service(service('free', node.name, []))
  await swarm.service(service('front', node.name, ['front']))
  await swarm.service(service('closed', node.name, ['secret']))
  const [free] = (await swarm.converged('free', 1)) as [ShownTask]
  const [front] = (await swarm.converged('front', 1)) as [ShownTask]
  const [closed] = (await swarm.converged('closed', 1)) as [ShownTask]
  const outside = swarm.client.address
  for (const task of [free, front]) {
    const got = await waitFor(() => get(node, task, outside), { what: 'an answer from outside' })
    t.equal(got, `saw ${node.host.address}`, "with the node's address")
  }
  t.equal(await get(node, closed, outside), '', 'not from an internal network')
  const routes = await node.host.must(inside(node, closed, 'ip', 'route', 'show', 'default'))
  t.equal(routes, '')
  await nobodyComesIn(t, swarm, node)

  t.comment('a new agent, and the end')
  await node.crash()
  await node.start()
  await node.stop()
  t.same(await state(node), before, 'an agent that ends at once repairs what a killed one left')
  await node.start()
  const again = { what: 'an answer after a kill', timeoutMs: 60_000 }
  await waitFor(() => get(node, front, outside), again)
  await node.stop()
  t.same(await state(node), before, 'an agent that ends leaves the host as it was')
  await node.start()
  await waitFor(() => get(node, front, outside), again)
  for (const name of ['free', 'front', 'closed']) await swarm.ask('DELETE', `/services/${name}`)
  await waitFor(async () => (await swarm.tasks()).length === 0, {
    what: 'the end of the tasks',
    timeoutMs: 60_000,
  })
  const isAsBefore = async (): Promise<boolean> => String(await state(node)) === String(before)
  await waitFor(isAsBefore, { what: 'a host as it was', timeoutMs: 30_000 }).catch(() => {})
  t.same(await state(node), before)
})
