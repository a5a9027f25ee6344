// Reading from a device while there are more flows than the cache holds: some frames are read
// before the first of them is forwarded, so that their look-ups are prepared together (Balance).
//
// They lie one behind the other in the arena, each with the room that sealing it in place takes;
// the transmitter sends what lies before its next free place as well as what lies at it. What is
// kept for the frame in hand, the last one read, keeps all of them. Only that one may be large, so
// that together they stay far below ARENA_BURST, from which on the arena is started over.

import type { Slab } from '../base/slab.ts'
import { ENVELOPE_TAG_SIZE } from '../wire/envelope.ts'
import { type Balance, MESH_ZONE } from './balance.ts'
import { DROP_NONE } from './drop-reasons.ts'
import {
  AHEAD_FRAME_SIZE_MAX,
  AHEAD_FRAMES_MAX,
  ANNOUNCE_FRAMES_MIN,
  DEVICE_READS_MAX,
} from './engine-limits.ts'
import type { Forwarder } from './forwarder.ts'
import { Frame, parseFrame } from './frame.ts'
import { type Port, readFrame } from './ports.ts'
import type { LocalPort } from './topology.ts'
import type { Transmitter } from './transmitter.ts'

export interface ReadAheadParts {
  readonly slab: Slab
  readonly balance: Balance
  readonly forwarder: Forwarder
  readonly transmitter: Transmitter
}

export class ReadAhead {
  private readonly parts: ReadAheadParts
  private readonly frames: readonly Frame[] = Array.from(
    { length: AHEAD_FRAMES_MAX },
    () => new Frame(),
  )
  /** What the last readFrame() that brought nothing returned; 1 = all have brought something. */
  private nothing = 1

  constructor(parts: ReadAheadParts) {
    this.parts = parts
  }

  /** Reads and forwards up to DEVICE_READS_MAX frames; `local` is null for the mesh's TUN. Returns
   * what readFrame() said when there were no more, 1 when there may be. */
  drain(port: Port, local: LocalPort | null, nowMs: number): number {
    const { forwarder, transmitter } = this.parts
    const { frames } = this
    let left = DEVICE_READS_MAX
    this.nothing = 1
    while (left > 0 && this.nothing === 1) {
      if (transmitter.full()) transmitter.flush(nowMs)
      const count = this.read(port, local, Math.min(left, AHEAD_FRAMES_MAX))
      if (count === 0) break
      left -= count
      forwarder.inHand = frames[count - 1]!
      for (let i = 0; i < count; i++) {
        if (local === null) forwarder.fromMesh(frames[i]!, port, nowMs)
        else forwarder.fromPort(frames[i]!, local, nowMs)
      }
    }
    forwarder.inHand = null
    return this.nothing
  }

  private read(port: Port, local: LocalPort | null, most: number): number {
    const { transmitter } = this.parts
    let count = 0
    while (count < most) {
      const frame = this.frames[count]!
      const size = readFrame(port, transmitter.frameAt(), frame)
      if (size <= 0) {
        this.nothing = size
        break
      }
      count++
      transmitter.claim(frame.extentEnd() + ENVELOPE_TAG_SIZE)
      if (size > AHEAD_FRAME_SIZE_MAX) break
    }
    if (count >= ANNOUNCE_FRAMES_MIN) this.announce(local, count)
    return count
  }

  private announce(local: LocalPort | null, count: number): void {
    const { balance, forwarder, slab } = this.parts
    const zone = local === null ? MESH_ZONE : local.network.zone
    for (let i = 0; i < count; i++) {
      const frame = this.frames[i]!
      if (local === null) forwarder.asEthernet(frame)
      if (parseFrame(slab.view, frame) === DROP_NONE) balance.announce(frame, zone)
    }
    balance.load()
  }
}
