// What becomes of flows through a virtual address when the tables change: backends quiesce and go,
// lists are turned round, services have none left; and what else a flow may carry: ICMP errors and
// fragments.

import './enter.ts'
import t from 'tap'
import { sumOf } from '../../cli/lab/metrics.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import type { ForwardingTables } from '../../dataplane/tables.ts'
import { CLOSED_PORT, type Scene, SERVICE_PORT, sceneTest } from './scene.ts'
import { type Call, type Failure, type Greeting, nameOf, type Reply } from './station.ts'

/** What "at once" means to somebody who waits for an error. */
const AT_ONCE_MS = 1000

const PORTS = [
  { protocol: 'tcp', port: 80, targetPort: SERVICE_PORT },
  { protocol: 'udp', port: 53, targetPort: SERVICE_PORT },
  { protocol: 'udp', port: 54, targetPort: CLOSED_PORT },
] as const

/** The same tables with every list and every list within turned round. */
function reversed(tables: ForwardingTables): ForwardingTables {
  const turn = <T>(list: readonly T[]): T[] => [...list].reverse()
  return {
    ...tables,
    peers: turn(tables.peers),
    networks: turn(tables.networks),
    endpoints: turn(tables.endpoints),
    services: turn(tables.services).map((service) => ({
      ...service,
      vips: turn(service.vips),
      backends: turn(service.backends),
      ...(service.ports ? { ports: turn(service.ports) } : {}),
    })),
    publishedPorts: turn(tables.publishedPorts),
  }
}

/** A held connection to each backend, by backend. */
async function callEach(scene: Scene, client: string, vip: string): Promise<Map<string, Call>> {
  const calls = new Map<string, Call>()
  for (let i = 0; i < 3; i++) {
    const call = await scene.at(client).connect(vip, 80)
    calls.set(call.greeting.name, call)
  }
  return calls
}

async function closeAll(calls: Iterable<Call>): Promise<void> {
  for (const call of calls) await call.close()
}

function quiesceTests(scene: Scene, web: [string, string]): void {
  t.test('weight 0 quiesces: open flows go on, new ones go elsewhere', async (t) => {
    const at = scene.at('c1')
    const calls = await callEach(scene, 'c1', web[0])
    const talk = await at.talk(web[0], 53)
    const first = (await talk.ask()) as Reply
    const quiet = first.name
    scene.weights('web', { [quiet]: 0 })
    await scene.reload()
    for (const [name, call] of calls) t.equal(await call.say('on'), 'on', `TCP to ${name} goes on`)
    for (let i = 0; i < 4; i++) t.match(await talk.ask(), { name: quiet }, 'UDP stays')
    t.notOk(quiet in (await at.tally(web[0], 80, 6)), `no new TCP to ${quiet}`)
    t.notOk(quiet in (await at.tallyUdp(web[0], 53, 6)), `no new UDP to ${quiet}`)
    scene.weights('web', { [quiet]: 1 })
    await scene.reload()
    t.equal((await at.tally(web[0], 80, 6))[quiet], 2, 'and back')
    for (const [name, call] of calls) t.equal(await call.say('on'), 'on', `TCP to ${name} still`)
    await talk.close()
    await closeAll(calls.values())
  })
}

function removalTests(scene: Scene, web: [string, string]): void {
  for (const family of [0, 1] as const) {
    const gone = family === 0 ? 'b1' : 'b2'
    for (const client of ['c1', 'c2']) {
      t.test(
        `${gone} goes: ${client} and it are told at once (IPv${family ? 6 : 4})`,
        async (t) => {
          const at = scene.at(client)
          const calls = await callEach(scene, client, web[family])
          const lost = calls.get(gone)!
          const ending = lost.ended(AT_ONCE_MS + 5000)
          const startMs = performance.now()
          scene.plan.backend('web', gone, false)
          await scene.reload()
          t.equal(await ending, 'ECONNRESET', 'the client is reset')
          const tookMs = performance.now() - startMs
          t.ok(tookMs < AT_ONCE_MS + 2000, `at once: ${tookMs.toFixed()} ms with the reload`)
          const { peerPort } = lost.greeting
          await waitFor(
            async () => {
              const rows = await scene.at(gone).must('served', { port: SERVICE_PORT })
              return rows.some((row) => row.peerPort === peerPort && row.state === 'ECONNRESET')
            },
            { what: `${gone} to see its connection from port ${peerPort} reset`, timeoutMs: 2000 },
          )
          for (const [name, call] of calls) {
            if (name !== gone) t.equal(await call.say('on'), 'on', `TCP to ${name} goes on`)
          }
          t.not(nameOf(await at.ask(web[family], 53)), gone)
          scene.plan.backend('web', gone, true)
          await scene.reload()
          calls.delete(gone)
          await closeAll(calls.values())
        },
      )
    }
  }
}

