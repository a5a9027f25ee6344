// Goal: no request fails while a service is replaced, several times, and while each node in turn is
// drained. Method: real agents; a client outside asks at a steady rate at the published port of
// every node, over new connections and over kept ones, and counts.

import './enter.ts'
import { endLoad, pageService, Swarm } from '../../cli/lab/swarm.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'

const REPLICAS = 4
/** Enough to meet every moment of a change; the rate of the benchmark is higher. */
const PER_SECOND = 60
/** A kept connection is asked within this time, and so learns that its server ends. */
const DRAIN = '1s'

labTest(
  'updates and drained nodes fail no request',
  async (t, lab) => {
    const swarm = await Swarm.start(lab, { count: 3, managers: 1 })
    await swarm.network('front')
    const labels = { 'weft.drain-timeout': DRAIN }
    await swarm.service(pageService('web', ['front'], REPLICAS, { port: 8080, labels }))
    await swarm.converged('web', REPLICAS)
    await swarm.served(8080)
    const targets = swarm.nodes.map(({ host }) => `${host.address}:8080`)
    const loads = [
      await swarm.load(swarm.client, { targets, perSecond: PER_SECOND, keepAlive: 0 }),
      await swarm.load(swarm.client, { targets, perSecond: PER_SECOND, keepAlive: 12 }),
    ]

    t.comment('a rolling update, start-first, then stop-first')
    await swarm.force('web')
    await swarm.updated('web')
    await swarm.change('web', (spec) => {
      spec.UpdateConfig.Order = 'stop-first'
      spec.TaskTemplate.ForceUpdate++
    })
    await swarm.updated('web')

    for (const node of swarm.nodes) {
      t.comment(`drain ${node.name}`)
      await swarm.manager.updateNode(node.name, { Availability: 'drain' })
      const { ID } = (await swarm.manager.nodes()).get(node.name)!
      await waitFor(
        async () => {
          const tasks = await swarm.tasks('web')
          return !tasks.some(({ NodeID, Status }) => NodeID === ID && Status.State === 'running')
        },
        { what: `${node.name} to be empty`, timeoutMs: 60_000 },
      )
      await swarm.converged('web', REPLICAS)
      await swarm.manager.updateNode(node.name, { Availability: 'active' })
    }

    for (const load of loads) {
      const { asked, answered, failures, by } = await endLoad(load)
      t.same(failures, [], `${answered} of ${asked} requests were answered`)
      t.ok(answered > 100, 'there were enough')
      t.ok(Object.keys(by).length > REPLICAS, 'by old and new tasks')
    }
  },
  240_000,
)
