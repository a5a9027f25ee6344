// What containers may expect of an overlay whose underlay is sound.
//
//            on h1     on h2
//     red    a c e     b e2     encrypted
//     blue   e         d e2     encrypted; e and e2 are on both
//     clear  p         q        RFC 7348 in the clear
//     loud   m n o     r s      encrypted, with multicast
//
// Beyond reachability: frames are looked at as they arrive, the underlay is searched for what must
// not be there, and at the end every packet that came in has been accounted for.

import './enter.ts'
import { type Agent, startAgents } from '../../cli/lab/agent.ts'
import type { Host } from '../../cli/lab/host.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import { Topology } from '../../cli/lab/topology.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { type Box, boxOf } from './box.ts'
import { arpRequest, hexOf, isUnderlay, udpPacket, udpPacket6 } from './hex-packets.ts'
import { labTest, type Test } from './lab-test.ts'
import { dropsOf, dropsReach, unaccounted } from './overlay-scene.ts'

const PORT = 7000
const NETWORKS = [
  { name: 'red', vni: 256, subnets: ['10.7.0.0/24', 'fd00:7::/64'] },
  { name: 'blue', vni: 257, subnets: ['10.8.0.0/24', 'fd00:8::/64'] },
  { name: 'clear', vni: 258, subnets: ['10.9.0.0/24', 'fd00:9::/64'], encrypted: false },
  { name: 'loud', vni: 259, subnets: ['10.10.0.0/24', 'fd00:10::/64'], multicast: true },
]
const TASKS: readonly [string, string, readonly string[]][] = [
  ['a', 'h1', ['red']],
  ['b', 'h2', ['red']],
  ['c', 'h1', ['red']],
  ['d', 'h2', ['blue']],
  ['e', 'h1', ['red', 'blue']],
  ['e2', 'h2', ['red', 'blue']],
  ['p', 'h1', ['clear']],
  ['q', 'h2', ['clear']],
  ['m', 'h1', ['loud']],
  ['n', 'h1', ['loud']],
  ['o', 'h1', ['loud']],
  ['r', 'h2', ['loud']],
  ['s', 'h2', ['loud']],
]

const MARKER = 'this sentence must not be readable'

interface Scene {
  readonly plan: Topology
  readonly agents: Map<string, Agent>
  readonly boxes: Map<string, Box>
  readonly underlay: Box
}

async function build(lab: Lab): Promise<Scene> {
  const hosts = (await lab.hostsNamed('h1', 'h2')) as [Host, Host]
  const link = await lab.bridge(hosts)
  const plan = new Topology()
  for (const host of hosts) plan.node({ name: host.name, address: host.address })
  for (const network of NETWORKS) plan.network(network)
  const boxes = new Map<string, Box>()
  await lab.hostsNamed(...TASKS.map(([name]) => name))
  for (const [name, node, networks] of TASKS)
    plan.task({ name, node, networks, defaultRoute: name === 'c' })
  const agents = await startAgents(lab, (node) => plan.tables(node), ['h1', 'h2'])
  await Promise.all(
    TASKS.map(async ([name]) => {
      const box = boxOf(lab.hosts.get(name)!)
      await box.ask.listen(PORT)
      boxes.set(name, box)
    }),
  )
  if (link.bridge === undefined) throw new Error('a bridge has a name')
  const underlay = boxOf(hosts[0])
  return { plan, agents, boxes, underlay }
}

function timesMarked(frames: string): number {
  return frames.split(Buffer.from(MARKER).toString('hex')).length - 1
}

function carriesMarker(frame: string): boolean {
  return frame.includes(Buffer.from(MARKER).toString('hex'))
}

