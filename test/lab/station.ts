// A station: a thread inside a host's or a container's namespace (as cli/lab/probe.ts is) that
// plays both ends of a conversation. Its servers say who they are and whom they see; its
// connections are held as long as a test wants, and every way in which one can end is told by its
// error code. It does not depend on any agent, so it stays while an agent is killed.
//
// What a TCP server says first is its Greeting; what follows is echoed, until the client asks for a
// bulk transfer (station-worker.ts). What a UDP server answers is the Greeting with the datagram's
// digest.

import { Worker } from 'node:worker_threads'
import type { Host } from '../../cli/lab/host.ts'

/** Who answered, and whom it saw. */
export interface Greeting {
  readonly name: string
  /** The client's address and port as the server saw them. */
  readonly peer: string
  readonly peerPort: number
  /** The server's own address and port of this conversation. */
  readonly local: string
  readonly localPort: number
}

/** What a UDP server answers. */
export interface Reply extends Greeting {
  /** Size and SHA-256 of what came. */
  readonly size: number
  readonly digest: string
  /** Where the answer came from, as the client saw it. */
  readonly from: string
  readonly fromPort: number
}

/** An error code such as ECONNREFUSED or ETIMEDOUT instead of an answer. */
export interface Failure {
  readonly error: string
  /** Milliseconds until it was there. */
  readonly afterMs: number
}

export interface Bulk {
  /** The server that carried it. */
  readonly name: string
  /** Both ends computed the digest that they should have. */
  readonly intact: boolean
}

/** One connection of a server, as it stands. */
export interface Served {
  readonly peer: string
  readonly peerPort: number
  /** 'open', 'end' or an error code. */
  readonly state: string
  /** The PROXY header that came first, in hexadecimal digits; '' until all of it is there. */
  readonly header: string
}

export interface CallOptions {
  /** Milliseconds until ETIMEDOUT, default 3000. */
  readonly timeoutMs?: number
  /** Port to call from; default any. */
  readonly localPort?: number
  /** Address to call from; default as the kernel chooses. */
  readonly localAddress?: string
}

/** What the thread is asked, by operation: [arguments, answer]. */
export interface StationCalls {
  serveTcp: [{ port: number; proxied?: boolean }, null]
  serveUdp: [{ port: number; family: 4 | 6 }, null]
  unserve: [{ port: number }, null]
  served: [{ port: number }, Served[]]
  connect: [{ address: string; port: number } & CallOptions, { id: number; greeting: Greeting }]
  say: [{ id: number; text: string; timeoutMs: number }, string]
  ended: [{ id: number; timeoutMs: number }, string]
  close: [{ id: number }, null]
  bulk: [{ address: string; port: number; up: number; down: number; timeoutMs: number }, Bulk]
  open: [{ address: string; port: number; family: 4 | 6; connected: boolean }, { id: number }]
  ask: [{ id: number; size: number; timeoutMs: number }, Reply]
}

export interface StationRequest {
  readonly id: number
  readonly kind: keyof StationCalls
  readonly args: unknown
}

export type StationAnswer = { readonly id: number; readonly ms: number } & (
  | { readonly value: unknown }
  | { readonly error: string }
)

const TIMEOUT_MS = 3000

/** A TCP connection that a station holds. */
export class Call {
  readonly greeting: Greeting
  readonly #station: Station
  readonly #id: number

  constructor(station: Station, id: number, greeting: Greeting) {
    this.#station = station
    this.#id = id
    this.greeting = greeting
  }

  /** Sends a line and waits for its echo. Throws with the code of what happened instead. */
  say(text: string, timeoutMs: number = TIMEOUT_MS): Promise<string> {
    return this.#station.must('say', { id: this.#id, text, timeoutMs })
  }

  /** How it ended: 'end' or an error code; ETIMEDOUT as error when it has not within the time. */
  ended(timeoutMs: number = TIMEOUT_MS): Promise<string> {
    return this.#station.must('ended', { id: this.#id, timeoutMs })
  }

  async close(): Promise<void> {
    await this.#station.must('close', { id: this.#id })
  }
}

/** A UDP socket that a station holds: every datagram of it is one flow. */
export class Talk {
  readonly #station: Station
  readonly #id: number

  constructor(station: Station, id: number) {
    this.#station = station
    this.#id = id
  }

  ask(size = 16, timeoutMs: number = TIMEOUT_MS): Promise<Reply | Failure> {
    return this.#station.call('ask', { id: this.#id, size, timeoutMs })
  }

  async close(): Promise<void> {
    await this.#station.must('close', { id: this.#id })
  }
}

export class Station {
  readonly name: string
  readonly #worker: Worker
  readonly #waiting = new Map<number, (answer: StationAnswer) => void>()
  #nextId = 1

