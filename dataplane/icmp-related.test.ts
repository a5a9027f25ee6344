// Goal: an ICMP error about a balanced flow reaches the end that the flow's packet came from, and
// speaks of the flow as that end knows it, in both directions and families. Method: a UDP flow
// through a VIP to another node; each end sends "port unreachable" about what it got.

import t from 'tap'
import { checksumPlain } from '../wire/checksum.ts'
import {
  addressBytes,
  buildFrame,
  buildPacket,
  concat,
  ICMP,
  ICMPV6,
  macOf,
  type PacketFields,
  view,
} from './testing/packets.ts'
import { World } from './testing/world.ts'

const FAMILIES = [
  { client: '10.1.0.11', vip: '10.1.0.2', server: '10.1.0.21', ip: 20, protocol: ICMP, type: 3 },
  {
    client: 'fd00:1::b',
    vip: 'fd00:1::2',
    server: 'fd00:1::15',
    ip: 40,
    protocol: ICMPV6,
    type: 1,
  },
] as const

type Family = (typeof FAMILIES)[number]

/** "Port unreachable" (RFC 792: 3/3; RFC 4443: 1/4) from `source` to `target` about a packet. */
function errorAbout(
  family: Family,
  source: string,
  target: string,
  packet: Uint8Array,
  fragment?: PacketFields['fragment'],
): Uint8Array {
  const code = family.protocol === ICMP ? 3 : 4
  const payload = concat(Uint8Array.of(family.type, code, 0, 0, 0, 0, 0, 0), packet)
  const fields = { source, target, protocol: family.protocol, payload }
  return framed(fragment === undefined ? fields : { ...fields, fragment })
}

/** An endpoint has one MAC address, that of its first address. */
const MACS: Readonly<Record<string, Uint8Array>> = {
  'fd00:1::b': macOf('10.1.0.11'),
  'fd00:1::15': macOf('10.1.0.21'),
}

function framed(fields: PacketFields): Uint8Array {
  const sourceMac = MACS[fields.source] ?? macOf(fields.source)
  const targetMac = MACS[fields.target] ?? macOf(fields.target)
  return buildFrame({ ...fields, sourceMac, targetMac })
}

interface Told {
  readonly outer: [source: string, target: string]
  readonly inner: [source: string, target: string]
  readonly ports: [number, number]
}

/** What an ICMP error in a frame says. */
function read(family: Family, frame: Uint8Array): Told {
  const at = view(frame)
  const width = family.ip === 20 ? 4 : 16
  const addresses = (ip: number): [string, string] => {
    const first = ip + (width === 4 ? 12 : 8)
    const hex = (from: number): string =>
      Buffer.from(frame.subarray(from, from + width)).toString('hex')
    return [hex(first), hex(first + width)]
  }
  const icmp = 14 + family.ip
  t.same([frame[icmp], frame[icmp + 1]], [family.type, family.protocol === ICMP ? 3 : 4])
  if (family.protocol === ICMP) {
    t.equal(checksumPlain(at, icmp, frame.length, 0), 0, 'the checksum of the error holds')
    t.equal(checksumPlain(at, icmp + 8, icmp + 28, 0), 0, 'and the one of the header it quotes')
  }
  const udp = icmp + 8 + family.ip
  return {
    outer: addresses(14),
    inner: addresses(icmp + 8),
    ports: [at.getUint16(udp), at.getUint16(udp + 2)],
  }
}

const hexOf = (address: string): string => Buffer.from(addressBytes(address)).toString('hex')

for (const family of FAMILIES) {
  const { client, vip, server } = family
  const request: PacketFields = { source: client, target: vip, sourcePort: 4000, targetPort: 53 }
  const payload = Uint8Array.of(1, 2, 3, 4)

  t.test(`errors about a flow over ${client.includes(':') ? 'IPv6' : 'IPv4'}`, async (t) => {
    const world = new World({ nodes: ['a', 'b'] })
    world.connect()
    world.inject('front-a', framed({ ...request, payload }))
    world.settle()
    const [got] = world.read('front-b')
    t.ok(got, 'the flow has begun')

    world.inject('front-b', errorAbout(family, server, client, got!.subarray(14)))
    world.settle()
    const [toClient] = world.read('front-a')
    t.same(read(family, toClient!), {
      outer: [hexOf(vip), hexOf(client)],
      inner: [hexOf(client), hexOf(vip)],
      ports: [4000, 53],
    })

    const reply = { source: server, target: client, sourcePort: 53, targetPort: 4000, payload }
    world.inject('front-b', framed(reply))
    world.settle()
    const [answer] = world.read('front-a')
    t.same(answer!.subarray(14), buildPacket({ ...reply, source: vip, ttl: 64 }))
    world.inject('front-a', errorAbout(family, client, vip, answer!.subarray(14)))
    world.settle()
    const [toServer] = world.read('front-b')
    t.same(read(family, toServer!), {
      outer: [hexOf(client), hexOf(server)],
      inner: [hexOf(server), hexOf(client)],
      ports: [53, 4000],
    })

    const fragment = { offset: 8, more: false }
    world.inject('front-b', errorAbout(family, server, client, got!.subarray(14), fragment))
    world.settle()
    const [untouched] = world.read('front-a')
    const expected = errorAbout(family, server, client, got!.subarray(14), fragment)
    t.same(untouched!.subarray(14), expected.subarray(14), 'the rest of something is no error')

    const stranger = buildPacket({ ...request, sourcePort: 4001, payload })
    world.inject('front-b', errorAbout(family, server, client, stranger))
    world.inject('front-a', errorAbout(family, client, vip, stranger))
    world.settle()
    t.same(world.read('front-b'), [], 'an error about no flow goes no further than the balancer')
    world.audit()
  })
}
