// A TCP that is as simple as can be and believes nothing: the plain twin of the stacks at both ends
// of a flow that something between them rewrites. It sends a stream in segments of random size,
// repeats what is not acknowledged, reports gaps (RFC 2018) and duplicates (RFC 2883), keeps what
// comes early, and throws at anything that no honest peer would say: an acknowledgement of what was
// never sent, a report of such data, a segment without the timestamps that were agreed upon.
//
// Positions are plain numbers: 0 is the SYN, 1 the first byte of data, the last one the FIN; only a
// segment has them modulo 2^32.

import assert from 'node:assert/strict'
import type { Prng } from '../../base/prng.ts'
import { TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN } from '../../wire/tcp.ts'

export interface Segment {
  readonly sequence: number
  readonly acknowledgement: number
  readonly flags: number
  readonly window: number
  readonly options: Uint8Array
  readonly payload: Uint8Array
}

export interface TcpOptions {
  readonly name: string
  readonly initial: number
  readonly stream: Uint8Array
  readonly window: number
  readonly sizeMax: number
  readonly timestamps: boolean
  readonly sack: boolean
  /** Options that a SYN brings besides, a multiple of four bytes. */
  readonly synOptions?: Uint8Array
  /** How many bytes may be sent when so many have been received; default all. */
  readonly allowed?: (received: number) => number
}

export class Tcp {
  readonly out: Segment[] = []
  readonly options: TcpOptions
  private readonly random: Prng
  private readonly isClient: boolean
  private peerInitial = -1
  private established = false
  /** The SYN is to be sent or has been. */
  private begun = false
  private acknowledged = 0
  private next = 0
  /** Highest position sent. */
  private sent = 0
  private peerWindow = 0
  private expected = 0
  private readonly kept: Map<number, number> = new Map()
  private readonly taken: number[] = []
  private peerFin = -1
  private duplicate: [number, number] | null = null
  private ticks = 1
  reset = false

  constructor(options: TcpOptions, random: Prng, isClient: boolean) {
    this.options = options
    this.random = random
    this.isClient = isClient
  }

  get received(): Uint8Array {
    return Uint8Array.from(this.taken)
  }

  /** Both streams have ended and everything is acknowledged. */
  get isDone(): boolean {
    return this.acknowledged === this.finAt + 1 && this.peerFin >= 0 && this.expected > this.peerFin
  }

  private get finAt(): number {
    return 1 + this.options.stream.length
  }

  connect(): void {
    this.begun = true
    this.emit(0, TCP_SYN, new Uint8Array(0))
    this.sent = 1
    this.next = 1
  }

  /** Sends what the windows and the application allow. */
  send(): void {
    if (!this.established) return
    const allowed = 1 + (this.options.allowed?.(this.taken.length) ?? this.options.stream.length)
    const edge = this.acknowledged + this.peerWindow
    while (this.next < Math.min(this.finAt, allowed, edge)) {
      const room = Math.min(this.finAt, allowed, edge) - this.next
      const size = Math.min(room, 1 + this.random.below(this.options.sizeMax))
      this.emit(this.next, TCP_ACK | TCP_PSH, this.slice(this.next, size))
      this.next += size
    }
    if (this.next === this.finAt && allowed > this.options.stream.length && this.next < edge) {
      this.emit(this.next, TCP_ACK | TCP_FIN, new Uint8Array(0))
      this.next++
    }
    this.sent = Math.max(this.sent, this.next)
  }

  /** Nothing came for long: goes back to what is not acknowledged, and probes a closed window. */
  timeout(): void {
    if (!this.begun || this.reset) return
    if (!this.established) {
      this.emit(0, this.isClient ? TCP_SYN : TCP_SYN | TCP_ACK, new Uint8Array(0))
      return
    }
    this.next = this.acknowledged
    if (this.peerWindow === 0) this.peerWindow = 1
    const before = this.out.length
    this.send()
    // A keep-alive, with a byte or without one (RFC 9293 section 3.8.4).
    if (this.out.length === before && this.random.below(3) === 0) {
      this.emit(this.acknowledged - 1, TCP_ACK, new Uint8Array(this.random.below(2)))
    }
  }

  abort(): void {
    this.reset = true
    this.emit(this.next, TCP_RST | TCP_ACK, new Uint8Array(0))
  }

  private slice(from: number, size: number): Uint8Array {
    return this.options.stream.slice(from - 1, from - 1 + size)
  }

  take(segment: Segment): void {
    const { flags, payload } = segment
    if ((flags & TCP_RST) !== 0) {
      const position = this.positionOf(segment.sequence)
      // RFC 5961 section 3.2.
      if (this.established) assert.equal(position, this.expected, `${this.options.name}: reset`)
      this.reset = true
      return
    }
    if ((flags & TCP_SYN) !== 0) return this.takeSyn(segment)
    if (this.peerInitial < 0) return
    if (this.options.timestamps) {
      assert(optionOf(segment, 8) !== null, `${this.options.name}: a segment without timestamps`)
    }
    if (!this.takeAcknowledgement(segment)) return
    this.takeSack(segment)
    const position = this.positionOf(segment.sequence)
    const end = position + payload.length + ((flags & TCP_FIN) !== 0 ? 1 : 0)
    if (end > position) this.takeData(position, end, segment)
    this.send()
  }

