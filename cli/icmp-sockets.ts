// The sockets by which ICMP errors about published ports come to the packet loop: there while ports
// are published, and no longer.

import type { Logger } from '../base/log.ts'
import type { AddressFamily } from '../dataplane/edge/address.ts'
import { EdgeError } from '../dataplane/edge/errors.ts'
import { openIcmpSocket } from '../dataplane/edge/icmp-socket.ts'
import { close } from '../dataplane/edge/libc.ts'

/** An open socket: descriptors belong to the process, so the number is all that the loop needs. */
export interface IcmpHandle {
  readonly fd: number
  readonly family: AddressFamily
}

const NONE: readonly IcmpHandle[] = []

export class IcmpSockets {
  private readonly log: Logger
  private readonly openSocket: typeof openIcmpSocket
  private handles: readonly IcmpHandle[] = NONE
  /** The host refused: it is not asked again. */
  private isRefused = false

  constructor(log: Logger, openSocket: typeof openIcmpSocket = openIcmpSocket) {
    this.log = log
    this.openSocket = openSocket
  }

  /** What the loop is to read from, opened if need be. A host that has none still publishes. */
  wanted(isPublishing: boolean): readonly IcmpHandle[] {
    if (!isPublishing || this.isRefused) return NONE
    if (this.handles.length === 0) this.open()
    return this.handles
  }

  /** To be called when the loop reads from `held` and nothing else. */
  retain(held: readonly IcmpHandle[]): void {
    if (held.length === 0) this.close()
  }

  close(): void {
    for (const { fd } of this.handles) close(fd)
    this.handles = NONE
  }

  private open(): void {
    const handles: IcmpHandle[] = []
    try {
      for (const family of [4, 6] as const) {
        const fd = this.openSocket(family)
        if (fd !== null) handles.push({ fd, family })
      }
    } catch (error) {
      if (!(error instanceof EdgeError)) throw error
      this.isRefused = true
      for (const { fd } of handles) close(fd)
      this.log.warn('ICMP errors from outside do not reach backends', { error: error.message })
      return
    }
    this.handles = handles
  }
}
