// Clients of a key-value service that speaks etcd's interface, as a process of its own: so many put
// at a time, for so long, to the leader. The same program drives weft and etcd.
//
//   node load.ts ADDRESS CLIENTS SECONDS KEYS VALUE_BYTES
//
// Prints one line of JSON: puts acknowledged, seconds, and latencies in milliseconds.

import { randomBytes } from 'node:crypto'
import { quantile } from '../statistics.ts'
import { PutConnection } from './put-connection.ts'

const [address, clients, seconds, keys, valueBytes] = process.argv.slice(2)
/** Connections are shared, as a service's would be. */
const CLIENTS_PER_CONNECTION = 64
const WARM_UP_MS = 2_000

const count = Number(clients)
const connections = Array.from(
  { length: Math.ceil(count / CLIENTS_PER_CONNECTION) },
  () => new PutConnection(address!),
)
const values = Array.from({ length: 64 }, () => randomBytes(Number(valueBytes)))
const latencies: number[] = []
let errors = 0
let firstError = ''
let measuring = false
let running = true

async function client(number: number): Promise<void> {
  const connection = connections[number % connections.length]!
  for (let i = 0; running; i++) {
    const key = Buffer.from(`key-${(number * 7919 + i) % Number(keys)}`)
    const began = performance.now()
    try {
      await connection.put(key, values[i % values.length]!)
      if (measuring) latencies.push(performance.now() - began)
    } catch (error) {
      firstError ||= (error as Error).message
      errors++
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}

const all = Array.from({ length: count }, (_, number) => client(number))
await new Promise((resolve) => setTimeout(resolve, WARM_UP_MS))
measuring = true
const began = performance.now()
await new Promise((resolve) => setTimeout(resolve, Number(seconds) * 1000))
measuring = false
const took = (performance.now() - began) / 1000
running = false
await Promise.all(all)
const cpu = process.cpuUsage()
process.stdout.write(
  `${JSON.stringify({
    puts: latencies.length,
    seconds: took,
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    errors,
    firstError,
    cpuSeconds: (cpu.user + cpu.system) / 1e6,
  })}\n`,
)
process.exit(0)
