// The least that can stand for an agent in tests of the dispatcher: it calls the dispatcher
// directly, reads its streams into a set of items, and complains when a message does not fit.

import { ItemSet } from '../../agent/item-set.ts'
import type { AssignmentsMessage__Output, SessionMessage } from '../../proto/dispatcher.ts'
import { dispatcherService } from '../../proto/dispatcher.ts'
import type { Dispatcher } from '../dispatcher.ts'
import type { DispatchError } from '../errors.ts'
import { description } from './objects.ts'

const { Assignments } = dispatcherService()
const decode = Assignments.responseDeserialize as (bytes: Buffer) => AssignmentsMessage__Output

export class TestAgent {
  readonly nodeId: string
  readonly items: ItemSet = new ItemSet()
  readonly messages: AssignmentsMessage__Output[] = []
  readonly sessionMessages: SessionMessage[] = []
  error: DispatchError | null = null
  /** False: what is written is refused for now. */
  hasRoom: boolean = true
  #feed: { close(): void; onDrain(): void } | null = null
  readonly #dispatcher: Dispatcher

  constructor(dispatcher: Dispatcher, nodeId: string) {
    this.#dispatcher = dispatcher
    this.nodeId = nodeId
  }

  get sessionId(): string {
    return String(this.sessionMessages.at(-1)?.sessionId ?? '')
  }

  register(tunnel: { key?: string; endpoint?: string } = {}): this {
    const described = {
      node: description(this.nodeId),
      tunnelPublicKey: tunnel.key ?? '',
      tunnelEndpoint: tunnel.endpoint ?? '',
      zone: '',
    }
    this.error = null
    this.#dispatcher.session(this.nodeId, described, '127.0.0.1', {
      write: (message) => this.sessionMessages.push(message),
      end: (error) => {
        this.error = error
      },
    })
    return this
  }

  listen(): this {
    this.items.restart()
    this.#feed = this.#dispatcher.assignments(this.nodeId, this.sessionId, {
      write: (bytes) => {
        const message = decode(bytes)
        this.messages.push(message)
        this.items.apply(message)
        return this.hasRoom
      },
      end: () => {},
    })
    return this
  }

  drain(): void {
    this.hasRoom = true
    this.#feed?.onDrain()
  }

  beat(fields: Partial<Parameters<Dispatcher['heartbeat']>[1]> = {}): number {
    return this.#dispatcher.heartbeat(this.nodeId, {
      sessionId: this.sessionId,
      applied: this.items.version,
      draining: [],
      silentNodes: [],
      heardNodes: [],
      seen: [],
      isReturning: false,
      ...fields,
    })
  }

  status(taskId: string, state: string, extra: object = {}): void {
    const status = {
      state,
      atMs: 1,
      message: state,
      error: '',
      container: null,
      hostPorts: [],
      isServing: state === 'running',
      ...extra,
    }
    const updates = [{ taskId, status: Buffer.from(JSON.stringify(status)) }]
    this.#dispatcher.updateTaskStatus(this.nodeId, this.sessionId, updates)
  }
}
