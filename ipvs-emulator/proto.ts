// What the protocols have in common: a state machine as a table.
//
// A table is text, read once at start: a heading of two-letter state names, then one row per
// direction and event, each cell the next state. Directions are "in" (from the client), "out" (from
// the real server) and "only" (from the client, while nothing of the server has been seen because
// its replies pass elsewhere).

import { assert } from '../base/assert.ts'

/** Directions of a state table: FORWARD, REPLY, and FORWARD with replies that pass elsewhere. */
export const DIRECTIONS: readonly string[] = ['in', 'out', 'only']
/** Direction number of "only". */
export const FORWARD_ONLY = 2

export interface StateMachine {
  /** As printed in connection listings. */
  readonly name: string
  /** State names as printed, by state number. */
  readonly stateNames: readonly string[]
  readonly events: readonly string[]
  /** Default timeout per state in seconds. */
  readonly timeoutSeconds: readonly number[]
  /** The state that counts as an active connection, -1 when none does. */
  readonly established: number
  /** Next state at nextIndex(). */
  readonly table: Uint8Array
}

/** Index of a cell of a machine with `events` events and `states` states. */
export function nextIndex(
  direction: number,
  event: number,
  state: number,
  events: number,
  states: number,
): number {
  return (direction * events + event) * states + state
}

/** Reads a table as described above; rows may come in any order but every one must be there. */
export function stateTable(
  text: string,
  abbreviations: readonly string[],
  events: readonly string[],
): Uint8Array {
  const lines = text
    .trim()
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
  const heading = lines.shift()!
  assert(heading.join() === abbreviations.join(), 'the heading names the states in order')
  const states = abbreviations.length
  const table = new Uint8Array(DIRECTIONS.length * events.length * states).fill(255)
  for (const [direction, event, ...cells] of lines) {
    assert(cells.length === states, `row ${direction} ${event} has one cell per state`)
    const row = nextIndex(
      DIRECTIONS.indexOf(direction!),
      events.indexOf(event!),
      0,
      events.length,
      states,
    )
    assert(row >= 0 && table[row] === 255, `row ${direction} ${event} is known and appears once`)
    for (let i = 0; i < states; i++) table[row + i] = abbreviations.indexOf(cells[i]!)
  }
  assert(!table.includes(255), 'every row is there and every cell names a state')
  return table
}
