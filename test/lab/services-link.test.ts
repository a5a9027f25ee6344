// Goal: a node whose link was down serves its published ports again when the link is back, though
// nothing else changes then. Method: while a link is down its addresses are not the host's, and the
// tables are built anew, as the node hears nobody; then the link is set up and the port asked.

import './enter.ts'
import { pageService, Swarm } from '../../cli/lab/swarm.ts'
import { pause } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'

const PORT = 8080
/** For how long: it is silent after less, and has read its addresses again. */
const DOWN_MS: readonly number[] = [2_500, 5_500]

labTest('a link that was down', async (t, lab) => {
  const swarm = await Swarm.start(lab, { count: 3, managers: 3 })
  await swarm.network('front')
  await swarm.service(pageService('b', ['front'], 2, { port: PORT }))
  await swarm.converged('b', 2)
  await swarm.served(PORT)
  const { host } = swarm.nodes.at(-1)!
  const set = (state: string): Promise<void> =>
    host.ip(host.interfaces.map((name) => `link set ${name} ${state}`))
  for (const ms of DOWN_MS) {
    await set('down')
    await pause(ms)
    await set('up')
    await swarm.untilReady(3)
    await swarm.served(PORT)
    t.pass(`after ${ms} ms`)
  }
})
