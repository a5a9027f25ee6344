// Goal: questions are answered as the kernel expects, and only questions. Method: literal frames
// in, literal frames out, then every damage to them.

import fc from 'fast-check'
import t from 'tap'
import { memorySlab } from '../base/slab.ts'
import { fillIcmpv6Checksum } from '../wire/icmpv6.ts'
import {
  answerNeighbour,
  NEIGHBOUR_ANNOUNCEMENT,
  NEIGHBOUR_MALFORMED,
  NEIGHBOUR_NO_QUESTION,
  NEIGHBOUR_OWN,
  NEIGHBOUR_UNKNOWN,
  NeighbourTable,
} from './neighbour.ts'

const NET = 42
const OUT = 1024
const hex = (text: string): Uint8Array =>
  Uint8Array.from(Buffer.from(text.replace(/\s/g, ''), 'hex'))

const TABLE = new NeighbourTable(
  [
    { network: NET, address: 0x0a000002, macHi: 0x0242, macLo: 0x0a000002 },
    { network: NET, address: 0x0a000003, macHi: 0x0242, macLo: 0x0a000003 },
    { network: 43, address: 0x0a000004, macHi: 0x0242, macLo: 0x0a000004 },
  ],
  [
    { network: NET, address: hex(`fd00 ${'0'.repeat(24)} 0002`), macHi: 0x0242, macLo: 0xaaaa0002 },
    { network: NET, address: hex(`fd00 ${'0'.repeat(24)} 0003`), macHi: 0x0242, macLo: 0xaaaa0003 },
  ],
)

function ask(frame: Uint8Array, network: number = NET): { code: number; answer: string } {
  const slab = memorySlab(2048)
  slab.bytes.set(frame, 100)
  const { view, bytes } = slab
  const code = answerNeighbour(TABLE, network, view, 100, 100 + frame.length, OUT)
  const answer = Buffer.from(bytes.subarray(OUT, OUT + Math.max(0, code))).toString('hex')
  return { code, answer }
}

interface Arp {
  operation?: number
  sender?: string
  target?: string
  mac?: string
}

function arp({
  operation = 1,
  sender = '0a000002',
  target = '0a000003',
  mac = '02420a000002',
}: Arp) {
  return hex(
    `ffffffffffff ${mac} 0806 000108000604 000${operation} ${mac} ${sender} 000000000000 ${target}`,
  )
}

t.test('ARP', async (t) => {
  const { code, answer } = ask(arp({}))
  t.equal(code, 42)
  const mac = '02420a000003'
  const asker = '02420a000002'
  t.equal(
    answer,
    `${asker}${mac}0806000108000604 0002 ${mac}0a000003${asker}0a000002`.replace(/\s/g, ''),
  )
  t.equal(ask(arp({ target: '0a000009' })).code, NEIGHBOUR_UNKNOWN)
  t.equal(ask(arp({ target: '0a000004' })).code, NEIGHBOUR_UNKNOWN, 'on another network')
  t.equal(ask(arp({}), 43).code, NEIGHBOUR_UNKNOWN)
  t.equal(ask(arp({ operation: 2 })).code, NEIGHBOUR_ANNOUNCEMENT)
  t.equal(ask(arp({ sender: '0a000003' })).code, NEIGHBOUR_ANNOUNCEMENT, 'gratuitous')
})

t.test('ARP probes (RFC 5227)', async (t) => {
  const own = ask(arp({ sender: '00000000', target: '0a000002' }))
  t.equal(own.code, NEIGHBOUR_OWN)
  const other = ask(arp({ sender: '00000000', target: '0a000003' }))
  t.equal(other.code, 42, 'a duplicate must be seen')
  t.equal(other.answer.slice(-8), '00000000')
})

interface Solicitation {
  source?: string
  target?: string
  to?: string
  option?: string
  hopLimit?: string
}

const V6 = (last: string): string => `fd00${'0'.repeat(24)}${last}`
const ANY = '0'.repeat(32)
const GROUP = `ff02${'0'.repeat(18)}01ff000003`

function solicitation({
  source = V6('0002'),
  target = V6('0003'),
  to = GROUP,
  option = '0101 0242aaaa0002',
  hopLimit = 'ff',
}: Solicitation): Uint8Array {
  const options = hex(option)
  const length = (24 + options.length).toString(16).padStart(4, '0')
  const head = `3333ff000003 0242aaaa0002 86dd 60000000 ${length} 3a ${hopLimit} ${source} ${to}`
  const frame = hex(`${head} 87 00 0000 00000000 ${target} ${option}`)
  fillIcmpv6Checksum(new DataView(frame.buffer), 14, 54, frame.length)
  return frame
}

