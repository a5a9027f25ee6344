// The replicated state machine of the simulator: a few registers. Every command names its client
// and that client's running number, and takes effect once: a command that the network duplicated,
// or that comes after its client went on, is passed over.
//
// A digest over all commands applied stands for the whole history: two members with the same index
// must have the same digest.

export interface Command {
  readonly client: number
  readonly sequence: number
  readonly key: number
  readonly value: number
}

const COMMAND_BYTES = 16

export function encodeCommand({ client, sequence, key, value }: Command): Uint8Array {
  const bytes = new Uint8Array(COMMAND_BYTES)
  new Uint32Array(bytes.buffer).set([client, sequence, key, value])
  return bytes
}

export function decodeCommand(bytes: Uint8Array): Command {
  if (bytes.length !== COMMAND_BYTES) throw new Error('not a command')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const at = (word: number): number => view.getUint32(word * 4, true)
  return { client: at(0), sequence: at(1), key: at(2), value: at(3) }
}

export class StateMachine {
  #registers: number[] = []
  #sequences: number[] = []
  digest = 0

  /** True when the command took effect. */
  apply(command: Command): boolean {
    const { client, sequence, key, value } = command
    const mixed = (client * 73_856_093) ^ (sequence * 19_349_663) ^ (value * 83_492_791)
    this.digest = (Math.imul(this.digest ^ mixed, 0x01000193) + key + 1) >>> 0
    if (sequence <= (this.#sequences[client] ?? 0)) return false
    this.#sequences[client] = sequence
    this.#registers[key] = value
    return true
  }

  /** 0 as long as nothing was written. */
  read(key: number): number {
    return this.#registers[key] ?? 0
  }

  serialize(): Uint8Array {
    const { digest } = this
    const state = { registers: this.#registers, sequences: this.#sequences, digest }
    return new TextEncoder().encode(JSON.stringify(state))
  }

  restore(bytes: Uint8Array): void {
    if (bytes.length === 0) {
      this.#registers = []
      this.#sequences = []
      this.digest = 0
      return
    }
    const state = JSON.parse(new TextDecoder().decode(bytes))
    this.#registers = state.registers
    this.#sequences = state.sequences
    this.digest = state.digest
  }
}
