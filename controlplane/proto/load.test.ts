// Goal: the committed types are those of the .proto files. Method: generate them again and compare.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { loadProto } from './load.ts'

const here = fileURLToPath(new URL('.', import.meta.url))

function contents(folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
  return Object.fromEntries(
    files
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [path.slice(folder.length), readFileSync(path, 'utf8')] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  )
}

t.test('generated/ is what generate.sh writes', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-proto-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  execFileSync('sh', [join(here, 'generate.sh'), folder])
  t.same(contents(join(here, 'generated')), contents(folder))
})

t.test('every .proto file loads', async (t) => {
  const files = readdirSync(here).filter((name) => name.endsWith('.proto'))
  t.ok(files.length > 0)
  for (const file of files) t.ok(loadProto<object>(file), file)
})
