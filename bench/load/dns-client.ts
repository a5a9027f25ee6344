// Asks a name server, and tells how long its answers took. Prints one JSON object.
//
//   node dns-client.ts SERVER NAME SECONDS [RATE] [PORT]
//
// Without RATE, or with 0, as fast as it answers: UNDER_WAY questions at a time per socket, each
// followed by the next when its answer comes. That finds the ceiling; whatever shares the cores
// is then at its own, and the times are those of waiting for each other. With RATE, so many
// questions a second, whether or not answers come: that finds the times at a rate.

import process from 'node:process'
import { createSocket, type Socket } from 'dgram-plus'

const SOCKETS = 4
/** Per socket. As many wait in a queue somewhere, and each for all before it: with 64 at a time a
 * server of 20,000 answers a second takes 3.2 ms for each, however it works. */
const UNDER_WAY = 4
/** A question that was not answered by then is lost. Without RATE, another takes its place. */
const LOST_MS = 1_000
const TICK_MS = 1
/** Questions per socket at a tick, should one come late: no burst that no resolver sends. */
const BURST_MAX = 16
/** Per socket: more than may be on their way out of it. */
const PACKETS = 64

const [server = '127.0.0.1', name = 'web', seconds = '5', rate = '0', port = '53'] =
  process.argv.slice(2)
const times: number[] = []
let lost = 0
let isOver = false

/** A question for the A record of `name` (RFC 1035 section 4). */
function question(): Buffer {
  const header = Buffer.from([0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
  const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)])
  return Buffer.concat([header, Buffer.from([...labels, 0, 0, 1, 0, 1])])
}

/** The questions of one socket, by their ids; an id is used again after all others. */
class Questions {
  readonly #socket: Socket
  /** When each was asked; 0 = not under way. */
  readonly #asked = new Float64Array(0x1_0000)
  readonly #packets = Array.from({ length: PACKETS }, () => question())
  #next = 0
  #due: Buffer[] = []

  constructor(socket: Socket, onAnswer: () => void) {
    this.#socket = socket
    socket.on('messages', (answers) => {
      for (const { data } of answers) if (this.#take(data)) onAnswer()
      this.send()
    })
  }

  ask(): void {
    const id = this.#next
    this.#next = (id + 1) & 0xffff
    if (this.#asked[id] !== 0) lost++
    this.#asked[id] = performance.now()
    const packet = this.#packets[id % PACKETS]!
    packet.writeUInt16BE(id, 0)
    this.#due.push(packet)
  }

  send(): void {
    if (!isOver && this.#due.length > 0) this.#socket.send(this.#due, Number(port), server)
    this.#due = []
  }

  /** How many are lost since the last call. */
  sweep(): number {
    const beforeMs = performance.now() - LOST_MS
    let count = 0
    for (let id = 0; id < this.#asked.length; id++) {
      if (this.#asked[id] === 0 || this.#asked[id]! > beforeMs) continue
      this.#asked[id] = 0
      count++
    }
    lost += count
    return count
  }

  /** False for an answer that nobody waits for. */
  #take(answer: Buffer): boolean {
    const id = answer.readUInt16BE(0)
    const askedMs = this.#asked[id]!
    if (askedMs === 0) return false
    this.#asked[id] = 0
    // An answer with at least one record and no error.
    if ((answer[3]! & 0xf) !== 0 || answer.readUInt16BE(6) === 0) lost++
    else times.push(performance.now() - askedMs)
    return true
  }
}

/** One question after the other. */
function askOn(socket: Socket): void {
  const questions = new Questions(socket, () => questions.ask())
  const sweep = (): void => {
    for (let count = questions.sweep(); count > 0; count--) questions.ask()
    questions.send()
  }
  setInterval(sweep, LOST_MS / 4).unref()
  for (let n = 0; n < UNDER_WAY; n++) questions.ask()
  questions.send()
}

/** So many a second. */
function askAtRate(socket: Socket, perSecond: number): void {
  const questions = new Questions(socket, () => {})
  setInterval(() => questions.sweep(), LOST_MS / 4).unref()
  let sinceMs = performance.now()
  setInterval(() => {
    const nowMs = performance.now()
    const due = Math.floor(((nowMs - sinceMs) * perSecond) / 1000)
    sinceMs += (due * 1000) / perSecond
    for (let n = Math.min(due, BURST_MAX); n > 0; n--) questions.ask()
    questions.send()
  }, TICK_MS).unref()
}

const startMs = performance.now()
for (let n = 0; n < SOCKETS; n++) {
  const socket = await createSocket({ borrow: true })
  if (Number(rate) > 0) askAtRate(socket, Number(rate) / SOCKETS)
  else askOn(socket)
}
setTimeout(() => {
  isOver = true
  const tookS = (performance.now() - startMs) / 1000
  times.sort((a, b) => a - b)
  const p99Ms = times[Math.floor(times.length * 0.99)] ?? 0
  const p50Ms = times[Math.floor(times.length * 0.5)] ?? 0
  const report = { perSecond: times.length / tookS, p50Ms, p99Ms, lost }
  process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0))
}, Number(seconds) * 1000)