  constructor(host: Host) {
    this.name = host.name
    this.#worker = new Worker(new URL('./station-worker.ts', import.meta.url), {
      workerData: { netns: host.netns, name: host.name },
      execArgv: ['--disable-warning=ExperimentalWarning'],
    })
    this.#worker.on('message', (answer: StationAnswer) => {
      this.#waiting.get(answer.id)?.(answer)
      this.#waiting.delete(answer.id)
    })
  }

  async #send(kind: keyof StationCalls, args: unknown): Promise<StationAnswer> {
    const id = this.#nextId++
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve)
      this.#worker.postMessage({ id, kind, args } satisfies StationRequest)
    })
  }

  /** Asks the thread; a failure is an answer too. */
  async call<K extends keyof StationCalls>(
    kind: K,
    args: StationCalls[K][0],
  ): Promise<StationCalls[K][1] | Failure> {
    const answer = await this.#send(kind, args)
    if ('error' in answer) return { error: answer.error, afterMs: answer.ms }
    return answer.value as StationCalls[K][1]
  }

  async must<K extends keyof StationCalls>(
    kind: K,
    args: StationCalls[K][0],
  ): Promise<StationCalls[K][1]> {
    const answer = await this.#send(kind, args)
    if ('error' in answer) {
      throw new Error(`${this.name}: ${kind} ${JSON.stringify(args)}: ${answer.error}`)
    }
    return answer.value as StationCalls[K][1]
  }

  /** Serves TCP and UDP (IPv4 and IPv6) on a port of every address. */
  async serve(port: number): Promise<void> {
    await this.must('serveTcp', { port })
    await this.must('serveUdp', { port, family: 4 })
    await this.must('serveUdp', { port, family: 6 })
  }

  /** Serves TCP on a port where every connection begins with a PROXY header. The greeting does not
   * wait for it. */
  async serveProxied(port: number): Promise<void> {
    await this.must('serveTcp', { port, proxied: true })
  }

  /** Connects and returns who answered; the connection is held. Throws with the code. */
  async connect(address: string, port: number, options: CallOptions = {}): Promise<Call> {
    const { id, greeting } = await this.must('connect', { address, port, ...options })
    return new Call(this, id, greeting)
  }

  /** Connects, reads who answered, closes. */
  async who(address: string, port: number, options: CallOptions = {}): Promise<Greeting | Failure> {
    const answer = await this.call('connect', { address, port, ...options })
    if ('error' in answer) return answer
    await this.must('close', { id: answer.id })
    return answer.greeting
  }

  /** A UDP socket for one destination. `connected` = errors are told and only it is heard. */
  async talk(address: string, port: number, connected = true): Promise<Talk> {
    const family = address.includes(':') ? 6 : 4
    const { id } = await this.must('open', { address, port, family, connected })
    return new Talk(this, id)
  }

  /** One datagram of a flow of its own. */
  async ask(
    address: string,
    port: number,
    options: { size?: number; timeoutMs?: number; connected?: boolean } = {},
  ): Promise<Reply | Failure> {
    const talk = await this.talk(address, port, options.connected ?? true)
    const reply = await talk.ask(options.size, options.timeoutMs)
    await talk.close()
    return reply
  }

  /** Sends and receives at once over one connection; both directions are checked by digest. */
  bulk(
    address: string,
    port: number,
    bytes: { up: number; down: number; timeoutMs?: number },
  ): Promise<Bulk | Failure> {
    return this.call('bulk', { address, port, timeoutMs: 30_000, ...bytes })
  }

  /** Names that answered `count` connections made one after another, with how often each did. */
  async tally(address: string, port: number, count: number): Promise<Record<string, number>> {
    const names: string[] = []
    for (let i = 0; i < count; i++) names.push(nameOf(await this.who(address, port)))
    return countOf(names)
  }

  /** The same for UDP flows. Their sockets stay open to the end: a port that the kernel gave twice
   * would be the same flow again. */
  async tallyUdp(address: string, port: number, count: number): Promise<Record<string, number>> {
    const talks: Talk[] = []
    const names: string[] = []
    for (let i = 0; i < count; i++) {
      const talk = await this.talk(address, port)
      talks.push(talk)
      names.push(nameOf(await talk.ask()))
    }
    for (const talk of talks) await talk.close()
    return countOf(names)
  }

  async stop(): Promise<void> {
    await this.#worker.terminate()
  }
}

/** Who answered, or the error's code. */
export function nameOf(answer: Greeting | Failure): string {
  return 'error' in answer ? answer.error : answer.name
}

/** How often each name occurs. */
export function countOf(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}
