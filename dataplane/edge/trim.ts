// Gives back memory that only starting up needed. Node's program file is 120 MB, and starting it
// (parsing, compiling, loading modules) touches some 50 MB of code and constants that an idle agent
// never uses again but that count as resident all its life. MADV_DONTNEED drops the mapping's
// pages; whatever is needed after all comes back from the page cache at the price of a minor fault.
//
// Only mappings of files that are neither writable nor carry a page of our own (Anonymous: 0 kB in
// smaps) are touched: dropping anything else would lose data. RELRO sections, read-only but
// relocated, are such.

import { readFileSync } from 'node:fs'
import * as libc from './libc.ts'

const MADV_DONTNEED = 4

interface Mapping {
  readonly start: number
  readonly end: number
  readonly droppable: boolean
}

/** The mappings of a smaps file. */
export function parseMappings(smaps: string): Mapping[] {
  const mappings: Mapping[] = []
  // A mapping's first line: "start-end perms offset dev inode   path"; its details follow.
  for (const part of smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)) {
    const line = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+)\s+(\S*)/.exec(part)
    if (line === null) continue
    const [, start = '', end = '', permissions = '', inode, path = ''] = line
    const clean = /^Anonymous:\s+0 kB$/m.test(part)
    const file = inode !== '0' && path.startsWith('/')
    const droppable = clean && file && !permissions.includes('w') && permissions.endsWith('p')
    mappings.push({ start: Number.parseInt(start, 16), end: Number.parseInt(end, 16), droppable })
  }
  return mappings
}

/** Drops what is not needed now. Returns the number of mappings dropped, 0 where smaps cannot be
 * read. */
export function trimMemory(): number {
  let smaps: string
  try {
    smaps = readFileSync('/proc/self/smaps', 'latin1')
  } catch {
    return 0
  }
  let dropped = 0
  for (const { start, end, droppable } of parseMappings(smaps)) {
    if (droppable && libc.madvise(start, end - start, MADV_DONTNEED) === 0) dropped++
  }
  return dropped
}
