// How many datagrams a second cross the loopback interface, by each way of sending and receiving
// them.
//
//   node bench.ts [datagram size, default 1400] [seconds per row and round, default 0.5]
//
// One process sends and receives in turn (the loopback interface delivers within the send call), so
// a row is the cost of one datagram's whole way through both halves. Nothing is lost on purpose:
// the sender stops for the receiver before the buffers are full. Rows are JSON lines on stdout, a
// table on stderr.

import { createSocket as createNodeSocket } from 'node:dgram'
import { once } from 'node:events'
import { BatchSocket, createSocket, pin } from './index.ts'

const size = Number(process.argv[2] ?? 1400)
const seconds = Number(process.argv[3] ?? 0.5)
const LOOPBACK = '127.0.0.1'
/** Datagrams sent before the receiver is waited for. */
const WINDOW = 512
const ROUNDS = 5

interface Row {
  what: string
  datagramsPerSecond: number
  gigabitsPerSecond: number
  lost: number
}

function row(what: string, sent: number, received: number, tookMs: number): Row {
  const datagramsPerSecond = Math.round((received / tookMs) * 1000)
  const gigabitsPerSecond = Number(((datagramsPerSecond * size * 8) / 1e9).toFixed(2))
  return { what, datagramsPerSecond, gigabitsPerSecond, lost: sent - received }
}

/** node:dgram, one datagram per call, the callback of the last send of a window awaited. */
async function nodeDgram(): Promise<Row> {
  const options = { type: 'udp4', recvBufferSize: 7 << 20, sendBufferSize: 7 << 20 } as const
  const sender = createNodeSocket(options)
  const receiver = createNodeSocket(options)
  receiver.bind(0, LOOPBACK)
  sender.bind(0, LOOPBACK)
  await Promise.all([once(receiver, 'listening'), once(sender, 'listening')])
  const { port } = receiver.address()
  const data = Buffer.alloc(size)
  let sent = 0
  let received = 0
  receiver.on('message', () => received++)
  const started = performance.now()
  while (performance.now() - started < seconds * 1000) {
    for (let i = 1; i < WINDOW; i++) sender.send(data, port, LOOPBACK)
    await new Promise((resolve) => sender.send(data, port, LOOPBACK, resolve))
    sent += WINDOW
    await arrival(() => received >= sent)
  }
  const took = performance.now() - started
  sender.close()
  receiver.close()
  return row('node:dgram', sent, received, took)
}

/** createSocket() with lists of datagrams and the event. */
async function friendly(what: string, list: number, offload: boolean): Promise<Row> {
  const options = { address: LOOPBACK, gso: offload, gro: offload, batchSize: 64 }
  const sender = await createSocket(options)
  const receiver = await createSocket(options)
  const datagrams = Array.from({ length: list }, () => Buffer.alloc(size))
  let sent = 0
  let received = 0
  receiver.on('messages', (messages) => {
    received += messages.length
  })
  const started = performance.now()
  while (performance.now() - started < seconds * 1000) {
    for (let i = 0; i < WINDOW; i += list) sent += sender.send(datagrams, receiver.port, LOOPBACK)
    await arrival(() => received >= sent)
  }
  const took = performance.now() - started
  sender.close()
  receiver.close()
  return row(what, sent, received, took)
}

/** BatchSocket, `perFlush` datagrams per sendmmsg, `perMessage` of them per message. */
function packetLoop(what: string, perFlush: number, perMessage: number, offload: boolean): Row {
  const sendAt = 64 * 65_536
  const open = (memory = pin(sendAt + size)): BatchSocket =>
    new BatchSocket({
      memory,
      receive: { at: 0, count: offload ? 8 : 64, size: 65_536 },
      address: LOOPBACK,
      gso: offload,
      gro: offload,
    })
  const sender = open()
  const receiver = open()
  const peer = sender.endpoint(LOOPBACK, receiver.port)
  const { sending } = sender
  const { receiving } = receiver
  let sent = 0
  const started = performance.now()
  while (performance.now() - started < seconds * 1000) {
    for (let k = 0; k < WINDOW; k += perFlush) {
      for (let i = 0; i < perFlush; i += perMessage) {
        const message = sending.begin(peer)
        sending.segment(message, size)
        for (let j = 0; j < perMessage && sending.append(message, sendAt, size); j++) sent++
      }
      sending.flush()
      while (receiving.receive() > 0);
    }
  }
  const took = performance.now() - started
  const received = receiver.counters.datagramsReceived
  sender.close()
  receiver.close()
  return row(what, sent, received, took)
}

/** Lets the event loop turn until `done`, a second at most: a lost datagram must not hang the
 * bench. */
async function arrival(done: () => boolean): Promise<void> {
  const limit = performance.now() + 1000
  while (!done() && performance.now() < limit) await new Promise((resolve) => setImmediate(resolve))
}

const perMessage = Math.max(1, Math.min(64, Math.floor(65_507 / size)))
const candidates: (() => Row | Promise<Row>)[] = [
  nodeDgram,
  () => friendly('createSocket, one per send()', 1, false),
  () => friendly('createSocket, lists of 256, no offload', 256, false),
  () => friendly('createSocket, lists of 256, GSO and GRO', 256, true),
  () => packetLoop('BatchSocket, one per flush()', 1, 1, false),
  () => packetLoop('BatchSocket, sendmmsg of 64, no offload', 64, 1, false),
  () => {
    const what = `BatchSocket, 8 x ${perMessage} per flush(), GSO and GRO`
    return packetLoop(what, 8 * perMessage, perMessage, true)
  },
]

// Round after round, so that a disturbance of the machine hits all rows alike; the median counts.
const results: Row[][] = candidates.map(() => [])
for (let round = 0; round < ROUNDS; round++) {
  for (const [i, candidate] of candidates.entries()) results[i]!.push(await candidate())
}
for (const rows of results) {
  rows.sort((a, b) => a.datagramsPerSecond - b.datagramsPerSecond)
  const median = rows[ROUNDS >> 1]!
  const lowest = rows[0]!.datagramsPerSecond
  const highest = rows.at(-1)!.datagramsPerSecond
  console.log(JSON.stringify({ size, ...median, lowest, highest, rounds: ROUNDS }))
  const thousands = (rate: number): string => (rate / 1000).toFixed(0)
  const rate = thousands(median.datagramsPerSecond).padStart(6)
  const range = `(${thousands(lowest)}-${thousands(highest)})`.padEnd(14)
  const gigabits = median.gigabitsPerSecond.toFixed(2).padStart(6)
  console.error(`${median.what.padEnd(48)} ${rate} k/s ${range} ${gigabits} Gb/s`)
}
