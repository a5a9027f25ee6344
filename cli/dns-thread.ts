// The node's name server as the rest of the process sees it: a thread with a network namespace of
// its own (dns-worker.ts). Its `namespace` is where the tables put the gateway interfaces.

import { randomInt } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import type { Logger } from '../base/log.ts'
import { RESOLV_CONF_AGE_MS } from '../controlplane/agent/dns/limits.ts'
import type { DnsCounts } from '../controlplane/agent/dns/server.ts'
import { type UpstreamServer, Upstreams, upstreamsOf } from '../controlplane/agent/dns/upstream.ts'
import type { DnsTables } from '../controlplane/agent/dns/zone.ts'
import type { DnsWorkerData, FromDns, ToDns } from './dns-protocol.ts'

export interface DnsOptions {
  /** Where the servers for names outside stand, default /etc/resolv.conf. */
  readonly resolvConf?: string
  readonly log: Logger
  /** Called at most once, when the thread has ended by itself. */
  readonly onFailure: (error: Error) => void
}

export class DnsThread {
  /** Path of the namespace that the gateway interfaces belong to; '' until it has started. */
  namespace = ''
  readonly #options: DnsOptions
  readonly #upstreams: Upstreams
  #worker: Worker | null = null
  #isStopping = false
  #settleCounts: ((counts: DnsCounts) => void)[] = []
  #servers: readonly UpstreamServer[] = []
  #serversReadMs = Number.NEGATIVE_INFINITY
  /** The gateways: the host may well name one of them as its own name server. */
  #own: ReadonlySet<string> = new Set()

  constructor(options: DnsOptions) {
    this.#options = options
    this.#upstreams = new Upstreams(() => this.#readServers())
  }

  /** Starts the thread; rejects with the reason when it may not have a namespace or a socket. */
  async start(): Promise<void> {
    const workerData: DnsWorkerData = { seed: randomInt(2 ** 32 - 1) }
    const worker = new Worker(new URL('./dns-worker.ts', import.meta.url), { workerData })
    this.#worker = worker
    await new Promise<void>((started, fail) => {
      worker.on('message', (message: FromDns) => {
        if (message.kind === 'ready') {
          this.namespace = message.namespace
          started()
        } else if (message.kind === 'failed') fail(new Error(message.message))
        else this.#on(message)
      })
      worker.on('error', (error) => {
        fail(error)
        this.#ended(error)
      })
      worker.on('exit', () => {
        fail(new Error('the name server ended'))
        this.#ended(new Error('the name server ended'))
      })
    })
  }

  /** `gateways`: addresses of ours, never to be asked as a server outside. */
  swap(tables: DnsTables, gateways: readonly string[]): void {
    this.#own = new Set(gateways)
    this.#tell({ kind: 'tables', tables })
  }

  counts(): Promise<DnsCounts> {
    return new Promise((settle) => {
      this.#settleCounts.push(settle)
      this.#tell({ kind: 'counts' })
    })
  }

  async stop(): Promise<void> {
    const worker = this.#worker
    if (worker === null) return
    this.#isStopping = true
    const ended = new Promise<void>((done) => worker.once('exit', () => done()))
    this.#tell({ kind: 'stop' })
    await ended
    this.#worker = null
  }

  #tell(message: ToDns): void {
    this.#worker?.postMessage(message)
  }

  #ended(error: Error): void {
    if (this.#isStopping || this.#worker === null) return
    this.#worker = null
    this.#options.onFailure(error)
  }

  #on(message: FromDns): void {
    if (message.kind === 'counts') this.#settleCounts.shift()?.(message.counts)
    if (message.kind !== 'ask-outside') return
    const { id, query, transport } = message
    void this.#upstreams.ask(query, transport).then((answer) => {
      this.#tell({ kind: 'outside', id, answer })
    })
  }

  #readServers(): readonly UpstreamServer[] {
    const now = performance.now()
    if (now - this.#serversReadMs < RESOLV_CONF_AGE_MS) return this.#servers
    this.#serversReadMs = now
    const path = this.#options.resolvConf ?? '/etc/resolv.conf'
    try {
      this.#servers = upstreamsOf(readFileSync(path, 'utf8'), this.#own)
    } catch (error) {
      this.#options.log.warn('no name servers for names outside', {
        file: path,
        error: (error as Error).message,
      })
      this.#servers = []
    }
    return this.#servers
  }
}
