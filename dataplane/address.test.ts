// Goal: addresses and prefixes mean the same as text and as bytes. Method: literal cases, and the
// byte questions against a plain twin over big integers.

import * as fc from 'fast-check'
import t from 'tap'
import {
  comparePrefixes,
  contains,
  firstHost,
  lastAddress,
  macText,
  overlaps,
  parseAddress,
  parseKey,
  parseMac,
  parsePrefix,
  parseSocketAddress,
  prefixText,
  socketAddressText,
  specialKind,
} from './address.ts'
import type { Prefix } from './compiled.ts'

t.test('addresses', async (t) => {
  const rows: readonly (readonly [string, string | null])[] = [
    ['10.1.2.3', '10.1.2.3'],
    ['FD00:0:0:0::1', 'fd00::1'],
    ['::', '::'],
    ['0.0.0.0', '0.0.0.0'],
    ['10.1.2', null],
    ['10.1.2.256', null],
    ['010.1.2.3', null],
    ['10.1.2.3/24', null],
    ['10.1.2.3 ', null],
    ['fe80::1%eth0', null],
    ['::ffff:10.1.2.3', null],
    ['1::2::3', null],
    ['[fd00::1]', null],
    ['', null],
    ['localhost', null],
  ]
  for (const [given, wanted] of rows) t.equal(parseAddress(given)?.text ?? null, wanted, given)
  t.strictSame(parseAddress('10.1.2.3')!.bytes, Uint8Array.of(10, 1, 2, 3))
  t.equal(
    Buffer.from(parseAddress('fd00::1:2')!.bytes).toString('hex'),
    `fd00${'0'.repeat(23)}10002`,
  )
})

t.test('prefixes', async (t) => {
  const rows: readonly (readonly [string, string | null])[] = [
    ['10.1.2.3/16', '10.1.0.0/16'],
    ['FD00:1:2::9/32', 'fd00:1::/32'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['10.1.2.3', null],
    ['10.1.2.3/33', null],
    ['10.1.2.3/016', null],
    ['10.1.2.3/', null],
    ['10.1.2.3/255.255.0.0', null],
    ['fd00::/129', null],
    ['::ffff:10.0.0.0/104', null],
    ['fe80::%1/64', null],
  ]
  for (const [given, wanted] of rows) {
    const parsed = parsePrefix(given)
    t.equal(parsed === null ? null : prefixText(parsed), wanted, given)
  }
  const subnet = parsePrefix('10.1.2.64/26')!
  t.equal(lastAddress(subnet).text, '10.1.2.127')
  t.equal(firstHost(subnet).text, '10.1.2.65')
  t.equal(firstHost(parsePrefix('fd00:1::/64')!).text, 'fd00:1::1')
})

t.test('socket addresses', async (t) => {
  for (const text of ['192.168.0.2:4789', '[fd00::2]:1', '0.0.0.0:65535']) {
    t.equal(socketAddressText(parseSocketAddress(text)!), text)
  }
  t.equal(socketAddressText(parseSocketAddress('[FD00:0::2]:80')!), '[fd00::2]:80')
  for (const text of [
    '1.2.3.4',
    '1.2.3.4:0',
    '1.2.3.4:65536',
    '[1.2.3.4]:80',
    'fd00::2:80',
    'x:80',
  ]) {
    t.equal(parseSocketAddress(text), null, text)
  }
})

t.test('MAC addresses and keys', async (t) => {
  t.equal(macText(parseMac('02:42:0A:01:00:02')!), '02:42:0a:01:00:02')
  for (const text of ['02:42:0a:01:00', '02420a010002', '02:42:0a:01:00:0g']) {
    t.equal(parseMac(text), null, text)
  }
  const key = Buffer.alloc(32, 7).toString('base64')
  t.strictSame(parseKey(key), new Uint8Array(32).fill(7))
  for (const text of [key.slice(0, -1), `${key}\n`, key.replace('=', 'A'), ` ${key}`, '']) {
    t.equal(parseKey(text), null, JSON.stringify(text))
  }
})

t.test('special addresses', async (t) => {
  const rows = {
    '10.0.0.1': null,
    '127.0.0.1': 'loopback',
    '0.0.0.0': 'unspecified',
    '0.1.2.3': 'this network',
    '224.0.0.1': 'multicast',
    '255.255.255.255': 'multicast',
    '::': 'unspecified',
    '::1': 'loopback',
    'ff02::1': 'multicast',
    'fe80::1': 'link-local',
    'febf::1': 'link-local',
    'fec0::1': null,
    'fd00::1': null,
  }
  for (const [text, kind] of Object.entries(rows)) {
    t.equal(specialKind(parseAddress(text)!), kind, text)
  }
})

/** Plain twin: a prefix as first and last number. */
function range({ bytes, length }: Prefix): [bigint, bigint] {
  const first = BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
  return [first, first + (1n << BigInt(8 * bytes.length - length)) - 1n]
}

t.test('containment and overlap agree with ranges of numbers', async (t) => {
  // Few distinct values, so that prefixes do meet.
  const prefix4 = fc
    .tuple(fc.integer({ min: 0, max: 0xffff }), fc.integer({ min: 14, max: 32 }))
    .map(([low, length]) => parsePrefix(`10.1.${low >> 8}.${low & 255}/${length}`)!)
  const prefix6 = fc
    .tuple(fc.integer({ min: 0, max: 0xffff }), fc.integer({ min: 110, max: 128 }))
    .map(([low, length]) => parsePrefix(`fd00::${low.toString(16)}/${length}`)!)
  const either = fc.oneof(prefix4, prefix6)
  fc.assert(
    fc.property(either, either, (a, b) => {
      const [[aFirst, aLast], [bFirst, bLast]] = [range(a), range(b)]
      const isSame = a.bytes.length === b.bytes.length
      t.equal(overlaps(a, b), isSame && aFirst <= bLast && bFirst <= aLast)
      t.equal(contains(a, b), isSame && aFirst <= bFirst && bFirst <= aLast)
      const order = isSame ? Number(aFirst - bFirst) || a.length - b.length : undefined
      if (order !== undefined) t.equal(Math.sign(comparePrefixes(a, b)), Math.sign(order))
      t.equal(Math.sign(comparePrefixes(a, b)), -Math.sign(comparePrefixes(b, a)))
      t.equal(range(a)[1], BigInt(`0x${Buffer.from(lastAddress(a).bytes).toString('hex')}`))
    }),
    { numRuns: 500 },
  )
})
