// Frames that wait for a session. The first packet for a peer starts a handshake; until it is done,
// a few frames are kept (copied out of the arena, the oldest dropped first) and sent when the
// session is up. Super-packets are not kept: their sender has a connection and sends again.

import type { Slab } from '../base/slab.ts'
import { STAGED_FRAMES_MAX } from '../vxlan/limits.ts'
import { type Counters, ENGINE_CELLS } from './counters.ts'
import { DROP_NO_SESSION, DROP_STAGING_FULL } from './drop-reasons.ts'
import { STAGED_FRAME_MAX } from './engine-limits.ts'
import type { Frame } from './frame.ts'
import type { LocalPort, NetworkState } from './topology.ts'

export interface StagedFrame {
  readonly network: NetworkState
  /** Port that an error about it goes back to, null = the mesh. */
  readonly origin: LocalPort | null
  readonly partial: boolean
  readonly bytes: Uint8Array
}

export class Staging {
  private readonly waiting: Map<number, StagedFrame[]> = new Map()
  private readonly slab: Slab
  private readonly counters: Counters

  constructor(slab: Slab, counters: Counters) {
    this.slab = slab
    this.counters = counters
  }

  /** Keeps a copy of the frame, or counts why not. */
  keep(frame: Frame, network: NetworkState, peer: number, origin: LocalPort | null): void {
    if (frame.isGso() || frame.headSize < frame.size || frame.size > STAGED_FRAME_MAX) {
      this.counters.drop(DROP_NO_SESSION)
      return
    }
    let frames = this.waiting.get(peer)
    if (frames === undefined) {
      frames = []
      this.waiting.set(peer, frames)
    }
    if (frames.length === STAGED_FRAMES_MAX) {
      frames.shift()
      this.counters.drop(DROP_STAGING_FULL)
      this.counters.cells[ENGINE_CELLS.staged]!--
    }
    const bytes = this.slab.bytes.slice(frame.at, frame.end())
    frames.push({ network, origin, partial: frame.partial, bytes })
    this.counters.cells[ENGINE_CELLS.staged]!++
  }

  /** Takes out what waits for the peer; the caller sends it. */
  take(peer: number): StagedFrame[] {
    const frames = this.waiting.get(peer) ?? []
    this.waiting.delete(peer)
    this.counters.cells[ENGINE_CELLS.staged]! -= frames.length
    return frames
  }

  /** Drops what waits for peers that have no session number any more. */
  retain(hasSession: (peer: number) => boolean): void {
    for (const peer of this.waiting.keys()) if (!hasSession(peer)) this.discard(peer)
  }

  /** Drops what waits for the peer: calling it was given up. */
  discard(peer: number): void {
    for (const _ of this.take(peer)) this.counters.drop(DROP_NO_SESSION)
  }
}
