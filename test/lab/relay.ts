// A relay between two agents: a bad underlay, or a bad person on it. It runs in relay-worker.ts, on
// a host of its own; each agent is told that its peer is at the relay's door on its side.
//
//     h1 ── door a │ relay │ door b ── h2
//
// What comes in at one door leaves by the other, after the faults that the test has asked for.
// Decisions come from a seeded generator. A datagram of the test's own leaves by the door it is
// injected at.

import type { Host } from '../../cli/lab/host.ts'
import { type NamespaceThread, type Remote, threadIn } from './thread.ts'

export type Door = 'a' | 'b'

export interface Doors {
  readonly a: DoorPlan
  readonly b: DoorPlan
}

export interface DoorPlan {
  /** UDP port of the relay's host. */
  readonly port: number
  /** The agent behind this door. */
  readonly address: string
  readonly agentPort: number
}

/** Probabilities per datagram, 0..1; absent = 0. A datagram suffers at most one fault. */
export interface Faults {
  readonly seed?: number
  readonly loss?: number
  readonly duplication?: number
  /** Held back until `reorderSpan` (default 3) others have passed. */
  readonly reordering?: number
  readonly reorderSpan?: number
  /** One bit of it is flipped. */
  readonly bitFlip?: number
  /** UDP payloads longer than this vanish in silence: a path-MTU black hole. */
  readonly sizeMax?: number
}

export interface RelayCounts {
  readonly passed: number
  readonly lost: number
  readonly duplicated: number
  readonly reordered: number
  readonly flipped: number
  readonly tooLong: number
}

export type RelayMethods = {
  readonly start: (doors: Doors) => Promise<void>
  /** Replaces all faults and starts the counts over. */
  readonly faults: (faults: Faults) => void
  readonly counts: () => RelayCounts
  /** The last datagrams that came in at a door, oldest first, in hex. */
  readonly heard: (door: Door) => string[]
  /** Sends datagrams, in hex, to the agent behind a door. */
  readonly inject: (door: Door, datagrams: readonly string[]) => void
  /** Goes on from another port at this door: to the agent behind it, its peer has moved. */
  readonly move: (door: Door, port: number) => Promise<void>
}

export interface Relay {
  readonly host: Host
  readonly ask: Remote<RelayMethods>
  readonly thread: NamespaceThread<RelayMethods>
}

/** A relay on a host. It ends with the program. */
export function relayOn(host: Host): Relay {
  const thread = threadIn<RelayMethods>(host, new URL('./relay-worker.ts', import.meta.url))
  return { host, ask: thread.ask, thread }
}
