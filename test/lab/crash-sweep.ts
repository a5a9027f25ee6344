// A transition of a node that is cut off before each of its steps on the disk in turn
// (crash-points.ts), for the tests of that.

import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Host } from '../../cli/lab/host.ts'
import type { Lab } from '../../cli/lab/lab.ts'
import { SwarmNode } from '../../cli/lab/swarm-node.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import type { Test } from './lab-test.ts'

const PRELOAD = fileURLToPath(new URL('./crash-points.ts', import.meta.url))
/** More steps than any transition has: a sweep that does not end has found something else. */
const STEPS_MAX = 40
const WAIT_MS = 60_000

const counterOf = (lab: Lab, name: string): string => join(lab.folder, `${name}.crash`)

/** A node that can be swept. */
function crashingNode(lab: Lab, host: Host): SwarmNode {
  const env = {
    NODE_OPTIONS: `--import=${PRELOAD}`,
    CRASH_FOLDER: join(lab.folder, host.name, 'data'),
    CRASH_COUNTER: counterOf(lab, host.name),
  }
  return new SwarmNode(lab, host, { env })
}

export interface Transition {
  readonly lab: Lab
  readonly node: SwarmNode
  /** Begins it; what it rejects with does not matter. */
  readonly begin: () => Promise<unknown>
  /** Whether it is through, as long as the node lives. */
  readonly isThrough: () => Promise<boolean>
  /** Cuts off at every so manieth step; default 1. */
  readonly stride?: number
  /** Sees to it, after the crash and a new start, that all is as it was before begin(). */
  readonly recover: (step: number) => Promise<void>
}

/** Runs the transition until it was cut off before every step that it has; resolves to their
 * number. The last run is not cut off. */
export async function sweep(transition: Transition): Promise<number> {
  const { lab, node, begin, isThrough, recover, stride = 1 } = transition
  const counter = counterOf(lab, node.name)
  for (let step = 0; step < STEPS_MAX; step += stride) {
    writeFileSync(counter, String(step))
    let hasBegun = false
    const begun = begin()
      .catch(() => {})
      .finally(() => {
        hasBegun = true
      })
    const isOver = async (): Promise<boolean> => !node.isRunning || (hasBegun && isThrough())
    const what = `the end of ${node.name} at step ${step}`
    await waitFor(isOver, { what, timeoutMs: WAIT_MS })
    await begun
    const isCut = !node.isRunning
    rmSync(counter, { force: true })
    if (isCut) await node.start()
    await recover(step)
    if (!isCut) return step
  }
  throw new Error(`more than ${STEPS_MAX} steps`)
}

export interface Pair {
  readonly lab: Lab
  /** Founded the swarm. */
  readonly h1: SwarmNode
  /** Is cut off. */
  readonly h2: SwarmNode
}

/** A swarm of two. */
export async function crashingPair(lab: Lab, role: 'Worker' | 'Manager'): Promise<Pair> {
  const hosts = await lab.hostsNamed('h1', 'h2')
  await lab.bridge(hosts)
  const h1 = new SwarmNode(lab, hosts[0]!)
  const h2 = crashingNode(lab, hosts[1]!)
  await Promise.all([h1.start(), h2.start()])
  await h1.init()
  await h2.join(h1, role)
  await ready({ lab, h1, h2 })
  return { lab, h1, h2 }
}

/** Waits until h2 is ready. */
export function ready({ h1 }: Pair): Promise<unknown> {
  return h1.untilNodes('h2 ready', (now) => now.get('h2')?.Status.State === 'ready', WAIT_MS)
}

/** Files that were being written are done, or gone. */
export function noLeftovers(t: Test, { dataDirectory }: SwarmNode): void {
  const names = readdirSync(join(dataDirectory, 'swarm'), { recursive: true }).map(String)
  t.same(
    names.filter((name) => /\.(tmp|new)$/.test(name)),
    [],
    'nothing half-written is left',
  )
}
