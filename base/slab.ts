// The packet slab: one pinned block of memory that every packet lives in, from the read that brings
// it in to the write that takes it out. Kernel and OpenSSL write to it by machine address,
// JavaScript by offset; `address + offset` is the one conversion. A packet is a pair of offsets
// [at, end), never an object.

export interface Slab {
  readonly bytes: Uint8Array
  readonly view: DataView
  /** Machine address of byte 0, as a plain number (user addresses fit in 47 bits). */
  readonly address: number
}

/** A slab over memory that only JavaScript touches: for tests and for the in-memory edges. */
export function memorySlab(size: number): Slab {
  const buffer = new ArrayBuffer(size)
  return { bytes: new Uint8Array(buffer), view: new DataView(buffer), address: 0 }
}
