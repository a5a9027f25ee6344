// Questions to the packet loop, one at a time: the next is asked when the answer to the last has
// come, so that whoever asks much takes turns with the packets.

import type { Question, QuestionName, Questions } from '../dataplane/questions.ts'
import { QUESTIONS_MAX } from './limits.ts'

interface Waiting {
  readonly question: Question
  readonly done: (answer: unknown) => void
  readonly fail: (error: Error) => void
}

export class QuestionQueue {
  private readonly waiting: Waiting[] = []
  private isOpen: boolean = false
  private readonly send: (question: Question) => void

  /** `send` hands a question to the loop. */
  constructor(send: (question: Question) => void) {
    this.send = send
  }

  /** The loop runs. */
  open(): void {
    this.isOpen = true
  }

  /** The loop has ended, or ends: nobody will answer any more. */
  close(): void {
    this.isOpen = false
    for (const { fail } of this.waiting.splice(0)) fail(new Error('the packet loop has ended'))
  }

  ask<Name extends QuestionName>(question: Question<Name>): Promise<Questions[Name]['answer']> {
    if (!this.isOpen) return Promise.reject(new Error('the packet loop does not run'))
    if (this.waiting.length >= QUESTIONS_MAX) {
      return Promise.reject(new Error('too many questions wait for the packet loop'))
    }
    return new Promise((done, fail) => {
      this.waiting.push({ question, done: done as (answer: unknown) => void, fail })
      if (this.waiting.length === 1) this.send(question)
    })
  }

  /** The answer to the question that was sent last. */
  answered(answer: unknown): void {
    this.waiting.shift()?.done(answer)
    const next = this.waiting[0]
    if (next !== undefined) this.send(next.question)
  }
}
