// The data plane as the node's agent uses it: the packet loop and the name server, fed from the
// same assignment. Both start with the first tables; a machine on which one of them cannot be had
// (no /dev/net/tun, no right to make a namespace) still is a node, and the log says what it lacks.

import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from '../../base/log.ts'
import type { DnsCounts } from '../../controlplane/agent/dns/server.ts'
import type { DnsTables } from '../../controlplane/agent/dns/zone.ts'
import type { ClusterFacts } from '../../controlplane/agent/item-cache.ts'
import type { AgentDataPlane } from '../../controlplane/agent/node-agent.ts'
import type { PeerTraffic } from '../../controlplane/agent/peer-liveness.ts'
import { TablesRefused } from '../../controlplane/agent/tables-sync.ts'
import type { NodeTunnel } from '../../controlplane/store/objects.ts'
import { compileTables } from '../../dataplane/compile.ts'
import { RX_PACKETS, TX_PACKETS } from '../../dataplane/counters.ts'
import type { EngineEnd } from '../../dataplane/engine-handle.ts'
import type { ForwardingTables, LocalInterface, LocalNode } from '../../dataplane/tables.ts'
import { validateTables } from '../../dataplane/validate.ts'
import { SCHEDULERS } from '../compose.ts'
import { DnsThread } from '../dns-thread.ts'
import { joinAddress } from './addresses.ts'
import { AwaitedNames } from './awaited-names.ts'
import type { NodeEngine } from './node-engine.ts'

/** Characters of a network's id in the name of its gateway's device. */
const ID_LENGTH = 11

/** How long a scrape waits for the name server's counts. */
const DNS_COUNTS_MS = 500

export interface DataPlaneOptions {
  readonly nodeId: string
  /** Base64. */
  readonly privateKey: string
  readonly publicKey: string
  readonly dataPathHost: string
  readonly zone: string
  /** Other nodes cannot call this one. */
  readonly isBehindNat: boolean
  /** Addresses of this host at which published ports answer. */
  readonly addresses: () => readonly string[]
  readonly log: Logger
}

export class NodeDataPlane implements AgentDataPlane {
  readonly #options: DataPlaneOptions
  readonly #engine: NodeEngine
  readonly #cells: Float64Array
  #dns: DnsThread | null = null
  #names: DnsTables = { networks: [], clients: [] }
  #gateways: readonly string[] = []
  #port = 0
  #places: readonly { readonly nodeId: string; readonly endpoint: string }[] = []
  #starting: Promise<void> = Promise.resolve()
  /** Interfaces that the packet loop has made for a container engine to take. */
  readonly #devices = new AwaitedNames()

  constructor(options: DataPlaneOptions, engine: NodeEngine) {
    this.#options = options
    this.#engine = engine
    this.#cells = new Float64Array(engine.counters)
  }

  /** Starts the name server, which takes longer than a node needs to join; `onReady` is called when
   * there are gateway interfaces. */
  start(onReady: () => void): void {
    this.#starting = this.#startNames().then(onReady)
  }

  async #startNames(): Promise<void> {
    const { log } = this.#options
    const dns = new DnsThread({
      log,
      onFailure: (error) => {
        log.error('the name server has failed', { error: error.message })
        this.#dns = null
      },
    })
    try {
      await dns.start()
      this.#dns = dns
    } catch (error) {
      log.warn('no name server for containers', { error: (error as Error).message })
      await dns.stop().catch(() => {})
    }
  }

  /** What the name server has done so far; null where there is none, or it does not answer. */
  async nameCounts(): Promise<DnsCounts | null> {
    const dns = this.#dns
    if (dns === null) return null
    return Promise.race([dns.counts(), sleep(DNS_COUNTS_MS, null, { ref: false })])
  }

  async stop(end: EngineEnd): Promise<void> {
    await this.#engine.stop(end)
    await this.#starting
    await this.#dns?.stop()
    this.#dns = null
  }

  /** The port of the cluster is known. */
  usePort(port: number): void {
    if (port > 0) this.#port = port
  }

  tunnel(): NodeTunnel | null {
    const { publicKey, dataPathHost, zone, isBehindNat } = this.#options
    const isUnknown = isBehindNat || this.#port === 0
    const endpoint = isUnknown ? null : joinAddress(dataPathHost, this.#port)
    return { publicKey, endpoint, ...(zone === '' ? {} : { zone }) }
  }

  localNode({ tunnelKeys, dataPathPort }: ClusterFacts): LocalNode {
    const { nodeId, privateKey, zone, addresses } = this.#options
    return {
      name: nodeId,
      listenPort: dataPathPort,
      privateKey,
      ...(tunnelKeys.length === 0 ? {} : { presharedKeys: tunnelKeys }),
      addresses: addresses(),
      ...(zone === '' ? {} : { zone }),
    }
  }

  async apply(tables: ForwardingTables): Promise<void> {
    // No manager has said anything yet.
    if (tables.node.listenPort === 0) return
    const checked = validateTables(tables, { schedulers: SCHEDULERS })
    if (checked.tables === null) throw new TablesRefused(checked.problems)
    await this.#engine.apply(compileTables(checked.tables, { privateKey: null }))
    this.#devices.replace(handedOver(tables))
    this.#gateways = tables.networks.flatMap(({ gateways }) => gateways ?? [])
    this.#dns?.swap(this.#names, this.#gateways)
  }

  /** Waits until the tables in force have an interface of this name, made and configured; false
   * when they have not within `limitMs`. */
  made(device: string, limitMs: number): Promise<boolean> {
    return this.#devices.has(device, limitMs)
  }

  useNames(names: DnsTables): void {
    this.#names = names
    this.#dns?.swap(names, this.#gateways)
  }

  async flows(endpoints: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const counted = await Promise.all(
      endpoints.map(async (endpoint): Promise<[string, number]> => {
        const { flows } = await this.#engine.ask('drain', { endpoint })
        return [endpoint, flows]
      }),
    )
    return new Map(counted)
  }

  *traffic(): Generator<PeerTraffic> {
    for (const { kind, name, row } of this.#engine.counterRows()) {
      if (kind !== 'peer') continue
      const received = this.#cells[row + RX_PACKETS]!
      yield { nodeId: name, received, sent: this.#cells[row + TX_PACKETS]! }
    }
  }

  knock(nodeIds: readonly string[], anew: readonly string[]): void {
    this.#engine.ask('knock', { peers: nodeIds, anew }).catch(() => {})
  }

  /** As of the last call: the packet loop answers when it has a moment. */
  seen(): Iterable<{ readonly nodeId: string; readonly endpoint: string }> {
    this.#engine.ask('peers', null).then(
      (places) => {
        this.#places = places.map(({ name, endpoint }) => ({ nodeId: name, endpoint }))
      },
      () => {},
    )
    return this.#places
  }

  gatewayInterface(networkId: string): LocalInterface | null {
    const netns = this.#dns?.namespace ?? ''
    return netns === '' ? null : { netns, name: `weft${networkId.slice(0, ID_LENGTH)}` }
  }
}

function handedOver({ endpoints }: ForwardingTables): string[] {
  return endpoints.flatMap(({ interface: place }) => {
    return place?.handedOver === true ? [place.name] : []
  })
}
