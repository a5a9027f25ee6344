// The packet loop as the node's agent uses it (controlplane/agent/node-agent.ts, AgentDataPlane):
// tables in, flows and counters out. The first tables start the engine, later ones are swapped in.

import type { AgentDataPlane } from '../controlplane/agent/node-agent.ts'
import type { PeerTraffic } from '../controlplane/agent/peer-liveness.ts'
import { TablesRefused } from '../controlplane/agent/tables-sync.ts'
import type { NodeTunnel } from '../controlplane/store/objects.ts'
import { compileTables } from '../dataplane/compile.ts'
import { RX_PACKETS, TX_PACKETS } from '../dataplane/counters.ts'
import type { EngineHandle, EngineOptions } from '../dataplane/engine-handle.ts'
import type { ForwardingTables, LocalInterface, LocalNode } from '../dataplane/tables.ts'
import { validateTables } from '../dataplane/validate.ts'

export interface EngineDataPlaneOptions {
  readonly nodeId: string
  readonly engine: EngineOptions
  readonly schedulers: readonly string[]
  /** X25519 private key of the node, base64. */
  readonly privateKey: string
  /** What the node registers; its endpoint null behind NAT. */
  readonly tunnel: NodeTunnel
  /** Address to bind, default every one. */
  readonly listenAddress?: string
  /** Port where the cluster names none (0). */
  readonly defaultPort: number
  /** Addresses of this host on which published ports answer: read for each version. */
  readonly addresses: () => readonly string[]
  readonly gatewayInterface: (networkId: string) => LocalInterface | null
}

export class EngineDataPlane implements AgentDataPlane {
  readonly #engine: EngineHandle
  readonly #options: EngineDataPlaneOptions
  #isStarted = false
  #places: readonly { readonly nodeId: string; readonly endpoint: string }[] = []

  constructor(engine: EngineHandle, options: EngineDataPlaneOptions) {
    this.#engine = engine
    this.#options = options
  }

  tunnel(): NodeTunnel {
    return this.#options.tunnel
  }

  localNode({ tunnelKeys, dataPathPort }: Parameters<AgentDataPlane['localNode']>[0]): LocalNode {
    const { nodeId, privateKey, listenAddress, defaultPort, addresses, tunnel } = this.#options
    return {
      name: nodeId,
      privateKey,
      ...(listenAddress === undefined ? {} : { listenAddress }),
      listenPort: dataPathPort === 0 ? defaultPort : dataPathPort,
      ...(tunnelKeys.length === 0 ? {} : { presharedKeys: tunnelKeys }),
      addresses: addresses(),
      ...(tunnel.zone === undefined || tunnel.zone === '' ? {} : { zone: tunnel.zone }),
    }
  }

  async apply(tables: ForwardingTables): Promise<void> {
    const { schedulers, engine: options } = this.#options
    const { problems, tables: valid } = validateTables(tables, { schedulers })
    if (valid === null) throw new TablesRefused(problems)
    const compiled = compileTables(valid, { privateKey: null })
    if (this.#isStarted) await this.#engine.swap(compiled)
    else await this.#engine.start(compiled, options)
    this.#isStarted = true
  }

  async flows(endpoints: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const flows = new Map<string, number>()
    for (const endpoint of endpoints) {
      flows.set(endpoint, (await this.#engine.ask('drain', { endpoint })).flows)
    }
    return flows
  }

  *traffic(): Iterable<PeerTraffic> {
    if (!this.#isStarted) return
    const cells = new Float64Array(this.#engine.counters)
    for (const { kind, name, row } of this.#engine.counterRows()) {
      if (kind !== 'peer') continue
      yield { nodeId: name, received: cells[row + RX_PACKETS]!, sent: cells[row + TX_PACKETS]! }
    }
  }

  /** As of the last call: the loop answers when it has a moment. */
  seen(): Iterable<{ readonly nodeId: string; readonly endpoint: string }> {
    if (!this.#isStarted) return []
    this.#engine.ask('peers', null).then(
      (places) => {
        this.#places = places.map(({ name, endpoint }) => ({ nodeId: name, endpoint }))
      },
      () => {},
    )
    return this.#places
  }

  gatewayInterface(networkId: string): LocalInterface | null {
    return this.#options.gatewayInterface(networkId)
  }
}
