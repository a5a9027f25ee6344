// What the hashing schedulers share: folding addresses, and the kernel's multiplicative hash.

import type { Flow } from './flow.ts'
import type { RealServer } from './service.ts'

/** 2^32 divided by the golden ratio, odd: GOLDEN_RATIO_32 of the kernel's hash.h. */
const GOLDEN = 0x61c88647

/** An IPv6 address folded to one word; an IPv4 address as it is. */
export function fold(address: Int32Array): number {
  return address[0]! ^ address[1]! ^ address[2]! ^ address[3]!
}

/** The upper `bits` bits of a multiplicative hash: hash_32(). */
export function hash32(value: number, bits: number): number {
  return Math.imul(value, GOLDEN) >>> (32 - bits)
}

/** Source port of a flow for schedulers told to tell ports apart (sh-port, mh-port), else 0. */
export function portOf(flow: Flow, usePort: boolean): number {
  return usePort ? flow.sourcePort : 0
}

export function isEligible(server: RealServer | undefined): boolean {
  return server?.eligible === true
}
