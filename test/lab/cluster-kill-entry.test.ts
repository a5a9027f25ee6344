// Goal: an agent that is killed at any moment of founding, joining or leaving
// comes back as what it was or what it was becoming, or says what to do; nothing that was
// acknowledged is lost, and the swarm goes on.
// Method: real agents on hosts of a lab. Each transition is begun, the agent is killed with SIGKILL
// after a delay, started again, and its state is looked at; the delays sweep over the time that the
// transition takes.

import './enter.ts'
import { foundSwarm, type SwarmNode, startNodes } from '../../cli/lab/swarm-node.ts'
import { killed, localState } from './killed.ts'
import { labTest } from './lab-test.ts'

/** Milliseconds after which the agent is killed. */
const DELAYS_MS: readonly number[] = [3, 90, 300, 800]

labTest('killed while it founds a swarm', async (t, lab) => {
  const [h1] = (await startNodes(lab, 1)) as [SwarmNode]
  for (const delayMs of DELAYS_MS) {
    const outcome = await killed(h1, delayMs, () => h1.init())
    const state = await localState(h1)
    t.ok(state === 'active' || (state === 'inactive' && outcome !== 'done'), `${delayMs}: ${state}`)
    if (state !== 'active') continue
    await h1.untilNodes('itself', (shown) => shown.get('h1')?.Status.State === 'ready')
    await h1.leave(true)
  }
})

labTest('killed while it joins or leaves', async (t, lab) => {
  const nodes = (await startNodes(lab, 2)) as [SwarmNode, SwarmNode]
  const [h1, h2] = nodes
  await foundSwarm([h1], 1)
  for (const [i, delayMs] of DELAYS_MS.entries()) {
    const outcome = await killed(h2, delayMs, () => h2.join(h1, 'Worker'))
    const state = await localState(h2)
    t.ok(state === 'active' || (state === 'inactive' && outcome !== 'done'), `${delayMs}: ${state}`)
    if (state === 'inactive') await h2.join(h1, 'Worker')
    await h1.untilNodes('a node that is ready', (shown) => {
      return shown.get('h2')?.Status.State === 'ready'
    })
    const left = await killed(h2, DELAYS_MS.at(-1 - i)!, () => h2.leave())
    if (left !== 'done') {
      t.ok(['active', 'inactive'].includes(await localState(h2)), 'it has left, or has not')
    }
    if ((await localState(h2)) === 'active') await h2.leave()
    // What is left of it in the list goes as an administrator would have it go.
    const [, gone] = [...(await h1.nodes()).values()].map(({ ID }) => ID)
    for (const { ID, Description } of (await h1.nodes()).values()) {
      if (Description.Hostname !== 'h1') await h1.api.ask('DELETE', `/nodes/${ID}?force=true`)
    }
    t.type(gone, 'string')
  }
})
