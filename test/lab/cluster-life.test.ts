// Goal: a swarm of three goes through its life with the commands that people use: founded, joined,
// promoted, demoted, drained, left, removed; and the words are Docker's where it refuses.
// Method: real agents on three hosts of a lab, over the Engine API.

import './enter.ts'
import { startNodes } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'

labTest('a swarm of three from its beginning to its end', async (t, lab) => {
  const [h1, h2, h3] = await startNodes(lab, 3)
  t.match(await h1!.info(), { Swarm: { LocalNodeState: 'inactive', ControlAvailable: false } })
  const id = await h1!.init()
  t.equal((await h1!.info()).Swarm.NodeID, id)
  await h2!.join(h1!, 'Worker')
  await h3!.join(h1!, 'Manager')
  await h1!.untilNodes('all ready', (nodes) => {
    return nodes.size === 3 && [...nodes.values()].every(({ Status }) => Status.State === 'ready')
  })
  await t.rejects(h2!.nodes(), /Worker nodes can't be used to view or modify cluster state/)
  t.equal((await h3!.nodes()).size, 3, 'a follower shows the same')

  t.comment('promote a worker: it becomes a manager that others can reach')
  await h3!.updateNode('h2', { Role: 'manager' })
  await h1!.untilNodes('h2 reachable', (nodes) => {
    return nodes.get('h2')?.ManagerStatus?.Reachability === 'reachable'
  })
  await waitFor(async () => (await h2!.nodes()).size === 3, { what: 'h2 to answer' })

  t.comment('demote the leader: it hands over, then becomes a worker')
  await h2!.updateNode('h1', { Role: 'worker' })
  await h2!.untilNodes('h1 a worker', (nodes) => {
    const leads = [...nodes.values()].filter(({ ManagerStatus }) => ManagerStatus?.Leader)
    return nodes.get('h1')?.ManagerStatus === undefined && leads.length === 1
  })
  await waitFor(async () => !(await h1!.info()).Swarm.ControlAvailable, { what: 'h1 a worker' })
  await h2!.untilNodes('h1 ready', (nodes) => nodes.get('h1')?.Status.State === 'ready')

  t.comment('drain, then leave and remove')
  await h3!.updateNode('h1', { Availability: 'drain' })
  await t.rejects(
    h3!.api.ask('DELETE', `/nodes/${(await h3!.nodes()).get('h1')!.ID}`),
    /is not down and can't be removed/,
  )
  // Until its certificate is a worker's it counts as a manager.
  await waitFor(() => h1!.leave().then(() => true), { what: 'h1 to leave', timeoutMs: 30_000 })
  t.equal((await h1!.info()).Swarm.LocalNodeState, 'inactive')
  await h2!.untilNodes('h1 down', (nodes) => nodes.get('h1')?.Status.State === 'down')
  await h2!.api.ask('DELETE', `/nodes/${(await h2!.nodes()).get('h1')!.ID}`)
  t.equal((await h3!.nodes()).size, 2)

  t.comment('what is refused')
  await t.rejects(h2!.leave(), /You are attempting to leave the swarm on a node that is/)
  await t.rejects(h2!.init(), /This node is already part of a swarm/)
  await h3!.updateNode('h3', { Role: 'worker' })
  await h2!.untilNodes('h3 a worker', (nodes) => nodes.get('h3')?.ManagerStatus === undefined)
  const { ID, Version, Spec } = (await h2!.nodes()).get('h2')!
  await t.rejects(
    h2!.api.ask('POST', `/nodes/${ID}/update?version=${Version.Index}`, {
      ...Spec,
      Role: 'worker',
    }),
    /attempting to demote the last manager of the swarm/,
  )
  await h2!.leave(true)
  t.equal((await h2!.info()).Swarm.LocalNodeState, 'inactive')
  t.equal(await h1!.stop(), 0)
})
