// Goal: addresses and subnets survive the way through numbers. Method: literal texts.

import t from 'tap'
import { cidrHas, cidrsOverlap, formatCidr, formatIp, parseCidr, parseIp } from './cidr.ts'

t.test('addresses', async (t) => {
  for (const text of ['0.0.0.0', '10.1.2.3', '255.255.255.255', '::', '2001:db8::1', 'fd00::a:0']) {
    t.equal(formatIp(parseIp(text)!), text)
  }
  for (const text of ['', '10.1.2', '10.1.2.256', '10.1.2.3/24', 'fe80::1%1', '::ffff:10.0.0.1']) {
    t.equal(parseIp(text), null, text)
  }
})

t.test('subnets', async (t) => {
  t.equal(formatCidr(parseCidr('10.1.2.3/24')!), '10.1.2.0/24')
  t.equal(formatCidr(parseCidr('2001:db8::1/64')!), '2001:db8::/64')
  t.equal(parseCidr('10.0.0.0/8')!.size, 2n ** 24n)
  for (const text of ['10.0.0.0', '10.0.0.0/33', '::/129', '10.0.0.0/08', 'x/8', '10.0.0.0/-1']) {
    t.equal(parseCidr(text), null, text)
  }
  const a = parseCidr('10.0.0.0/16')!
  t.ok(cidrHas(a, parseIp('10.0.255.255')!))
  t.notOk(cidrHas(a, parseIp('10.1.0.0')!))
  t.notOk(cidrHas(a, parseIp('::a00:1')!))
  t.ok(cidrsOverlap(a, parseCidr('10.0.3.0/24')!))
  t.ok(cidrsOverlap(parseCidr('10.0.3.0/24')!, a))
  t.notOk(cidrsOverlap(a, parseCidr('10.1.0.0/16')!))
})
