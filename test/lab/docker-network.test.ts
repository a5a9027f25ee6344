// Goal: what containers of services get of networks besides one overlay: ports of their host, IPv6,
// a way outside through the engine's bridge and nothing else through it, and none from an internal
// network. Method: engines and agents on two hosts of a lab, a web server on a host beside them,
// the docker CLI.

import './enter.ts'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { EngineNode } from '../../cli/lab/engine.ts'
import type { Host } from '../../cli/lab/host.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import {
  engineTest,
  insideOf,
  type ShownTask,
  startEngineNodes,
  untilRunning,
} from './engine-scene.ts'
import type { Test } from './lab-test.ts'

const PAGE = ['sh', '-c', 'mkdir -p /w; hostname > /w/who; exec httpd -f -p 80 -h /w']
const QUICK = ['--detach', '--stop-grace-period', '1s']
/** On the host that has neither engine nor agent. */
const OUTSIDE_PORT = 8000

engineTest('ports of the host, IPv6, and the way outside', async (t, lab) => {
  const { nodes, client } = await startEngineNodes(lab, 2)
  const [h1] = nodes
  const docker = (...args: string[]): Promise<string> => h1!.node.mustDocker(...args)
  const subnets = ['--subnet', '10.9.0.0/24', '--subnet', 'fd00:9::/64']
  await docker('network', 'create', '-d', 'overlay', '--ipv6', ...subnets, 'six')
  await docker('network', 'create', '-d', 'overlay', '--internal', 'inner')
  const six = ['--name', 'web', '--network', 'six', '--mode', 'global']
  const port = ['--publish', 'mode=host,published=8088,target=80']
  await docker('service', 'create', ...QUICK, ...six, ...port, 'bb', ...PAGE)
  const inner = ['--name', 'inner', '--network', 'inner', '--mode', 'global']
  await docker('service', 'create', ...QUICK, ...inner, 'bb', ...PAGE)
  const web = await untilRunning(h1!, 'web', 2)
  const closed = await untilRunning(h1!, 'inner', 2)
  await checkHostPorts(t, nodes, client, web)
  await checkSix(t, nodes, web)
  await checkOutside(t, nodes, client, { web, closed, folder: lab.folder })
})

async function checkHostPorts(
  t: Test,
  nodes: readonly EngineNode[],
  client: Host,
  web: ShownTask[],
): Promise<void> {
  t.comment('ports of the host')
  const answers = new Set<string>()
  for (const { node } of nodes) {
    const url = `http://${node.host.address}:8088/who`
    answers.add(await client.must(['wget', '-T', '5', '-qO-', url]))
  }
  t.equal(answers.size, 2, "each node's own task answers")
  for (const { Status } of web) t.equal(Status.PortStatus?.Ports?.[0]?.PublishedPort, 8088)
  const [h1] = nodes
  t.match(await h1!.engine.mustDocker('ps', '--format', '{{.Ports}}'), /0\.0\.0\.0:8088->80\/tcp/)
  const docker = (...args: string[]): Promise<string> => h1!.node.mustDocker(...args)
  const same = ['--publish', 'mode=host,published=8088,target=81']
  await docker('service', 'create', ...QUICK, '--name', 'same', ...same, 'bb', ...PAGE)
  await waitFor(
    async () =>
      /host-mode port already in use/.test(await docker('service', 'ps', 'same', '--no-trunc')),
    { what: 'a port that is taken to be told', timeoutMs: 20_000 },
  )
  await docker('service', 'rm', 'same')
  const any = ['--network', 'six', '--publish', 'mode=host,target=80']
  await docker('service', 'create', ...QUICK, '--name', 'any', ...any, 'bb', ...PAGE)
  const [task] = await untilRunning(h1!, 'any', 1)
  const number = task!.Status.PortStatus?.Ports?.[0]?.PublishedPort ?? 0
  t.ok(number > 1024 && number !== 8088, "a port of the engine's choice is told")
  const known = await h1!.node.nodes()
  const node = nodes.find(({ node }) => known.get(node.name)!.ID === task!.NodeID)!
  const url = `http://${node.node.host.address}:${number}/who`
  t.ok(await client.must(['wget', '-T', '5', '-qO-', url]))
}

async function checkSix(t: Test, nodes: readonly EngineNode[], web: ShownTask[]): Promise<void> {
  t.comment('IPv6')
  const [h1] = nodes
  const inside = await insideOf(h1!, nodes[0]!, web)
  t.match((await inside('ip', '-6', '-o', 'addr')).stdout, /inet6 fd00:9::[0-9a-f]+\/64/)
  const found = (await inside('nslookup', '-type=aaaa', 'tasks.web')).stdout
  const answers = found.split('Name:').slice(1).join()
  const addresses = new Set(answers.match(/fd00:9::[0-9a-f]+/g))
  t.equal(addresses.size, 2, 'names lead to both')
  for (const address of addresses) {
    t.match(
      (await inside('ping', '-6', '-c', '1', '-W', '5', address)).stdout,
      /1 packets received/,
    )
  }
  const [service] = JSON.parse(await h1!.node.mustDocker('service', 'inspect', 'web'))
  const vips: string[] = service.Endpoint.VirtualIPs.map(({ Addr }: { Addr: string }) => Addr)
  t.comment(vips.join(' '))
  for (const vip of vips) {
    const [address] = vip.split('/')
    const host = address!.includes(':') ? `[${address}]` : address
    t.match(await inside('timeout', '5', 'wget', '-qO-', `http://${host}/who`), { status: 0 }, vip)
  }
}

async function checkOutside(
  t: Test,
  nodes: readonly EngineNode[],
  client: Host,
  {
    web,
    closed,
    folder,
  }: { readonly web: ShownTask[]; readonly closed: ShownTask[]; readonly folder: string },
): Promise<void> {
  t.comment('the way outside')
  const [h1] = nodes
  writeFileSync(join(folder, 'page'), 'outside')
  client.spawn(['busybox', 'httpd', '-f', '-p', String(OUTSIDE_PORT), '-h', folder])
  const url = `http://${client.address}:${OUTSIDE_PORT}/page`
  const open = await insideOf(h1!, nodes[0]!, web)
  const answer = await waitFor(
    async () => {
      const { status, stdout } = await open('timeout', '5', 'wget', '-qO-', url)
      return status === 0 ? stdout : null
    },
    { what: 'a server outside', timeoutMs: 20_000 },
  )
  t.equal(answer, 'outside')
  const inner = await insideOf(h1!, nodes[0]!, closed)
  t.not(
    (await inner('timeout', '2', 'wget', '-qO-', url)).status,
    0,
    'none from an internal network',
  )
  t.notMatch((await inner('ip', 'route')).stdout, /default/)
  t.notMatch((await inner('ip', '-o', 'addr')).stdout, / 172\./)

  t.comment('and nothing between containers on that way')
  const options = ['--name', 'beside', '--network', 'six', '--constraint', 'node.role==manager']
  await h1!.node.mustDocker('service', 'create', ...QUICK, ...options, 'bb', ...PAGE)
  const [beside] = await untilRunning(h1!, 'beside', 1)
  const id = beside!.Status.ContainerStatus!.ContainerID
  const shown = await h1!.engine.mustDocker('exec', id, 'ip', '-o', 'addr')
  const other = /inet (172\.[\d.]+)/.exec(shown)?.[1]
  t.ok(other, 'it is on the bridge')
  t.not((await open('timeout', '2', 'wget', '-qO-', `http://${other}/who`)).status, 0)
}
