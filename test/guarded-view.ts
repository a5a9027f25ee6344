// A DataView that may only be touched inside [from, to): for proving that code behind a check reads
// and writes nowhere else.

/** A view over the same bytes that throws RangeError on any access outside [from, to). */
export function guardedView(bytes: Uint8Array, from: number, to: number): DataView {
  return new GuardedView(bytes, from, to)
}

class GuardedView extends DataView<ArrayBufferLike> {
  private readonly from: number
  private readonly to: number

  constructor(bytes: Uint8Array, from: number, to: number) {
    super(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.from = from
    this.to = to
  }

  private guard(at: number, size: number): void {
    if (!(at >= this.from && at + size <= this.to))
      throw new RangeError(`access to ${at}..${at + size} outside ${this.from}..${this.to}`)
  }

  override getUint8(at: number): number {
    this.guard(at, 1)
    return super.getUint8(at)
  }

  override getUint16(at: number, little?: boolean): number {
    this.guard(at, 2)
    return super.getUint16(at, little)
  }

  override getUint32(at: number, little?: boolean): number {
    this.guard(at, 4)
    return super.getUint32(at, little)
  }

  override getInt32(at: number, little?: boolean): number {
    this.guard(at, 4)
    return super.getInt32(at, little)
  }

  override setUint8(at: number, value: number): void {
    this.guard(at, 1)
    super.setUint8(at, value)
  }

  override setUint16(at: number, value: number, little?: boolean): void {
    this.guard(at, 2)
    super.setUint16(at, value, little)
  }

  override setUint32(at: number, value: number, little?: boolean): void {
    this.guard(at, 4)
    super.setUint32(at, value, little)
  }

  override setInt32(at: number, value: number, little?: boolean): void {
    this.guard(at, 4)
    super.setInt32(at, value, little)
  }
}
