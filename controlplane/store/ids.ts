// Ids of objects: 128 random bits, written in base 36 with leading zeros, as Swarm writes them. So
// an id is 25 characters of [0-9a-z], fits wherever a Docker client keeps one, and nobody has to be
// asked whether it is taken.

const ID_LENGTH = 25
const ID_BYTES = 16

/** `size` random bytes: node:crypto's in production, a seeded generator's in tests. */
export type RandomBytes = (size: number) => Uint8Array

export function newId(random: RandomBytes): string {
  let value = 0n
  for (const byte of random(ID_BYTES)) value = (value << 8n) | BigInt(byte)
  return value.toString(36).padStart(ID_LENGTH, '0')
}

/** True for text that newId may have made. */
export function isId(text: string): boolean {
  return /^[0-9a-z]{25}$/.test(text)
}
