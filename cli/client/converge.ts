// Waiting for services: looks every 200 ms and tells what progress.ts has to tell.

import { setTimeout as sleep } from 'node:timers/promises'
import type { CommandCall } from './command.ts'
import { CommandError } from './command-error.ts'
import { type Look, Progress, type ShownService } from './progress.ts'
import { filterQuery } from './requests.ts'
import type { ShownTask } from './task-list.ts'

const LOOK_MS = 200

export interface Converging {
  readonly isQuiet?: boolean
  /** A rollback was asked for. */
  readonly isRollback?: boolean
}

async function look(call: CommandCall, id: string): Promise<Look> {
  const service = await call.api.ask<ShownService>('GET', `/services/${id}?insertDefaults=true`)
  const query = filterQuery([`service=${id}`, '_up-to-date=true'])
  const tasks = await call.api.ask<ShownTask[]>('GET', `/tasks?${query}`)
  const nodes = await call.api.ask<{ ID: string; Status: { State: string } }[]>('GET', '/nodes')
  const alive = nodes.filter(({ Status }) => Status.State !== 'down').map(({ ID }) => ID)
  return { service, tasks, nodes: new Set(alive), nowMs: performance.now() }
}

/** Resolves when the service is what it is to be. Throws where it will not become so. */
export async function converge(
  call: CommandCall,
  id: string,
  { isQuiet = false, isRollback = false }: Converging = {},
): Promise<void> {
  const progress = new Progress(isRollback)
  for (;;) {
    const { lines, end, error } = progress.step(await look(call, id))
    if (!isQuiet) for (const line of lines) call.print(line)
    if (error !== null) throw new CommandError(error)
    if (end !== null) return
    await sleep(LOOK_MS)
  }
}
