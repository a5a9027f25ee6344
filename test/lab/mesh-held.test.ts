// Published ports while an agent is restarted by SIGUSR2: nothing is refused, from outside and from
// the node itself, over IPv4 and IPv6, and what was open goes on. However the next agent begins or
// fails to, nothing is held for good, and SIGTERM refuses at once as ever.

import './enter.ts'
import t from 'tap'
import { EXIT_FAILURE, EXIT_RESTART, EXIT_USAGE } from '../../cli/exit.ts'
import { differences, hostStates } from './host-state.ts'
import { type Scene, SERVICE_PORT, sceneTest } from './scene.ts'
import { type Call, type Greeting, nameOf } from './station.ts'

const PORT = 8000
/** What was lost while no agent was there is sent again after some seconds. */
const PATIENCE_MS = 30_000
/** A refusal would come at once. */
const SILENCE_MS = 300

const PLACES = ['node1', 'b1', 'c1'] as const

const states = (scene: Scene): Promise<Record<string, string>> =>
  hostStates(PLACES.map((place) => scene.host(place)))

/** Every way to node1's published port: [place, address]. */
function ways(scene: Scene): [string, string][] {
  const { address, address6 } = scene.host('node1')
  return [
    ['out', address],
    ['out', address6],
    ['node1', address],
    ['node1', address6],
    ['node1', '127.0.0.1'],
  ]
}

const start = (scene: Scene): Promise<void> =>
  scene.agent('node1').start(scene.plan.tables('node1'))

/** One connection to each backend on each way. */
async function callAll(scene: Scene): Promise<Call[]> {
  const calls: Call[] = []
  for (const [place, address] of ways(scene)) {
    for (let i = 0; i < 3; i++) calls.push(await scene.at(place).connect(address, PORT))
  }
  return calls
}

async function isRefused(scene: Scene): Promise<string[]> {
  const ends = []
  for (const [place, address] of ways(scene)) {
    ends.push(nameOf(await scene.at(place).who(address, PORT)))
  }
  return [...new Set(ends)]
}

/** Ends the agent, calls and says meanwhile, starts it again; everything must come through. */
async function restart(t: Tap, scene: Scene, calls: readonly Call[]): Promise<void> {
  t.equal(await scene.agent('node1').hold(), EXIT_RESTART)
  const said = calls.map((call) => call.say('held', PATIENCE_MS))
  const called = ways(scene).map(([place, address]) => {
    return scene.at(place).who(address, PORT, { timeoutMs: PATIENCE_MS })
  })
  for (const [place, address] of ways(scene)) {
    const reply = await scene.at(place).ask(address, PORT, { timeoutMs: SILENCE_MS })
    t.match(reply, { error: 'ETIMEDOUT' }, `${place} hears nothing from ${address}`)
  }
  await start(scene)
  t.match(scene.agent('node1').process!.stderr, /took over the published ports/)
  t.same(new Set(await Promise.all(said)), new Set(['held']), `${said.length} open ones go on`)
  const greetings = await Promise.all(called)
  for (const greeting of greetings) t.match(greeting, { localPort: SERVICE_PORT } as Greeting)
}

type Tap = Pick<typeof t, 'equal' | 'match' | 'same'>

function restartTests(scene: Scene): void {
  t.test('nothing is refused, what is open goes on, twice', async (t) => {
    const calls = await callAll(scene)
    const index = await scene.host('b1').must(['cat', '/sys/class/net/eth0/ifindex'])
    await restart(t, scene, calls)
    await restart(t, scene, calls)
    const now = await scene.host('b1').must(['cat', '/sys/class/net/eth0/ifindex'])
    t.equal(now, index, 'containers keep their interfaces')
    t.match(await scene.at('node1').who('::1', PORT), { localPort: SERVICE_PORT })
    for (const call of calls) await call.close()
  })

  t.test('asked twice, it is still a restart', async (t) => {
    const { process } = scene.agent('node1')
    process!.signal('SIGUSR2')
    process!.signal('SIGUSR2')
    t.equal(await process!.ended, EXIT_RESTART)
    await start(scene)
  })

  t.test('it is asked during its start', async (t) => {
    const agent = scene.agent('node1')
    await agent.hold()
    agent.process = agent.host.spawn(agent.command)
    await agent.process.output(/serving metrics/)
    t.equal(await agent.hold(), EXIT_RESTART)
    const [place, address] = ways(scene)[0]!
    const reply = await scene.at(place).ask(address, PORT, { timeoutMs: SILENCE_MS })
    t.match(reply, { error: 'ETIMEDOUT' }, 'still held')
    await start(scene)
  })
}

