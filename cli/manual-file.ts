// Where the services added by hand outlive the agent: a file in its run directory, written whole at
// each change, so that also a killed agent has them when it comes back. The run directory does not
// survive a reboot, and neither does the kernel's table.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from '../base/log.ts'
import type { ManualService } from '../dataplane/manual-services.ts'
import { readServices } from '../dataplane/manual-shape.ts'

const NAME = 'ipvs-services.json'

/** Writes the services. Throws when the file cannot be written. */
export function saveManual(runDirectory: string, services: readonly ManualService[]): void {
  const file = join(runDirectory, NAME)
  mkdirSync(runDirectory, { recursive: true, mode: 0o700 })
  writeFileSync(`${file}.new`, JSON.stringify(services), { mode: 0o600 })
  renameSync(`${file}.new`, file)
}

/** Reads what an earlier agent had; a file that cannot be used is told and counts as empty. */
export function loadManual(runDirectory: string, log: Logger): readonly ManualService[] {
  const file = join(runDirectory, NAME)
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT') log.warn('the services added by hand are lost', { file, error: message })
    return []
  }
  const services = readText(text)
  if (typeof services !== 'string') return services
  log.warn('the services added by hand are lost', { file, problem: services })
  return []
}

function readText(text: string): readonly ManualService[] | string {
  try {
    return readServices(JSON.parse(text))
  } catch {
    return 'is not JSON'
  }
}
