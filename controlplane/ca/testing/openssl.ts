// The openssl command as the judge of what the CA makes: a second implementation that knows nothing
// of ours. Files live in a folder of the test's own, which is removed at its end.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Why openssl tests are skipped here, or false. */
export const opensslMissing: string | false =
  spawnSync('openssl', ['version']).status === 0 ? false : 'openssl is not installed'

export interface OpensslResult {
  readonly ok: boolean
  readonly output: string
}

/** Runs openssl with files by name, each argument that begins with "@" standing for one of them. */
export function openssl(
  parameters: readonly string[],
  files: Readonly<Record<string, string>> = {},
): OpensslResult {
  const folder = mkdtempSync(join(tmpdir(), 'weft-ca-'))
  try {
    for (const [name, text] of Object.entries(files)) {
      writeFileSync(join(folder, name), text, { mode: 0o600 })
    }
    const named = parameters.map((word) =>
      word.startsWith('@') ? join(folder, word.slice(1)) : word,
    )
    const result = spawnSync('openssl', named, { encoding: 'utf8', timeout: 30_000 })
    return { ok: result.status === 0, output: `${result.stdout}${result.stderr}` }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