labTest('an overlay over a sound underlay', async (t, lab) => {
  const { plan, agents, boxes, underlay } = await build(lab)
  const box = (name: string): Box['ask'] => boxes.get(name)!.ask
  const at = (task: string, network: string, family: 4 | 6): string =>
    plan.addressOf(task, network, family === 4 ? 0 : 1)
  const h1 = agents.get('h1')!
  const macOf = async (task: string): Promise<string> => {
    const link = await lab.hosts.get(task)!.must(['ip', '-o', 'link', 'show', 'eth0'])
    return /link\/ether (\S+)/.exec(link)![1]!.replaceAll(':', '')
  }

  const talk = async (
    t: Test,
    from: string,
    to: string,
    network: string,
    family: 4 | 6,
  ): Promise<void> => {
    const [source, target] = [at(from, network, family), at(to, network, family)]
    const what = `${from} to ${to} on ${network}, IPv${family}`
    t.match(await box(from).ping(target, { size: 56 }), { answer: /^56/ }, `ping ${what}`)
    const udp = await box(from).ask(target, PORT, { size: 500 })
    t.same(udp, { answer: `500 from ${source}` }, `UDP ${what}`)
    const tcp = await box(from).bulk(target, PORT, { up: 200_000, down: 300_000, seed: 1 }, 10_000)
    t.equal(tcp.whole, true, `TCP ${what}`)
  }

  await t.test('another host, the same host, two networks, in the clear', async (t) => {
    for (const family of [4, 6] as const) {
      await talk(t, 'a', 'b', 'red', family)
      await talk(t, 'b', 'a', 'red', family)
      await talk(t, 'a', 'c', 'red', family)
      await talk(t, 'e', 'd', 'blue', family)
      await talk(t, 'e', 'b', 'red', family)
      await talk(t, 'e2', 'e', 'blue', family)
      await talk(t, 'p', 'q', 'clear', family)
      await talk(t, 'q', 'p', 'clear', family)
    }
  })

  await t.test(
    'an overlay is one hop: TTL 1 suffices, the gateway and one’s own address answer',
    async (t) => {
      const far = await box('a').ping(at('b', 'red', 4), { size: 10, ttl: 1 })
      t.same(
        far,
        { answer: '10 ttl 64' },
        'the answer comes with the TTL that the far kernel gave it',
      )
      t.match(await box('a').ping(at('b', 'red', 6), { size: 10, ttl: 1 }), { answer: '10' })
      for (const gateway of ['10.7.0.1', 'fd00:7::1']) {
        t.match(await box('a').ping(gateway, { size: 1000, ttl: 1 }), { answer: /^1000/ }, gateway)
        t.match(await box('b').ping(gateway, { size: 0 }), { answer: /^0/ }, `${gateway} from h2`)
      }
      for (const family of [4, 6] as const) {
        t.match(await box('a').ping(at('a', 'red', family), { size: 64 }), { answer: /^64/ })
      }
    },
  )

  await t.test(
    'a large packet that follows super-packets of small segments arrives whole',
    async (t) => {
      // b asks for small segments: a's interface hands over super-packets of that shape, and
      // whatever comes next is read as if it had the same.
      const route = 'route replace 10.7.0.0/24 dev eth0 proto kernel scope link'
      await lab.hosts.get('b')!.ip([`${route} advmss 800`])
      const order = { up: 1 << 20, down: 1 << 20, seed: 3 }
      const result = await box('a').bulk(at('b', 'red', 4), PORT, order, 10_000)
      t.equal(result.whole, true)
      for (const target of ['b', 'c']) {
        for (const size of [500, 900, 1390]) {
          const out = await box('a').ask(at(target, 'red', 4), PORT, { size, df: true })
          t.same(out, { answer: `${size} from ${at('a', 'red', 4)}` }, `${size} bytes to ${target}`)
        }
      }
      t.match(await box('a').ping('10.7.0.1', { size: 1300 }), { answer: /^1300/ }, 'the gateway')
      await lab.hosts.get('b')!.ip([route])
    },
  )

  await t.test('what is not reached through the gateway is dropped as such', async (t) => {
    const before = await dropsOf(h1, 'no_route')
    const out = await box('c').ping('192.0.2.7', { size: 8, timeoutMs: 50 })
    t.same(out, { error: 'silence' })
    t.equal(await dropsReach(h1, 'no_route', before, 1), 1)
  })

  await t.test('networks are isolated: no route, and a forged frame finds nobody', async (t) => {
    for (const family of [4, 6] as const) {
      const out = await box('a').ping(at('d', 'blue', family), { size: 8, timeoutMs: 50 })
      t.same(out, { error: 'ENETUNREACH' })
    }
    const before = await dropsOf(h1, 'unknown_destination')
    await box('d').record('eth0')
    const [target, source] = [await macOf('d'), await macOf('a')]
    const packet = udpPacket(at('a', 'red', 4), at('d', 'blue', 4), MARKER)
    await box('a').frames('eth0', [`${target}${source}0800${packet}`])
    t.equal(await dropsReach(h1, 'unknown_destination', before, 1), 1)
    t.equal((await box('d').recorded('eth0')).filter(carriesMarker).length, 0)
  })

  await t.test('nobody sends in another’s name', async (t) => {
    const [a, b, c] = [await macOf('a'), await macOf('b'), await macOf('c')]
    const [ipA, ipB, ipC] = [at('a', 'red', 4), at('b', 'red', 4), at('c', 'red', 4)]
    await box('b').record('eth0')
    const before = await dropsOf(h1, 'spoofed_source')
    const forged = [
      `${b}${c}0800${udpPacket(ipA, ipB, MARKER)}`,
      `${b}${a}0800${udpPacket(ipC, ipB, MARKER)}`,
      `${b}${a}0800${udpPacket('192.0.2.1', ipB, MARKER)}`,
      `${b}${a}86dd${udpPacket6(at('c', 'red', 6), at('b', 'red', 6), MARKER)}`,
      `${'ff'.repeat(6)}${c}0806${arpRequest(c, ipC, ipB)}`,
    ]
    await box('a').frames('eth0', forged)
    t.equal(await dropsReach(h1, 'spoofed_source', before, forged.length), forged.length)
    t.equal((await box('b').recorded('eth0')).filter(carriesMarker).length, 0)
    const honest = `${b}${a}0800${udpPacket(ipA, ipB, MARKER)}`
    await box('a').frames('eth0', [honest])
    const arrived: string[] = []
    const look = async (): Promise<boolean> => {
      arrived.push(
        ...(await box('b').recorded('eth0')).filter((f) => f.startsWith(b) && carriesMarker(f)),
      )
      return arrived.length > 0
    }
    await waitFor(look, { what: 'the honest twin of the forged frames' })
    t.same(arrived, [honest], 'it arrives as it was sent, byte for byte')
  })

  await t.test(
    'ARP and ND are answered from the tables, and nothing of them crosses',
    async (t) => {
      const [a, b] = [await macOf('a'), await macOf('b')]
      await lab.hosts.get('a')!.ip(['neigh flush all'])
      await box('a').record('eth0')
      await box('b').recorded('eth0')
      for (const family of [4, 6] as const) {
        t.match(await box('a').ping(at('b', 'red', family), { size: 1 }), { answer: /^1/ })
      }
      const heard = await box('a').recorded('eth0')
      const question = arpRequest(a, at('a', 'red', 4), at('b', 'red', 4))
      const asked = `${'ff'.repeat(6)}${a}0806${question}`
      t.equal(heard.filter((frame) => frame.startsWith(asked)).length, 1, 'one question')
      const answer = new RegExp(`^${a}${b}0806000108000604000${2}${b}`)
      t.equal(heard.filter((frame) => answer.test(frame)).length, 1, 'one answer, in b’s name')
      const far = await box('b').recorded('eth0')
      t.equal(far.filter((frame) => frame.startsWith(asked)).length, 0, 'b was not asked')
      const before = await dropsOf(h1, 'unknown_neighbour')
      await box('a').ping('10.7.0.200', { size: 1, timeoutMs: 20 })
      await dropsReach(h1, 'unknown_neighbour', before, 1)
      const between = await dropsOf(h1, 'unknown_neighbour')
      await box('a').ping('fd00:7::200', { size: 1, timeoutMs: 20 })
      await dropsReach(h1, 'unknown_neighbour', between, 1)
      const silence = (await box('a').recorded('eth0')).filter((frame) => !frame.startsWith('ff'))
      t.notMatch(silence.join(' '), hexOf('10.7.0.200'), 'nobody speaks for an unknown address')
      // A probe of one's own address must not be told that it is taken (RFC 5227 section 2.1.1).
      const probe = arpRequest(a, '0.0.0.0', at('a', 'red', 4))
      await box('a').frames('eth0', [`${'ff'.repeat(6)}${a}0806${probe}`])
      const other = arpRequest(a, '0.0.0.0', at('b', 'red', 4))
      await box('a').frames('eth0', [`${'ff'.repeat(6)}${a}0806${other}`])
      const replies: string[] = []
      const look = async (): Promise<boolean> => {
        const frames = await box('a').recorded('eth0')
        replies.push(
          ...frames.filter((frame) => frame.startsWith(`${a}`) && /^.{24}0806/.test(frame)),
        )
        return replies.length > 0
      }
      await waitFor(look, { what: 'the answer to the probe of a taken address' })
      t.equal(replies.length, 1)
      t.ok(replies[0]!.includes(`${b}${hexOf(at('b', 'red', 4))}`))
    },
  )

  await t.test(
    'broadcast and multicast go to everybody where a network asks for them',
    async (t) => {
      const groups = ['239.1.2.3', 'ff02::1:7']
      const listeners = ['n', 'o', 'r', 's']
      for (const name of listeners) await box(name).join(PORT + 1, groups, 'eth0')
      const texts = ['to a group', 'to an IPv6 group', 'to the subnet', 'x'.repeat(3000)]
      const targets = ['239.1.2.3', 'ff02::1:7', '10.10.0.255', '239.1.2.3']
      for (const [i, text] of texts.entries()) {
        await box('m').say(targets[i]!, PORT + 1, text, 'eth0')
      }
      for (const name of listeners) {
        const heard: string[] = []
        const look = async (): Promise<boolean> => {
          heard.push(...(await box(name).heard(PORT + 1)))
          return heard.length >= texts.length
        }
        await waitFor(look, { what: `${name} to hear everything` }).catch(() => {})
        t.same(heard.sort(), [...texts].sort(), `${name} hears each once`)
      }
    },
  )

  await t.test('they are dropped and counted where it does not', async (t) => {
    await box('b').join(PORT + 1, ['239.1.2.3'], 'eth0')
    const before = await dropsOf(h1, 'multicast_off')
    await box('a').say('239.1.2.3', PORT + 1, 'unheard', 'eth0')
    await box('a').say('10.7.0.255', PORT + 1, 'unheard', 'eth0')
    t.ok((await dropsReach(h1, 'multicast_off', before, 2)) >= 2)
    await box('a').say(at('b', 'red', 4), PORT + 1, 'heard', 'eth0')
    const look = (): Promise<string[] | false> =>
      box('b')
        .heard(PORT + 1)
        .then((all) => all.length > 0 && all)
    t.same(await waitFor(look, { what: 'unicast at b' }), ['heard'])
  })

  await t.test('nothing readable crosses the underlay, except on a plain network', async (t) => {
    await underlay.ask.record('eth0')
    /** Ten sentences; returns what the underlay carried meanwhile. (One frame may hold several
     * datagrams, as the kernel passes segmented messages on whole.) */
    const seen = async (from: string, to: string, network: string): Promise<string> => {
      await box(to).join(PORT + 2, [], 'eth0')
      await underlay.ask.recorded('eth0')
      const target = at(to, network, 4)
      for (let i = 0; i < 10; i++) await box(from).say(target, PORT + 2, MARKER, 'eth0')
      const heard: string[] = []
      const look = async (): Promise<boolean> => {
        heard.push(...(await box(to).heard(PORT + 2)))
        return heard.length === 10
      }
      await waitFor(look, { what: `the sentence at ${to}` })
      return (await underlay.ask.recorded('eth0')).filter(isUnderlay).join('')
    }
    const sealed = await seen('a', 'b', 'red')
    t.ok(sealed.length >= 20 * MARKER.length, 'ten datagrams were seen on the underlay')
    t.equal(timesMarked(sealed), 0)
    t.equal(sealed.includes(hexOf(at('b', 'red', 4))), false, 'nor is an inner address')
    const plain = await seen('p', 'q', 'clear')
    t.equal(timesMarked(plain), 10, 'the listener is not deaf')
    // A session's keep-alive may have come first.
    t.match(plain, '0800000000010200', 'and sees the header of RFC 7348')
  })

  await t.test('every packet is accounted for', async (t) => {
    for (const agent of agents.values()) {
      let left = Number.NaN
      const look = async (): Promise<boolean> => {
        left = unaccounted(await agent.metrics())
        return left === 0
      }
      await waitFor(look, { what: `the books of ${agent.node} to balance` }).catch(() => {})
      t.equal(left, 0, agent.node)
    }
  })
})
