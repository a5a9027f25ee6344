// The real ipvsadm with a stand-in for the kernel preloaded (ipvsadm-kernel.c).

import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'

/** The real program. */
export const IPVSADM: string = '/usr/sbin/ipvsadm'
const SOURCE = join(import.meta.dirname, 'ipvsadm-kernel.c')

export interface Outcome {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** The stand-in's library, or why there is none. */
function build(folder: string): string | Error {
  if (!existsSync(IPVSADM)) return new Error(`there is no ${IPVSADM}`)
  const library = join(folder, 'kernel.so')
  try {
    execFileSync('cc', ['-shared', '-fPIC', '-o', library, SOURCE, '-ldl'], { stdio: 'pipe' })
    return library
  } catch {
    return new Error('there is no C compiler, or no linux/ip_vs.h')
  }
}

/** For files of the tests; removed at the end. */
export const folder: string = mkdtempSync(join(tmpdir(), 'weft-ipvsadm-'))
t.teardown(() => rmSync(folder, { recursive: true }))
const library = build(folder)
/** Why it cannot be run, false when it can. */
export const skip: string | false = library instanceof Error ? library.message : false

/** Runs it on that kernel. */
export function ipvsadm(args: readonly string[], env: Record<string, string> = {}): Outcome {
  const { status, stdout, stderr } = spawnSync(IPVSADM, args, {
    env: { LD_PRELOAD: String(library), ...env },
    encoding: 'utf8',
    input: '',
    timeout: 10_000,
  })
  return { status: status ?? -1, stdout, stderr }
}
