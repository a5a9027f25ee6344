// Goal: what dies is followed and forgotten. A killed task leaves every node's tables; a killed
// agent finds its tasks again and restarts none; a leader's death disturbs no task; the tasks of a
// node without power run elsewhere, and stop there when it is back. Method: real agents and
// signals; whatever the machine's pace, a state must come in the end, and requests must be answered
// then.

import './enter.ts'
import { endLoad, killTask, pageService, Swarm } from '../../cli/lab/swarm.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'

const REPLICAS = 4
const LONG_MS = 90_000

/** Waits until every replica runs, none of them on that node. */
async function elsewhere(swarm: Swarm, node: string): Promise<void> {
  await waitFor(
    async () => {
      const { ID } = (await swarm.manager.nodes()).get(node)!
      const running = await swarm.running('web')
      return running.length === REPLICAS && running.every(({ NodeID }) => NodeID !== ID)
    },
    { what: 'its tasks to run elsewhere', timeoutMs: LONG_MS },
  )
}

labTest(
  'tasks, agents, leaders and nodes die',
  async (t, lab) => {
    const swarm = await Swarm.start(lab, { count: 4, managers: 3 })
    await swarm.network('front')
    const labels = { 'weft.drain-timeout': '0' }
    await swarm.service(pageService('web', ['front'], REPLICAS, { port: 8080, labels }))
    await swarm.converged('web', REPLICAS, LONG_MS)
    await swarm.served(8080)
    const ids = async (): Promise<string[]> =>
      (await swarm.converged('web', REPLICAS, LONG_MS)).map(({ ID }) => ID).sort()
    const serves = async (why: string): Promise<void> => {
      await swarm.served(8080)
      const running = swarm.nodes.filter((node) => node.isRunning)
      const targets = running.map(({ host }) => `${host.address}:8080`)
      const load = await swarm.load(swarm.client, { targets, perSecond: 40, keepAlive: 0 })
      await new Promise((resolve) => setTimeout(resolve, 1_500))
      const { failures, answered } = await endLoad(load)
      t.same(failures, [], `${why}: ${answered} requests are answered`)
    }

    t.comment('kill -9 of a task')
    const [victim] = await swarm.running('web')
    const nodes = await swarm.manager.nodes()
    t.ok(killTask(swarm.nodeOf(victim!, nodes), victim!.ID))
    await waitFor(async () => !(await swarm.running('web')).some(({ ID }) => ID === victim!.ID), {
      what: 'its end to be known',
      timeoutMs: LONG_MS,
    })
    const before = await ids()
    t.notOk(before.includes(victim!.ID), 'another has taken its place')
    const dead = (await swarm.tasks('web')).find(({ ID }) => ID === victim!.ID)
    t.match(dead?.Status, { State: 'failed', Err: /non-zero exit/ })
    await serves('after the death of a task')

    t.comment('kill -9 of an agent, and its return')
    await swarm.patience(30)
    const worker = swarm.nodes.at(-1)!
    await worker.crash()
    await worker.start()
    await swarm.untilReady(4)
    t.same(await ids(), before, 'its tasks have not been restarted')
    await serves('after the return of an agent')

    t.comment('the leader dies; tasks go on')
    const leads = [...(await swarm.manager.nodes()).values()].find(
      ({ ManagerStatus }) => ManagerStatus?.Leader,
    )!
    const leader = swarm.nodes.find(({ name }) => name === leads.Description.Hostname)!
    await leader.crash()
    await leader.start()
    await swarm.untilReady(4)
    t.same(await ids(), before)
    await swarm.scale('web', REPLICAS + 1)
    await swarm.converged('web', REPLICAS + 1, LONG_MS)
    await swarm.scale('web', REPLICAS)
    await swarm.converged('web', REPLICAS, LONG_MS)
    await serves('after the death of a leader')

    t.comment('a node without power')
    await swarm.patience(1)
    await swarm.powerOff(worker)
    await elsewhere(swarm, worker.name)
    await serves('while a node is away')
    const moved = await ids()
    await swarm.powerOn(worker)
    await swarm.untilReady(4)
    t.same(await ids(), moved, 'nothing moves because a node is back')
    await serves('with the node back')
  },
  280_000,
)
