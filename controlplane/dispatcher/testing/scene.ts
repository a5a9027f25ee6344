// A dispatcher over a store of its own, with the time moved by hand, and its agents.

import { prng } from '../../../base/prng.ts'
import { type ManualTimers, manualTimers } from '../../../base/timers.ts'
import type { Store, WriteTransaction } from '../../store/contract.ts'
import { counterBytes, localStore } from '../../store/local-store.ts'
import type { TaskNetwork } from '../../store/objects.ts'
import { Dispatcher } from '../dispatcher.ts'
import { TestAgent } from './agent.ts'
import { cluster, node } from './objects.ts'

export interface Scene {
  readonly store: Store
  readonly timers: ManualTimers
  readonly dispatcher: Dispatcher
  readonly agents: Map<string, TestAgent>
  agent(id: string): TestAgent
  write(change: (tx: WriteTransaction) => void): Promise<void>
  /** Lets time pass while `beating` agents send heartbeats; all that follows from it is done. */
  pass(ms: number, beating?: readonly TestAgent[]): Promise<void>
  another(): Dispatcher
}

export async function scene(nodes: readonly string[], start = true): Promise<Scene> {
  const timers = manualTimers(0, 1e12)
  const store = localStore(timers.clock)
  await store.update((tx) => {
    tx.create('clusters', cluster())
    for (const id of nodes) tx.create('nodes', node(id))
  })
  const make = (): Dispatcher =>
    new Dispatcher({
      store,
      clock: timers.clock,
      timers,
      random: prng(1),
      randomBytes: counterBytes(),
    })
  const dispatcher = make()
  if (start) dispatcher.start()
  const agents = new Map(nodes.map((id) => [id, new TestAgent(dispatcher, id)]))
  return {
    store,
    timers,
    dispatcher,
    agents,
    another: make,
    agent: (id) => agents.get(id)!,
    write: (change) => store.update(change),
    async pass(ms, beating = []) {
      for (let left = ms; left > 0; left -= 50) {
        for (const one of beating) one.beat()
        timers.advance(Math.min(left, 50))
        for (let i = 0; i < 8; i++) await Promise.resolve()
        await new Promise((resolve) => setImmediate(resolve))
      }
    },
  }
}

/** A task's place on a network. */
export function on(networkId: string, address: string): TaskNetwork {
  return { networkId, addresses: [`${address}/24`], aliases: [] }
}
