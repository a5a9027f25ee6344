// The leader's slow loop: carries a root rotation through (rotation.ts), one batch of nodes per
// tick, and forgets removed nodes whose certificates have been out of date for long enough.

import type { Clock } from '../../base/clock.ts'
import { type Logger, silentLogger } from '../../base/log.ts'
import type { Change, Store } from '../store/contract.ts'
import type { NodeObject, RootRotation } from '../store/objects.ts'
import { words } from './errors.ts'
import { ROTATE_TICK_MS } from './limits.ts'
import { Loop, type Sleep } from './loop.ts'
import {
  finishRotation,
  hasArrived,
  type Issuer,
  issuerOf,
  mayTell,
  rotationStep,
} from './rotation.ts'

/** Ticks that a node is given to report a certificate of the new root before it is told again. */
const REPORT_TICKS = 10

export interface ReconcilerOptions {
  readonly store: Store
  readonly clock: Clock
  readonly sleep: Sleep
  readonly log?: Logger
}

export class CaReconciler {
  readonly #options: ReconcilerOptions
  readonly #log: Logger
  readonly #loop: Loop
  #endWatch: (() => void) | null = null
  /** The rotation that `#since` is about, by its certificate. */
  #target = ''
  /** By node: ticks since it was first seen with a new certificate that it had not reported. */
  readonly #since = new Map<string, number>()

  constructor(options: ReconcilerOptions) {
    this.#options = options
    this.#log = options.log ?? silentLogger
    this.#loop = new Loop({
      sleep: options.sleep,
      step: () => this.#step(),
      onError: (error) => this.#log.warn('the root rotation waits', { error: words(error) }),
      retryMs: ROTATE_TICK_MS,
    })
  }

  /** To be called when this node becomes leader. */
  start(): void {
    this.#endWatch ??= this.#options.store.watch((event) => {
      const isAbout = event.kind === 'reset' || event.changes.some(startsOrEndsRotation)
      if (isAbout) this.#loop.wake()
    })
    this.#loop.start()
  }

  async stop(): Promise<void> {
    this.#endWatch?.()
    this.#endWatch = null
    await this.#loop.stop()
  }

  async #step(): Promise<number> {
    const { store } = this.#options
    await this.#forgetRemoved()
    const [rotation, nodes] = store.view(
      (tx) => [tx.cluster()?.rootCa.rotation ?? null, tx.all('nodes')] as const,
    )
    if (rotation === null) return ROTATE_TICK_MS
    const step = rotationStep(rotation, nodes, this.#recently(rotation, nodes))
    if (step.waiting === 0) await this.#finish(rotation)
    else if (step.rotate.length > 0) await this.#tell(rotation, step.rotate)
    return ROTATE_TICK_MS
  }

  /** Nodes that hold a certificate of the new root, by what was issued, and have yet to say so. */
  #recently(rotation: RootRotation, nodes: readonly NodeObject[]): ReadonlySet<string> {
    if (this.#target !== rotation.certificate) {
      this.#target = rotation.certificate
      this.#since.clear()
    }
    const recently = new Set<string>()
    const issuer: Issuer = issuerOf(rotation.certificate)
    for (const node of nodes) {
      const { state, certificate } = node.certificate
      const isNew = state === 'issued' && certificate.endsWith(rotation.crossSigned)
      if (!isNew || hasArrived(node, issuer)) {
        this.#since.delete(node.id)
        continue
      }
      const ticks = this.#since.get(node.id) ?? 0
      this.#since.set(node.id, ticks >= REPORT_TICKS ? 0 : ticks + 1)
      if (ticks < REPORT_TICKS) recently.add(node.id)
    }
    return recently
  }

  async #tell(rotation: RootRotation, ids: readonly string[]): Promise<void> {
    await this.#options.store.batch(
      ids.map((id) => (tx) => {
        const node = tx.get('nodes', id)
        const isSame = tx.cluster()?.rootCa.rotation?.certificate === rotation.certificate
        if (!isSame || node === undefined || !mayTell(node.certificate.state)) return
        const certificate = { ...node.certificate, state: 'rotate' as const }
        tx.update('nodes', { ...node, certificate })
      }),
    )
  }

  async #finish(rotation: RootRotation): Promise<void> {
    await this.#options.store.update((tx) => {
      const cluster = tx.cluster()
      const now = cluster?.rootCa.rotation
      // Another rotation may have begun, or a node of the old root joined, since we looked.
      if (cluster === undefined || now?.certificate !== rotation.certificate) return
      if (rotationStep(now, tx.all('nodes'), new Set()).waiting > 0) return
      tx.update('clusters', finishRotation(cluster, now))
      this.#log.info('the root certificate was rotated')
    })
  }

  async #forgetRemoved(): Promise<void> {
    const { store, clock } = this.#options
    const isDue = store.view((tx) => {
      const removed = Object.values(tx.cluster()?.removedNodes ?? {})
      return removed.some(({ forgetMs }) => forgetMs <= clock.wallMs())
    })
    if (!isDue) return
    await store.update((tx) => {
      const cluster = tx.cluster()
      if (cluster === undefined) return
      const kept = Object.entries(cluster.removedNodes).filter(
        ([, { forgetMs }]) => forgetMs > clock.wallMs(),
      )
      tx.update('clusters', { ...cluster, removedNodes: Object.fromEntries(kept) })
    })
  }
}

function startsOrEndsRotation(change: Change): boolean {
  if (change.table !== 'clusters' || change.kind !== 'update') return false
  const { rotation } = change.object.rootCa
  return rotation?.certificate !== change.old.rootCa.rotation?.certificate
}
