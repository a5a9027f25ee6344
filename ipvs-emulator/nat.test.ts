// Goal: rewriting by difference gives the checksums that full recomputation gives, for every
// protocol, family and form, and leaves a damaged packet damaged. Method: random packets through
// translate() both ways.

import fc from 'fast-check'
import t from 'tap'
import { prng } from '../base/prng.ts'
import { crc32c } from './crc32c.ts'
import { Director, FORWARD, REPLY } from './director.ts'
import { SCTP, TCP, UDP } from './flow.ts'
import { build, checksumsHold, ends } from './packet-fixture.ts'

const SERVERS = ['192.0.2.77', '2001:db8:77::abcd:1']

function director(server: string, port: number): Director {
  const random = prng(1)
  const made = new Director({ nowMs: 0, random: () => random.nextU32(), connectionsMax: 64 })
  made.apply(
    {
      services: [
        {
          key: 's',
          zone: 1,
          virtuals: [],
          realServers: [{ key: 'r', address: server, port }],
        },
      ],
    },
    0,
  )
  return made
}

t.test('translated packets keep valid checksums both ways', async (t) => {
  let count = 0
  const bytes = fc.uint8Array({ maxLength: 90 })
  fc.assert(
    fc.property(
      fc.constantFrom(TCP, UDP, SCTP),
      fc.boolean(),
      fc.tuple(fc.ipV4(), fc.ipV4(), fc.ipV6(), fc.ipV6()),
      fc.tuple(fc.nat(65535), fc.nat(65535), fc.nat(65535)),
      bytes,
      fc.boolean(),
      fc.boolean(),
      (protocol, v6, addresses, ports, payload, partial, noChecksum) => {
        if (partial && protocol === SCTP) return
        const [source, target] = v6 ? addresses.slice(2) : addresses
        const server = SERVERS[v6 ? 1 : 0]!
        const made = director(server, ports[2]!)
        const there = build({
          protocol,
          source: source!,
          target: target!,
          sourcePort: ports[0]!,
          targetPort: ports[1]!,
          payload,
          partial,
          noChecksum: noChecksum && protocol === UDP && !v6 && !partial,
        })
        const { view, ipAt, l4At, end } = there
        const before = ends(there)
        const connection = made.schedule(1, 0, view, ipAt, l4At, protocol, end, 0, false)
        if (connection < 0) throw new Error(`verdict ${connection}`)
        made.translate(connection, FORWARD, view, ipAt, l4At, end, partial)
        if (!checksumsHold(there, partial)) throw new Error('forward checksum')
        const [from, to] = ends(there).split(' > ') as [string, string]
        const split = (text: string): [string, number] => {
          const colon = text.lastIndexOf(':')
          return [text.slice(0, colon).replace(/[[\]]/g, ''), Number(text.slice(colon + 1))]
        }
        const [backSource, backSourcePort] = split(to)
        const [backTarget, backTargetPort] = split(from)
        const back = build({
          protocol,
          source: backSource,
          target: backTarget,
          sourcePort: backSourcePort,
          targetPort: backTargetPort,
          payload,
          partial,
          noChecksum: noChecksum && protocol === UDP && !v6 && !partial,
        })
        made.translate(connection, REPLY, back.view, back.ipAt, back.l4At, back.end, partial)
        if (!checksumsHold(back, partial)) throw new Error('reply checksum')
        if (ends(back) !== before.split(' > ').reverse().join(' > ')) throw new Error('ends')
        count++
      },
    ),
    { numRuns: 1500, seed: 4 },
  )
  t.ok(count > 1000)
})

t.test('a damaged packet stays damaged', async (t) => {
  for (const protocol of [TCP, UDP]) {
    const made = director(SERVERS[0]!, 8080)
    const packet = build({
      protocol,
      source: '10.0.0.1',
      target: '10.0.0.2',
      sourcePort: 1,
      targetPort: 80,
      payload: Uint8Array.of(1, 2, 3),
    })
    const { view, ipAt, l4At, end } = packet
    view.setUint8(end - 1, 99)
    const connection = made.schedule(1, 0, view, ipAt, l4At, protocol, end, 0, false)
    made.translate(connection, FORWARD, view, ipAt, l4At, end, false)
    t.notOk(checksumsHold(packet))
  }
})

t.test('a UDP checksum that comes out as zero is sent as all ones', async (t) => {
  const translated = (word: number): number => {
    const made = director(SERVERS[0]!, 8080)
    const packet = build({
      protocol: UDP,
      source: '10.0.0.1',
      target: '10.0.0.2',
      sourcePort: 1,
      targetPort: 80,
      payload: Uint8Array.of(word >> 8, word & 255),
    })
    const { view, ipAt, l4At, end } = packet
    const connection = made.schedule(1, 0, view, ipAt, l4At, UDP, end, 0, false)
    made.translate(connection, FORWARD, view, ipAt, l4At, end, false)
    t.ok(checksumsHold(packet))
    return view.getUint16(l4At + 6)
  }
  // A word equal to the checksum over zeros makes the sum all ones.
  t.equal(translated(translated(0)), 0xffff)
})

t.test('crc32c of "123456789" is the published check value', async (t) => {
  const view = new DataView(new TextEncoder().encode('123456789').buffer)
  t.equal(crc32c(view, 0, 9), 0xe3069283)
  // RFC 3720 appendix B.4: 32 bytes of zeros.
  t.equal(crc32c(new DataView(new ArrayBuffer(32)), 0, 32), 0x8a9136aa)
})

t.test('a UDP checksum of zero stays zero, over IPv6 too', async (t) => {
  // RFC 6935: tunnels over IPv6 may do without; IPVS leaves it alone in both families.
  for (const v6 of [false, true]) {
    const made = director(SERVERS[v6 ? 1 : 0]!, 8080)
    const { view, ipAt, l4At, end } = build({
      protocol: UDP,
      source: v6 ? 'fd00::1' : '10.0.0.1',
      target: v6 ? 'fd00::2' : '10.0.0.2',
      sourcePort: 1,
      targetPort: 80,
      payload: Uint8Array.of(1, 2, 3),
      noChecksum: true,
    })
    t.equal(view.getUint16(l4At + 6), 0)
    const connection = made.schedule(1, 0, view, ipAt, l4At, UDP, end, 0, false)
    made.translate(connection, FORWARD, view, ipAt, l4At, end, false)
    t.equal(view.getUint16(l4At + 6), 0)
    t.equal(view.getUint16(l4At + 2), 8080, "the port is the real server's")
  }
})
