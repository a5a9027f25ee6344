// Goal: the hash is MurmurHash3 (so its properties are known), and flips half the output for any
// input bit.

import t from 'tap'
import { hexView, viewOf } from '../test/hex.ts'
import { hashAddressV6, hashFlowV4, hashFlowV6, hashWord, portsOf } from './flow-key.ts'

/** MurmurHash3 x86 32-bit of whole words, as its author describes it, in exact arithmetic. */
function murmurPlain(words: readonly number[], seed: number): number {
  const M = 0xffffffffn
  const rotate = (x: bigint, n: bigint): bigint => ((x << n) | (x >> (32n - n))) & M
  let h = BigInt(seed) & M
  for (const word of words) {
    let k = (BigInt(word >>> 0) * 0xcc9e2d51n) & M
    k = (rotate(k, 15n) * 0x1b873593n) & M
    h = (rotate(h ^ k, 13n) * 5n + 0xe6546b64n) & M
  }
  h ^= BigInt(words.length * 4)
  h = ((h ^ (h >> 16n)) * 0x85ebca6bn) & M
  h = ((h ^ (h >> 13n)) * 0xc2b2ae35n) & M
  return Number(h ^ (h >> 16n))
}

t.test('published vectors', async (t) => {
  // Four bytes little-endian, from the reference implementation's well-known test values.
  t.equal(hashWord(0, 0), 0x2362f9de)
  t.equal(hashWord(0xffffffff, 0), 0x76293b50)
  t.equal(hashWord(0x87654321, 0), 0xf55b516b)
  t.equal(hashWord(0x87654321, 0x5082edee), 0x2362f9de)
})

t.test('the hashes equal the plain twin', async (t) => {
  let x = 12345
  const next = (): number => {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0
    return (x ^ (x >>> 15)) >>> 0
  }
  for (let i = 0; i < 200; i++) {
    const seed = next()
    const words = Array.from({ length: 10 }, next)
    const ports = portsOf(next() & 0xffff, next() & 0xffff)
    const view = viewOf(new Uint8Array(40))
    words.forEach((word, k) => {
      view.setUint32(k * 4, word)
    })
    const protocol = next() & 0xff
    const [a = 0, b = 0] = words
    const v4 = hashFlowV4(a, b, ports, protocol, seed)
    if (v4 !== murmurPlain([a, b, ports, protocol], seed)) t.fail(`v4 in round ${i}`)
    const v6 = hashFlowV6(view, 0, 16, ports, protocol, seed)
    if (v6 !== murmurPlain([...words.slice(0, 8), ports, protocol], seed))
      t.fail(`v6 in round ${i}`)
    if (hashAddressV6(view, 4, seed) !== murmurPlain(words.slice(1, 5), seed))
      t.fail(`address in round ${i}`)
  }
})

t.test('any input bit flips each output bit about half the time', async (t) => {
  const rounds = 512
  for (let bit = 0; bit < 96; bit++) {
    const flips = new Array<number>(32).fill(0)
    for (let i = 0; i < rounds; i++) {
      const input = [0x0a000000 + i, 0x0a010000 + (i >>> 3), portsOf(30000 + i, 80)]
      const before = hashFlowV4(input[0]!, input[1]!, input[2]!, 6, 99)
      input[bit >>> 5] = (input[bit >>> 5]! ^ (1 << (bit & 31))) >>> 0
      const changed = before ^ hashFlowV4(input[0]!, input[1]!, input[2]!, 6, 99)
      for (let k = 0; k < 32; k++) flips[k] = flips[k]! + ((changed >>> k) & 1)
    }
    // Six standard deviations of a fair coin thrown 512 times: 6 * sqrt(512) / 2 = 68.
    for (const count of flips) if (Math.abs(count - rounds / 2) > 68) t.fail(`bit ${bit}: ${count}`)
  }
})

t.test('consecutive clients spread evenly over buckets', async (t) => {
  const buckets = new Array<number>(64).fill(0)
  for (let i = 0; i < 6400; i++) {
    const key = hashFlowV4(0x0a000001, 0x0a000002, portsOf(20000 + i, 443), 6, 7) & 63
    buckets[key] = buckets[key]! + 1
  }
  // 100 in each on average; chi-squared with 63 degrees of freedom is below 122 but for one in
  // 10^5.
  const chi = buckets.reduce((sum, n) => sum + (n - 100) ** 2 / 100, 0)
  t.ok(chi < 122, `chi-squared ${chi}`)
})

t.test('direction, ports and protocol all count', async (t) => {
  const view = hexView('20010db8000000000000000000000001 20010db8000000000000000000000002')
  const all = [
    hashFlowV4(1, 2, portsOf(3, 4), 6, 0),
    hashFlowV4(2, 1, portsOf(3, 4), 6, 0),
    hashFlowV4(1, 2, portsOf(4, 3), 6, 0),
    hashFlowV4(1, 2, portsOf(3, 4), 17, 0),
    hashFlowV4(1, 2, portsOf(3, 4), 6, 1),
    hashFlowV6(view, 0, 16, portsOf(3, 4), 6, 0),
    hashFlowV6(view, 16, 0, portsOf(3, 4), 6, 0),
  ]
  t.equal(new Set(all).size, all.length)
})
