// Look-ups that compile.ts makes in tables which validation has passed: what is missing is a broken
// belief, not a mistake of the file.

import { assert } from '../base/assert.ts'
import { parseAddress } from './address.ts'
import type { Address } from './compiled.ts'

/** Name to index. */
export function indexOf(rows: readonly { readonly name: string }[]): Map<string, number> {
  return new Map(rows.map(({ name }, i) => [name, i]))
}

export function found(index: ReadonlyMap<string, number>, name: string): number {
  const i = index.get(name)
  assert(i !== undefined, `validated tables name "${name}" only where it exists`)
  return i
}

export function address(text: string): Address {
  const parsed = parseAddress(text)
  assert(parsed !== null, `validated tables hold "${text}" only as an address`)
  return parsed
}
