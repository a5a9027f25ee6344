// `weft backup`: saves a manager that runs, so that a new swarm can be made of it.

import { resolve } from 'node:path'
import process from 'node:process'
import { ControlClient } from './control-client.ts'
import { EXIT_OK, UsageError } from './exit.ts'
import { RUN_DIRECTORY_DEFAULT } from './run-directory.ts'
import { parseArguments, textOption } from './verb.ts'

export const usage: string = `usage: weft backup DIRECTORY [--run-dir DIR]

Writes all that the swarm is to the new DIRECTORY, while the manager goes on.
Without autolock whoever has it has the swarm: keep it safe. "weft restore"
takes it back.

  --run-dir DIR   The agent's run directory (default ${RUN_DIRECTORY_DEFAULT})
  -h, --help
`

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArguments(args, { 'run-dir': { type: 'string' } })
  const [directory, ...more] = positionals
  if (directory === undefined || more.length > 0) throw new UsageError('takes one DIRECTORY')
  const client = await ControlClient.connect(textOption(values, 'run-dir') || RUN_DIRECTORY_DEFAULT)
  try {
    await client.call('backup', { directory: resolve(directory) })
  } finally {
    client.close()
  }
  process.stdout.write(`${directory} holds the swarm\n`)
  return EXIT_OK
}
