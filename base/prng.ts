// A seeded pseudo-random generator: xoshiro128** 1.1 (Blackman and Vigna, "Scrambled linear
// pseudorandom number generators", 2021), 128 bits of state in four 32-bit words, so that it runs
// on the integer unit of every JavaScript engine. The seed is expanded by splitmix32, which also
// keeps the all-zero state, the one fixed point of the generator, out of reach.
//
// For schedulers, jitter, simulation and tests. NOT for keys, nonces, cookies or tokens: its state
// can be worked out from its output. Those come from the operating system, at the edges.

export interface Prng {
  /** Uniform over 0 .. 2^32 - 1. */
  nextU32(): number
  /** Uniform over 0 .. n - 1, without modulo bias. `n` is an integer in 1 .. 2^32. */
  below(n: number): number
  /** Uniform over [0, 1), in steps of 2^-53. */
  float(): number
}

/** A generator whose whole future follows from `seed` (its low 32 bits). */
export function prng(seed: number): Prng {
  // splitmix32: a Weyl sequence through the 32-bit finalizer of MurmurHash3. Four draws at
  // different points of one Weyl sequence differ, so at most one of the words is zero.
  let weyl = seed | 0
  const next = (): number => {
    weyl = (weyl + 0x9e3779b9) | 0
    let z = weyl
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b)
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35)
    return z ^ (z >>> 16)
  }
  return new Xoshiro128(next(), next(), next(), next())
}

/** A generator that goes on from four words of state, which must not all be zero. */
export function prngOfState(s0: number, s1: number, s2: number, s3: number): Prng {
  if ((s0 | s1 | s2 | s3) === 0) throw new RangeError('a state of zeros yields only zeros')
  return new Xoshiro128(s0, s1, s2, s3)
}

function rotateLeft(word: number, bits: number): number {
  return (word << bits) | (word >>> (32 - bits))
}

class Xoshiro128 implements Prng {
  private s0: number
  private s1: number
  private s2: number
  private s3: number

  constructor(s0: number, s1: number, s2: number, s3: number) {
    this.s0 = s0 | 0
    this.s1 = s1 | 0
    this.s2 = s2 | 0
    this.s3 = s3 | 0
  }

  nextU32(): number {
    const result = Math.imul(rotateLeft(Math.imul(this.s1, 5), 7), 9)
    const t = this.s1 << 9
    this.s2 ^= this.s0
    this.s3 ^= this.s1
    this.s1 ^= this.s2
    this.s0 ^= this.s3
    this.s2 ^= t
    this.s3 = rotateLeft(this.s3, 11)
    return result >>> 0
  }

  below(n: number): number {
    if (!(n >= 1 && n <= 4294967296)) throw new RangeError(`below() takes 1 to 2^32, not ${n}`)
    // Draws from the incomplete last cycle of n are thrown away; fewer than half of all draws are.
    const limit = 4294967296 - (4294967296 % n)
    for (;;) {
      const draw = this.nextU32()
      if (draw < limit) return draw % n
    }
  }

  float(): number {
    const high = this.nextU32() >>> 5 // 27 bits
    const low = this.nextU32() >>> 6 // 26 bits
    return (high * 67108864 + low) / 9007199254740992
  }
}
