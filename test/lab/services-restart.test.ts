// Goal: an upgrade in place drops no request. Method: real agents; a client outside asks at the
// published port of one node, every 20 ms over one kept connection and over a new one each time,
// while that node's agent is restarted by SIGUSR2; its own task and another node's answer.

import './enter.ts'
import { rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { EXIT_RESTART } from '../../cli/exit.ts'
import type { LabProcess } from '../../cli/lab/process.ts'
import { endLoad, pageService, Swarm } from '../../cli/lab/swarm.ts'
import type { SwarmNode } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest, type Test } from './lab-test.ts'

const CALL = fileURLToPath(new URL('./steady-call.ts', import.meta.url))
const PORT = 8080
const PER_SECOND = 50
/** A restart takes longer than it takes to ask so often. */
const ENOUGH = 10
/** What is sent again waits twice as long each time: a start of seconds is seen longer. */
const PATIENCE_MS = 60_000

/** Asks at `node` while its agent is restarted, and holds that nothing was lost. */
async function restart(t: Test, swarm: Swarm, node: SwarmNode, times: number): Promise<void> {
  const address = node.host.address
  const kept = await call(swarm, address)
  const load = await swarm.load(swarm.client, {
    targets: [`${address}:${PORT}`],
    perSecond: PER_SECOND,
    keepAlive: 0,
    timeoutMs: PATIENCE_MS,
  })
  for (let i = 0; i < times; i++) {
    await answers(swarm, address)
    t.equal(await node.hold(), EXIT_RESTART)
    await node.start()
    await node.process!.output(/took over the published ports/)
  }
  await answers(swarm, address)
  kept.signal('SIGTERM')
  const [text] = await kept.output(/^\{.*\}$/m)
  const { asked, answered, gapMs, end } = JSON.parse(text)
  t.comment(`the longest time without an answer: ${gapMs} ms`)
  t.equal(end, null, 'the kept connection goes on')
  t.equal(answered, asked, 'and all of it is answered')
  t.ok(asked > ENOUGH, `${asked} times`)
  const report = await endLoad(load)
  t.same(report.failures, [], `${report.answered} of ${report.asked} new ones were answered`)
  t.ok(report.answered > ENOUGH, 'there were enough')
  t.equal(Object.keys(report.by).length, 2, 'both tasks answered')
}

async function call(swarm: Swarm, address: string): Promise<LabProcess> {
  const flags = ['--disable-warning=ExperimentalWarning']
  const argv = [process.execPath, ...flags, CALL, address, String(PORT)]
  const kept = swarm.client.spawn(argv)
  await kept.output(/asking/)
  return kept
}

/** Waits until new connections are answered. */
async function answers(swarm: Swarm, address: string): Promise<void> {
  const url = `http://${address}:${PORT}/`
  await waitFor(
    async () => (await swarm.client.probe.try('get', url, { timeoutMs: 5_000 })).status === 200,
    { what: `an answer of ${url}`, timeoutMs: PATIENCE_MS },
  )
}

labTest('an agent is restarted, and no request is dropped', async (t, lab) => {
  const swarm = await Swarm.start(lab, { count: 3, managers: 1 })
  await swarm.network('front')
  const service = pageService('web', ['front'], 2, { port: PORT }) as {
    TaskTemplate: { Placement?: object }
  }
  service.TaskTemplate.Placement = { Constraints: ['node.role==worker'] }
  await swarm.service(service)
  const tasks = await swarm.converged('web', 2)
  t.equal(new Set(tasks.map(({ NodeID }) => NodeID)).size, 2, 'on two nodes')
  await swarm.served(PORT)
  const [leader, worker] = swarm.nodes as [SwarmNode, SwarmNode]

  t.comment('a worker with a task, twice in a row')
  await restart(t, swarm, worker, 2)
  t.comment('the leader')
  await restart(t, swarm, leader, 1)
  const after = await swarm.converged('web', 2)
  t.same(new Set(after.map(({ ID }) => ID)), new Set(tasks.map(({ ID }) => ID)), 'the same tasks')

  t.comment('SIGTERM refuses at once')
  const url = `http://${worker.host.address}:${PORT}/`
  t.equal(await worker.stop(), 0)
  t.match(await swarm.client.probe.try('get', url), { error: /ECONNREFUSED/ })

  t.comment('a node that has left its swarm holds nothing')
  await worker.start()
  await answers(swarm, worker.host.address)
  t.equal(await worker.hold(), EXIT_RESTART)
  rmSync(`${worker.dataDirectory}/swarm`, { recursive: true })
  await worker.start()
  t.match(await swarm.client.probe.try('get', url), { error: /ECONNREFUSED/ })
  t.notMatch(await worker.host.must(['ip', 'rule']), 'dport')
})
