// Virtual addresses share connections out as their scheduler says: counted exactly, for TCP and
// UDP, IPv4 and IPv6, from clients on the backends' node and on another, over named ports and over
// every port.

import './enter.ts'
import t from 'tap'
import { BACKENDS, OTHER_PORT, type Scene, SERVICE_PORT, sceneTest } from './scene.ts'
import type { Call, Greeting } from './station.ts'

const PORTS = [
  { protocol: 'tcp', port: 80, targetPort: SERVICE_PORT },
  { protocol: 'udp', port: 53, targetPort: SERVICE_PORT },
] as const

const EVEN: Readonly<Record<string, number>> = { b1: 2, b2: 2, b3: 2 }

type Vips = Readonly<Record<'rr' | 'wrr' | 'lc' | 'wlc' | 'any', readonly [string, string]>>

async function allTests(scene: Scene): Promise<void> {
  const rr = scene.service('rr', { ports: PORTS })
  const wrr = scene.service('wrr', { ports: PORTS, scheduler: 'wrr' })
  const lc = scene.service('lc', { ports: PORTS, scheduler: 'lc' })
  const wlc = scene.service('wlc', { ports: PORTS, scheduler: 'wlc' })
  const any = scene.service('any')
  scene.weights('wrr', { b1: 3, b2: 2, b3: 1 })
  scene.weights('wlc', { b1: 4, b2: 2, b3: 0 })

  await scene.startAgents()
  const vips: Vips = { rr, wrr, lc, wlc, any }
  turnTests(scene, vips)
  viewTests(scene, vips)
  loadTests(scene, vips)
  changeTests(scene, vips)
}

function turnTests(scene: Scene, { rr, wrr, any }: Vips): void {
  for (const client of ['c1', 'c2']) {
    for (const family of [0, 1] as const) {
      const where = `from ${client} over IPv${family === 0 ? 4 : 6}`
      const at = scene.at(client)
      t.test(`rr takes turns ${where}`, async (t) => {
        t.same(await at.tally(rr[family], 80, 6), EVEN, 'TCP')
        t.same(await at.tallyUdp(rr[family], 53, 6), EVEN, 'UDP')
        const turns: string[] = []
        for (let i = 0; i < 6; i++) turns.push(((await at.who(rr[family], 80)) as Greeting).name)
        t.same(turns.slice(0, 3), turns.slice(3), `in one order: ${turns.join(' ')}`)
      })
      t.test(`wrr takes turns by weight ${where}`, async (t) => {
        const shares = { b1: 6, b2: 4, b3: 2 }
        t.same(await at.tally(wrr[family], 80, 12), shares, 'TCP')
        t.same(await at.tallyUdp(wrr[family], 53, 12), shares, 'UDP')
      })
      t.test(`a VIP without ports takes every port and keeps it ${where}`, async (t) => {
        t.same(await at.tally(any[family], SERVICE_PORT, 3), { b1: 1, b2: 1, b3: 1 })
        t.same(await at.tally(any[family], OTHER_PORT, 3), { b1: 1, b2: 1, b3: 1 })
        t.same(await at.tallyUdp(any[family], OTHER_PORT, 3), { b1: 1, b2: 1, b3: 1 })
        const seen = await at.who(any[family], OTHER_PORT)
        t.match(seen, {
          localPort: OTHER_PORT,
          peer: scene.plan.addressOf(client, 'front', family),
        })
        t.same(await at.tally(any[family], 7, 1), { ECONNREFUSED: 1 }, 'a closed port is told')
      })
    }
  }
}

function viewTests(scene: Scene, { rr }: Vips): void {
  t.test('the backend sees the client, the client sees the VIP', async (t) => {
    for (const family of [0, 1] as const) {
      const own = scene.plan.addressOf('c1', 'front', family)
      for (let i = 0; i < BACKENDS.length; i++) {
        const tcp = await scene.at('c1').who(rr[family], 80)
        t.match(tcp, { peer: own, localPort: SERVICE_PORT })
        const udp = await scene.at('c1').ask(rr[family], 53)
        t.match(udp, { peer: own, from: rr[family], fromPort: 53 })
      }
    }
  })

  t.test('a backend that calls its own VIP is balanced to itself as well', async (t) => {
    for (const [family, vip] of rr.entries()) {
      const at = scene.at('b2')
      for (const protocol of ['tcp', 'udp']) {
        const seen = new Map<string, string>()
        for (let i = 0; i < 3; i++) {
          const answer = await (protocol === 'tcp' ? at.who(vip, 80) : at.ask(vip, 53))
          if ('error' in answer) t.fail(`${protocol} ${vip}: ${answer.error}`)
          else seen.set(answer.name, answer.peer)
        }
        const own = scene.plan.addressOf('b2', 'front', family)
        const expected = { b1: own, b2: vip, b3: own }
        t.same(Object.fromEntries(seen), expected, `${protocol}: itself it sees as the VIP`)
      }
    }
  })
}

function loadTests(scene: Scene, { lc, wlc }: Vips): void {
  for (const family of [0, 1] as const) {
    t.test(`lc evens out held connections over IPv${family === 0 ? 4 : 6}`, async (t) => {
      const at = scene.at('c1')
      const calls = await hold(scene, lc[family], 6)
      t.same(names(calls), ['b1', 'b1', 'b2', 'b2', 'b3', 'b3'])
      // The next two go where two have left.
      const left = calls.filter((call) => call.greeting.name === 'b2')
      for (const call of left) await call.close()
      const more = [await at.connect(lc[family], 80), await at.connect(lc[family], 80)]
      t.same(names(more), ['b2', 'b2'])
      for (const call of [...calls, ...more]) if (!left.includes(call)) await call.close()
    })
    t.test(`wlc holds connections by weight over IPv${family === 0 ? 4 : 6}`, async (t) => {
      const calls = await hold(scene, wlc[family], 6)
      t.same(names(calls), ['b1', 'b1', 'b1', 'b1', 'b2', 'b2'], 'and none where the weight is 0')
      for (const call of calls) await call.close()
    })
  }

  t.test('lc counts UDP flows, which are all held', async (t) => {
    t.same(await scene.at('c2').tallyUdp(lc[0], 53, 6), EVEN)
  })
}

function changeTests(scene: Scene, { rr }: Vips): void {
  t.test('a scheduler that changes keeps open connections', async (t) => {
    const at = scene.at('c1')
    const call = await at.connect(rr[0], 80)
    const { plan } = scene
    plan.services.set('rr', { ...plan.services.get('rr')!, scheduler: 'wrr' })
    scene.weights('rr', { b1: 0, b2: 2, b3: 1 })
    await scene.reload()
    t.same(await at.tally(rr[0], 80, 6), { b2: 4, b3: 2 })
    t.equal(await call.say('still here'), 'still here')
    plan.services.set('rr', { ...plan.services.get('rr')!, scheduler: 'lc' })
    scene.weights('rr', { b1: 1, b2: 1, b3: 1 })
    await scene.reload()
    t.equal(await call.say('and here'), 'and here')
    const held = await hold(scene, rr[0], 3)
    t.equal(new Set(names(held)).size >= 2, true)
    for (const each of [...held, call]) await each.close()
  })
}

async function hold(scene: Scene, vip: string, count: number): Promise<Call[]> {
  const calls: Call[] = []
  for (let i = 0; i < count; i++) calls.push(await scene.at('c1').connect(vip, 80))
  return calls
}

function names(calls: readonly Call[]): string[] {
  return calls.map((call) => call.greeting.name).sort()
}

await sceneTest('schedulers', allTests)
