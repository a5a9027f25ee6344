// Poller over epoll, level-triggered: a descriptor that still has something to read is reported
// again, so the loop may take as much or as little from each as its budget says.

import type { Poller } from '../../base/device.ts'
import { systemError } from './errors.ts'
import * as libc from './libc.ts'
import { POLL_EVENT_COUNT_MAX } from './limits.ts'

// struct epoll_event: 32 bits of events, then 64 of data. The kernel packs it on x86-64 (12 bytes)
// and on no other architecture (16): linux/eventpoll.h, EPOLL_PACKED.
const PACKED = process.arch === 'x64'
const EVENT_SIZE = PACKED ? 12 : 16
const DATA_AT = PACKED ? 4 : 8
const EVENT_WORDS = EVENT_SIZE / 4

class Epoll implements Poller {
  private fd: number
  private readonly events: Uint32Array
  private readonly eventsAddress: number
  private readonly change: Buffer
  private readonly changeAddress: number

  constructor() {
    this.fd = libc.epollCreate(libc.O_CLOEXEC)
    if (this.fd < 0) throw systemError('epoll_create1', 'poller', this.fd)
    const memory = libc.allocatePinned(POLL_EVENT_COUNT_MAX * EVENT_SIZE)
    this.events = new Uint32Array(memory.buffer, memory.byteOffset, memory.length / 4)
    this.eventsAddress = libc.addressOf(memory)
    this.change = libc.allocatePinned(EVENT_SIZE)
    this.changeAddress = libc.addressOf(this.change)
  }

  add(fd: number, token: number): void {
    this.change.writeUInt32LE(libc.EPOLLIN, 0)
    this.change.writeUInt32LE(token, DATA_AT)
    const result = libc.epollControl(this.fd, libc.EPOLL_CTL_ADD, fd, this.changeAddress)
    if (result < 0) throw systemError('epoll_ctl', `descriptor ${fd}`, result)
  }

  remove(fd: number): void {
    // A descriptor that was closed has left the set already: ENOENT and EBADF are fine.
    libc.epollControl(this.fd, libc.EPOLL_CTL_DEL, fd, this.changeAddress)
  }

  wait(timeoutMs: number): number {
    const count = libc.epollWait(this.fd, this.eventsAddress, POLL_EVENT_COUNT_MAX, timeoutMs)
    // A signal is not the caller's business: nothing is ready, and the clock is looked at again.
    return count === -libc.EINTR ? 0 : count
  }

  token(i: number): number {
    return this.events[i * EVENT_WORDS + DATA_AT / 4]!
  }

  close(): void {
    if (this.fd < 0) return
    libc.close(this.fd)
    this.fd = -1
  }
}

/** A Poller over epoll. Reports at most POLL_EVENT_COUNT_MAX descriptors per wait(). add() throws
 * EdgeError SYSTEM when the kernel refuses a descriptor. */
export function createPoller(): Poller {
  return new Epoll()
}