  private takeSyn(segment: Segment): void {
    if (this.peerInitial >= 0) {
      if (this.established) this.answer()
      else if (!this.isClient) this.timeout()
      return
    }
    this.peerInitial = segment.sequence
    this.expected = 1
    if (this.isClient) {
      assert.equal(segment.flags & TCP_ACK, TCP_ACK)
      assert.equal(segment.acknowledgement, (this.options.initial + 1) >>> 0, 'of the SYN')
      this.peerWindow = segment.window
      this.acknowledged = 1
      this.established = true
      this.answer()
      this.send()
      return
    }
    for (const kind of [30, 34, 254]) {
      assert.equal(optionOf(segment, kind), null, `option ${kind} in a SYN`)
    }
    this.begun = true
    this.sent = 1
    this.next = 1
    this.emit(0, TCP_SYN | TCP_ACK, new Uint8Array(0))
  }

  private takeAcknowledgement({ acknowledgement, window, flags }: Segment): boolean {
    assert.equal(flags & TCP_ACK, TCP_ACK, `${this.options.name}: no ACK`)
    const ahead = (acknowledgement - this.options.initial) | 0
    assert(ahead <= this.sent, `${this.options.name}: ${ahead} acknowledged of ${this.sent}`)
    if (!this.established) {
      if (ahead < 1) return false
      this.established = true
    }
    if (ahead >= this.acknowledged) {
      this.acknowledged = ahead
      this.next = Math.max(this.next, ahead)
      this.peerWindow = window
    }
    return true
  }

  private takeSack(segment: Segment): void {
    const body = optionOf(segment, 5)
    if (body === null) return
    assert(this.options.sack, 'SACK was agreed upon')
    const at = new DataView(body.buffer, body.byteOffset, body.length)
    const acknowledged = (segment.acknowledgement - this.options.initial) | 0
    for (let i = 0; i < body.length; i += 8) {
      const from = (at.getUint32(i) - this.options.initial) | 0
      const to = (at.getUint32(i + 4) - this.options.initial) | 0
      const what = `${this.options.name}: block ${from} to ${to}, acknowledged ${acknowledged}`
      assert(from < to && to <= this.sent, what)
      // Only the first one may be of a duplicate; a gap is behind what is acknowledged.
      if (i > 0 || to > acknowledged) assert(from > acknowledged, what)
    }
  }

  private takeData(position: number, end: number, segment: Segment): void {
    const isOld = end <= this.expected
    this.duplicate = isOld ? [position, end] : null
    const edge = this.expected + this.options.window
    segment.payload.forEach((byte, i) => {
      const at = position + i
      if (at < this.expected || at >= edge) return
      const before = this.kept.get(at)
      assert(before === undefined || before === byte, `${this.options.name}: byte ${at} changed`)
      this.kept.set(at, byte)
    })
    if ((segment.flags & TCP_FIN) !== 0) this.peerFin = end - 1
    for (;;) {
      const byte = this.kept.get(this.expected)
      if (byte === undefined) break
      this.kept.delete(this.expected)
      this.taken.push(byte)
      this.expected++
    }
    if (this.expected === this.peerFin) this.expected++
    this.answer()
  }

  private positionOf(sequence: number): number {
    return (sequence - this.peerInitial) | 0
  }

  private answer(): void {
    this.emit(this.next, TCP_ACK, new Uint8Array(0))
  }

  private emit(position: number, flags: number, payload: Uint8Array): void {
    const isSyn = (flags & TCP_SYN) !== 0
    this.out.push({
      sequence: (this.options.initial + position) >>> 0,
      acknowledgement: (flags & TCP_ACK) !== 0 ? (this.peerInitial + this.expected) >>> 0 : 0,
      flags,
      window: this.options.window,
      options: isSyn ? this.synOptions() : this.plainOptions(),
      payload,
    })
  }

  private synOptions(): Uint8Array {
    const { timestamps, sack, synOptions = new Uint8Array(0) } = this.options
    const parts = [[2, 4, 2, 0]]
    if (sack) parts.push([1, 1, 4, 2])
    if (timestamps) parts.push(this.timestamp())
    return Uint8Array.from([...parts.flat(), ...synOptions])
  }

  private timestamp(): number[] {
    this.ticks++
    return [1, 1, 8, 10, 0, 0, this.ticks >>> 8, this.ticks & 255, 0, 0, 0, 1]
  }

  /** Blocks stand at an odd or an even place, as it comes. */
  private plainOptions(): Uint8Array {
    const blocks = this.options.sack ? this.blocks() : []
    const bytes = this.options.timestamps ? this.timestamp() : []
    if (blocks.length > 0) {
      const odd = this.random.below(2) === 1
      const body = blocks.flat().flatMap((position) => {
        const value = (this.peerInitial + position) >>> 0
        return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255]
      })
      bytes.push(...(odd ? [1] : [1, 1]), 5, 2 + body.length, ...body, ...(odd ? [1] : []))
    }
    return Uint8Array.from(bytes)
  }

  private blocks(): [number, number][] {
    const runs: [number, number][] = []
    for (const at of [...this.kept.keys()].sort((a, b) => a - b)) {
      const last = runs.at(-1)
      if (last !== undefined && last[1] === at) last[1] = at + 1
      else runs.push([at, at + 1])
    }
    const first = this.duplicate
    this.duplicate = null
    const kept = runs.slice(0, first === null ? 3 : 2)
    return first === null ? kept : [first, ...kept]
  }
}

/** The body of the option `kind`, null = there is none. */
function optionOf({ options }: Segment, kind: number): Uint8Array | null {
  for (let at = 0; at < options.length; ) {
    const found = options[at]!
    if (found === 0) return null
    if (found === 1) {
      at++
      continue
    }
    const size = options[at + 1]!
    if (found === kind) return options.subarray(at + 2, at + size)
    at += size
  }
  return null
}
