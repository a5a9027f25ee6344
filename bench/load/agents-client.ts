// A thousand agents in one process, for bench/agents.ts: each has its certificate, its own TLS
// connection, a session, a stream of assignments and a heartbeat, as controlplane/agent/session.ts
// has them; behind them there is nothing. What is assigned is taken and not read: a thousand nodes
// that learn of a thousand others are a million items, which no real node has to read for all.
// Started by fork(), told what to be by the first message.

import process from 'node:process'
import type { Clock } from '../../base/clock.ts'
import { silentLogger } from '../../base/log.ts'
import { prng } from '../../base/prng.ts'
import type { Timers } from '../../base/timers.ts'
import { connector } from '../../controlplane/agent/connect.ts'
import { Managers } from '../../controlplane/agent/managers.ts'
import { SessionLoop } from '../../controlplane/agent/session-loop.ts'
import { description } from '../../controlplane/dispatcher/testing/objects.ts'
import { type DispatcherClient, dispatcherService } from '../../controlplane/proto/dispatcher.ts'
import { IdentityHolder } from '../../controlplane/proto/identity.ts'

export interface AgentsOrder {
  readonly manager: string
  /** PEM. */
  readonly roots: string
  readonly agents: readonly {
    readonly nodeId: string
    readonly certificate: string
    readonly privateKey: string
  }[]
}

const clock: Clock = { nowMs: () => performance.now(), wallMs: () => Date.now() }
const timers: Timers = {
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs)
    return () => clearTimeout(timer)
  },
}

const STARTING_MAX = 20
let connected = 0

function begin({ manager, roots }: AgentsOrder, agent: AgentsOrder['agents'][number]): void {
  const identity = new IdentityHolder({
    certificate: Buffer.from(agent.certificate),
    privateKey: Buffer.from(agent.privateKey),
    roots: Buffer.from(roots),
  })
  const index = Number(/\d+/.exec(agent.nodeId)![0])
  const key = Buffer.alloc(32)
  key.writeUInt32BE(index + 1)
  const connect = connector(identity)
  const loop: SessionLoop = new SessionLoop({
    connect: (address) => unread(connect(address)),
    managers: new Managers([manager]),
    host: {
      describe: async () => ({
        node: description(agent.nodeId),
        tunnelPublicKey: key.toString('base64'),
        tunnelEndpoint: `127.0.${index >> 8}.${index & 255}:4789`,
        zone: '',
      }),
      heartbeat: () => ({ applied: loop.items.version }),
      onMessage: () => {},
      onItems: () => {},
      onLogs: () => {},
    },
    statuses: () => new Map(),
    onConnected: (address) => {
      connected += address === null ? -1 : 1
    },
    onRemoved: () => {},
    clock,
    timers,
    random: prng(index),
    log: silentLogger,
  })
  loop.start()
}

/** Its assignments arrive as bytes, and no message ever comes of them. */
function unread(client: DispatcherClient): DispatcherClient {
  const { path, requestSerialize } = dispatcherService().Assignments
  const open = (request: { readonly sessionId: string }) => {
    const stream = client.makeServerStreamRequest(path, requestSerialize, bytesOf, request)
    stream.on('data', () => {})
    const on = stream.on.bind(stream)
    stream.on = (event: string, listener: (...args: never[]) => void) =>
      event === 'data' ? stream : on(event, listener as () => void)
    return stream
  }
  client.Assignments = open as unknown as DispatcherClient['Assignments']
  return client
}

const bytesOf = (bytes: Buffer): Buffer => bytes

process.once('message', async (order: AgentsOrder) => {
  for (const [i, agent] of order.agents.entries()) {
    begin(order, agent)
    // This one process is a thousand nodes: it does not let them all start in the same moment.
    while (i - connected > STARTING_MAX) await new Promise((resolve) => setTimeout(resolve, 10))
  }
})
process.on('disconnect', () => process.exit(0))
