// Goal: a directory is made, or there is an error; never neither. Method: in a folder of the test's
// own, and below /proc, where nothing can be made.

import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { makeDirectory } from './make-directory.ts'

t.test('a directory that somebody named', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-directory-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'a', 'b', 'c')
  makeDirectory(path, 0o700)
  t.equal(statSync(path).mode & 0o777, 0o700)
  t.equal(statSync(join(folder, 'a')).mode & 0o777, 0o700)
  makeDirectory(path, 0o755)
  t.equal(statSync(path).mode & 0o777, 0o700, 'it stays as it is')
  const file = join(folder, 'file')
  writeFileSync(file, '')
  t.throws(() => makeDirectory(file, 0o700), { code: 'EEXIST' })
  t.throws(() => makeDirectory(join(file, 'below'), 0o700), { code: 'ENOTDIR' })
  t.throws(() => makeDirectory('/proc/weft', 0o700), { code: 'ENOENT' })
  t.throws(() => makeDirectory('/proc/weft/below', 0o700), { code: 'ENOENT' })
})
