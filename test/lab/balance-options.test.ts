// What a service may ask for beyond a scheduler, on a real kernel's TCP: refused connections that
// go elsewhere, clients that stay where they were, near backends first, and idle flows that live
// as long as both their ends do.

import './enter.ts'
import t from 'tap'
import { sumOf } from '../../cli/lab/metrics.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import type { ForwardingTables, Service } from '../../dataplane/tables.ts'
import { BACKENDS, OTHER_PORT, type Scene, SERVICE_PORT, sceneTest } from './scene.ts'

const PORTS = [
  { protocol: 'tcp', port: 80, targetPort: SERVICE_PORT },
  { protocol: 'udp', port: 53, targetPort: SERVICE_PORT },
] as const

/** Where b1 does not listen while the tests of refusals run. */
const REFUSED_PORTS = [{ protocol: 'tcp', port: 80, targetPort: OTHER_PORT }] as const

function ask(scene: Scene, name: string, options: Partial<Service>): [string, string] {
  const vips = scene.service(name, { ports: PORTS })
  const { services } = scene.plan
  services.set(name, { ...services.get(name)!, ...options })
  return vips
}

/** TCP segments that a container has sent again. */
async function repeated(scene: Scene, name: string): Promise<number> {
  const text = await scene.host(name).must(['cat', '/proc/net/snmp'])
  const [names, values] = text.split('\n').filter((line) => line.startsWith('Tcp:'))
  return Number(values!.split(' ')[names!.split(' ').indexOf('RetransSegs')])
}

async function retries(scene: Scene): Promise<number> {
  const counts = [...scene.agents.values()].map(async (agent) =>
    sumOf(await agent.metrics(), 'weft_flow_retries_total'),
  )
  return (await Promise.all(counts)).reduce((a, b) => a + b, 0)
}

function refusalTests(scene: Scene, vips: [string, string], plain: [string, string]): void {
  t.test('a client does not notice that a backend refuses', async (t) => {
    for (const refusing of ['b1', 'b2']) {
      await scene.at(refusing).must('unserve', { port: OTHER_PORT })
      for (const client of ['c1', 'c2']) {
        for (const vip of vips) {
          const [before, sent] = [await retries(scene), await repeated(scene, client)]
          const tally = await scene.at(client).tally(vip, 80, 9)
          const others = BACKENDS.filter((name) => name !== refusing)
          t.same(Object.keys(tally).sort(), others, `${client} to ${vip}: ${JSON.stringify(tally)}`)
          t.ok((await retries(scene)) > before, 'backends were asked that refused')
          t.equal(await repeated(scene, client), sent, 'and nobody had to ask twice')
        }
      }
      const told = await scene.at('c1').tally(plain[0], 80, 3)
      t.equal(told.ECONNREFUSED, 1, 'a service that does not ask for it tells its clients')
      await scene.at(refusing).serve(OTHER_PORT)
    }
    const back = await scene.at('c1').tally(vips[0], 80, 9)
    t.same(Object.keys(back).sort(), BACKENDS)
  })

  t.test('when all refuse, the client is told', async (t) => {
    for (const name of BACKENDS) await scene.at(name).must('unserve', { port: OTHER_PORT })
    for (const client of ['c1', 'c2']) {
      t.same(await scene.at(client).tally(vips[0], 80, 2), { ECONNREFUSED: 2 })
    }
    for (const name of BACKENDS) await scene.at(name).serve(OTHER_PORT)
  })
}

function nearnessTests(scene: Scene, vips: [string, string], sticky: [string, string]): void {
  t.test('backends of the own node first, others when it has none', async (t) => {
    t.same(await scene.at('c1').tally(vips[0], 80, 4), { b1: 4 })
    t.same(await scene.at('c2').tally(vips[1], 80, 4), { b2: 2, b3: 2 })
    scene.weights('near', { b1: 0 })
    await scene.reload()
    t.same(await scene.at('c1').tally(vips[1], 80, 4), { b2: 2, b3: 2 })
    scene.weights('near', { b1: 1 })
    await scene.reload()
    t.same(await scene.at('c1').tallyUdp(vips[0], 53, 3), { b1: 3 })
  })

  t.test('a client with affinity stays, also when its backend quiesces', async (t) => {
    const [name, ...more] = Object.keys(await scene.at('c1').tally(sticky[0], 80, 5))
    t.same(more, [])
    scene.weights('sticky', { [name!]: 0 })
    await scene.reload()
    t.same(await scene.at('c1').tally(sticky[0], 80, 3), { [name!]: 3 })
    scene.weights('sticky', { [name!]: 1 })
    await scene.reload()
  })
}

function idleTests(scene: Scene, vips: [string, string], brief: [string, string]): void {
  t.test('an idle flow whose ends live outlives its timeout, another does not', async (t) => {
    const short = (tables: ForwardingTables): ForwardingTables => ({
      ...tables,
      node: { ...tables.node, balancer: { tcpSeconds: 1 } },
    })
    scene.plan.version++
    await scene.reload(short)
    const probes = async (): Promise<number> =>
      sumOf(await scene.agent('node1').metrics(), 'weft_flow_probes_total')
    const before = await probes()
    const calls = [
      await scene.at('c1').connect(vips[0], 80),
      await scene.at('c1').connect(vips[1], 80),
    ]
    for (const call of calls) t.equal(await call.say('one'), 'one')
    await waitFor(async () => (await probes()) >= before + 4, { what: 'probes of idle flows' })
    for (const call of calls) t.equal(await call.say('two'), 'two', call.greeting.name)
    for (const call of calls) await call.close()

    const established = async (): Promise<number> => {
      const labels = { protocol: 'tcp', state: 'established' }
      return sumOf(await scene.agent('node1').metrics(), 'weft_flows', labels)
    }
    await waitFor(async () => (await established()) === 0, { what: 'those flows to be closed' })
    const call = await scene.at('c1').connect(brief[0], 80)
    t.equal(await call.say('one'), 'one')
    t.equal(await established(), 1)
    await waitFor(async () => (await established()) === 0, { what: 'an idle flow to be forgotten' })
    await t.rejects(call.say('two'), /ECONNRESET|EPIPE/)
    await call.close().catch(() => {})
    scene.plan.version++
    await scene.reload()
  })
}

await sceneTest('options', async (scene) => {
  const retried = ask(scene, 'retried', { retryRefused: true, ports: REFUSED_PORTS })
  const plain = ask(scene, 'plain', { ports: REFUSED_PORTS })
  const near = ask(scene, 'near', { prefer: 'node' })
  const sticky = ask(scene, 'sticky', { persistenceSeconds: 60 })
  const lasting = ask(scene, 'lasting', {})
  const brief = ask(scene, 'brief', { idleSeconds: 1 })
  await scene.startAgents()
  refusalTests(scene, retried, plain)
  nearnessTests(scene, near, sticky)
  idleTests(scene, lasting, brief)
})
