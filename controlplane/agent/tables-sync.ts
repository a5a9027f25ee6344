// Keeps the data plane's tables in step with the assignment: builds them when something has changed
// (build-tables.ts), hands them over, and acknowledges what is in force.
//
//   - Changes within TABLES_DELAY_MS make one version. Where changes do not end, versions take at
//     most a fifth of the time, so that the rest of the agent gets on.
//   - Tables that the data plane refuses because of single items are handed over again without
//     these. Anything else it refuses is tried again later; what ran before goes on.
//   - A version is acknowledged when it forwards, and after the flows to draining backends were
//     counted under it: an acknowledgement without flows means that there are none.

import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Timers } from '../../base/timers.ts'
import type { ForwardingTables } from '../../dataplane/tables.ts'
import type { BuiltTables, Dropped } from './build-tables.ts'
import {
  DRAIN_REPORT_MS,
  TABLES_DELAY_FACTOR,
  TABLES_DELAY_MS,
  TABLES_DELAY_MS_MAX,
  TABLES_REPAIRS_MAX,
  TABLES_RETRY_MS_MAX,
  TABLES_RETRY_MS_MIN,
} from './limits.ts'

/** Tables are not valid: "endpoints[3].node" and what is wrong there. */
export class TablesRefused extends Error {
  readonly problems: readonly { readonly path: string; readonly message: string }[]

  constructor(problems: TablesRefused['problems']) {
    const [first] = problems
    super(first === undefined ? 'refused' : `${first.path}: ${first.message}`)
    this.name = 'TablesRefused'
    this.problems = problems
  }
}

export interface TablesSyncParts {
  /** Builds the tables as things are now, and says of which assignment. */
  readonly build: () => { readonly built: BuiltTables; readonly assignment: number }
  /** Puts tables into force. Rejects with TablesRefused, or with what the host said. */
  readonly apply: (tables: ForwardingTables) => Promise<void>
  /** Flows that are open to these endpoints, by name. */
  readonly flows: (endpoints: readonly string[]) => Promise<ReadonlyMap<string, number>>
  /** Tables have come into force. */
  readonly onApplied: () => void
  /** There is something new to acknowledge. */
  readonly onAcknowledge: () => void
  readonly clock: Clock
  readonly timers: Timers
  readonly log: Logger
}

export class TablesSync {
  readonly #parts: TablesSyncParts
  #isWanted = false
  #isClosed = false
  #working: Promise<void> | null = null
  #cancel: (() => void) | null = null
  #retryMs = TABLES_RETRY_MS_MIN
  #applied = 0
  #running: BuiltTables | null = null
  /** Names of the endpoints of the running tables that have an interface here. */
  #interfaces: ReadonlySet<string> = new Set()
  #flows: ReadonlyMap<string, number> = new Map()
  #isCounting = false
  #failures = 0
  #last = ''
  #complaints = ''

  constructor(parts: TablesSyncParts) {
    this.#parts = parts
  }

  /** Assignment that the data plane forwards by. */
  get applied(): number {
    return this.#applied
  }

  /** Tables that were not taken, and items left out of the running ones: for metrics. */
  get counts(): { readonly failures: number; readonly dropped: number } {
    return { failures: this.#failures, dropped: this.#running?.dropped.length ?? 0 }
  }

  /** True when the endpoint's interface is there, as the tables want it. */
  hasInterface(endpoint: string): boolean {
    return this.#interfaces.has(endpoint)
  }

  /** Draining tasks and the flows open to them. */
  draining(): { taskId: string; flows: number }[] {
    const flows = new Map<string, number>()
    for (const [name, taskId] of this.#running?.draining ?? []) {
      flows.set(taskId, (flows.get(taskId) ?? 0) + (this.#flows.get(name) ?? 0))
    }
    return [...flows].map(([taskId, count]) => ({ taskId, flows: count }))
  }

  /** Something that the tables are made of has changed. */
  changed(): void {
    this.#isWanted = true
    this.#schedule(TABLES_DELAY_MS)
  }

  /** The tables are in force no more: they are put into force again, also if they are the same. */
  lost(): void {
    this.#last = ''
    this.changed()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#cancel?.()
    await this.#working
  }

  #schedule(delayMs: number): void {
    if (this.#cancel !== null || this.#working !== null || this.#isClosed) return
    this.#cancel = this.#parts.timers.after(delayMs, () => {
      this.#cancel = null
      const { clock } = this.#parts
      const beganMs = clock.nowMs()
      this.#working = this.#work().finally(() => {
        this.#working = null
        const restMs = (clock.nowMs() - beganMs) * TABLES_DELAY_FACTOR
        const delayMs = Math.max(TABLES_DELAY_MS, Math.min(restMs, TABLES_DELAY_MS_MAX))
        if (this.#isWanted) this.#schedule(delayMs)
      })
    })
  }

