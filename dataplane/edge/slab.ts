// The packet slab over real memory: an anonymous mapping, so that a page nobody touched is not
// resident, with an inaccessible page behind it, so that a length error in a system call ends in
// EFAULT instead of in somebody else's memory. Transparent huge pages are refused by default: one
// touched byte would make 2 MB resident.

import type { Slab } from '../../base/slab.ts'
import { EdgeError, systemError } from './errors.ts'
import * as libc from './libc.ts'
import { SLAB_SIZE_MAX } from './limits.ts'

export interface SlabOptions {
  /** Ask for transparent huge pages: fewer TLB misses, more resident memory. Default false. */
  readonly hugePages?: boolean
}

export interface PinnedSlab extends Slab {
  /** Unmaps the memory. Nothing may read or write the slab, or hold its bytes, afterwards. */
  free(): void
}

/** Maps a slab of `size` bytes (rounded up to whole pages), zeroed. Throws EdgeError LIMIT or
 * SYSTEM. */
export function allocateSlab(size: number, options: SlabOptions = {}): PinnedSlab {
  if (!(size > 0 && size <= SLAB_SIZE_MAX)) {
    throw new EdgeError('LIMIT', 'slab', `a slab has 1..${SLAB_SIZE_MAX} bytes, not ${size}`)
  }
  const wholeSize = Math.ceil(size / libc.PAGE_SIZE) * libc.PAGE_SIZE
  const mappedSize = wholeSize + libc.PAGE_SIZE
  const address = libc.mmapAnonymous(mappedSize)
  if (address < 0) throw systemError('mmap', `${wholeSize} bytes`, address)
  const guarded = libc.mprotect(address + wholeSize, libc.PAGE_SIZE, libc.PROT_NONE)
  if (guarded < 0) throw systemError('mprotect', 'slab guard page', guarded)
  // Advice only: a kernel without huge pages answers EINVAL, and nothing is lost.
  libc.madvise(address, wholeSize, options.hugePages ? libc.MADV_HUGEPAGE : libc.MADV_NOHUGEPAGE)
  const buffer = libc.memoryAt(address, wholeSize)
  let mapped = true
  return {
    bytes: new Uint8Array(buffer),
    view: new DataView(buffer),
    address,
    free(): void {
      if (mapped) libc.munmap(address, mappedSize)
      mapped = false
    },
  }
}
