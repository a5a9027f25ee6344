// SipHash-1-3 of one 32-bit word, cut to 32 bits: what the kernel's hsiphash() computes on 64-bit
// machines (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012;
// include/linux/siphash.h). Words of 64 bits are pairs of 32-bit integers, high and low, so that
// nothing is allocated; the plain twin in the test uses BigInt.

const v = new Int32Array(8)

/** Adds word `b` to word `a` of v; words are numbered 0..3, high half first. */
function add(a: number, b: number): void {
  const low = (v[2 * a + 1]! >>> 0) + (v[2 * b + 1]! >>> 0)
  v[2 * a] = v[2 * a]! + v[2 * b]! + (low > 0xffffffff ? 1 : 0)
  v[2 * a + 1] = low
}

/** Rotates word `a` left by `bits` (below 32) and exclusive-ors word `b` into it. */
function rotateXor(a: number, bits: number, b: number): void {
  const high = v[2 * a]!
  const low = v[2 * a + 1]!
  v[2 * a] = ((high << bits) | (low >>> (32 - bits))) ^ v[2 * b]!
  v[2 * a + 1] = ((low << bits) | (high >>> (32 - bits))) ^ v[2 * b + 1]!
}

/** Rotates word `a` by 32 bits. */
function swap(a: number): void {
  const high = v[2 * a]!
  v[2 * a] = v[2 * a + 1]!
  v[2 * a + 1] = high
}

function round(): void {
  add(0, 1)
  rotateXor(1, 13, 0)
  swap(0)
  add(2, 3)
  rotateXor(3, 16, 2)
  add(0, 3)
  rotateXor(3, 21, 0)
  add(2, 1)
  rotateXor(1, 17, 2)
  swap(2)
}

/** Hash of `word` under the 128-bit key whose two halves both are the 32-bit `key`. Unsigned. */
export function siphash13(word: number, key: number): number {
  v[0] = 0x736f6d65
  v[1] = 0x70736575 ^ key
  v[2] = 0x646f7261
  v[3] = 0x6e646f6d ^ key
  v[4] = 0x6c796765
  v[5] = 0x6e657261 ^ key
  v[6] = 0x74656462
  v[7] = 0x79746573 ^ key
  // The last block: the message's length in the top byte, its four bytes at the bottom.
  const top = 4 << 24
  v[6] = v[6]! ^ top
  v[7] = v[7]! ^ word
  round()
  v[0] = v[0]! ^ top
  v[1] = v[1]! ^ word
  v[5] = v[5]! ^ 0xff
  round()
  round()
  round()
  return (v[1]! ^ v[3]! ^ v[5]! ^ v[7]!) >>> 0
}
