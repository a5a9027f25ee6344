// Goal: frames wait for a session in order, within bounds, and each is counted while it does.
// Method: plain calls, counters compared.

import t from 'tap'
import { memorySlab } from '../base/slab.ts'
import { STAGED_FRAMES_MAX } from '../vxlan/limits.ts'
import { Counters, counterMemory, DROP_CELLS, ENGINE_CELLS } from './counters.ts'
import { DROP_NO_SESSION, DROP_STAGING_FULL } from './drop-reasons.ts'
import { STAGED_FRAME_MAX } from './engine-limits.ts'
import { Frame } from './frame.ts'
import { Staging } from './staging.ts'
import { NetworkState } from './topology.ts'

const slab = memorySlab(8192)
const network = new NetworkState(0, 'front')

function fresh(): { staging: Staging; cell: (cell: number) => number } {
  const counters = new Counters(counterMemory(4))
  return { staging: new Staging(slab, counters), cell: (cell) => counters.cells[cell]! }
}

function frameOf(fill: number, size: number = 100): Frame {
  slab.bytes.fill(fill, 0, size)
  const frame = new Frame()
  frame.setWhole(0, size)
  return frame
}

t.test('kept as copies, taken in order, once', async (t) => {
  const { staging, cell } = fresh()
  for (let i = 1; i <= 3; i++) {
    const frame = frameOf(i)
    frame.partial = i === 2
    staging.keep(frame, network, 7, null)
  }
  staging.keep(frameOf(9), network, 8, null)
  slab.bytes.fill(0)
  t.equal(cell(ENGINE_CELLS.staged), 4)
  const taken = staging.take(7)
  t.same(
    taken.map(({ bytes, partial }) => [bytes[0], bytes.length, partial]),
    [
      [1, 100, false],
      [2, 100, true],
      [3, 100, false],
    ],
  )
  t.same(staging.take(7), [])
  t.equal(cell(ENGINE_CELLS.staged), 1, 'those of the other peer stay')
})

t.test('the oldest gives way', async (t) => {
  const { staging, cell } = fresh()
  for (let i = 0; i < STAGED_FRAMES_MAX + 2; i++) staging.keep(frameOf(i), network, 7, null)
  t.equal(cell(ENGINE_CELLS.staged), STAGED_FRAMES_MAX)
  t.equal(cell(DROP_CELLS + DROP_STAGING_FULL), 2)
  t.equal(staging.take(7)[0]!.bytes[0], 2)
})

t.test('neither super-packets nor long frames are kept', async (t) => {
  const { staging, cell } = fresh()
  const gso = frameOf(1)
  gso.gsoType = 1
  staging.keep(gso, network, 7, null)
  staging.keep(frameOf(1, STAGED_FRAME_MAX + 1), network, 7, null)
  t.equal(cell(DROP_CELLS + DROP_NO_SESSION), 2)
  t.equal(cell(ENGINE_CELLS.staged), 0)
  staging.keep(frameOf(1, STAGED_FRAME_MAX), network, 7, null)
  t.equal(cell(ENGINE_CELLS.staged), 1)
})

t.test('given up, what waited is dropped', async (t) => {
  const { staging, cell } = fresh()
  for (let i = 0; i < 5; i++) staging.keep(frameOf(i), network, 7, null)
  staging.discard(7)
  t.equal(cell(DROP_CELLS + DROP_NO_SESSION), 5)
  t.equal(cell(ENGINE_CELLS.staged), 0)
  staging.discard(7)
  t.equal(cell(DROP_CELLS + DROP_NO_SESSION), 5)
})
