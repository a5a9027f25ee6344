// Goal: a manager that left without a word comes back under the address it had, and nothing of what
// it was stands in the way. Method: real agents on hosts of a lab, over the Engine API.

import './enter.ts'
import { foundSwarm, type ShownNode, startNodes } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'

labTest('a manager that left by force joins again', async (t, lab) => {
  const nodes = await startNodes(lab, 3)
  const [h1, h2, h3] = nodes
  await foundSwarm(nodes, 3)
  const { ID: before } = (await h1!.nodes()).get('h3')!
  await h3!.leave(true)
  await h3!.join(h1!, 'Manager')
  t.equal((await h3!.info()).Swarm.ControlAvailable, true)
  const shown = async (id: string): Promise<ShownNode> => h2!.api.ask('GET', `/nodes/${id}`)
  await waitFor(async () => (await shown(before)).ManagerStatus === undefined, {
    what: 'the vote that was left behind to be gone',
  })

  t.comment('what it was is demoted and removed as usual')
  const { Version, Spec } = await shown(before)
  const spec = { ...Spec, Role: 'worker' }
  await h2!.api.ask('POST', `/nodes/${before}/update?version=${Version.Index}`, spec)
  const removed = (): Promise<boolean> =>
    h2!.api.ask('DELETE', `/nodes/${before}`).then(
      () => true,
      () => false,
    )
  await waitFor(removed, { what: 'it to be removed', timeoutMs: 30_000 })

  t.comment('the newcomer counts: two of three go on')
  await h2!.crash()
  const all = await h1!.untilNodes('two of three', (all) => {
    return all.get('h3')?.ManagerStatus?.Reachability === 'reachable'
  })
  t.equal(all.size, 3)
  await h3!.updateNode('h3', { Labels: { back: 'yes' } })
})

labTest('a worker that cannot listen becomes a manager once it can', async (t, lab) => {
  const nodes = await startNodes(lab, 2)
  const [h1, h2] = nodes
  await foundSwarm(nodes, 1)
  const script = 'require("node:net").createServer().listen(2377, () => console.log("taken"))'
  const other = h2!.host.spawn([process.execPath, '-e', script])
  await other.output(/taken/, 10_000)
  await h1!.updateNode('h2', { Role: 'manager' })
  await waitFor(async () => /2377/.test((await h2!.info()).Swarm.Error), {
    what: 'h2 to say what is wrong',
  })
  t.equal((await h1!.nodes()).get('h2')?.Status.State, 'ready', 'it is a node all the same')
  await other.stop(5_000)
  await h1!.untilNodes('h2 reachable', (all) => {
    return all.get('h2')?.ManagerStatus?.Reachability === 'reachable'
  })
  await waitFor(async () => (await h2!.info()).Swarm.LocalNodeState === 'active', {
    what: 'h2 to be active',
  })
  t.match((await h2!.info()).Swarm, { Error: '', ControlAvailable: true })
})
