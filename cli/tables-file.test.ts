// Goal: of a file that is no tables file it is told what is wrong and where, and no more of it is
// read than such a file may have. Method: files with one mistake each.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { TABLES_FILE_SIZE_MAX } from '../dataplane/limits.ts'
import { loadTables, TablesError } from './tables-file.ts'

const folder = mkdtempSync(join(tmpdir(), 'weft-tables-'))
t.teardown(() => rmSync(folder, { recursive: true }))

function complaintOf(file: string): string {
  try {
    loadTables(file, ['rr'])
    return ''
  } catch (error) {
    if (!(error instanceof TablesError)) throw error
    return error.problems[0]!.message
  }
}

t.test('where a text stops to be JSON', async (t) => {
  const early = 'is not JSON: it ends too early'
  const at = (line: number, column: number): string =>
    `is not JSON: unexpected text in line ${line}, column ${column}`
  const rows: readonly (readonly [string, string])[] = [
    ['', early],
    ['{"version": 1', early],
    ['{"version": 1, "node": {', early],
    ['{"version": 1, "node": "secr', early],
    ['{"version":\n  x, "secret": 1}', at(2, 3)],
    ['{"version": 1}\n}', at(2, 1)],
    ['{"version": 1,}', at(1, 15)],
    ['[1, 2, nul]', at(1, 11)],
    ["{'version': 1}", at(1, 2)],
    ['\ufeff{"version": 1}', at(1, 1)],
  ]
  for (const [text, complaint] of rows) {
    const file = join(folder, 'tables.json')
    writeFileSync(file, text)
    t.equal(complaintOf(file), complaint, JSON.stringify(text))
  }
})

t.test('what has no end is read only so far', async (t) => {
  t.equal(complaintOf('/dev/zero'), `is larger than ${TABLES_FILE_SIZE_MAX} bytes`)
  t.equal(complaintOf(folder), 'is a directory')
})
