// Goal: the fast sums equal their plain twins on every length and alignment, and an updated
// checksum equals one computed afresh. Method: literal examples from the RFCs, then properties over
// random bytes.

import fc from 'fast-check'
import t from 'tap'
import { hexView, viewOf } from '../test/hex.ts'
import * as sums from './checksum.ts'

const word = fc.integer({ min: 0, max: 0xffff })
const long = fc.integer({ min: 0, max: 0xffffffff })

t.test('the example of RFC 1071 section 3', async (t) => {
  const view = hexView('0001 f203 f4f5 f6f7')
  t.equal(sums.sumBytes(view, 0, 8, 0), 0xddf2)
  t.equal(sums.sumBytesPlain(view, 0, 8, 0), 0xddf2)
  t.equal(sums.checksum(view, 0, 8, 0), 0x220d)
  t.equal(sums.checksumPlain(view, 0, 8, 0), 0x220d)
})

t.test('the example of RFC 1624 section 4', async (t) => {
  t.equal(sums.updateChecksum16(0xdd2f, 0x5555, 0x3285), 0)
})

t.test('the fast sum equals the plain one at every length and alignment', async (t) => {
  const bytes = new Uint8Array(400)
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 167 + 13) & 0xff
  const view = viewOf(bytes)
  for (let at = 0; at < 8; at++)
    for (let end = at; end < bytes.length; end++)
      for (const initial of [0, 1, 0xffff])
        if (sums.sumBytes(view, at, end, initial) !== sums.sumBytesPlain(view, at, end, initial))
          t.fail(`[${at}, ${end}) on ${initial}`)
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000 }), word, (data, initial) => {
      const view = viewOf(data)
      const size = data.length
      return (
        sums.sumBytes(view, 0, size, initial) === sums.sumBytesPlain(view, 0, size, initial) &&
        sums.checksum(view, 0, size, initial) === sums.checksumPlain(view, 0, size, initial)
      )
    }),
  )
})

t.test('64 KB of ones neither overflow nor lose a carry', async (t) => {
  for (const size of [65534, 65535, 65536]) {
    const view = viewOf(new Uint8Array(size).fill(0xff))
    t.equal(sums.sumBytes(view, 0, size, 0), sums.sumBytesPlain(view, 0, size, 0), `${size}`)
    t.equal(sums.sumBytes(view, 0, size, 0xffff), sums.sumBytesPlain(view, 0, size, 0xffff))
  }
})

t.test('a checksum holds until any bit changes', async (t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 4, maxLength: 200 }),
      word,
      fc.nat(),
      (data, initial, pick) => {
        const view = viewOf(data)
        view.setUint16(2, 0)
        view.setUint16(2, sums.checksum(view, 0, data.length, initial))
        // All ones under a zero sum cannot be told apart: nothing to prove there.
        fc.pre(sums.sumBytesPlain(view, 0, data.length, initial) !== 0)
        const whole = sums.checksumHolds(view, 0, data.length, initial)
        const bit = pick % (data.length * 8)
        data[bit >>> 3] = (data[bit >>> 3] ?? 0) ^ (1 << (bit & 7))
        return whole && !sums.checksumHolds(view, 0, data.length, initial)
      },
    ),
  )
  t.notOk(sums.checksumHolds(hexView('0000 0000'), 0, 4, 0))
})

/** Header-like bytes, the checksum at `field`: two words of change, then compare with a fresh
 * sum. */
t.test('an updated checksum equals one computed afresh', async (_t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 40, maxLength: 60 }),
      word,
      long,
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      (data, new16, new32, newV6) => {
        const view = viewOf(data)
        data[36] = 1 // Never all zero, as no real header is: 0 and 0xffff stay apart.
        view.setUint16(0, 0)
        let check = sums.checksum(view, 0, data.length, 0)
        check = sums.updateChecksum16(check, view.getUint16(2), new16)
        view.setUint16(2, new16)
        check = sums.updateChecksum32(check, view.getUint32(4), new32)
        view.setUint32(4, new32)
        check = sums.updateChecksumV6(check, view, 8, viewOf(newV6), 0)
        data.set(newV6, 8)
        return check === sums.checksum(view, 0, data.length, 0)
      },
    ),
  )
})

t.test('an updated partial sum equals one computed afresh', async (_t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 40, maxLength: 40 }),
      word,
      long,
      fc.uint8Array({ minLength: 16, maxLength: 16 }),
      (data, new16, new32, newV6) => {
        const view = viewOf(data)
        data[36] = 1
        let sum = sums.sumBytes(view, 0, 40, 0)
        sum = sums.updateSum16(sum, view.getUint16(2), new16)
        view.setUint16(2, new16)
        sum = sums.updateSum32(sum, view.getUint32(4), new32)
        view.setUint32(4, new32)
        sum = sums.updateSumV6(sum, view, 8, viewOf(newV6), 0)
        data.set(newV6, 8)
        return sum === sums.sumBytes(view, 0, 40, 0)
      },
    ),
  )
})

t.test('pseudo headers sum up as if they stood in memory', async (_t) => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 40, maxLength: 40 }),
      fc.integer({ min: 0, max: 255 }),
      fc.integer({ min: 0, max: 65575 }),
      (data, protocol, length) => {
        const view = viewOf(data)
        const tail = new Uint8Array(8)
        viewOf(tail).setUint32(0, length)
        tail[7] = protocol
        const rest = sums.sumBytesPlain(viewOf(tail), 0, 8, 0)
        const v4 = sums.sumBytesPlain(view, 12, 20, rest)
        const v6 = sums.sumBytesPlain(view, 8, 40, rest)
        return (
          sums.pseudoSumV4(view, 0, protocol, length) === v4 &&
          sums.pseudoSumV6(view, 0, protocol, length) === v6
        )
      },
    ),
  )
})

t.test('finishing a partial checksum gives the whole one, and never zero', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 8, maxLength: 300 }), word, (data, pseudo) => {
      const view = viewOf(data)
      view.setUint16(6, 0)
      const expected = sums.checksumPlain(view, 0, data.length, pseudo)
      view.setUint16(6, pseudo)
      sums.finishChecksum(view, 0, data.length, 6)
      return view.getUint16(6) === (expected === 0 ? 0xffff : expected)
    }),
  )
  const view = hexView('ffff 0000 0000 0000')
  sums.finishChecksum(view, 0, 8, 6)
  t.equal(view.getUint16(6), 0xffff)
})
