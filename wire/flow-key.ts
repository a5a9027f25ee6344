// A flow's hash: 32 well-mixed bits from the 5-tuple (protocol, addresses, ports), by which tables
// are indexed, backends chosen and source ports spread. MurmurHash3 (Appleby, x86 32-bit variant):
// a multiply-rotate-multiply per 32-bit word and a finalizer in which every input bit flips each
// output bit with probability near one half, all on 32-bit integers.
//
// The seed is secret and random per process: whoever does not know it has no cheap way to fill one
// bucket on purpose. It is not a cryptographic hash, and tables stay bounded whatever is thrown at
// them.
//
// Ports travel as one word, source port in the upper half: portsOf(). A -> B and B -> A hash
// differently; whoever wants one key for both directions orders the ends first.

const C1 = 0xcc9e2d51 | 0
const C2 = 0x1b873593

function mix(hash: number, word: number): number {
  const k = Math.imul(word, C1)
  const mixed = hash ^ Math.imul((k << 15) | (k >>> 17), C2)
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0
}

function finish(hash: number, size: number): number {
  let h = hash ^ size
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** Both ports in one unsigned word. */
export function portsOf(sourcePort: number, targetPort: number): number {
  return ((sourcePort << 16) | targetPort) >>> 0
}

/** Hash of one 32-bit word: of an address alone, say. Unsigned 32 bits. */
export function hashWord(word: number, seed: number): number {
  return finish(mix(seed, word), 4)
}

/** Hash of an IPv4 flow. Addresses and `ports` (portsOf()) are 32-bit numbers. Unsigned 32 bits. */
export function hashFlowV4(
  source: number,
  target: number,
  ports: number,
  protocol: number,
  seed: number,
): number {
  return finish(mix(mix(mix(mix(seed, source), target), ports), protocol), 16)
}

/** Hash of an IPv6 flow whose addresses are the sixteen bytes at `sourceAt` and `targetAt`.
 * Unsigned 32 bits. */
export function hashFlowV6(
  view: DataView,
  sourceAt: number,
  targetAt: number,
  ports: number,
  protocol: number,
  seed: number,
): number {
  let hash = seed
  for (let i = 0; i < 16; i += 4) hash = mix(hash, view.getInt32(sourceAt + i))
  for (let i = 0; i < 16; i += 4) hash = mix(hash, view.getInt32(targetAt + i))
  return finish(mix(mix(hash, ports), protocol), 40)
}

/** Hash of the sixteen bytes of an IPv6 address. Unsigned 32 bits. */
export function hashAddressV6(view: DataView, at: number, seed: number): number {
  let hash = seed
  for (let i = 0; i < 16; i += 4) hash = mix(hash, view.getInt32(at + i))
  return finish(hash, 16)
}
