// Transparent huge pages for large tables that are read at random. With pages of 4 kB each miss of
// the caches is a miss of the TLB too, and the walk through the page tables (twice, in a virtual
// machine) misses as well.

import * as libc from './libc.ts'

/** Asks for huge pages where `memory` is not touched yet, and, at the kernel's leisure, for the
 * rest. Advice only: a kernel without huge pages refuses it, and nothing is lost. `memory` must be
 * so large that V8 never moves it. */
export function adviseHugePages(memory: ArrayBufferLike): void {
  const address = libc.addressOf(new Uint8Array(memory))
  const start = Math.ceil(address / libc.PAGE_SIZE) * libc.PAGE_SIZE
  const end = Math.floor((address + memory.byteLength) / libc.PAGE_SIZE) * libc.PAGE_SIZE
  if (end > start) libc.madvise(start, end - start, libc.MADV_HUGEPAGE)
}
