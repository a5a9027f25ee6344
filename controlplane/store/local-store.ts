// A store of its own, for tests: a MemoryStore whose entries are applied at once, without Raft.
// Objects are frozen, so that code which changes what it read fails at its first test.

import type { Clock } from '../../base/clock.ts'
import type { Proposer } from './contract.ts'
import type { RandomBytes } from './ids.ts'
import { MemoryStore } from './memory-store.ts'

export interface LocalStoreOptions {
  /** Default: true. False for measurements. */
  readonly freezes?: boolean
  /** Sees each entry before it is applied; throws or rejects to refuse it. */
  readonly propose?: (bytes: Uint8Array, index: number) => void | Promise<void>
}

/** `clock` stamps the objects; `random` seeds ids of entries. */
export function localStore(
  clock: Clock,
  random: RandomBytes = counterBytes(),
  options: LocalStoreOptions = {},
): MemoryStore {
  let index = 0
  const proposer: Proposer = {
    async propose(bytes) {
      await options.propose?.(bytes, index + 1)
      index += 1
      store.apply(bytes, index)
    },
  }
  const store = new MemoryStore({ freezes: options.freezes ?? true }, proposer, clock, random)
  return store
}

/** Bytes that differ with every call: enough where nothing must be guessed. */
export function counterBytes(): RandomBytes {
  let count = 0
  return (size) => {
    count += 1
    const bytes = new Uint8Array(size)
    new DataView(bytes.buffer).setUint32(Math.max(0, size - 4), count)
    return bytes
  }
}
