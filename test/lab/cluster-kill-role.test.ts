// Goal: an agent that is killed at any moment of being promoted or demoted
// comes back as what it was or what it was becoming, or says what to do; nothing that was
// acknowledged is lost, and the swarm goes on.
// Method: real agents on hosts of a lab. Each transition is begun, the agent is killed with SIGKILL
// after a delay, started again, and its state is looked at; the delays sweep over the time that the
// transition takes.

import './enter.ts'
import { foundSwarm, type SwarmNode, startNodes } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { killed } from './killed.ts'
import { labTest } from './lab-test.ts'

/** Milliseconds after which the agent is killed. */
const DELAYS_MS: readonly number[] = [30, 400]

labTest('killed while it is promoted or demoted', async (t, lab) => {
  const nodes = (await startNodes(lab, 3)) as [SwarmNode, SwarmNode, SwarmNode]
  const [h1, , h3] = nodes
  await foundSwarm(nodes, 2)
  for (const delayMs of DELAYS_MS) {
    await killed(h3, delayMs, () => h1.updateNode('h3', { Role: 'manager' }))
    await h1.updateNode('h3', { Role: 'manager' })
    await h1.untilNodes(`h3 a manager (${delayMs})`, (shown) => {
      return shown.get('h3')?.ManagerStatus?.Reachability === 'reachable'
    })
    await waitFor(async () => (await h3.nodes()).size === 3, { what: 'h3 to answer' })
    await killed(h3, delayMs, () => h1.updateNode('h3', { Role: 'worker' }))
    await h1.updateNode('h3', { Role: 'worker' })
    await h1.untilNodes(`h3 a worker (${delayMs})`, (shown) => {
      const { Status, ManagerStatus } = shown.get('h3')!
      return Status.State === 'ready' && ManagerStatus === undefined
    })
    await waitFor(async () => !(await h3.info()).Swarm.ControlAvailable, { what: 'h3 a worker' })
  }
  t.equal((await h1.nodes()).size, 3)
})
