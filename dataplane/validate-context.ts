// What the parts of the second validation pass share: the tables, the names, the subnets, and who
// has claimed which address.

import type { Address, Prefix } from './compiled.ts'
import type { Report } from './shape.ts'
import { didYouMean } from './suggest.ts'
import type { ForwardingTables, Network } from './tables.ts'

export interface ValidateOptions {
  /** Names of the schedulers that the balancer has. */
  readonly schedulers: readonly string[]
}

export interface Context {
  readonly tables: ForwardingTables
  readonly report: Report
  readonly options: ValidateOptions
  /** Name to index; of a name that is used twice, the first. */
  readonly peers: ReadonlyMap<string, number>
  readonly networks: ReadonlyMap<string, number>
  readonly endpoints: ReadonlyMap<string, number>
  readonly services: ReadonlyMap<string, number>
  /** Per network, parallel to its subnets. */
  readonly subnets: readonly (readonly Prefix[])[]
  readonly gateways: readonly (readonly Address[])[]
  /** Who holds an address or a MAC address of a network: `${network}|${text}` to words that say
   * who. */
  readonly addressOwners: Map<string, string>
  readonly macOwners: Map<string, string>
}

/** Default of Network.encrypted. */
export function isEncrypted(network: Network): boolean {
  return network.encrypted ?? true
}

/** Looks a name up; reports one that is not there. */
export function resolveName(
  context: Context,
  what: 'network' | 'endpoint' | 'service',
  name: string,
  path: string,
): number | undefined {
  const index = context[`${what}s`]
  const found = index.get(name)
  if (found === undefined) {
    context.report(path, `there is no ${what} "${name}"${didYouMean(name, index.keys())}`)
  }
  return found
}

/** Claims `key` of a network for `owner`; reports when another has it. */
export function claim(
  owners: Map<string, string>,
  network: number,
  key: string,
  owner: string,
  refuse: (earlier: string) => void,
): void {
  const whole = `${network}|${key}`
  const earlier = owners.get(whole)
  if (earlier === undefined) owners.set(whole, owner)
  else refuse(earlier)
}
