// Managers for tests of the agent: real gRPC and TLS on loopback, one store for all, the leadership
// moved by hand.

import type { Clock } from '../../../base/clock.ts'
import { prng } from '../../../base/prng.ts'
import type { Timers } from '../../../base/timers.ts'
import { Dispatcher } from '../../dispatcher/dispatcher.ts'
import { dispatcherDefinition, dispatcherHandlers } from '../../dispatcher/service.ts'
import { cluster, node } from '../../dispatcher/testing/objects.ts'
import { IdentityHolder } from '../../proto/identity.ts'
import { RpcServer } from '../../proto/server.ts'
import type { TestAuthority } from '../../proto/testing/certificates.ts'
import { counterBytes, localStore } from '../../store/local-store.ts'
import type { MemoryStore } from '../../store/memory-store.ts'

export const clock: Clock = { nowMs: () => performance.now(), wallMs: () => Date.now() }
export const timers: Timers = {
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs)
    return () => clearTimeout(timer)
  },
}

export class Manager {
  readonly server: RpcServer
  address: string = ''
  dispatcher: Dispatcher | null = null
  readonly #store: MemoryStore

  constructor(authority: TestAuthority, store: MemoryStore, leader: () => string | null) {
    this.#store = store
    const identity = new IdentityHolder(authority.issue({ nodeId: 'm' }))
    this.server = new RpcServer({ identity, authorize: () => null, clock })
    const handlers = dispatcherHandlers({
      dispatcher: () => this.dispatcher,
      leader,
      peerOf: (call) => this.server.peerOf(call),
    })
    this.server.addService(dispatcherDefinition(), handlers)
  }

  async listen(): Promise<this> {
    this.address = `127.0.0.1:${await this.server.listen('127.0.0.1:0')}`
    return this
  }

  lead(seed: number): Dispatcher {
    const random = counterBytes()
    this.dispatcher = new Dispatcher({
      store: this.#store,
      clock,
      timers,
      random: prng(seed),
      randomBytes: (size) => {
        const bytes = random(size)
        bytes[0] = seed
        return bytes
      },
    })
    this.dispatcher.start()
    return this.dispatcher
  }

  retire(): void {
    this.dispatcher?.stop()
    this.dispatcher = null
  }
}

/** A store with a cluster and nodes in it. */
export async function clusterOf(...nodes: readonly string[]): Promise<MemoryStore> {
  const store = localStore(clock)
  await store.update((tx) => {
    tx.create('clusters', cluster())
    for (const id of nodes) tx.create('nodes', node(id))
  })
  return store
}
