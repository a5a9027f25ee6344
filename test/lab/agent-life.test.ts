// An agent's life and what it leaves: nothing after a signal, whenever it comes; after kill -9 what
// the next one takes over, with the containers' connections still open.

import './enter.ts'
import t from 'tap'
import type { Agent } from '../../cli/lab/agent.ts'
import { must } from '../../cli/lab/process.ts'
import { pause, waitFor } from '../../cli/lab/wait.ts'
import { differences, hostStates } from './host-state.ts'
import { type Scene, SERVICE_PORT, sceneTest } from './scene.ts'

const PORT = 8000
/** Moments of a start, in milliseconds after the agent's first words. */
const MOMENTS_MS = [0, 30, 80, 150, 250, 400] as const
const PLACES = ['node1', 'b1', 'c1'] as const

const states = (scene: Scene): Promise<Record<string, string>> =>
  hostStates(PLACES.map((place) => scene.host(place)))

/** Processes of the lab that run weft. */
async function agentsRunning(): Promise<string[]> {
  const lines = await must(['ps', '-eo', 'pid,args'])
  return lines.split('\n').filter((line) => /weft\.ts dataplane/.test(line))
}

/** Starts the agent of node1 without waiting for it. */
function launch(scene: Scene, agent: Agent): void {
  agent.write(scene.plan.tables('node1'))
  agent.process = agent.host.spawn(agent.command)
}

function endTests(scene: Scene, before: Record<string, string>): void {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    t.test(`${signal} undoes everything`, async (t) => {
      const agent = scene.agent('node1')
      await agent.start(scene.plan.tables('node1'))
      const during = differences(before, await states(scene))
      for (const change of ['weft0', `dport ${PORT}`, 'lookup local', 'ip_forward', 'eth0']) {
        t.ok(
          during.some((line) => line.includes(change)),
          `it had changed ${change}`,
        )
      }
      t.same(await scene.at('out').tally(scene.host('node1').address, PORT, 3), {
        b1: 1,
        b2: 1,
        b3: 1,
      })
      agent.process!.signal(signal)
      t.equal(await agent.process!.ended, 0)
      t.same(differences(before, await states(scene)), [])
    })
  }

  t.test('a signal in the middle of the start undoes what was made until then', async (t) => {
    const agent = scene.agent('node1')
    for (const ms of MOMENTS_MS) {
      launch(scene, agent)
      const { process } = agent
      await process!.output(/serving metrics/)
      await pause(ms)
      process!.signal('SIGINT')
      t.equal(await process!.ended, 0, `${ms} ms after the first words`)
      t.same(differences(before, await states(scene)), [], process!.stderr)
    }
  })

  t.test('a signal before the agent is there', async (t) => {
    const agent = scene.agent('node1')
    launch(scene, agent)
    agent.process!.signal('SIGTERM')
    await agent.process!.ended
    t.same(differences(before, await states(scene)), [])
  })
}

function crashTests(scene: Scene, before: Record<string, string>): void {
  t.test('after kill -9 the next start takes over; connections go on', async (t) => {
    const agent = scene.agent('node1')
    await agent.start(scene.plan.tables('node1'))
    const address = (task: string): string => scene.plan.addressOf(task, 'front')
    const out = await scene.at('c1').connect(address('b2'), SERVICE_PORT)
    const within = await scene.at('c1').connect(address('b1'), SERVICE_PORT)
    const back = await scene.at('c2').connect(address('b1'), SERVICE_PORT)
    const index = await scene.host('b1').must(['cat', '/sys/class/net/eth0/ifindex'])
    await agent.crash()
    t.match(await scene.host('b1').must(['ip', 'addr']), address('b1'), 'the interface stays')
    const host = await scene.at('out').who(scene.host('node1').address, PORT)
    t.match(host, { error: 'ECONNREFUSED' }, 'the host works on as if nothing were published')
    const [one, two, three] = [
      out.say('one', 9000),
      within.say('two', 9000),
      back.say('three', 9000),
    ]
    await agent.start(scene.plan.tables('node1'))
    t.match(agent.process!.stderr, /took over device device=eth0/)
    t.same(await Promise.all([one, two, three]), ['one', 'two', 'three'], 'said in between')
    t.equal(await scene.host('b1').must(['cat', '/sys/class/net/eth0/ifindex']), index)
    for (const call of [out, within, back]) {
      t.equal(await call.say('after'), 'after')
      await call.close()
    }
    for (const target of [scene.host('node1').address, scene.host('node1').address6]) {
      t.same(await scene.at('out').tally(target, PORT, 3), { b1: 1, b2: 1, b3: 1 })
    }
    t.equal(await agent.stop(), 0)
    t.same(differences(before, await states(scene)), [], 'and the end undoes both')
  })

  t.test('kill -9 in the middle of the start', async (t) => {
    const agent = scene.agent('node1')
    for (const ms of [0, 80, 200]) {
      launch(scene, agent)
      await agent.process!.output(/serving metrics/)
      await pause(ms)
      await agent.crash()
      await agent.start(scene.plan.tables('node1'))
      t.equal(await agent.stop(), 0)
      t.same(differences(before, await states(scene)), [], `${ms} ms after the first words`)
    }
  })

  t.test('what tables no longer name is gone after kill -9 and a start', async (t) => {
    const agent = scene.agent('node1')
    await agent.start(scene.plan.tables('node1'))
    await agent.crash()
    const tables = scene.plan.tables('node1')
    await agent.start({ ...tables, endpoints: [], services: [], publishedPorts: [] })
    t.same(differences(before, await states(scene)), [])
    t.equal(await agent.stop(), 0)
    t.same(differences(before, await states(scene)), [])
  })
}

await sceneTest('life', async (scene) => {
  scene.service('web')
  scene.plan.publish({ protocol: 'tcp', port: PORT, service: 'web', targetPort: SERVICE_PORT })
  scene.plan.publish({ protocol: 'udp', port: PORT, service: 'web', targetPort: SERVICE_PORT })
  const before = await states(scene)
  await scene.startAgents()
  await scene.agent('node1').stop()
  t.test('the first end', async (t) => t.same(differences(before, await states(scene)), []))
  endTests(scene, before)
  crashTests(scene, before)
  t.test('no process is left', async (t) => {
    await scene.agent('node2').stop()
    await waitFor(async () => (await agentsRunning()).length === 0, {
      what: 'the end of all agents',
    })
    t.same(await agentsRunning(), [])
  })
})
