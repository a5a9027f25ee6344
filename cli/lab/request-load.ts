// A client of the lab that asks at a steady rate and tells what failed.
//
//   node request-load.ts '{"targets":["192.168.10.1:8080"],"perSecond":500,"keepAlive":0}'
//
// The rate does not depend on the answers: a slow server does not make it ask less. With
// `keepAlive` n, requests go over n connections that are used again for as long as the server
// leaves them open; otherwise each has its own. It asks until SIGTERM, waits for the answers under
// way, and prints one JSON object. A request has failed when there is no whole answer with status
// 200 within `timeoutMs`, whatever the reason; none is tried again.

import { connect, type Socket } from 'node:net'
import process from 'node:process'

const TIMEOUT_MS = 5_000
const TICK_MS = 4
/** Failures that are told one by one. */
const FAILURES_TOLD = 2_000
/** Requests under way; more would not be a load but a leak. */
const OPEN_MAX = 4_000

export interface LoadOrder {
  /** "address:port", asked in turn. */
  readonly targets: readonly string[]
  readonly perSecond: number
  /** Connections kept per load; 0 = one for each request. */
  readonly keepAlive: number
  /** Milliseconds until a request has failed; default TIMEOUT_MS. */
  readonly timeoutMs?: number
}

export interface LoadReport {
  readonly asked: number
  readonly answered: number
  readonly failed: number
  readonly failures: readonly {
    readonly atMs: number
    readonly target: string
    readonly why: string
  }[]
  /** Who answered how often, by the first word of the answer. */
  readonly by: Readonly<Record<string, number>>
  readonly seconds: number
  /** By the clock on the wall; `atMs` counts from here. */
  readonly startMs: number
}

class Load {
  readonly #order: LoadOrder
  readonly #failures: { atMs: number; target: string; why: string }[] = []
  readonly #by = new Map<string, number>()
  readonly #idle: Kept[] = []
  readonly #startMs = performance.now()
  readonly #startWallMs = Date.now()
  #asked = 0
  #answered = 0
  #failed = 0
  #open = 0

  constructor(order: LoadOrder) {
    this.#order = order
  }

  /** Asks what is due by now. */
  tick(): void {
    const due = ((performance.now() - this.#startMs) / 1000) * this.#order.perSecond
    while (this.#asked < due) {
      const target = this.#order.targets[this.#asked % this.#order.targets.length]!
      this.#asked++
      if (this.#open >= OPEN_MAX) this.#fail(target, 'too many requests are under way')
      else this.#ask(target)
    }
  }

  async finish(): Promise<LoadReport> {
    const endMs = performance.now() + this.#timeoutMs + 500
    while (this.#open > 0 && performance.now() < endMs) {
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    return {
      asked: this.#asked,
      answered: this.#answered,
      failed: this.#failed,
      failures: this.#failures,
      by: Object.fromEntries(this.#by),
      seconds: (performance.now() - this.#startMs) / 1000,
      startMs: this.#startWallMs,
    }
  }

  #ask(target: string): void {
    this.#open++
    const { keepAlive } = this.#order
    const kept = keepAlive > 0 && this.#idle.length >= keepAlive ? this.#takeIdle() : null
    const connection = kept ?? new Kept(target, this.#timeoutMs)
    connection.ask(keepAlive > 0, (why, body) => {
      this.#open--
      if (why === null) this.#answer(body)
      else this.#fail(connection.target, why)
      if (connection.isUsable) this.#idle.push(connection)
    })
  }

  get #timeoutMs(): number {
    return this.#order.timeoutMs ?? TIMEOUT_MS
  }

  #takeIdle(): Kept | null {
    for (let one = this.#idle.shift(); one !== undefined; one = this.#idle.shift()) {
      if (one.isUsable) return one
    }
    return null
  }

  #answer(body: string): void {
    this.#answered++
    const who = body.split(' ', 1)[0] ?? ''
    this.#by.set(who, (this.#by.get(who) ?? 0) + 1)
  }

  #fail(target: string, why: string): void {
    this.#failed++
    const atMs = Math.round(performance.now() - this.#startMs)
    if (this.#failures.length < FAILURES_TOLD) this.#failures.push({ atMs, target, why })
  }
}

type Told = (why: string | null, body: string) => void

/** One connection. */
class Kept {
  readonly target: string
  readonly #socket: Socket
  readonly #timeoutMs: number
  #text = ''
  #told: Told | null = null
  #deadline: NodeJS.Timeout | undefined
  #requests = 0
  #isConnected = false
  isUsable = true

  constructor(target: string, timeoutMs: number) {
    this.target = target
    this.#timeoutMs = timeoutMs
    const [, host, port] = /^\[?([^\]]*?)\]?:(\d+)$/.exec(target)!
    this.#socket = connect({ host: host!, port: Number(port) })
    this.#socket.setNoDelay(true)
    this.#socket.setEncoding('latin1')
    this.#socket.on('connect', () => {
      this.#isConnected = true
    })
    this.#socket.on('data', (text: string) => this.#take(text))
    this.#socket.on('error', (error: NodeJS.ErrnoException) => this.#end(error.code ?? 'error'))
    this.#socket.on('close', () => this.#end('closed without an answer'))
    this.#socket.on('end', () => {
      this.isUsable = false
    })
  }

  ask(keep: boolean, told: Told): void {
    this.#told = told
    this.#text = ''
    this.#requests++
    this.#deadline = setTimeout(() => this.#end('timeout'), this.#timeoutMs)
    const end = keep ? '' : 'connection: close\r\n'
    this.#socket.write(`GET / HTTP/1.1\r\nhost: lab\r\n${end}\r\n`)
  }

  #take(text: string): void {
    this.#text += text
    const end = this.#text.indexOf('\r\n\r\n')
    if (end < 0) return
    const head = this.#text.slice(0, end).toLowerCase()
    const length = Number(/content-length: (\d+)/.exec(head)?.[1] ?? 0)
    if (this.#text.length < end + 4 + length) return
    if (/\r\nconnection: close/.test(`\r\n${head}`)) this.isUsable = false
    const why = head.startsWith('http/1.1 200') ? null : head.split('\r\n', 1)[0]!
    this.#tell(why, this.#text.slice(end + 4))
    if (!this.isUsable) this.#socket.end()
  }

  #tell(why: string | null, body: string): void {
    clearTimeout(this.#deadline)
    const told = this.#told
    this.#told = null
    told?.(why, body)
  }

  #end(why: string): void {
    this.isUsable = false
    const where = this.#isConnected ? `after ${this.#requests - 1} answers` : 'while connecting'
    const from = this.#socket.localPort === undefined ? '' : ` from port ${this.#socket.localPort}`
    this.#tell(`${why} ${where}${from}`, '')
    this.#socket.destroy()
  }
}

function main(): void {
  const load = new Load(JSON.parse(process.argv[2]!) as LoadOrder)
  const timer = setInterval(() => load.tick(), TICK_MS)
  process.stdout.write('asking\n')
  process.once('SIGTERM', async () => {
    clearInterval(timer)
    process.stdout.write(`${JSON.stringify(await load.finish())}\n`, () => process.exit(0))
  })
}

if (import.meta.main) main()
