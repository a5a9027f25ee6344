// Tells an event loop when a descriptor is readable, without a thread: koffi gives access to
// libuv's own poll handle, so the descriptor sits in the epoll set that Node waits on anyway. (The
// other way without an addon, a blocking poll() on the thread pool, would hold one of its four
// threads per socket.)
//
// koffi calls back outside of Node's callback scope: no microtask and no nextTick would run
// afterwards, and an exception would be lost. So the callback only asks for an immediate, which
// runs in the same turn of the loop, right after the poll phase, in a scope of its own.

import koffi, { type node } from 'koffi'

export class Readiness {
  private readonly handle: node.PollHandle
  private readonly ready: () => void
  private waiting = false
  private open = true

  /** Calls `ready` once per turn of the loop while `fd` is readable (level-triggered). */
  constructor(fd: number, ready: () => void) {
    this.ready = ready
    this.handle = koffi.node.poll(fd, { readable: true }, () => {
      if (this.waiting) return
      this.waiting = true
      setImmediate(this.turn)
    })
  }

  private readonly turn = (): void => {
    this.waiting = false
    if (this.open) this.ready()
  }

  ref(): void {
    this.handle.ref()
  }

  unref(): void {
    this.handle.unref()
  }

  /** Stops; to be called before the descriptor is closed. `ready` is not called any more. */
  close(): void {
    if (!this.open) return
    this.open = false
    this.handle.close()
  }
}
