// Goal: a table's memory is where the kernel is asked for huge pages, and stays what it was.
// Method: what smaps says of the mapping (VmFlags "hg": advised).

import { existsSync, readFileSync } from 'node:fs'
import t from 'tap'
import { adviseHugePages } from './huge-pages.ts'
import { addressOf } from './libc.ts'

const HUGE_PAGES = '/sys/kernel/mm/transparent_hugepage/enabled'
const SIZE = 64 * 1024 * 1024

/** The flags of the mapping that holds `address`. */
function flagsAt(address: number): string {
  const smaps = readFileSync('/proc/self/smaps', 'latin1')
  for (const part of smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)) {
    const [, start = '', end = ''] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(part) ?? []
    if (address < Number.parseInt(start, 16) || address >= Number.parseInt(end, 16)) continue
    return /^VmFlags: (.*)$/m.exec(part)?.[1] ?? ''
  }
  return ''
}

const skip = existsSync(HUGE_PAGES) ? false : 'this kernel has no transparent huge pages'

t.test('large memory is advised, its content kept', { skip }, async (t) => {
  const words = new Int32Array(SIZE / 4)
  words[12_345_678] = 42
  const middle = addressOf(words) + SIZE / 2
  t.notMatch(flagsAt(middle), /\bhg\b/)
  adviseHugePages(words.buffer)
  t.match(flagsAt(middle), /\bhg\b/)
  t.equal(words[12_345_678], 42)
})

t.test('memory of less than a page is left alone', async (t) => {
  const bytes = new Uint8Array(64)
  t.doesNotThrow(() => adviseHugePages(bytes.buffer))
})
