// A state machine for tests: the list of the texts that were applied.

import type { StateMachine } from '../member.ts'

export class ListMachine implements StateMachine {
  texts: string[] = []
  indexes: number[] = []

  apply(data: Uint8Array, index: number): void {
    this.texts.push(new TextDecoder().decode(data))
    this.indexes.push(index)
  }

  snapshot(): Uint8Array {
    return new TextEncoder().encode(JSON.stringify([this.texts, this.indexes]))
  }

  restore(bytes: Uint8Array): void {
    ;[this.texts, this.indexes] = JSON.parse(new TextDecoder().decode(bytes))
  }
}

export function text(value: string): Uint8Array {
  return new TextEncoder().encode(value)
}
