// A terminal that keeps what is printed, and answers every question alike.

import type { Terminal } from '../command.ts'

export class KeptTerminal implements Terminal {
  stdout = ''
  stderr = ''
  readonly #answer: string

  constructor(answer: string = '') {
    this.#answer = answer
  }

  // Commands hand these on without their object.
  readonly out = (text: string): void => {
    this.stdout += text
  }

  readonly err = (text: string): void => {
    this.stderr += text
  }

  async readLine(): Promise<string> {
    return this.#answer
  }
}
