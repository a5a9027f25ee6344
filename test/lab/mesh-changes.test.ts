// Published ports while the tables change: published elsewhere, no more, with another target;
// backends that quiesce and go; none left. And a host whose firewall forwards nothing by itself, as
// Docker leaves it.

import './enter.ts'
import t from 'tap'
import { waitFor } from '../../cli/lab/wait.ts'
import { OTHER_PORT, type Scene, SERVICE_PORT, sceneTest } from './scene.ts'
import { type Call, type Failure, nameOf, type Reply } from './station.ts'

const TCP_PORT = 8000
const UDP_PORT = 5300
const AT_ONCE_MS = 1000
const ALL: Readonly<Record<string, number>> = { b1: 1, b2: 1, b3: 1 }

/** Both ways to node1 from outside. */
function targets(scene: Scene): string[] {
  const { address, address6 } = scene.host('node1')
  return [address, address6]
}

function replacePublished(
  scene: Scene,
  ports: readonly ['tcp' | 'udp', number, number][],
): Promise<void> {
  scene.plan.published.length = 0
  for (const [protocol, port, targetPort] of ports) {
    scene.plan.publish({ protocol, port, service: 'web', targetPort })
  }
  scene.plan.version++
  return scene.reload()
}

const USUAL: readonly ['tcp' | 'udp', number, number][] = [
  ['tcp', TCP_PORT, SERVICE_PORT],
  ['udp', UDP_PORT, SERVICE_PORT],
]

async function callEach(scene: Scene, target: string): Promise<Map<string, Call>> {
  const calls = new Map<string, Call>()
  for (let i = 0; i < 3; i++) {
    const call = await scene.at('out').connect(target, TCP_PORT)
    calls.set(call.greeting.name, call)
  }
  return calls
}

function portTests(scene: Scene): void {
  t.test('a port is published elsewhere, then no more', async (t) => {
    const at = scene.at('out')
    const [target, target6] = targets(scene) as [string, string]
    const call = await at.connect(target, TCP_PORT)
    const kept = await at.connect(target6, TCP_PORT)
    await replacePublished(scene, [...USUAL, ['tcp', 8001, OTHER_PORT]])
    t.equal(await call.say('on'), 'on', 'a further port leaves open flows alone')
    t.same(await at.tally(target6, 8001, 3), ALL)
    const ending = call.ended()
    await replacePublished(scene, [
      ['tcp', 8001, OTHER_PORT],
      ['udp', UDP_PORT, SERVICE_PORT],
    ])
    t.equal(await ending, 'ECONNRESET', 'flows of a port that is published no more are reset')
    t.equal(await kept.ended(), 'ECONNRESET')
    for (const to of [target, target6]) {
      t.equal(nameOf(await at.who(to, TCP_PORT)), 'ECONNREFUSED', 'the old port')
      t.match(await at.who(to, 8001), { localPort: OTHER_PORT }, 'the new port')
      t.ok('from' in (await at.ask(to, UDP_PORT)), 'UDP is as it was')
    }
    const rules = await scene.host('node1').must(['ip', 'rule'])
    t.notMatch(rules, `dport ${TCP_PORT}`)
    await replacePublished(scene, USUAL)
    for (const to of [target, target6]) t.same(await at.tally(to, TCP_PORT, 3), ALL)
  })

  t.test('nothing published leaves nothing on the host', async (t) => {
    const published = await rulesOf(scene)
    t.same(await scene.at('node1').tally('::1', TCP_PORT, 3), ALL)
    await replacePublished(scene, [])
    t.equal(nameOf(await scene.at('node1').who('::1', TCP_PORT)), 'ECONNREFUSED')
    t.notMatch(await rulesOf(scene), '4789')
    for (const to of targets(scene)) {
      t.equal(nameOf(await scene.at('out').who(to, TCP_PORT)), 'ECONNREFUSED')
      t.equal(nameOf(await scene.at('out').ask(to, UDP_PORT)), 'ECONNREFUSED')
    }
    await replacePublished(scene, USUAL)
    t.equal(await rulesOf(scene), published)
    t.same(await scene.at('out').tally(scene.host('node2').address, TCP_PORT, 3), ALL)
  })

  t.test('another target port counts for new connections', async (t) => {
    const at = scene.at('out')
    const [target] = targets(scene) as [string]
    t.match(await at.who(target, TCP_PORT), { localPort: SERVICE_PORT })
    await replacePublished(scene, [
      ['tcp', TCP_PORT, OTHER_PORT],
      ['udp', UDP_PORT, OTHER_PORT],
    ])
    for (let i = 0; i < 3; i++) {
      t.match(await at.who(target, TCP_PORT), { localPort: OTHER_PORT })
      t.match(await at.ask(target, UDP_PORT), { localPort: OTHER_PORT, from: target })
    }
    await replacePublished(scene, USUAL)
    t.match(await at.who(target, TCP_PORT), { localPort: SERVICE_PORT })
  })
}

async function rulesOf(scene: Scene): Promise<string> {
  const node = scene.host('node1')
  const text = (await node.must(['ip', 'rule'])) + (await node.must(['ip', '-6', 'rule']))
  // Rules of one preference stand in the order in which they were made.
  return text.split('\n').sort().join('\n')
}

