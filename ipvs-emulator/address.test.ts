// Goal: addresses are read as node:net would and written as RFC 5952 wants. Method: node:net as the
// judge of what is an address, its own parser as the twin of values.

import { isIP, SocketAddress } from 'node:net'
import fc from 'fast-check'
import t from 'tap'
import { formatAddress, parseAddress } from './address.ts'

t.test('reads what node:net reads, and only that', async (t) => {
  const words = new Int32Array(4)
  const shape = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.string({ maxLength: 20, unit: fc.constantFrom(...'0123456789abcdefg:.') }),
  )
  let addresses = 0
  fc.assert(
    fc.property(shape, (text) => {
      const family = parseAddress(text, words)
      if (family >= 0) addresses++
      // node:net takes one form more: "::" that stands for no group at all, "1:2:3:4:5:6:7::8".
      const judged = isIP(text)
      const odd = judged === 6 && text.includes('::') && groups(text) >= 8
      return odd || family === (judged === 0 ? -1 : judged === 4 ? 0 : 1)
    }),
    { numRuns: 5000, seed: 1 },
  )
  t.ok(addresses > 1000)
})

function groups(text: string): number {
  return text.split(':').filter((part) => part !== '').length + (text.includes('.') ? 1 : 0)
}

t.test('writes the canonical form, and reads it back', async (t) => {
  const words = new Int32Array(4)
  const again = new Int32Array(4)
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(0, 0, 1, 0xffff, 0x10000, -1), { minLength: 4, maxLength: 4 }),
      (w) => {
        words.set(w)
        const text = formatAddress(1, words)
        parseAddress(text, again)
        const canonical = SocketAddress.parse(`[${text}]:0`)
        return words.join() === again.join() && canonical !== undefined
      },
    ),
    { seed: 2 },
  )
  for (const text of [
    '::',
    '::1',
    'fd00::2',
    '1::',
    '2001:db8::1:0:0:1',
    '1:0:2:0:3:0:4:0',
    '10.0.0.1',
  ]) {
    const family = parseAddress(text, words)
    t.equal(formatAddress(family, words), text)
  }
  parseAddress('::ffff:192.0.2.1', words)
  t.equal(formatAddress(1, words), '::ffff:c000:201')
  t.equal(parseAddress('1.2.3', words), -1)
  t.equal(parseAddress('01.2.3.4', words), -1)
  t.equal(parseAddress('1:2:3:4:5:6:7:8:9', words), -1)
})
