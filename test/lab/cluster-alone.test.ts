// Goal: a swarm that has lost its majority goes on as its administrator wants it. Method: real
// agents on hosts of a lab, one of them killed for good.

import './enter.ts'
import { foundSwarm, type SwarmNode, startNodes } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'

const LONG_MS = 90_000

labTest('a majority is lost: one manager goes on alone, under another address', async (t, lab) => {
  const nodes = await startNodes(lab, 3)
  const [h1, h2] = nodes as [SwarmNode, SwarmNode]
  await foundSwarm(nodes, 2)
  await h1.updateNode('h3', { Labels: { kept: 'yes' } })
  await h1.crash()
  await t.rejects(h2.nodes(), /The swarm does not have a leader/)
  await h2.host.ip(['addr add 192.168.10.77/24 dev eth0'])
  await h2.init({ ForceNewCluster: true, AdvertiseAddr: '192.168.10.77' })
  const shown = await h2.untilNodes(
    'h2 leads',
    (now) => now.get('h2')?.ManagerStatus?.Leader === true,
  )
  t.equal(shown.get('h2')!.ManagerStatus!.Addr, '192.168.10.77:2377')
  t.equal(shown.get('h3')!.Spec.Labels.kept, 'yes')
  t.equal(shown.get('h1')!.ManagerStatus, undefined)
  await h2.updateNode('h1', { Role: 'worker' })
  await h2.untilNodes('h1 down', (now) => now.get('h1')!.Status.State === 'down')
  await waitFor(
    async () => {
      await h2.api.ask('DELETE', `/nodes/${(await h2.nodes()).get('h1')!.ID}`)
      return true
    },
    { what: 'the removal of h1', timeoutMs: LONG_MS },
  )
  t.comment('who was removed is told so, and is let in again only anew')
  await h1.start()
  await waitFor(async () => (await h1.info()).Swarm.LocalNodeState !== 'pending', {
    what: 'h1 to know what it is',
    timeoutMs: LONG_MS,
  })
  await h1.leave(true)
  const { JoinTokens } = await h2.swarm()
  t.teardown(() => {
    if (!t.passing()) t.comment(`${h1.log}\n--- h2\n${h2.log}`)
  })
  const request = { ListenAddr: '0.0.0.0:2377', RemoteAddrs: ['192.168.10.77:2377'] }
  // A machine that is busy may need more than the 20 s after which the request is answered.
  await h1.api
    .ask('POST', '/swarm/join', { ...request, JoinToken: JoinTokens.Manager })
    .catch((error: Error) => t.match(error.message, /will continue in the background/))
  await h2.untilNodes(
    'h1 a manager again',
    (now) => now.get('h1')?.ManagerStatus?.Reachability === 'reachable',
    LONG_MS,
  )
})
