// The newest wireguard-go and nebula, built by `go install` into a cache folder where Go is there.
// The distribution's packages are years old, and a comparison with those alone would flatter us.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { labEnvironment } from '../../cli/lab/enter.ts'
import { INSTALL_TIMEOUT_MS } from '../limits.ts'

const CACHE = fileURLToPath(new URL('../../node_modules/.cache/weft-bench/', import.meta.url))

/** Binary name, package, versions to try in turn: the newest may ask for a newer Go than there
 * is. */
const PACKAGES: readonly [string, string, readonly string[]][] = [
  ['wireguard', 'golang.zx2c4.com/wireguard', ['latest']],
  ['nebula', 'github.com/slackhq/nebula/cmd/nebula', ['latest', 'v1.11.0']],
  ['nebula-cert', 'github.com/slackhq/nebula/cmd/nebula-cert', ['latest', 'v1.11.0']],
]

/** Path of a binary built by fetchPeers(); undefined when it is not there. */
export function newest(binary: string): string | undefined {
  const path = `${CACHE}${binary}`
  return existsSync(path) ? path : undefined
}

/** Builds what is missing, once. A failure leaves a file BINARY.failed, which stops further tries
 * until it is removed. Needs the network: call it outside the lab. */
export function fetchPeers(say: (line: string) => void): void {
  if (spawnSync('go', ['version'], { env: labEnvironment() }).status !== 0) return
  mkdirSync(CACHE, { recursive: true })
  for (const [binary, source, versions] of PACKAGES) {
    const failed = `${CACHE}${binary}.failed`
    if (newest(binary) || existsSync(failed)) continue
    const words: string[] = []
    for (const version of versions) {
      say(`building ${source}@${version}`)
      const problem = install(`${source}@${version}`)
      if (problem === undefined) break
      words.push(problem)
    }
    if (newest(binary)) continue
    writeFileSync(failed, `${words.join('\n')}\n`)
    say(`could not build ${source}: ${words.at(-1)}`)
  }
}

function install(target: string): string | undefined {
  const env = { ...labEnvironment(), GOBIN: CACHE.slice(0, -1), CGO_ENABLED: '0' }
  const options = { env, encoding: 'utf8', timeout: INSTALL_TIMEOUT_MS } as const
  const run = spawnSync('go', ['install', target], options)
  if (run.status === 0) return undefined
  return (run.stderr || run.error?.message || 'go install failed').trim().split('\n').at(-1)
}
