// Validation: an unknown value, read from a file or made by a control plane, becomes
// ForwardingTables or a list of problems. It is all or nothing: tables with one problem are refused
// whole, and whatever ran before goes on.
//
// Two passes. The first walks the shape (tables-shape.ts): types, ranges, the form of each text,
// unknown keys. The second, made only when the first found nothing, asks whether the tables agree
// with themselves: names that refer to nothing, addresses outside their subnet, anything claimed
// twice. Each problem names the later of two rivals and points to the earlier one.
//
// Deliberately allowed: a peer without a key (a plain VTEP) beside encrypted networks, of which it
// is then no member; an endpoint here without an interface (it is not attached yet); a backend that
// lacks the family of one of its service's VIPs (it does not serve that VIP); a service without
// backends (its clients are refused until it has some); a VIP without ports (all ports).

import { PROBLEMS_MAX } from './limits.ts'
import { check, type Problem, type Report } from './shape.ts'
import type { ForwardingTables } from './tables.ts'
import { TABLES_SHAPE } from './tables-shape.ts'
import type { Context, ValidateOptions } from './validate-context.ts'
import { checkEndpoints } from './validate-endpoints.ts'
import { checkNetworks } from './validate-networks.ts'
import { checkNodes } from './validate-nodes.ts'
import { checkServices } from './validate-services.ts'

export type { Problem } from './shape.ts'
export type { ValidateOptions } from './validate-context.ts'

export type Validated =
  | { readonly tables: ForwardingTables; readonly problems: readonly [] }
  | { readonly tables: null; readonly problems: readonly Problem[] }

/** Checks `value` against everything that tables.ts says. Never throws, for no value that
 * JSON.parse can return. At most PROBLEMS_MAX problems are listed; a last one without path then
 * counts the rest. */
export function validateTables(value: unknown, options: ValidateOptions): Validated {
  const problems: Problem[] = []
  let beyond = 0
  const report: Report = (path, message) => {
    if (problems.length < PROBLEMS_MAX) problems.push({ path, message })
    else beyond++
  }
  check(value, TABLES_SHAPE, '', report)
  if (problems.length === 0) checkAgreement(value as ForwardingTables, options, report)
  if (problems.length === 0) return { tables: value as ForwardingTables, problems: [] }
  if (beyond > 0) problems.push({ path: '', message: `and ${beyond} more problems` })
  return { tables: null, problems }
}

/** "networks[1].vni: is also that of networks[0]". */
export function problemText(problem: Problem): string {
  return problem.path === '' ? problem.message : `${problem.path}: ${problem.message}`
}

/** Indexes a list by name and reports names used twice. */
function indexNames(
  rows: readonly { readonly name: string }[],
  listName: string,
  report: Report,
): Map<string, number> {
  const index = new Map<string, number>()
  rows.forEach(({ name }, i) => {
    const first = index.get(name)
    if (first === undefined) index.set(name, i)
    else report(`${listName}[${i}].name`, `is also that of ${listName}[${first}] ("${name}")`)
  })
  return index
}

function checkAgreement(tables: ForwardingTables, options: ValidateOptions, report: Report): void {
  const context: Context = {
    tables,
    report,
    options,
    peers: indexNames(tables.peers, 'peers', report),
    networks: indexNames(tables.networks, 'networks', report),
    endpoints: indexNames(tables.endpoints, 'endpoints', report),
    services: indexNames(tables.services, 'services', report),
    ...checkNetworks(tables.networks, report),
    addressOwners: new Map(),
    macOwners: new Map(),
  }
  checkNodes(context)
  checkEndpoints(context)
  checkServices(context)
}
