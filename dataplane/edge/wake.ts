// A wake-up call across threads: an eventfd that any thread rings and one poller waits for. The
// main thread posts its message first and rings afterwards, so whoever wakes finds the message.

import { systemError } from './errors.ts'
import * as libc from './libc.ts'

const EFD_NONBLOCK_CLOEXEC = libc.O_NONBLOCK | libc.O_CLOEXEC

const counter = libc.allocateStatic(16)
const ringAddress = libc.addressOf(counter)
const drainAddress = ringAddress + 8
counter[0] = 1

/** Makes an eventfd for ringWake and drainWake; a plain descriptor, so that it can be handed to
 * another thread. Close it with closeWake when both sides are done. */
export function openWake(): number {
  const fd = libc.eventfd(0, EFD_NONBLOCK_CLOEXEC)
  if (fd < 0) throw systemError('eventfd', 'wake', fd)
  return fd
}

/** Makes the descriptor readable. Cheap, never blocks, harmless when it is readable already. */
export function ringWake(fd: number): void {
  libc.write(fd, ringAddress, 8)
}

/** Makes the descriptor unreadable again. Returns true when it had been rung. */
export function drainWake(fd: number): boolean {
  return libc.read(fd, drainAddress, 8) === 8
}

export function closeWake(fd: number): void {
  libc.close(fd)
}
