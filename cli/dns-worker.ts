// The name server's thread. It leaves the network namespace of the process for a new one of its own
// before it opens a socket: there the packet loop puts the gateway interface of each network, and
// nothing else is to be reached from there. Threads of one process may live in different
// namespaces, and the sockets of node:dgram and node:net are made on the thread that asks for them.
// The namespace ends with the thread, and the interfaces in it with the namespace.

import { parentPort, workerData } from 'node:worker_threads'
import { createSocket } from 'dgram-plus'
import { prng } from '../base/prng.ts'
import { Answerer, type Transport } from '../controlplane/agent/dns/answerer.ts'
import { DnsServer } from '../controlplane/agent/dns/server.ts'
import { DnsZones } from '../controlplane/agent/dns/zone.ts'
import { leaveNetworkNamespace } from '../dataplane/edge/netns.ts'
import type { DnsWorkerData, FromDns, ToDns } from './dns-protocol.ts'

const port = parentPort!
const tell = (message: FromDns): void => port.postMessage(message)

const asked = new Map<number, (answer: Uint8Array | null) => void>()
let ids = 0

/** Names outside are asked for by the main thread, which is where outside can be reached. */
function askOutside(query: Uint8Array, transport: Transport): Promise<Uint8Array | null> {
  return new Promise((settle) => {
    const id = ids++
    asked.set(id, settle)
    tell({ kind: 'ask-outside', id, query, transport })
  })
}

const { seed } = workerData as DnsWorkerData
const answerer = new Answerer(new DnsZones({ networks: [], clients: [] }), prng(seed))
const server = new DnsServer(answerer, askOutside, (address, port) =>
  createSocket({ port, borrow: true, ...(address === null ? {} : { address }) }),
)

const handlers: { readonly [K in ToDns['kind']]: (message: ToDns & { kind: K }) => void } = {
  tables: ({ tables }) => answerer.swap(new DnsZones(tables)),
  outside: ({ id, answer }) => {
    asked.get(id)?.(answer)
    asked.delete(id)
  },
  counts: () => tell({ kind: 'counts', counts: server.counts }),
  stop: () => {
    void server.close().then(() => {
      tell({ kind: 'stopped' })
      port.close()
    })
  },
}

try {
  const namespace = leaveNetworkNamespace()
  await server.listen()
  port.on('message', (message: ToDns) => handlers[message.kind](message as never))
  tell({ kind: 'ready', namespace })
} catch (error) {
  tell({ kind: 'failed', message: (error as Error).message })
}
