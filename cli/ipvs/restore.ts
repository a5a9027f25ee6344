// `weft ipvs -R`: rules from standard input, one command line each, as `ipvsadm -S` writes them.
// A line may begin with the program's name; empty lines and lines that begin with "#" are skipped.
//
// Lines are carried out in order up to the first that fails: what stands before it is in force,
// nothing behind it is, and the failure names the line. Changes travel to the agent in bunches, so
// that a long file is a few table swaps and not one per line.

import { CHANGES_MAX } from '../../dataplane/limits.ts'
import type { ManualChange } from '../../dataplane/manual-services.ts'
import { RULES_LINE_SIZE_MAX } from '../limits.ts'
import { IpvsFailure, STATUS_OPTION, tryHelp } from './failure.ts'
import type { Asks } from './listing.ts'
import type { Names } from './names.ts'
import { readRequest } from './request.ts'
import { changeOf, Refusal, runChanges, runRequest, type Write } from './run.ts'

interface Line {
  readonly number: number
  readonly change: ManualChange
}

/** Carries out the rules of `input`, pieces of text. Throws IpvsFailure with the line's number. */
export async function restore(
  client: Asks,
  input: AsyncIterable<string>,
  names: Names,
  write: Write,
): Promise<void> {
  const bunch: Line[] = []
  const flush = async (): Promise<void> => {
    const lines = bunch.splice(0)
    if (lines.length === 0) return
    try {
      await runChanges(
        client,
        lines.map(({ change }) => change),
        true,
      )
    } catch (error) {
      throw error instanceof Refusal ? atLine(lines[error.made]!.number, error) : error
    }
  }
  for await (const { number, words } of wordsOf(input)) {
    try {
      const request = readRequest(words, names, true)
      // A rules file that restores another would never end.
      if (request.command === 'restore') throw tryHelp()
      const change = changeOf(request)
      if (change !== null) {
        bunch.push({ number, change })
        if (bunch.length === CHANGES_MAX) await flush()
        continue
      }
      await flush()
      if (request.command !== 'help' && request.command !== 'version') {
        await runRequest(client, request, names, write)
      }
    } catch (error) {
      if (!(error instanceof IpvsFailure) || error.name === 'AtLine') throw error
      await flush()
      throw atLine(number, error)
    }
  }
  await flush()
}

class AtLine extends IpvsFailure {
  override readonly name: string = 'AtLine'
}

function atLine(number: number, failure: IpvsFailure): IpvsFailure {
  return new AtLine(failure.status, `line ${number}: ${failure.message.trimEnd()}`)
}

/** The words of each line that has any, without the program's name. */
async function* wordsOf(
  input: AsyncIterable<string>,
): AsyncGenerator<{ number: number; words: string[] }> {
  let number = 0
  let rest = ''
  const take = (line: string): string[] => {
    number++
    const words = line.trim().split(/\s+/)
    if (words[0] === '' || words[0]!.startsWith('#')) return []
    return words[0]!.startsWith('-') ? words : words.slice(1)
  }
  for await (const piece of input) {
    rest += piece
    const lines = rest.split('\n')
    rest = lines.pop()!
    if (rest.length > RULES_LINE_SIZE_MAX) {
      throw new AtLine(STATUS_OPTION, `line ${number + lines.length + 1}: is too long`)
    }
    for (const line of lines) {
      const words = take(line)
      if (words.length > 0) yield { number, words }
    }
  }
  const words = take(rest)
  if (words.length > 0) yield { number, words }
}
