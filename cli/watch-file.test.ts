// Goal: a change of what a path leads to is seen, whichever link of the path was switched. Method:
// real folders; each change must be told, and nothing else.

import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { waitFor } from './lab/wait.ts'
import { watchFile } from './watch-file.ts'

/** A folder with two versions of a file. */
function twoVersions(): string {
  const folder = mkdtempSync(join(tmpdir(), 'weft-watch-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (const version of ['v1', 'v2']) {
    mkdirSync(join(folder, version))
    writeFileSync(join(folder, version, 'tables.json'), version.repeat(Number(version[1])))
  }
  return folder
}

/** Makes `path` a link to `target` in one step. */
function link(target: string, path: string): void {
  symlinkSync(target, `${path}.next`)
  renameSync(`${path}.next`, path)
}

/** What the path is made of, and which link is switched to what. */
const LINKS: readonly [string, (folder: string) => string, string, string][] = [
  [
    'the file is a link',
    (folder) => {
      link('v1/tables.json', join(folder, 'tables.json'))
      return 'tables.json'
    },
    'tables.json',
    'v2/tables.json',
  ],
  [
    'its folder is a link',
    (folder) => {
      link('v1', join(folder, 'current'))
      return 'current/tables.json'
    },
    'current',
    'v2',
  ],
  [
    'a link leads through a link',
    (folder) => {
      link('v1', join(folder, 'current'))
      mkdirSync(join(folder, 'etc'))
      link('../current/tables.json', join(folder, 'etc', 'tables.json'))
      return 'etc/tables.json'
    },
    'current',
    'v2',
  ],
  [
    'an absolute one through two',
    (folder) => {
      link('v1', join(folder, 'today'))
      link(join(folder, 'today'), join(folder, 'current'))
      mkdirSync(join(folder, 'etc'))
      link(join(folder, 'current', 'tables.json'), join(folder, 'etc', 'tables.json'))
      return 'etc/tables.json'
    },
    'today',
    'v2',
  ],
]

for (const [name, make, switched, target] of LINKS) {
  t.test(name, async (t) => {
    const folder = twoVersions()
    const path = join(folder, make(folder))
    let changes = 0
    const watcher = watchFile(
      path,
      () => changes++,
      (reason) => t.fail(reason),
    )
    t.teardown(() => watcher.close())
    writeFileSync(join(folder, 'v1', 'tables.json'), 'written to')
    await waitFor(() => changes === 1, { what: 'a change of the file' })
    link(target, join(folder, switched))
    await waitFor(() => changes === 2, { what: 'the switched link' })
    writeFileSync(join(folder, 'v2', 'tables.json'), 'and written to')
    await waitFor(() => changes === 3, { what: 'a change where it leads now' })
    t.pass('all were seen')
  })
}
