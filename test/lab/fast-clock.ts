// Preloaded into an agent (NODE_OPTIONS=--import=…) by the test of rekeying: its monotonic clock
// runs FAST_CLOCK_RATE times as fast, so that the 120 seconds of a key pass in a few. The agent
// itself has no such switch, and nothing but its clock differs. Where an idle loop sleeps it sleeps
// as long as it would by its own clock, that is too long; so the test keeps it busy.

import process from 'node:process'

const rate = Number(process.env.FAST_CLOCK_RATE ?? 1)
const now = performance.now.bind(performance)
const startMs = now()
performance.now = (): number => startMs + (now() - startMs) * rate
