// Goal: a packet loop that ends by a fault leaves nothing behind that keeps the next one from
// beginning. Method: the thread itself, told of a device that there is not.

import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { compileTables } from '../dataplane/compile.ts'
import { counterMemory } from '../dataplane/counters.ts'
import { validateTables } from '../dataplane/validate.ts'
import { statisticsMemory } from '../ipvs-emulator/statistics.ts'
import type { EngineWorkerData } from './engine-protocol.ts'

const ADDRESS = '127.0.0.1'
/** No process has so many descriptors. */
const NO_DESCRIPTOR = 2 ** 30

/** Binds a port, 0 = any that is free, and lets go of it. */
async function bind(port: number): Promise<number> {
  const socket = createSocket('udp4').bind(port, ADDRESS)
  await once(socket, 'listening')
  const { port: bound } = socket.address()
  socket.close()
  return bound
}

t.test('a loop that fails gives its port back', async (t) => {
  const listenPort = await bind(0)
  const node = { name: 'a', listenAddress: ADDRESS, listenPort }
  const given = { version: 1, node, peers: [], networks: [], endpoints: [], services: [] }
  const { tables } = validateTables({ ...given, publishedPorts: [] }, { schedulers: [] })
  const worker = new Worker(new URL('./engine-worker.ts', import.meta.url), {
    workerData: {
      counters: counterMemory(),
      statistics: statisticsMemory(),
      wakeFd: -1,
      first: {
        tables: compileTables(tables!, { privateKey: null }),
        devices: [],
        tun: { name: 'none', device: 'none', fd: NO_DESCRIPTOR, mtu: 1400 },
        errors: [],
        mergeUdp: false,
      },
      flows: null,
      captures: [],
    } satisfies EngineWorkerData,
  })
  let words = ''
  worker.on('error', ({ message }: Error) => {
    words = message
  })
  await new Promise((resolve) => worker.on('exit', resolve))
  t.match(words, /descriptor .*EBADF/)
  t.equal(await bind(listenPort), listenPort)
})