function lossTests(scene: Scene, web: [string, string]): void {
  t.test(
    'a UDP flow whose backend goes is answered by another from the next datagram',
    async (t) => {
      for (const family of [0, 1] as const) {
        const talk = await scene.at('c1').talk(web[family], 53)
        const before = nameOf(await talk.ask())
        scene.plan.backend('web', before, false)
        await scene.reload()
        const after = (await talk.ask()) as Reply
        t.ok(after.name, JSON.stringify(after))
        t.not(after.name, before)
        scene.plan.backend('web', before, true)
        await scene.reload()
        t.equal(nameOf(await talk.ask()), after.name, 'and it stays there')
        await talk.close()
      }
    },
  )

  t.test('a service without backends refuses at once', async (t) => {
    const calls = await callEach(scene, 'c1', web[0])
    for (const name of ['b1', 'b2', 'b3']) scene.plan.backend('web', name, false)
    await scene.reload()
    for (const client of ['c1', 'c2']) {
      for (const vip of web) {
        const tcp = (await scene.at(client).who(vip, 80)) as Failure
        t.equal(tcp.error, 'ECONNREFUSED', `TCP to ${vip} from ${client}`)
        t.ok(tcp.afterMs < AT_ONCE_MS, `after ${tcp.afterMs.toFixed()} ms`)
        const udp = (await scene.at(client).ask(vip, 53)) as Failure
        t.equal(udp.error, 'ECONNREFUSED', `UDP to ${vip} from ${client}`)
        t.ok(udp.afterMs < AT_ONCE_MS, `after ${udp.afterMs.toFixed()} ms`)
      }
    }
    for (const call of calls.values()) t.equal(await call.ended(), 'ECONNRESET')
    for (const name of ['b1', 'b2', 'b3']) scene.plan.backend('web', name, true)
    await scene.reload()
    t.same(await scene.at('c1').tally(web[0], 80, 3), { b1: 1, b2: 1, b3: 1 })
  })
}

function swapTests(scene: Scene, web: [string, string]): void {
  t.test('open flows survive a swap that turns every list round', async (t) => {
    const calls = [
      ...(await callEach(scene, 'c1', web[0])).values(),
      ...(await callEach(scene, 'c2', web[1])).values(),
    ]
    const talk = await scene.at('c2').talk(web[0], 53)
    const who = nameOf(await talk.ask())
    for (const change of [reversed, (same: ForwardingTables) => same]) {
      scene.plan.version++
      await scene.reload(change)
      for (const call of calls) t.equal(await call.say('turned'), 'turned', call.greeting.name)
      t.equal(nameOf(await talk.ask()), who)
      t.same(await scene.at('c1').tally(web[0], 80, 3), { b1: 1, b2: 1, b3: 1 })
    }
    await talk.close()
    await closeAll(calls)
  })

  t.test('open flows survive a swap that changes other things', async (t) => {
    const calls = await callEach(scene, 'c1', web[0])
    scene.plan.network({ name: 'aside', vni: 101, subnets: ['10.8.0.0/24'] })
    scene.plan.node({ name: 'node9', address: '192.168.10.9' })
    scene.service('later', { ports: PORTS, scheduler: 'lc' })
    await scene.reload()
    for (const [name, call] of calls) t.equal(await call.say('on'), 'on', name)
    scene.plan.services.delete('later')
    scene.plan.networks.delete('aside')
    scene.plan.nodes.delete('node9')
    scene.plan.version++
    await scene.reload()
    for (const [name, call] of calls) t.equal(await call.say('on'), 'on', name)
    await closeAll(calls.values())
  })
}

