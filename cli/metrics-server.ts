// The metrics page over HTTP: GET /metrics on one address, loopback unless told otherwise, and
// nothing else. The registry (and prom-client) is loaded by the first scrape; rates are sampled
// from then on until nobody has scraped for RATES_IDLE_MS.
//
// node:http is not imported but asked for: an import evaluates its every export, among them the
// getters that load fetch and WebSocket, which is 9 MB of resident memory for nothing (measured on
// Node 24).

import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { type AddressInfo, isIPv6 } from 'node:net'
import process from 'node:process'
import type * as prom from 'prom-client'
import { parseAddress } from '../dataplane/address.ts'
import { RATE_SAMPLE_MS, RateEstimator } from '../dataplane/rates.ts'
import {
  METRICS_CONNECTIONS_MAX,
  METRICS_HEADER_SIZE_MAX,
  METRICS_HEADER_TIMEOUT_MS,
  METRICS_KEEPALIVE_MS,
  METRICS_REQUEST_TIMEOUT_MS,
  RATES_IDLE_MS,
} from './limits.ts'
import type { MetricsSource } from './metrics-registry.ts'

const { createServer } = process.getBuiltinModule('node:http')

const LOOPBACK = '127.0.0.1'

export interface ListenAddress {
  readonly host: string
  /** 0 = any free port. */
  readonly port: number
}

/** "9323", ":9323" (both on loopback), "0.0.0.0:9323", "[::1]:9323"; null for anything else. */
export function parseListenAddress(text: string): ListenAddress | null {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]:|([0-9.]*):)?(\d{1,5})$/.exec(text)
  if (match === null) return null
  const port = Number(match[3])
  const host = match[1] ?? (match[2] || LOOPBACK)
  const address = parseAddress(host)
  if (address === null || port > 65_535 || isIPv6(host) !== (match[1] !== undefined)) return null
  return { host: address.text, port }
}

export interface MetricsServer {
  /** "http://127.0.0.1:9323/metrics". */
  readonly url: string
  close(): Promise<void>
}

/** Answers one request; `page` makes the text of the metrics. */
async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  page: () => Promise<{ type: string; text: string }>,
): Promise<void> {
  const plain = (status: number, text: string, more: Record<string, string> = {}): void => {
    response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', ...more })
    response.end(`${text}\n`)
  }
  const path = (request.url ?? '').split('?', 1)[0]
  if (path !== '/metrics') return plain(404, 'There is only /metrics.')
  if (request.method !== 'GET') return plain(405, 'Only GET.', { allow: 'GET' })
  try {
    const { type, text } = await page()
    response.writeHead(200, { 'content-type': type, 'cache-control': 'no-store' })
    response.end(text)
  } catch (error) {
    plain(500, error instanceof Error ? error.message : String(error))
  }
}

/** What pages are made from besides the rates, which are kept here. */
type Unrated = Omit<MetricsSource, 'rates' | 'totals'>

/** Makes pages, and keeps the rates up to date while pages are asked for. */
class Pages {
  private readonly source: Unrated
  private readonly rates: RateEstimator
  private readonly totals: RateEstimator
  private registry: prom.Registry | null = null
  private timer: NodeJS.Timeout | null = null
  private askedMs = 0

  constructor(source: Unrated) {
    this.source = source
    this.rates = new RateEstimator(new Float64Array(source.engine.counters))
    this.totals = new RateEstimator(new Float64Array(source.engine.statistics))
  }

  async page(): Promise<{ type: string; text: string }> {
    const { metricsRegistry, RATED_TOTALS, ratedCells } = await import('./metrics-registry.ts')
    const { rates, totals } = this
    this.registry ??= metricsRegistry({ ...this.source, rates, totals })
    this.askedMs = performance.now()
    if (this.timer === null) {
      const sample = (): void => {
        const nowMs = performance.now()
        if (nowMs - this.askedMs > RATES_IDLE_MS) this.stop()
        else {
          rates.sample(ratedCells(this.source.engine.counterRows()), nowMs)
          totals.sample(RATED_TOTALS, nowMs)
        }
      }
      sample()
      this.timer = setInterval(sample, RATE_SAMPLE_MS).unref()
    }
    const text = await this.registry.metrics()
    return { type: this.registry.contentType, text: text + ((await this.source.more?.()) ?? '') }
  }

  stop(): void {
    if (this.timer !== null) clearInterval(this.timer)
    this.timer = null
  }
}

function listen(server: Server, { host, port }: ListenAddress): Promise<void> {
  return new Promise((done, fail) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const where = isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`
      const reason =
        {
          EADDRINUSE: 'another process listens there',
          EADDRNOTAVAIL: 'this machine does not have the address',
          EACCES: 'no permission; ports below 1024 need CAP_NET_BIND_SERVICE',
        }[error.code ?? ''] ?? error.message
      fail(new Error(`cannot serve metrics on ${where}: ${reason}`))
    })
    server.listen({ host, port, exclusive: true }, () => {
      server.removeAllListeners('error')
      done()
    })
  })
}

/** Serves the metrics page. Rejects with a sentence when the address cannot be had. */
export async function serveMetrics(
  address: ListenAddress,
  source: Unrated,
): Promise<MetricsServer> {
  const pages = new Pages(source)
  const server = createServer(
    {
      maxHeaderSize: METRICS_HEADER_SIZE_MAX,
      headersTimeout: METRICS_HEADER_TIMEOUT_MS,
      requestTimeout: METRICS_REQUEST_TIMEOUT_MS,
      keepAliveTimeout: METRICS_KEEPALIVE_MS,
    },
    (request, response) => {
      // A body is of no use; it is read away so that the connection can go on.
      request.resume()
      void answer(request, response, () => pages.page())
    },
  )
  server.maxConnections = METRICS_CONNECTIONS_MAX
  await listen(server, address)
  // What goes wrong with one connection is that connection's end.
  server.on('clientError', (_error, socket) => socket.destroy())
  const { port } = server.address() as AddressInfo
  const host = isIPv6(address.host) ? `[${address.host}]` : address.host
  return {
    url: `http://${host}:${port}/metrics`,
    close: () =>
      new Promise((done) => {
        pages.stop()
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
}
