// The routing mesh: a published port answers on every node, whoever asks from wherever, and the
// backend sees the client's own address. Clients: outside, another node, the node itself, its
// loopback. An answer comes from the address that was asked, that is, through the node that the
// client came in on.

import './enter.ts'
import t from 'tap'
import { OTHER_PORT, type Scene, SERVICE_PORT, sceneTest } from './scene.ts'
import { countOf, type Greeting, nameOf, type Reply } from './station.ts'

const TCP_PORT = 8000
const UDP_PORT = 5300
/** Published without a target port: it is the same on the backends. */
const SAME_PORT: number = OTHER_PORT
/** UDP to a port of the backends where nobody listens. */
const DEAF_PORT = 5400

const EVEN: Readonly<Record<string, number>> = { b1: 2, b2: 2, b3: 2 }

/** Address of a host by family: 0 = IPv4, 1 = IPv6. */
function addressOf(scene: Scene, host: string, family: 0 | 1): string {
  const { address, address6 } = scene.host(host)
  return family === 0 ? address : address6
}

/** Asks `target` six times by TCP and by UDP; every backend must answer twice and see `client`. */
async function reach(
  t0: Pick<typeof t, 'same'>,
  scene: Scene,
  from: string,
  target: string,
  client: string,
): Promise<void> {
  const tcp: Greeting[] = []
  const udp: Reply[] = []
  for (let i = 0; i < 6; i++) {
    tcp.push((await scene.at(from).who(target, TCP_PORT)) as Greeting)
    // Not connected, so that an answer from elsewhere would be seen.
    udp.push((await scene.at(from).ask(target, UDP_PORT, { connected: false })) as Reply)
  }
  t0.same(countOf(tcp.map(nameOf)), EVEN, `TCP from ${from} to ${target}`)
  t0.same(countOf(udp.map(nameOf)), EVEN, `UDP from ${from} to ${target}`)
  t0.same([...new Set(tcp.map(({ peer }) => peer))], [client], 'TCP: the client’s own address')
  t0.same([...new Set(udp.map(({ peer }) => peer))], [client], 'UDP: the client’s own address')
  t0.same([...new Set(udp.map(({ from }) => from))], [target], 'answers come from where was asked')
  t0.same([...new Set(udp.map(({ fromPort }) => fromPort))], [UDP_PORT])
  t0.same([...new Set(tcp.map(({ localPort }) => localPort))], [SERVICE_PORT], 'target port')
}

function reachTests(scene: Scene): void {
  for (const family of [0, 1] as const) {
    const name = `IPv${family === 0 ? 4 : 6}`
    for (const from of ['out', 'node1', 'node2']) {
      for (const to of ['node1', 'node2']) {
        t.test(`from ${from} to ${to} over ${name}`, async (t) => {
          const client = addressOf(scene, from, family)
          await reach(t, scene, from, addressOf(scene, to, family), client)
        })
      }
    }
  }

  for (const node of ['node1', 'node2']) {
    t.test(`from ${node} to 127.0.0.1, seen as the node`, async (t) => {
      await reach(t, scene, node, '127.0.0.1', addressOf(scene, node, 0))
    })
    t.test(`from ${node} to ::1, seen as the node`, async (t) => {
      await reach(t, scene, node, '::1', addressOf(scene, node, 1))
    })
  }

  t.test('a port published as it is', async (t) => {
    for (const node of ['node1', 'node2']) {
      for (const family of [0, 1] as const) {
        const seen = await scene.at('out').who(addressOf(scene, node, family), SAME_PORT)
        t.match(seen, { localPort: SAME_PORT, peer: addressOf(scene, 'out', family) })
      }
    }
  })

  t.test('what is not published is the host’s own business', async (t) => {
    const target = scene.host('node1').address
    t.equal(nameOf(await scene.at('out').who(target, SERVICE_PORT)), 'ECONNREFUSED')
    await scene.at('node1').serve(7000)
    t.equal(nameOf(await scene.at('out').who(target, 7000)), 'node1')
    t.equal(nameOf(await scene.at('out').ask(target, 7000)), 'node1')
    t.equal(nameOf(await scene.at('node1').who('127.0.0.1', 7000)), 'node1')
  })
}

async function fragments(
  t0: Pick<typeof t, 'equal'>,
  scene: Scene,
  from: string,
  family: 0 | 1,
): Promise<void> {
  const target = addressOf(scene, 'node1', family)
  // The first may be refused: it teaches the sender the path's MTU.
  await scene.at(from).ask(target, UDP_PORT, { size: 1440 })
  for (const size of [1400, 1440, 1473, 4000, 30_000]) {
    for (let i = 0; i < 3; i++) {
      const answer = (await scene.at(from).ask(target, UDP_PORT, { size })) as Reply
      t0.equal(answer.size, size, `${size} bytes from ${from} to ${target} (${nameOf(answer)})`)
    }
  }
}