function backendTests(scene: Scene): void {
  t.test('weight 0 quiesces', async (t) => {
    const at = scene.at('out')
    const [target] = targets(scene) as [string]
    const calls = await callEach(scene, target)
    scene.weights('web.ingress', { b2: 0 })
    await scene.reload()
    for (const [name, call] of calls) t.equal(await call.say('on'), 'on', `${name} goes on`)
    t.same(await at.tally(target, TCP_PORT, 6), { b1: 3, b3: 3 })
    t.same(await at.tallyUdp(target, UDP_PORT, 6), { b1: 3, b3: 3 })
    scene.weights('web.ingress', { b2: 1 })
    await scene.reload()
    t.equal((await at.tally(target, TCP_PORT, 6)).b2, 2)
    for (const call of calls.values()) await call.close()
  })

  for (const gone of ['b1', 'b2']) {
    t.test(`${gone} goes: its clients and it are told at once`, async (t) => {
      for (const target of targets(scene)) {
        const calls = await callEach(scene, target)
        const lost = calls.get(gone)!
        const ending = lost.ended(AT_ONCE_MS + 5000)
        const startMs = performance.now()
        scene.plan.backend('web', gone, false)
        await scene.reload()
        t.equal(await ending, 'ECONNRESET', `the client of ${target}`)
        const tookMs = performance.now() - startMs
        t.ok(tookMs < AT_ONCE_MS + 2000, `after ${tookMs.toFixed()} ms with the reload`)
        await waitFor(
          async () => {
            const rows = await scene.at(gone).must('served', { port: SERVICE_PORT })
            const { peerPort } = lost.greeting
            return rows.some((row) => row.peerPort === peerPort && row.state === 'ECONNRESET')
          },
          { what: `${gone} to see its connection reset`, timeoutMs: 2000 },
        )
        for (const [name, call] of calls) {
          if (name === gone) continue
          t.equal(await call.say('on'), 'on', `${name} goes on`)
          await call.close()
        }
        scene.plan.backend('web', gone, true)
        await scene.reload()
      }
    })
  }
}

function lossTests(scene: Scene): void {
  t.test('a UDP flow whose backend goes is answered by another', async (t) => {
    for (const target of targets(scene)) {
      const talk = await scene.at('out').talk(target, UDP_PORT)
      const before = nameOf(await talk.ask())
      scene.plan.backend('web', before, false)
      await scene.reload()
      const after = (await talk.ask()) as Reply
      t.match(after, { from: target })
      t.not(after.name, before)
      await talk.close()
      scene.plan.backend('web', before, true)
      await scene.reload()
    }
  })

  t.test('no backend: refused at once', async (t) => {
    for (const name of ['b1', 'b2', 'b3']) scene.plan.backend('web', name, false)
    await scene.reload()
    for (const target of [...targets(scene), '127.0.0.1']) {
      const from = target === '127.0.0.1' ? 'node1' : 'out'
      for (const answer of [
        await scene.at(from).who(target, TCP_PORT),
        await scene.at(from).ask(target, UDP_PORT),
      ]) {
        const { error, afterMs } = answer as Failure
        t.equal(error, 'ECONNREFUSED', `${from} to ${target}`)
        t.ok(afterMs < AT_ONCE_MS, `after ${afterMs?.toFixed()} ms`)
      }
    }
    for (const name of ['b1', 'b2', 'b3']) scene.plan.backend('web', name, true)
    await scene.reload()
    t.same(await scene.at('out').tally(scene.host('node1').address, TCP_PORT, 3), ALL)
  })
}

function firewallTests(scene: Scene): void {
  for (const chain of ['FORWARD', 'DOCKER-USER']) {
    t.test(`a firewall that drops what is forwarded, with an accept in ${chain}`, async (t) => {
      const node = scene.host('node1')
      const probe = await node.exec(['iptables', '-P', 'FORWARD', 'DROP'])
      if (probe.status !== 0) {
        t.pass('iptables', { skip: `no iptables that works here: ${probe.stderr.trim()}` })
        return
      }
      await node.must(['ip6tables', '-P', 'FORWARD', 'DROP'])
      if (chain === 'DOCKER-USER') {
        for (const program of ['iptables', 'ip6tables']) {
          await node.must([program, '-N', chain])
          await node.must([program, '-A', chain, '-j', 'RETURN'])
          await node.must([program, '-I', 'FORWARD', '-j', chain])
        }
      }
      const agent = scene.agent('node1')
      t.equal(await agent.stop(), 0)
      const before = await firewall(scene)
      await agent.start(scene.plan.tables('node1'))
      t.match(await firewall(scene), `-A ${chain} -i weft0 -j ACCEPT`)
      for (const target of targets(scene)) {
        t.same(await scene.at('out').tally(target, TCP_PORT, 3), ALL, `TCP to ${target}`)
        t.same(await scene.at('out').tallyUdp(target, UDP_PORT, 3), ALL, `UDP to ${target}`)
      }
      t.same(await scene.at('node1').tally('127.0.0.1', TCP_PORT, 3), ALL)
      t.equal(await agent.stop(), 0)
      t.equal(await firewall(scene), before, 'the end leaves the chains as they were')
      await agent.start(scene.plan.tables('node1'))
    })
  }
}

async function firewall(scene: Scene): Promise<string> {
  const node = scene.host('node1')
  return (await node.must(['iptables', '-S'])) + (await node.must(['ip6tables', '-S']))
}

await sceneTest('published ports', async (scene) => {
  scene.service('web')
  for (const [protocol, port, targetPort] of USUAL) {
    scene.plan.publish({ protocol, port, service: 'web', targetPort })
  }
  await scene.startAgents()
  portTests(scene)
  backendTests(scene)
  lossTests(scene)
  firewallTests(scene)
})
