// `weft keygen`: makes a node's private key, or tells the public key of one.

import process from 'node:process'
import { publicKeyOf } from '../dataplane/validate-nodes.ts'
import { EXIT_FAILURE, EXIT_OK, UsageError } from './exit.ts'
import { generatePrivateKey, readPrivateKey, writePrivateKey } from './key-file.ts'
import { parseArguments } from './verb.ts'

export const usage: string = `usage: weft keygen FILE
       weft keygen --public FILE

Writes a new X25519 private key to FILE (base64, mode 0600; an existing file is
not touched) and prints its public key, which the other nodes' tables need.

  --public   Print the public key of the private key in FILE
  -h, --help
`

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArguments(args, { public: { type: 'boolean' } })
  const [file, ...more] = positionals
  if (file === undefined) throw new UsageError('FILE is missing')
  if (more.length > 0) throw new UsageError(`takes one FILE, not also "${more[0]}"`)
  try {
    const key = values.public === true ? readPrivateKey(file) : generatePrivateKey()
    if (values.public !== true) writePrivateKey(file, key)
    process.stdout.write(`${publicKeyOf(key)}\n`)
    return EXIT_OK
  } catch (error) {
    process.stderr.write(`weft: keygen: ${(error as Error).message}\n`)
    return EXIT_FAILURE
  }
}