function trafficTests(scene: Scene): void {
  t.test('one client socket asks both nodes in turn', async (t) => {
    const one = await scene.at('out').talk(scene.host('node1').address, UDP_PORT, false)
    const two = await scene.at('out').talk(scene.host('node2').address, UDP_PORT, false)
    for (let i = 0; i < 8; i++) {
      t.match(await one.ask(), { from: scene.host('node1').address })
      t.match(await two.ask(), { from: scene.host('node2').address })
    }
    await one.close()
    await two.close()
  })

  t.test('one client port calls both nodes in turn', async (t) => {
    const at = scene.at('out')
    for (let i = 0; i < 12; i++) {
      for (const node of ['node1', 'node2', 'node1']) {
        const options = { localPort: 20_000 + i }
        const answer = await at.who(addressOf(scene, node, 0), TCP_PORT, options)
        t.ok('name' in answer, `from port ${20_000 + i} to ${node}: ${nameOf(answer)}`)
      }
      // Another backend meets this port next time.
      if (i % 3 === 2) await at.who(addressOf(scene, 'node2', 0), TCP_PORT)
    }
  })

  t.test('held connections through both nodes to the same backends', async (t) => {
    const calls = []
    for (let i = 0; i < 12; i++) {
      const node = i % 2 === 0 ? 'node1' : 'node2'
      calls.push(await scene.at('out').connect(addressOf(scene, node, 0), TCP_PORT))
    }
    for (let round = 0; round < 3; round++) {
      const said = await Promise.all(calls.map((call) => call.say(`round ${round}`)))
      t.same(countOf(said), { [`round ${round}`]: 12 })
    }
    for (const call of calls) await call.close()
  })

  t.test('many connections in a row', async (t) => {
    const target = scene.host('node2').address
    const counts = await Promise.all(
      Array.from({ length: 6 }, () => scene.at('out').tally(target, TCP_PORT, 50)),
    )
    const sum = (name: string): number => counts.reduce((all, count) => all + (count[name] ?? 0), 0)
    t.same([sum('b1'), sum('b2'), sum('b3')], [100, 100, 100])
  })
}

function packetTests(scene: Scene): void {
  t.test('large transfers both ways at once', async (t) => {
    const size = 4_000_000
    for (const from of ['out', 'node1']) {
      for (const family of [0, 1] as const) {
        const target = addressOf(scene, 'node1', family)
        const seen = new Set<string>()
        for (let i = 0; i < 3; i++) {
          const answer = await scene.at(from).bulk(target, TCP_PORT, { up: size, down: size })
          t.match(answer, { intact: true }, `${from} to ${target}`)
          if ('name' in answer) seen.add(answer.name)
        }
        t.equal(seen.size, 3, 'to and from every backend')
      }
    }
    const loopback = await scene.at('node2').bulk('127.0.0.1', TCP_PORT, { up: size, down: size })
    t.match(loopback, { intact: true }, 'node2 to 127.0.0.1')
    const loopback6 = await scene.at('node2').bulk('::1', TCP_PORT, { up: size, down: size })
    t.match(loopback6, { intact: true }, 'node2 to ::1')
  })

  t.test('fragmented datagrams of a client on the node', async (t) => {
    for (const family of [0, 1] as const) await fragments(t, scene, 'node1', family)
  })

  t.test('fragmented datagrams from outside, where the kernel defragments', async (t) => {
    // Rules by port see no port in a fragment: they need what every host with Docker or another
    // stateful packet filter has.
    const match = '-t raw -A PREROUTING -m conntrack --ctstate NEW -j ACCEPT'.split(' ')
    for (const [family, program] of (['iptables', 'ip6tables'] as const).entries()) {
      const { status, stderr } = await scene.host('node1').exec([program, ...match])
      if (status === 0) await fragments(t, scene, 'out', family === 0 ? 0 : 1)
      else t.pass(program, { skip: `no connection tracking here: ${stderr.trim()}` })
    }
  })

  t.test('"port unreachable" of a backend reaches the client', async (t) => {
    for (const from of ['out', 'node2']) {
      for (const family of [0, 1] as const) {
        const target = addressOf(scene, 'node1', family)
        for (let i = 0; i < 3; i++) {
          const answer = await scene.at(from).ask(target, DEAF_PORT)
          t.match(answer, { error: 'ECONNREFUSED' }, `${from} to ${target}`)
        }
      }
    }
  })
}

/** Gives a container an uplink of its own, with the default route over it. */
async function elsewhere(scene: Scene, name: string): Promise<void> {
  const uplink = await scene.lab.host('uplink')
  const host = scene.host(name)
  await host.ip([`link add up0 type veth peer name eth0 netns ${uplink.name}`])
  await uplink.ip(['addr add 172.20.0.1/24 dev eth0', 'link set eth0 up'])
  await uplink.ip(['addr add fd00:20::1/64 dev eth0 nodad'], ['-6'])
  await host.ip(['addr add 172.20.0.2/24 dev up0', 'link set up0 up'])
  await host.ip(['addr add fd00:20::2/64 dev up0 nodad'], ['-6'])
  await host.ip(['route add default via 172.20.0.1'])
  await host.ip(['route add default via fd00:20::1'], ['-6'])
}

await sceneTest('reach', async (scene) => {
  scene.service('web')
  // b3 sends what it does not know elsewhere; the answers to the mesh's clients must not go that
  // way.
  await elsewhere(scene, 'b3')
  scene.plan.publish({ protocol: 'tcp', port: TCP_PORT, service: 'web', targetPort: SERVICE_PORT })
  scene.plan.publish({ protocol: 'udp', port: UDP_PORT, service: 'web', targetPort: SERVICE_PORT })
  scene.plan.publish({ protocol: 'tcp', port: SAME_PORT, service: 'web' })
  scene.plan.publish({ protocol: 'udp', port: DEAF_PORT, service: 'web', targetPort: 7 })
  await scene.startAgents()
  reachTests(scene)
  trafficTests(scene)
  packetTests(scene)
})