  async #work(): Promise<void> {
    this.#isWanted = false
    try {
      const { built, assignment } = this.#parts.build()
      await this.#apply(built, assignment)
      this.#retryMs = TABLES_RETRY_MS_MIN
      await this.#count()
      if (assignment !== this.#applied) {
        this.#applied = assignment
        this.#parts.onAcknowledge()
      }
      if (this.#running!.draining.size > 0) this.#keepCounting()
    } catch (error) {
      this.#failures++
      this.#parts.log.error('the tables were not taken; those that ran before go on', {
        error: (error as Error).message,
      })
      const delayMs = this.#retryMs
      this.#retryMs = Math.min(delayMs * 2, TABLES_RETRY_MS_MAX)
      this.#parts.timers.after(delayMs, () => {
        if (!this.#isClosed) this.changed()
      })
    }
  }

  /** Hands tables over, without the items that are refused. */
  async #apply(built: BuiltTables, assignment: number): Promise<void> {
    let { tables } = built
    const dropped: Dropped[] = [...built.dropped]
    for (let repairs = 0; ; repairs++) {
      const text = JSON.stringify({ ...tables, version: 0 })
      try {
        if (text === this.#last) break
        await this.#parts.apply(tables)
        this.#last = text
        this.#parts.log.debug('tables in force', { assignment })
        break
      } catch (error) {
        const repaired = error instanceof TablesRefused ? repair(tables, error, dropped) : null
        if (repaired === null || repairs >= TABLES_REPAIRS_MAX) throw error
        tables = repaired
      }
    }
    this.#running = { ...built, tables, dropped }
    this.#interfaces = new Set(
      tables.endpoints.flatMap((endpoint) =>
        endpoint.interface === undefined ? [] : endpoint.name,
      ),
    )
    this.#parts.onApplied()
    this.#complain(dropped)
  }

  #complain(dropped: readonly Dropped[]): void {
    const text = JSON.stringify(dropped)
    if (text === this.#complaints) return
    this.#complaints = text
    for (const { item, reason } of dropped.slice(0, 20)) {
      this.#parts.log.warn('left out of the tables', { item, reason })
    }
  }

  /** Counts the flows to what drains. */
  async #count(): Promise<void> {
    const names = [...(this.#running?.draining.keys() ?? [])]
    if (names.length === 0) this.#flows = new Map()
    else this.#flows = await this.#parts.flows(names)
  }

  /** Counts again until nothing drains any more, and tells when the flows of a task have ended. */
  #keepCounting(): void {
    if (this.#isCounting) return
    this.#isCounting = true
    const next = (): void => {
      this.#parts.timers.after(DRAIN_REPORT_MS, async () => {
        const open = (): number => this.draining().filter(({ flows }) => flows > 0).length
        const before = open()
        await this.#count().catch(() => {})
        if (open() < before) this.#parts.onAcknowledge()
        this.#isCounting = !this.#isClosed && (this.#running?.draining.size ?? 0) > 0
        if (this.#isCounting) next()
      })
    }
    next()
  }
}

const LISTS = ['peers', 'networks', 'endpoints', 'services', 'publishedPorts'] as const

/** The tables without the items that problems name, and without what needs those. Null when a
 * problem names no item. */
function repair(
  tables: ForwardingTables,
  { problems }: TablesRefused,
  dropped: Dropped[],
): ForwardingTables | null {
  const bad = new Map(LISTS.map((list) => [list, new Set<number>()]))
  let found = 0
  for (const { path, message } of problems) {
    const match = /^(\w+)\[(\d+)\]/.exec(path)
    const set = bad.get(match?.[1] as (typeof LISTS)[number])
    if (match === null || set === undefined) continue
    const index = Number(match[2])
    if (!set.has(index)) dropped.push({ item: itemName(tables, path), reason: message })
    set.add(index)
    found++
  }
  if (found === 0) return null
  const keep = <T>(list: (typeof LISTS)[number], items: readonly T[]): T[] =>
    items.filter((_, index) => !bad.get(list)!.has(index))
  return consistent({
    ...tables,
    peers: keep('peers', tables.peers),
    networks: keep('networks', tables.networks),
    endpoints: keep('endpoints', tables.endpoints),
    services: keep('services', tables.services),
    publishedPorts: keep('publishedPorts', tables.publishedPorts),
  })
}

/** Takes out what refers to something that is not there. */
function consistent(tables: ForwardingTables): ForwardingTables {
  const names = (list: readonly { readonly name: string }[]): ReadonlySet<string> =>
    new Set(list.map(({ name }) => name))
  const nodes = new Set([tables.node.name, ...names(tables.peers)])
  const networks = names(tables.networks)
  const endpoints = tables.endpoints.filter(
    ({ network, node }) => networks.has(network) && nodes.has(node),
  )
  const there = names(endpoints)
  const services = tables.services
    .filter(({ network }) => networks.has(network))
    .map((service) => ({
      ...service,
      backends: service.backends.filter(({ endpoint }) => there.has(endpoint)),
    }))
  const serving = names(services)
  const publishedPorts = tables.publishedPorts.filter(({ service }) => serving.has(service))
  return { ...tables, endpoints, services, publishedPorts }
}

function itemName(tables: ForwardingTables, path: string): string {
  const match = /^(\w+)\[(\d+)\]/.exec(path)
  const list = tables[match![1] as keyof ForwardingTables] as readonly { name?: string }[]
  return `${path} (${list[Number(match![2])]?.name ?? ''})`
}
