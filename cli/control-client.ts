// The other end of the control socket: asks a running agent, one question at a time.

import { connect, type Socket } from 'node:net'
import { type ControlVerb, type ControlVerbs, parseReply } from './control-protocol.ts'
import { openPlace, type SocketPlace } from './control-server.ts'
import { CONTROL_ANSWER_MS, CONTROL_LINE_SIZE_MAX } from './limits.ts'
import { LineSplitter } from './lines.ts'

/** The agent is not there, did not answer, or refused: a sentence for a person. */
export class ControlError extends Error {
  override readonly name: string = 'ControlError'
}

interface Open {
  readonly id: number
  readonly done: (answer: unknown) => void
  readonly fail: (error: Error) => void
}

export class ControlClient {
  private readonly socket: Socket
  private readonly place: SocketPlace
  private open: Open | null = null
  private ended: Error | null = null
  private nextId: number = 1

  private constructor(socket: Socket, place: SocketPlace) {
    this.socket = socket
    this.place = place
    const lines = new LineSplitter(CONTROL_LINE_SIZE_MAX)
    socket.on('data', (bytes: Buffer) => {
      if (!lines.push(bytes, (line) => this.take(line))) this.end('its answer is too long')
    })
    socket.on('error', (error) => this.end(error.message))
    socket.on('close', () => this.end('it closed the connection'))
    socket.setTimeout(CONTROL_ANSWER_MS, () => {
      if (this.open !== null) this.end('it does not answer')
    })
  }

  /** Connects to the agent of a run directory. Rejects with ControlError. */
  static async connect(runDirectory: string): Promise<ControlClient> {
    let place: SocketPlace
    try {
      place = openPlace(runDirectory)
    } catch (error) {
      throw new ControlError(reasonOf(error as NodeJS.ErrnoException, runDirectory))
    }
    const socket = connect(place.path)
    await new Promise<void>((done, fail) => {
      socket.once('connect', done)
      socket.once('error', (error: NodeJS.ErrnoException) => {
        place.close()
        fail(new ControlError(reasonOf(error, runDirectory)))
      })
    })
    socket.removeAllListeners('error')
    return new ControlClient(socket, place)
  }

  /** Asks and waits for the answer; one question at a time. Rejects with ControlError. */
  call<Verb extends ControlVerb>(
    verb: Verb,
    given: ControlVerbs[Verb]['given'],
  ): Promise<ControlVerbs[Verb]['answer']> {
    if (this.ended !== null) return Promise.reject(this.ended)
    const id = this.nextId++
    return new Promise((done, fail) => {
      this.open = { id, done: done as (answer: unknown) => void, fail }
      this.socket.write(`${JSON.stringify({ id, verb, given })}\n`)
    })
  }

  close(): void {
    this.ended ??= new ControlError('the connection to the agent is closed')
    this.socket.destroy()
    this.place.close()
  }

  private take(line: string): void {
    const reply = parseReply(line)
    const { open } = this
    if (reply === null || open === null || reply.id !== open.id) {
      this.end('its answer makes no sense')
      return
    }
    this.open = null
    if ('error' in reply) open.fail(new ControlError(reply.error))
    else open.done(reply.answer)
  }

  private end(reason: string): void {
    this.ended ??= new ControlError(`lost the agent: ${reason}`)
    this.open?.fail(this.ended)
    this.open = null
    this.socket.destroy()
    this.place.close()
  }
}

function reasonOf({ code, message }: NodeJS.ErrnoException, runDirectory: string): string {
  if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTDIR') {
    return `no agent runs with run directory ${runDirectory}; --run-dir names another`
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return `no permission to ask the agent of ${runDirectory}: only its own user may`
  }
  return `cannot ask the agent of ${runDirectory}: ${message}`
}
