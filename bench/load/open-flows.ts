// Opens many UDP flows: one socket per source port, one datagram to each target.
//
//   node open-flows.ts FIRST_PORT COUNT ADDRESS:PORT...
//
// COUNT source ports towards every target; the datagrams are paced so that no queue on the way
// overflows. Running it again with the same arguments adds nothing: the flows are the same.

import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import process from 'node:process'

/** Sockets open at a time. */
const AT_ONCE = 200
/** Pause between two groups, milliseconds. */
const PAUSE_MS = 4

function sent(socket: Socket, port: number, address: string): Promise<void> {
  return new Promise((resolve) => socket.send('x', port, address, () => resolve()))
}

async function open(source: number, targets: readonly [string, number][]): Promise<void> {
  const socket = createSocket('udp4')
  socket.on('error', () => {})
  socket.bind(source)
  await once(socket, 'listening')
  for (const [address, port] of targets) await sent(socket, port, address)
  await new Promise<void>((resolve) => socket.close(() => resolve()))
}

const [first, count, ...names] = process.argv.slice(2)
const targets = names.map((name): [string, number] => {
  const [address, port] = name.split(':')
  return [address ?? '', Number(port)]
})
const last = Number(first) + Number(count)
for (let start = Number(first); start < last; start += AT_ONCE) {
  const group = Array.from({ length: Math.min(AT_ONCE, last - start) }, (_, i) => start + i)
  await Promise.all(group.map((source) => open(source, targets)))
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
}
