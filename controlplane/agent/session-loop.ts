// Keeps a session with the leader, whoever it is: chooses a manager, opens a session (session.ts),
// and when it ends opens another. While there is none, everything on the node goes on as it is.

import { type ServiceError, status as Status } from '@grpc/grpc-js'
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Prng } from '../../base/prng.ts'
import type { Timers } from '../../base/timers.ts'
import type { DispatcherClient } from '../proto/dispatcher.ts'
import type { TaskStatus } from '../store/objects.ts'
import { ItemSet } from './item-set.ts'
import { FAST_TRIES, STEADY_SESSION_MS } from './limits.ts'
import { countTry, type Managers, retryDelayMs } from './managers.ts'
import { Session, type SessionHost } from './session.ts'
import { StatusQueue } from './status-queue.ts'

/** As dispatcher/service.ts sends it. */
const LEADER_METADATA = 'weft-leader'

export interface SessionLoopParts {
  /** Makes a client of the manager at an address; it connects when it is used. */
  readonly connect: (address: string) => DispatcherClient
  readonly managers: Managers
  readonly host: SessionHost
  /** What every task is like now. */
  readonly statuses: () => ReadonlyMap<string, TaskStatus>
  /** A session has begun or ended. */
  readonly onConnected: (address: string | null) => void
  /** The cluster knows this node no more. */
  readonly onRemoved: () => void
  readonly clock: Clock
  readonly timers: Timers
  readonly random: Prng
  readonly log: Logger
}

export class SessionLoop {
  readonly items: ItemSet = new ItemSet()
  readonly #parts: SessionLoopParts
  readonly #queue = new StatusQueue()
  #session: Session | null = null
  #tries = 0
  /** The last attempt led to a session. */
  #hadSession = false
  /** The log says already that no manager takes the node. */
  #isToldLost = false
  #isClosed = false
  #wake: () => void = () => {}
  #running: Promise<void> | null = null

  constructor(parts: SessionLoopParts) {
    this.#parts = parts
  }

  start(): void {
    this.#running ??= this.#run()
  }

  /** The session that stands, or null. */
  get session(): Session | null {
    return this.#session
  }

  status(taskId: string, status: TaskStatus): void {
    this.#queue.put(taskId, status)
    this.#session?.flushStatuses()
  }

  acknowledge(): void {
    this.#session?.acknowledge()
  }

  /** Tries again now: there may be a manager that was not there before. */
  hurry(): void {
    this.#tries = 0
    this.#wake()
  }

  /** Sends what is waiting and says that the node will be back, as far as `limitMs` allows, and
   * ends. */
  async close(limitMs: number = 0): Promise<void> {
    const untilMs = this.#parts.clock.nowMs() + limitMs
    const waits = (): boolean => this.#queue.size > 0 || this.#queue.isSending
    while (this.#session !== null && waits() && this.#parts.clock.nowMs() < untilMs) {
      await new Promise<void>((resolve) => this.#parts.timers.after(10, resolve))
    }
    this.#isClosed = true
    const leftMs = untilMs - this.#parts.clock.nowMs()
    if (leftMs > 0) await this.#session?.farewell(leftMs)
    this.#session?.close()
    this.#wake()
    await this.#running
  }

  async #run(): Promise<void> {
    const { managers, random, log } = this.#parts
    while (!this.#isClosed) {
      const address = managers.next(random)
      if (address === null) {
        await this.#sleep(1000)
        continue
      }
      const startMs = this.#parts.clock.nowMs()
      const error = await this.#once(address)
      const tookMs = this.#parts.clock.nowMs() - startMs
      // A session that hardly lasted is a try like others: a leader that cannot keep its sessions
      // is not helped by nodes that come back at once.
      const wasSteady = this.#hadSession && tookMs >= STEADY_SESSION_MS
      if (wasSteady) this.#tries = 0
      if (this.#isClosed) return
      const leader = leaderOf(error)
      if (leader !== null && managers.hint(leader, address)) continue
      managers.failed(address)
      this.#tries = countTry(this.#tries, wasSteady ? 0 : tookMs)
      const delayMs = retryDelayMs(this.#tries, random)
      log.debug('no session with a manager', { address, error: error?.message ?? '', delayMs })
      this.#tellLost(address, error)
      if (saysRemoved(error)) this.#parts.onRemoved()
      await this.#sleep(delayMs)
    }
  }

  /** Opens a session and waits for its end. */
  async #once(address: string): Promise<Error | null> {
    const { connect, host, clock, timers, log, managers } = this.#parts
    const client = connect(address)
    const { items } = this
    const session = new Session({ client, host, items, statuses: this.#queue, clock, timers, log })
    this.#session = session
    try {
      this.#queue.refill(this.#parts.statuses())
      this.#hadSession = false
      await session.open()
      this.#hadSession = true
      this.#isToldLost = false
      managers.succeeded()
      log.info('registered with the leader', { address })
      this.#parts.onConnected(address)
      const error = await session.ended()
      log.info('the session has ended', { address, error: error?.message ?? '' })
      this.#parts.onConnected(null)
      return error
    } catch (error) {
      return error as Error
    } finally {
      session.close()
      this.#session = null
      client.close()
    }
  }

  /** Says once why there is no session, when it takes longer than an election does. */
  #tellLost(address: string, error: Error | null): void {
    if (this.#isToldLost || this.#tries <= FAST_TRIES) return
    this.#isToldLost = true
    this.#parts.log.warn('no manager takes this node; trying on, and all goes on as it is', {
      address,
      error: error?.message ?? '',
    })
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#parts.timers.after(ms, resolve)
      this.#wake = () => {
        cancel()
        resolve()
      }
      if (this.#isClosed) this.#wake()
    })
  }
}

/** The dispatcher does not know the node, or the gate before it knows that it was removed
 * (ca/authorize.ts). */
function saysRemoved(error: Error | null): boolean {
  const { code, details = '' } = (error ?? {}) as Partial<ServiceError>
  return (
    code === Status.NOT_FOUND ||
    (code === Status.PERMISSION_DENIED && details.endsWith('was removed from this swarm'))
  )
}

function leaderOf(error: Error | null): string | null {
  const metadata = (error as Partial<ServiceError> | null)?.metadata
  const [leader] = metadata?.get(LEADER_METADATA) ?? []
  return typeof leader === 'string' && leader !== '' ? leader : null
}
