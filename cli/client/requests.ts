// What several commands ask for: filters, one thing by name, changes that need the newest version.

import type { ApiClient } from './api-client.ts'
import { CommandError } from './command-error.ts'

/** "--filter role=manager" as the API's query wants it; '' for none. */
export function filterQuery(filters: readonly string[]): string {
  if (filters.length === 0) return ''
  const byName: Record<string, Record<string, true>> = {}
  for (const filter of filters) {
    const at = filter.indexOf('=')
    if (at < 1)
      throw new CommandError('invalid argument: bad format of filter (expected name=value)')
    const name = filter.slice(0, at).trim().toLowerCase()
    byName[name] = { ...byName[name], [filter.slice(at + 1).trim()]: true }
  }
  return `filters=${encodeURIComponent(JSON.stringify(byName))}`
}

/** "running" as tables have it: "Running". */
export function capital(word: string): string {
  return word.slice(0, 1).toUpperCase() + word.slice(1)
}

/** JSON as the docker CLI's `inspect` shows it. */
export function inspected(values: readonly unknown[]): string {
  return `${JSON.stringify(values, null, 4)}\n`
}

/** Runs `one` for each name; what fails is told and the others go on. Returns the exit status. */
export async function forEachName(
  names: readonly string[],
  tell: (words: string) => void,
  one: (name: string) => Promise<void>,
): Promise<number> {
  let status = 0
  for (const name of names) {
    try {
      await one(name)
    } catch (error) {
      const whose = error instanceof CommandError ? '' : 'Error response from daemon: '
      tell(`${whose}${(error as Error).message}\n`)
      status = 1
    }
  }
  return status
}

/** Parts of the API's objects that commands read. */
export interface Versioned {
  readonly ID: string
  readonly Version: { readonly Index: number }
}

export interface InfoAnswer {
  readonly Swarm: {
    readonly NodeID: string
    readonly LocalNodeState: string
    readonly ControlAvailable: boolean
    readonly Cluster?: { readonly TLSInfo?: { readonly TrustRoot?: string } }
  }
}

export function info(api: ApiClient): Promise<InfoAnswer> {
  return api.ask('GET', '/info')
}