function endTests(scene: Scene, before: Record<string, string>): void {
  t.test('SIGTERM refuses at once, and leaves nothing', async (t) => {
    t.equal(await scene.agent('node1').stop(), 0)
    t.same(await isRefused(scene), ['ECONNREFUSED'])
    t.same(differences(before, await states(scene)), [])
    await start(scene)
  })

  t.test('the next agent is killed while it starts, and another one repairs', async (t) => {
    const agent = scene.agent('node1')
    for (const words of [/serving metrics/, /took over the published ports/]) {
      await agent.hold()
      agent.process = agent.host.spawn(agent.command)
      await agent.process.output(words)
      await agent.crash()
      await start(scene)
      const targets = [scene.host('node1').address, scene.host('node1').address6]
      for (const to of targets) {
        t.same(await scene.at('out').tally(to, PORT, 3), { b1: 1, b2: 1, b3: 1 })
      }
    }
    t.equal(await agent.stop(), 0)
    t.same(differences(before, await states(scene)), [])
    await start(scene)
  })

  t.test('the next agent publishes the port no more', async (t) => {
    const agent = scene.agent('node1')
    await agent.hold()
    const tables = scene.plan.tables('node1')
    await agent.start({ ...tables, publishedPorts: [] })
    t.same(await isRefused(scene), ['ECONNREFUSED'])
    t.notMatch(await scene.host('node1').must(['ip', 'rule']), 'dport')
    await agent.stop()
    await start(scene)
    await agent.hold()
    const other = tables.publishedPorts!.map((port) => ({ ...port, port: PORT + 1 }))
    await agent.start({ ...tables, publishedPorts: other })
    t.same(await isRefused(scene), ['ECONNREFUSED'], 'another one instead')
    t.match(await scene.at('out').who(scene.host('node1').address, PORT + 1), {
      localPort: SERVICE_PORT,
    })
    await agent.stop()
    await start(scene)
  })
}

function failureTests(scene: Scene, before: Record<string, string>): void {
  t.test('a start that fails, or is refused, holds nothing', async (t) => {
    const agent = scene.agent('node1')
    const tables = scene.plan.tables('node1')
    const nowhere = tables.endpoints.map((endpoint) => {
      const { interface: place } = endpoint
      if (place === undefined) return endpoint
      return { ...endpoint, interface: { ...place, netns: `${place.netns}-is-gone` } }
    })
    for (const [status, endpoints] of [
      [EXIT_FAILURE, nowhere],
      [EXIT_USAGE, [...tables.endpoints, ...tables.endpoints]],
    ] as const) {
      await agent.hold()
      await t.rejects(agent.start({ ...tables, endpoints }), /ended with status/)
      t.equal(agent.process!.status, status)
      t.same(await isRefused(scene), ['ECONNREFUSED'])
      const now = await hostStates([scene.host('node1')])
      t.same(differences({ node1: before.node1! }, now), [])
      await start(scene)
      t.same(await scene.at('out').tally(scene.host('node1').address, PORT, 3), {
        b1: 1,
        b2: 1,
        b3: 1,
      })
    }
    t.equal(await agent.stop(), 0)
    t.same(differences(before, await states(scene)), [])
  })
}

await sceneTest('held', async (scene) => {
  scene.service('web')
  for (const protocol of ['tcp', 'udp'] as const) {
    scene.plan.publish({ protocol, port: PORT, service: 'web', targetPort: SERVICE_PORT })
  }
  const before = await states(scene)
  await scene.startAgents()
  restartTests(scene)
  endTests(scene, before)
  failureTests(scene, before)
})
