// From what a user types to an object: full id, then full name, then the beginning of an id that
// fits only one (moby, daemon/cluster/helpers.go).

import type { Indices, ReadTransaction, TableName, Tables } from '../store/contract.ts'
import { badRequest, notFound } from './errors.ts'

export const NOUNS: Readonly<Record<Exclude<TableName, 'clusters'>, string>> = {
  nodes: 'node',
  services: 'service',
  tasks: 'task',
  networks: 'network',
  secrets: 'secret',
  configs: 'config',
}

export type Named = keyof typeof NOUNS

/** Throws 404, or 400 where several fit. `isShown` leaves objects out, as those about to go. */
export function resolve<T extends Named>(
  tx: ReadTransaction,
  table: T,
  given: string,
  isShown: (object: Tables[T]) => boolean = () => true,
): Tables[T] {
  const byId = tx.get(table, given)
  if (byId !== undefined && isShown(byId)) return byId
  const byName = findByName(tx, table, given).filter(isShown)
  if (byName.length > 0) return single(NOUNS[table], given, byName)
  const byPrefix = tx.all(table).filter((object) => object.id.startsWith(given) && isShown(object))
  return single(NOUNS[table], given, byPrefix)
}

/** Names as they are written: only the store's index ignores case. */
function findByName<T extends Named>(tx: ReadTransaction, table: T, name: string): Tables[T][] {
  if (table === 'tasks') return findTask(tx, name) as Tables[T][]
  const found = tx.find(table, 'name' as Indices[T], name.toLowerCase())
  return found.filter((object) => namesOf(object as never).includes(name))
}

function namesOf(object: {
  readonly spec: { readonly Name?: string }
  readonly description?: { readonly hostname: string } | null
}): (string | undefined)[] {
  return [object.spec.Name, object.description?.hostname]
}

/** "web.1.ID", "web.NODE.ID". */
function findTask(tx: ReadTransaction, name: string): unknown[] {
  const id = name.slice(name.lastIndexOf('.') + 1)
  const task = id === name ? undefined : tx.get('tasks', id)
  if (task === undefined) return []
  const { serviceAnnotations, slot, nodeId } = task
  return `${serviceAnnotations.name}.${slot ?? nodeId}.${id}` === name ? [task] : []
}

function single<O>(noun: string, given: string, found: readonly O[]): O {
  if (found.length === 1) return found[0]!
  if (found.length === 0) throw notFound(noun, given)
  throw badRequest(`${noun} ${given} is ambiguous (${found.length} matches found)`)
}