function deviceTests(scene: Scene, web: [string, string]): void {
  t.test('a container keeps its interface when its MTU or addresses change', async (t) => {
    const { plan } = scene
    const calls = await callEach(scene, 'c1', web[0])
    const network = plan.networks.get('front')!
    const endpoint = plan.endpoints.get('c1.front')!
    plan.networks.set('front', { ...network, mtu: 1300 })
    plan.endpoints.set('c1.front', { ...endpoint, addresses: [endpoint.addresses[0]!] })
    plan.version++
    await scene.reload()
    const show = ['ip', 'addr', 'show', 'eth0']
    t.match(await scene.host('c1').must(show), /mtu 1300/)
    t.notMatch(await scene.host('c1').must(show), endpoint.addresses[1]!)
    for (const [name, call] of calls) t.equal(await call.say('on'), 'on', name)
    plan.networks.set('front', network)
    plan.endpoints.set('c1.front', endpoint)
    plan.version++
    await scene.reload()
    t.match(await scene.host('c1').must(show), endpoint.addresses[1]!)
    t.match(await scene.host('c1').must(show), /mtu 1418/)
    for (const [name, call] of calls) t.equal(await call.say('on'), 'on', name)
    t.same(await scene.at('c1').tally(web[1], 80, 3), { b1: 1, b2: 1, b3: 1 })
    await closeAll(calls.values())
  })

  t.test('a changed file is seen without a signal', async (t) => {
    const call = await scene.at('c1').connect(web[0], 80)
    scene.plan.version++
    const wanted = scene.plan.version
    for (const [node, agent] of scene.agents) agent.write(scene.plan.tables(node))
    for (const agent of scene.agents.values()) {
      await waitFor(async () => sumOf(await agent.metrics(), 'weft_tables_version') === wanted, {
        what: `version ${wanted} to run`,
      })
    }
    t.equal(await call.say('on'), 'on')
    await call.close()
  })
}

function packetTests(scene: Scene, web: [string, string]): void {
  t.test('"port unreachable" of a backend reaches the client of the VIP', async (t) => {
    for (const client of ['c1', 'c2']) {
      for (const vip of web) {
        for (let i = 0; i < 3; i++) {
          const answer = (await scene.at(client).ask(vip, 54)) as Failure
          t.equal(answer.error, 'ECONNREFUSED', `${client} to ${vip}: ${JSON.stringify(answer)}`)
        }
      }
    }
  })

  t.test('fragmented datagrams go through a VIP whole', async (t) => {
    for (const client of ['c1', 'c2']) {
      for (const vip of web) {
        for (const size of [1400, 1473, 4000, 30_000, 60_000]) {
          const answer = (await scene.at(client).ask(vip, 53, { size, timeoutMs: 1500 })) as Reply
          t.equal(answer.size, size, `${size} bytes from ${client} to ${vip} (${nameOf(answer)})`)
        }
      }
    }
  })

  t.test('large transfers through a VIP arrive as sent, both ways at once', async (t) => {
    const size = 4_000_000
    for (const client of ['c1', 'c2']) {
      for (const vip of web) {
        const seen = new Set<string>()
        for (let i = 0; i < 3; i++) {
          const answer = await scene
            .at(client)
            .bulk(vip, 80, { up: size, down: size, timeoutMs: 5000 })
          t.match(answer, { intact: true }, `${client} to ${vip}`)
          if ('name' in answer) seen.add(answer.name)
        }
        t.equal(seen.size, 3, 'to and from every backend')
      }
    }
  })

  t.test('the VIP answers a ping', async (t) => {
    const { status, stderr } = await scene.host('c1').exec(['ping', '-c1', '-W2', web[0]])
    if (status === 127) t.pass('ping', { skip: stderr.trim() })
    else t.equal(status, 0)
  })
}

await sceneTest('changes', async (scene) => {
  const web = scene.service('web', { ports: PORTS })
  await scene.startAgents()
  quiesceTests(scene, web)
  removalTests(scene, web)
  lossTests(scene, web)
  swapTests(scene, web)
  deviceTests(scene, web)
  packetTests(scene, web)
  t.test('the backends saw the clients’ own addresses', async (t) => {
    const { peer } = (await scene.at('c2').who(web[0], 80)) as Greeting
    t.equal(peer, scene.plan.addressOf('c2', 'front'))
  })
})
