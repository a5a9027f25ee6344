// The state machine of the benchmark and of the tests of real processes: keys and values.
//
//   entry      u16 length of the key, the key, the value
//   snapshot   per key: u16 length of the key, u32 length of the value, the key, the value

import type { StateMachine } from '../../controlplane/raft/shell/member.ts'

export class KvMachine implements StateMachine {
  readonly #values = new Map<string, Uint8Array>()
  applied = 0

  get(key: string): Uint8Array | undefined {
    return this.#values.get(key)
  }

  get size(): number {
    return this.#values.size
  }

  apply(data: Uint8Array, index: number): void {
    const end = 2 + ((data[0]! << 8) | data[1]!)
    this.#values.set(
      Buffer.from(data.buffer, data.byteOffset + 2, end - 2).toString('latin1'),
      data.subarray(end),
    )
    this.applied = index
  }

  snapshot(): Uint8Array {
    let size = 0
    for (const [key, value] of this.#values) size += 6 + key.length + value.length
    const bytes = Buffer.allocUnsafe(size)
    let at = 0
    for (const [key, value] of this.#values) {
      at = bytes.writeUInt16BE(key.length, at)
      at = bytes.writeUInt32BE(value.length, at)
      at += bytes.write(key, at, 'latin1')
      bytes.set(value, at)
      at += value.length
    }
    return bytes
  }

  restore(bytes: Uint8Array, index: number): void {
    const buffer = Buffer.from(bytes)
    this.#values.clear()
    for (let at = 0; at < buffer.length; ) {
      const key = at + 6 + buffer.readUInt16BE(at)
      const end = key + buffer.readUInt32BE(at + 2)
      this.#values.set(buffer.toString('latin1', at + 6, key), buffer.subarray(key, end))
      at = end
    }
    this.applied = index
  }
}

/** The entry that puts `value` at `key`. */
export function putEntry(key: Uint8Array, value: Uint8Array): Uint8Array {
  const data = Buffer.allocUnsafe(2 + key.length + value.length)
  data.writeUInt16BE(key.length, 0)
  data.set(key, 2)
  data.set(value, 2 + key.length)
  return data
}
