// Goal: messages are read as they are and written as others read them. Method: literal bytes; the
// package dns-packet as a second reader and writer; every truncation of a message, and random
// damage.

import packet, { type Answer } from 'dns-packet'
import t from 'tap'
import { prng } from '../base/prng.ts'
import * as dns from './dns.ts'

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const read = (bytes: Uint8Array): dns.DnsQuestion | number =>
  dns.readDnsQuery(viewOf(bytes), 0, bytes.length)

// "web" A IN, recursion desired.
const QUERY = Uint8Array.of(
  0x12,
  0x34,
  0x01,
  0x00,
  0,
  1,
  0,
  0,
  0,
  0,
  0,
  0,
  3,
  0x77,
  0x45,
  0x62,
  0,
  0,
  1,
  0,
  1,
)

t.test('a question in literal bytes', async (t) => {
  const plain = { payloadMax: 0, ednsVersion: 0 }
  t.same(read(QUERY), { name: 'web', type: 1, klass: 1, end: 21, ...plain })
  t.equal(dns.dnsId(viewOf(QUERY), 0), 0x1234)
})

t.test('questions that another encoder wrote', async (t) => {
  for (const name of ['web', 'tasks.web', 'a.b.c.d.example', `${'x'.repeat(63)}.y`]) {
    const bytes = packet.encode({
      type: 'query',
      id: 7,
      questions: [{ type: 'AAAA', name: name.toUpperCase() }],
      additionals: [
        {
          type: 'OPT',
          name: '.',
          udpPayloadSize: 4096,
          flags: 0,
          options: [],
        } as unknown as Answer,
      ],
    })
    const question = read(bytes)
    t.match(question, { name, type: dns.DNS_TYPE_AAAA, klass: 1, payloadMax: 4096 })
  }
})

t.test('labels may hold any byte', async (t) => {
  const bytes = Uint8Array.from([...QUERY.subarray(0, 12), 3, 0x2e, 0x00, 0xff, 0, 0, 1, 0, 1])
  t.match(read(bytes), { name: '\\.\\000\\255' })
})

t.test('what is refused, and how', async (t) => {
  const changed = (at: number, ...values: number[]): Uint8Array => {
    const bytes = QUERY.slice()
    bytes.set(values, at)
    return bytes
  }
  t.equal(read(changed(2, 0x81)), -1, 'a response')
  t.equal(read(changed(2, 0x28)), dns.DNS_NOT_IMPLEMENTED, 'an update')
  t.equal(read(changed(4, 0, 2)), dns.DNS_FORMAT_ERROR, 'two questions')
  t.equal(read(changed(12, 0xc0, 12)), dns.DNS_FORMAT_ERROR, 'a pointer to itself')
  t.equal(read(changed(12, 64)), dns.DNS_FORMAT_ERROR, 'a label too long')
  for (let size = 0; size < QUERY.length; size++) {
    t.type(read(QUERY.slice(0, size)), 'number', `${size} bytes`)
  }
  const long = Uint8Array.from([
    ...QUERY.subarray(0, 12),
    ...Array.from({ length: 130 }, () => [1, 0x61]).flat(),
    ...[0, 0, 1, 0, 1],
  ])
  t.equal(read(long), dns.DNS_FORMAT_ERROR, 'a name of more than 255 bytes')
})

t.test('answers as another decoder reads them', async (t) => {
  const out = new Uint8Array(dns.DNS_UDP_MAX)
  let at = dns.beginDnsResponse(out, QUERY, 21)
  at = dns.writeDnsAnswer(out, at, out.length, dns.DNS_TYPE_A, 1, Uint8Array.of(10, 0, 0, 2))
  at = dns.writeDnsAnswer(out, at, out.length, dns.DNS_TYPE_A, 1, Uint8Array.of(10, 0, 0, 3))
  const options = { rcode: 0, authoritative: true, truncated: false, payloadMax: 1400 }
  at = dns.endDnsResponse(out, at, options)
  const decoded = packet.decode(Buffer.from(out.subarray(0, at)))
  t.equal(decoded.type, 'response')
  t.equal(decoded.id, 0x1234)
  t.match(decoded, { flag_aa: true, flag_rd: true, flag_ra: true, flag_tc: false })
  t.match(decoded.answers, [
    { name: 'wEb', type: 'A', ttl: 1, data: '10.0.0.2' },
    { name: 'wEb', type: 'A', ttl: 1, data: '10.0.0.3' },
  ])
  t.equal(decoded.additionals?.length, 1)
  t.equal(dns.writeDnsAnswer(out, 500, 512, 1, 1, Uint8Array.of(1, 2, 3, 4)), 0, 'no room')
})

t.test('a name that points back', async (t) => {
  const out = new Uint8Array(dns.DNS_UDP_MAX)
  const query = packet.encode({ questions: [{ type: 'PTR', name: '3.0.0.10.in-addr.arpa' }] })
  const question = read(query)
  if (typeof question === 'number') return t.fail('not read')
  const data = dns.encodeDnsName('web.1.abc.front')
  let at = dns.beginDnsResponse(out, query, question.end)
  at = dns.writeDnsAnswer(out, at, out.length, dns.DNS_TYPE_PTR, 1, data)
  const decoded = packet.decode(Buffer.from(out.subarray(0, at)))
  t.match(decoded.answers, [{ type: 'PTR', data: 'web.1.abc.front' }])
  t.throws(() => dns.encodeDnsName('a..b'), RangeError)
  t.throws(() => dns.encodeDnsName('x'.repeat(64)), RangeError)
  t.same([...dns.encodeDnsName('')], [0])
})

t.test('damaged messages are read within their bounds', async (t) => {
  const random = prng(53)
  for (let run = 0; run < 20_000; run++) {
    const bytes = QUERY.slice(0, random.below(QUERY.length + 1))
    for (let n = random.below(4); n >= 0 && bytes.length > 0; n--) {
      bytes[random.below(bytes.length)] = random.below(256)
    }
    const question = read(bytes)
    if (typeof question !== 'number' && question.end > bytes.length) t.fail(`run ${run}`)
  }
  t.pass('20,000 of them')
})
