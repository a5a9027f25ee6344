// weft demo [--once]: a cluster of three nodes, a client, a stack of three services on two
// encrypted networks, on one machine, without privileges, without Docker (demo/scene.ts draws it).
//
// The program runs twice. The inner half (demo/inner.ts) is inside the lab's namespaces and has
// everything that weft does. The outer half, here, stays on the machine: it has the terminal's
// keys, serves the agents' metrics on the machine's loopback, and makes sure that nothing is left.
// Whatever happens to it, the namespaces and all in them go with it (lab/enter.ts).

import type { ChildProcess } from 'node:child_process'
import { createServer, get, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import process from 'node:process'
import { runInner } from './demo/inner.ts'
import { SCRAPE_TIMEOUT_MS, STOP_TIMEOUT_MS } from './demo/limits.ts'
import type { ToInner, ToOuter } from './demo/messages.ts'
import { UsageError } from './exit.ts'
import { insideLab, labObstacle, spawnInLab } from './lab/enter.ts'
import { parseArguments } from './verb.ts'

export const usage: string = `usage: weft demo [--once]

Shows weft on this machine: a swarm of three nodes and a client in namespaces of
their own, a stack of three services on two encrypted networks, with published
ports. Needs no privileges. Keys "q" and Ctrl-C end it.

  --once   Run the checks and print a line for each; status 0 or 1
  -h, --help
`

class Outer {
  readonly #inner: ChildProcess
  readonly #terminal: boolean
  readonly #scrapes = new Map<number, ServerResponse>()
  #nextScrape = 1
  readonly #server: Server
  #failure: string | undefined
  #stopping = false

  constructor(terminal: boolean) {
    this.#terminal = terminal
    this.#inner = spawnInLab()
    this.#server = createServer((request, response) => {
      if (request.method === 'GET' && request.url === '/metrics') this.#scrape(response)
      else response.writeHead(404).end('only GET /metrics\n')
    })
  }

  async run(): Promise<number> {
    const over = new Promise<number>((resolve) => {
      this.#inner.on('close', (code) => resolve(code ?? 1))
      this.#inner.on('error', () => resolve(1))
    })
    const server = this.#server
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    this.#inner.on('message', (message: ToOuter) => this.#heard(message))
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => this.#stop())
    }
    this.#takeTerminal()
    try {
      return await over
    } finally {
      this.#giveTerminal()
      server.close()
      server.closeAllConnections()
      if (this.#failure !== undefined) process.stderr.write(`weft demo: ${this.#failure}\n`)
    }
  }

  get #url(): string {
    const { port } = this.#server.address() as AddressInfo
    return `http://127.0.0.1:${port}/metrics`
  }

  #tell(message: ToInner): void {
    if (this.#inner.connected) this.#inner.send(message)
  }

  #stop(): void {
    this.#tell({ kind: 'stop' })
    if (this.#stopping) return
    this.#stopping = true
    // An inner half that does not end in time is killed, and the kernel ends all that it had.
    setTimeout(() => this.#inner.kill('SIGKILL'), STOP_TIMEOUT_MS).unref()
  }

  #heard(message: ToOuter): void {
    if (message.kind === 'ready') {
      this.#tell({ kind: 'hello', metricsUrl: this.#url, terminal: this.#terminal })
    } else if (message.kind === 'scraped') {
      const response = this.#scrapes.get(message.id)
      this.#scrapes.delete(message.id)
      response?.setHeader('content-type', 'text/plain; version=0.0.4; charset=utf-8')
      response?.end(message.text)
    } else if (message.kind === 'failed') {
      this.#failure = message.sentence
    } else {
      this.#fetch()
    }
  }

  #scrape(response: ServerResponse): void {
    const id = this.#nextScrape++
    this.#scrapes.set(id, response)
    response.on('close', () => this.#scrapes.delete(id))
    response.setTimeout(2 * SCRAPE_TIMEOUT_MS, () => response.destroy())
    this.#tell({ kind: 'scrape', id })
  }

  /** Fetches the URL as anybody on the machine would. */
  #fetch(): void {
    const failed = (error: Error): void => {
      this.#tell({ kind: 'fetched', text: '', error: error.message })
    }
    get(this.#url, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (piece: string) => {
        text += piece
      })
      response.on('end', () => this.#tell({ kind: 'fetched', text }))
      response.on('error', failed)
    }).on('error', failed)
  }

  #takeTerminal(): void {
    if (!this.#terminal) return
    // The alternate screen, cursor hidden: what stood in the terminal comes back in the end.
    process.stdout.write('\x1b[?1049h\x1b[?25l\x1b[H\x1b[J')
    if (!process.stdin.isTTY) return
    process.stdin.setRawMode(true)
    process.stdin.setEncoding('utf8').on('data', (keys: string) => {
      for (const key of keys) {
        if (key === 'q' || key === '\x03' || key === '\x04') this.#stop()
        else this.#tell({ kind: 'key', key })
      }
    })
  }

  #giveTerminal(): void {
    if (!this.#terminal) return
    process.stdout.write('\x1b[?25h\x1b[?1049l')
    if (process.stdin.isTTY) process.stdin.setRawMode(false)
    process.stdin.pause()
  }
}

/** The verb `demo`; returns the exit status. */
export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArguments(args, { once: { type: 'boolean' } })
  if (positionals.length > 0) throw new UsageError('takes no arguments but --once')
  const once = values.once === true
  // The channel to the outer half would keep this half alive.
  if (insideLab()) process.exit(await runInner(once))
  const obstacle = labObstacle()
  if (obstacle !== undefined) {
    process.stderr.write(`weft demo: ${obstacle}\n`)
    return 1
  }
  return new Outer(!once && process.stdout.isTTY === true).run()
}
