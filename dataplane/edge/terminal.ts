// A pseudo-terminal, for a process of the host that wants one: pty(7), without the C library's
// openpty(), which would look the other end up by its name.

import { systemError } from './errors.ts'
import * as libc from './libc.ts'

const MULTIPLEXER = '/dev/ptmx'
const O_NOCTTY = 0o400
// asm-generic/ioctls.h
const TIOCSPTLCK = 0x40045431
const TIOCGPTPEER = 0x5441

const unlocked = libc.allocateStatic(4)
const unlockedAddress = libc.addressOf(unlocked)

export interface Terminal {
  /** Where what the process writes is read. */
  readonly master: number
  /** What the process has for its standard streams. */
  readonly slave: number
}

/** Opens a pair of descriptors, which the caller closes. Throws EdgeError SYSTEM. */
export function openTerminal(): Terminal {
  const flags = libc.O_RDWR | O_NOCTTY | libc.O_CLOEXEC
  const master = libc.open(MULTIPLEXER, flags)
  if (master < 0) throw systemError('open', MULTIPLEXER, master)
  const unlock = libc.ioctl(master, TIOCSPTLCK, unlockedAddress)
  const slave = unlock < 0 ? unlock : libc.ioctl(master, TIOCGPTPEER, flags)
  if (slave >= 0) return { master, slave }
  libc.close(master)
  throw systemError(unlock < 0 ? 'TIOCSPTLCK' : 'TIOCGPTPEER', MULTIPLEXER, slave)
}
