// Goal: a swarm of one goes on when its host has got another address, as a laptop does, and so does
// one behind NAT that advertises an address which it does not have. Method: an agent on a host of a
// lab whose address is changed while it is down.

import './enter.ts'
import { type SwarmNode, startNodes } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'

labTest('a manager alone whose host has another address', async (t, lab) => {
  const [h1] = (await startNodes(lab, 1)) as [SwarmNode]
  await h1.init()
  const TaskTemplate = { ContainerSpec: { Image: 'host', Command: ['sleep', '1000'] } }
  const service = (Name: string): Promise<unknown> =>
    h1.api.ask('POST', '/services/create', { Name, TaskTemplate, Mode: { Global: {} } })
  const runs = (name: string): Promise<unknown> =>
    waitFor(
      async () => {
        const filters = encodeURIComponent(JSON.stringify({ service: [name] }))
        const tasks = await h1.api.ask<{ Status: { State: string } }[]>(
          'GET',
          `/tasks?filters=${filters}`,
        )
        return tasks.some(({ Status }) => Status.State === 'running')
      },
      { what: `${name} to run`, timeoutMs: 30_000 },
    )
  await service('before')
  await runs('before')
  t.equal(await h1.stop(), 0)
  const { stdout } = await h1.host.exec(['ip', '-o', '-4', 'addr', 'show', 'scope', 'global'])
  const [, device, address] = /\d+: (\S+) +inet (\S+)/.exec(stdout)!
  await h1.host.exec(['ip', 'addr', 'add', '192.168.77.7/24', 'dev', device!])
  await h1.host.exec(['ip', 'addr', 'del', address!, 'dev', device!])
  await h1.start()
  await h1.untilNodes('h1 ready', (all) => all.get('h1')?.Status.State === 'ready')
  await service('after')
  await runs('after')
  t.equal((await h1.info()).Swarm.LocalNodeState, 'active')
})

labTest('a manager that advertises an address which its host does not have', async (t, lab) => {
  const [h1] = (await startNodes(lab, 1)) as [SwarmNode]
  await h1.init({ AdvertiseAddr: '203.0.113.9', DataPathAddr: h1.host.address })
  const all = await h1.untilNodes('h1 ready', (nodes) => {
    return nodes.get('h1')?.Status.State === 'ready'
  })
  t.equal(all.get('h1')?.ManagerStatus?.Addr, '203.0.113.9:2377')
})
