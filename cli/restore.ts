// `weft restore`: puts a backup where the agent's files are, before the agent starts.

import { resolve } from 'node:path'
import process from 'node:process'
import { Directory } from '../controlplane/raft/shell/directory.ts'
import { EXIT_OK, UsageError } from './exit.ts'
import { takeBackup } from './node/backup.ts'
import { NodeFiles, swarmDirectory } from './node/node-files.ts'
import { DATA_DIRECTORY_DEFAULT } from './node/up-settings.ts'
import { parseArguments, textOption } from './verb.ts'

export const usage: string = `usage: weft restore DIRECTORY [--data-dir DIR]

Takes back what "weft backup" wrote, on a machine that is in no swarm and whose
agent does not run. Then start "weft up" and found a new swarm of it with
"swarm init --force-new-cluster --advertise-addr ADDRESS"; the other nodes
leave and join that one.

  --data-dir DIR   The agent's data directory (default ${DATA_DIRECTORY_DEFAULT})
  -h, --help
`

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArguments(args, { 'data-dir': { type: 'string' } })
  const [directory, ...more] = positionals
  if (directory === undefined || more.length > 0) throw new UsageError('takes one DIRECTORY')
  const dataDirectory = resolve(textOption(values, 'data-dir') || DATA_DIRECTORY_DEFAULT)
  const lock = new Directory(dataDirectory)
  try {
    takeBackup(resolve(directory), new NodeFiles(swarmDirectory(dataDirectory)))
  } finally {
    lock.close()
  }
  process.stdout.write(`restored; next: weft up, then swarm init --force-new-cluster\n`)
  return EXIT_OK
}
