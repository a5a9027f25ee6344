// The manager of bench/agents.ts, in a process of its own so that its CPU and memory are its own:
// the dispatcher behind the control plane's gRPC server, over a store without Raft. Started by
// fork(); told what to be by the first message, answers each later one with what it has used so
// far.

import { randomBytes } from 'node:crypto'
import process from 'node:process'
import type { Clock } from '../../base/clock.ts'
import { prng } from '../../base/prng.ts'
import type { Timers } from '../../base/timers.ts'
import { Dispatcher } from '../../controlplane/dispatcher/dispatcher.ts'
import { dispatcherDefinition, dispatcherHandlers } from '../../controlplane/dispatcher/service.ts'
import { cluster, node } from '../../controlplane/dispatcher/testing/objects.ts'
import { IdentityHolder } from '../../controlplane/proto/identity.ts'
import { RpcServer } from '../../controlplane/proto/server.ts'
import { localStore } from '../../controlplane/store/local-store.ts'

export interface ManagerOrder {
  /** PEM. */
  readonly certificate: string
  readonly privateKey: string
  readonly roots: string
  readonly nodeIds: readonly string[]
}

export type ManagerReport =
  | { readonly kind: 'listening'; readonly address: string }
  | {
      readonly kind: 'usage'
      readonly sessions: number
      readonly ready: number
      /** Heartbeats answered. */
      readonly beats: number
      readonly cpuMs: number
      readonly residentBytes: number
    }

const clock: Clock = { nowMs: () => performance.now(), wallMs: () => Date.now() }
const timers: Timers = {
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs)
    return () => clearTimeout(timer)
  },
}

async function main(order: ManagerOrder): Promise<void> {
  const store = localStore(clock, undefined, { freezes: false })
  await store.update((tx) => tx.create('clusters', cluster()))
  await store.batch(order.nodeIds.map((id) => (tx) => tx.create('nodes', node(id))))
  const dispatcher = new Dispatcher({ store, clock, timers, random: prng(1), randomBytes })
  let beats = 0
  const heartbeat = dispatcher.heartbeat.bind(dispatcher)
  dispatcher.heartbeat = (nodeId, beat) => {
    beats += 1
    return heartbeat(nodeId, beat)
  }
  dispatcher.start()
  const pem = (text: string): Buffer => Buffer.from(text)
  const identity = new IdentityHolder({
    certificate: pem(order.certificate),
    privateKey: pem(order.privateKey),
    roots: pem(order.roots),
  })
  const server = new RpcServer({
    identity,
    authorize: (peer) => (peer === null ? { code: 16, details: 'nobody' } : null),
    clock,
  })
  const handlers = dispatcherHandlers({
    dispatcher: () => dispatcher,
    leader: () => null,
    peerOf: (call) => server.peerOf(call),
  })
  server.addService(dispatcherDefinition(), handlers)
  const port = await server.listen('127.0.0.1:0')
  const say = (report: ManagerReport): void => void process.send!(report)
  process.on('message', () => {
    const { user, system } = process.cpuUsage()
    const ready = store
      .view((tx) => tx.all('nodes'))
      .filter(({ status }) => status.state === 'ready')
    say({
      kind: 'usage',
      sessions: dispatcher.counts.sessions,
      ready: ready.length,
      beats,
      cpuMs: (user + system) / 1000,
      residentBytes: process.memoryUsage.rss(),
    })
  })
  say({ kind: 'listening', address: `127.0.0.1:${port}` })
}

process.once('message', (order: ManagerOrder) => {
  main(order).catch((error: Error) => {
    process.stderr.write(`${error.stack}\n`)
    process.exit(1)
  })
})
process.on('disconnect', () => process.exit(0))
