// Goal: addresses read as RFC 5952 and custom have them, and a line about any bytes at all is only
// a line.

import fc from 'fast-check'
import t from 'tap'
import { hexView, viewOf } from '../test/hex.ts'
import { printFrame, printPacket } from './print.ts'
import { formatIpv4, formatIpv6, formatMac } from './text.ts'

t.test('IPv4 and MAC', async (t) => {
  t.equal(formatIpv4(0), '0.0.0.0')
  t.equal(formatIpv4(0xffffffff), '255.255.255.255')
  t.equal(formatIpv4(0xc0a80001), '192.168.0.1')
  t.equal(formatMac(0, 0), '00:00:00:00:00:00')
  t.equal(formatMac(0x0242, 0xac110002), '02:42:ac:11:00:02')
})

t.test('IPv6, the examples of RFC 5952 among them', async (t) => {
  const cases: [string, string][] = [
    ['00000000000000000000000000000000', '::'],
    ['00000000000000000000000000000001', '::1'],
    ['20010db8000000000000000000000000', '2001:db8::'],
    ['20010db8000000010001000100010001', '2001:db8:0:1:1:1:1:1'],
    ['20010000000000010000000000000001', '2001:0:0:1::1'],
    ['20010db8000000000001000000000001', '2001:db8::1:0:0:1'],
    ['20010db8aaaabbbbccccddddeeee0aaa', '2001:db8:aaaa:bbbb:cccc:dddd:eeee:aaa'],
    ['00010000000200030004000500060000', '1:0:2:3:4:5:6:0'],
    ['00010002000300040005000600000000', '1:2:3:4:5:6::'],
  ]
  for (const [bytes, text] of cases) t.equal(formatIpv6(hexView(bytes), 0), text)
})

t.test('any bytes print as one line', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (data) => {
      const view = viewOf(data)
      const lines = printFrame(view, 0, data.length) + printPacket(view, 0, data.length)
      return lines.length > 0 && !lines.includes('\n')
    }),
  )
})
