// `weft version`.

import { readFileSync } from 'node:fs'
import process from 'node:process'
import { EXIT_OK, UsageError } from './exit.ts'
import { parseArguments } from './verb.ts'

export const usage: string = `usage: weft version

Prints the versions of weft and of the Node it runs on.
`

/** weft's version, from package.json. */
export function weftVersion(): string {
  const file = new URL('../package.json', import.meta.url)
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}

export async function run(args: readonly string[]): Promise<number> {
  if (parseArguments(args, {}).positionals.length > 0) throw new UsageError('takes no arguments')
  process.stdout.write(`weft ${weftVersion()}, node ${process.version}\n`)
  return EXIT_OK
}
