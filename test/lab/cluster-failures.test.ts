// Goal: what fails does not take the swarm with it, be it the leader or a worker. Method: real
// agents on hosts of a lab, killed with SIGKILL; the state is read over the Engine API of those
// that live.

import './enter.ts'
import { foundSwarm, type SwarmNode, startNodes } from '../../cli/lab/swarm-node.ts'
import { labTest } from './lab-test.ts'

labTest('the leader is killed, then a worker; both come back', async (t, lab) => {
  const nodes = await startNodes(lab, 4)
  const [h1, h2, h3, h4] = nodes as [SwarmNode, SwarmNode, SwarmNode, SwarmNode]
  await foundSwarm(nodes, 3)
  await h1.crash()
  const after = await h2.untilNodes('another leader', (shown) => {
    const leaders = [...shown.values()].filter(({ ManagerStatus }) => ManagerStatus?.Leader)
    return leaders.length === 1 && leaders[0]!.Description.Hostname !== 'h1'
  })
  t.equal(after.size, 4)
  await h3.updateNode('h4', { Labels: { written: 'meanwhile' } })
  await h2.untilNodes('h1 down and unreachable', (shown) => {
    const { Status, ManagerStatus } = shown.get('h1')!
    return Status.State === 'down' && ManagerStatus?.Reachability === 'unreachable'
  })
  await h2.untilNodes('h4 ready under the new leader', (shown) => {
    return shown.get('h4')!.Status.State === 'ready'
  })
  await h1.start()
  await h1.untilNodes('h1 back with what it missed', (shown) => {
    const { Status, ManagerStatus } = shown.get('h1')!
    const label = shown.get('h4')!.Spec.Labels.written
    return Status.State === 'ready' && ManagerStatus?.Reachability === 'reachable' && label !== ''
  })
  await h4.crash()
  await h2.untilNodes('h4 down', (shown) => shown.get('h4')!.Status.State === 'down')
  await h4.start()
  await h2.untilNodes('h4 back', (shown) => shown.get('h4')!.Status.State === 'ready')
})
