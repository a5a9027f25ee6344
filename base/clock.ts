// Time is handed in. Code that reads a clock itself cannot be replayed; code that is given one can
// be run a thousand simulated hours in a second, and to the same end each time.

/** A source of time. */
export interface Clock {
  /** Milliseconds since an arbitrary start; never goes back and never jumps with the wall clock.
   * For timeouts and rates. May have a fraction. */
  nowMs(): number
  /** Milliseconds since 1970-01-01 UTC; may jump either way. For certificates, logs and people. */
  wallMs(): number
}

/** A clock that stands still until it is told to move. */
export interface ManualClock extends Clock {
  /** Moves both readings `deltaMs` (>= 0) forward. */
  advance(deltaMs: number): void
  /** Sets the wall clock alone, as an administrator or NTP would. */
  setWall(wallMs: number): void
}

/** A manual clock; `startMs` is its first monotonic reading, `wallMs` its first wall reading. */
export function manualClock(startMs = 0, wallMs = 0): ManualClock {
  let now = startMs
  let wall = wallMs
  return {
    nowMs: () => now,
    wallMs: () => wall,
    advance(deltaMs) {
      if (!(deltaMs >= 0)) throw new RangeError(`a clock only moves forward, not by ${deltaMs} ms`)
      now += deltaMs
      wall += deltaMs
    },
    setWall(value) {
      wall = value
    },
  }
}