t.test('neighbour solicitation', async (t) => {
  for (const to of [GROUP, V6('0003')]) {
    const { code, answer } = ask(solicitation({ to }))
    t.equal(code, 86)
    const bytes = hex(answer)
    const expected = hex(
      `0242aaaa0002 0242aaaa0003 86dd 60000000 0020 3a ff ${V6('0003')} ${V6('0002')}
       88 00 0000 60000000 ${V6('0003')} 0201 0242aaaa0003`,
    )
    fillIcmpv6Checksum(new DataView(expected.buffer), 14, 54, expected.length)
    t.same(bytes, expected)
  }
  t.equal(ask(solicitation({ target: V6('0009') })).code, NEIGHBOUR_UNKNOWN)
  t.equal(ask(solicitation({ target: V6('0002') })).code, NEIGHBOUR_OWN)
  t.equal(ask(solicitation({ to: V6('0003'), option: '' })).code, 86, 'back to whence it came')
})

t.test('duplicate address detection (RFC 4862)', async (t) => {
  const own = solicitation({ source: ANY, target: V6('0002'), option: '' })
  t.equal(ask(own).code, NEIGHBOUR_OWN)
  const { code, answer } = ask(solicitation({ source: ANY, option: '' }))
  t.equal(code, 86)
  t.equal(answer.slice(0, 12), '333300000001', 'to all nodes')
  t.equal(answer.slice(76, 108), `ff02${'0'.repeat(27)}1`)
  t.equal(answer.slice(116, 118), '20', 'override, not solicited')
})

t.test('solicitations that RFC 4861 section 7.1.1 has discarded', async (t) => {
  const cases: Record<string, Uint8Array> = {
    'hop limit': solicitation({ hopLimit: 'fe' }),
    'multicast target': solicitation({ target: GROUP }),
    'from :: with a link-layer address': solicitation({ source: ANY }),
    'from :: to one host': solicitation({ source: ANY, to: V6('0003'), option: '' }),
    'option of length zero': solicitation({ option: '0100 0242aaaa0002' }),
  }
  const checksum = solicitation({})
  checksum[56]! ^= 1
  cases.checksum = checksum
  for (const [name, frame] of Object.entries(cases)) {
    t.equal(ask(frame).code, NEIGHBOUR_MALFORMED, name)
  }
})

t.test('ordinary frames pass by', async (t) => {
  t.equal(ask(hex('02420a000003 02420a000002 0800 45')).code, NEIGHBOUR_NO_QUESTION)
  const echo = solicitation({})
  echo[54] = 128
  t.equal(ask(echo).code, NEIGHBOUR_NO_QUESTION)
  t.equal(ask(new Uint8Array(13)).code, NEIGHBOUR_MALFORMED)
  t.equal(ask(arp({}).subarray(0, 41)).code, NEIGHBOUR_MALFORMED)
})

t.test('truncated or damaged frames neither crash nor lead astray', async () => {
  const frames = [arp({}), solicitation({}), solicitation({ source: ANY, option: '' })]
  fc.assert(
    fc.property(
      fc.constantFrom(...frames),
      fc.nat(200),
      fc.array(fc.tuple(fc.nat(90), fc.nat(255)), { maxLength: 4 }),
      (frame, size, changes) => {
        const bad = Uint8Array.from(frame.subarray(0, Math.min(size, frame.length)))
        for (const [at, value] of changes) if (at < bad.length) bad[at] = value
        const { code, answer } = ask(bad)
        if (code < 0) return code >= NEIGHBOUR_ANNOUNCEMENT
        // Whatever was asked, an answer names an entry of the table.
        return (code === 42 || code === 86) && /^.{12}0242(0a00000|aaaa000)[23]/.test(answer)
      },
    ),
    { numRuns: 2000 },
  )
})

t.test('an address may stand once per network', async (t) => {
  const v4 = { network: 1, address: 1, macHi: 0, macLo: 1 }
  t.throws(() => new NeighbourTable([v4, v4], []), /twice/)
  const v6 = { network: 1, address: new Uint8Array(16), macHi: 0, macLo: 1 }
  t.throws(() => new NeighbourTable([], [v6, v6]), /twice/)
  const many = Array.from({ length: 5000 }, (_, i) => ({ ...v4, address: i, macLo: i }))
  const table = new NeighbourTable(many, [])
  t.ok(many.every((e) => table.macLoV4(table.findV4(1, e.address)) === e.macLo))
  const view = new DataView(new ArrayBuffer(16))
  const many6 = Array.from({ length: 2000 }, (_, i) => {
    const address = new Uint8Array(16)
    new DataView(address.buffer).setUint32(12, i)
    return { network: 3, address, macHi: 2, macLo: i }
  })
  const table6 = new NeighbourTable([], many6)
  for (const [i, entry] of many6.entries()) {
    view.setUint32(12, i)
    if (table6.macLoV6(table6.findV6(3, view, 0)) !== entry.macLo) t.fail(`address ${i}`)
  }
})
