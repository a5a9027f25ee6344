// The addresses of this host. The system is asked for them at most once in ADDRESSES_KEPT_MS: it
// lists every interface each time, which is slow while many containers' come and go, and the tables
// name the addresses whenever they are built.

import { networkInterfaces } from 'node:os'
import type { Clock } from '../../base/clock.ts'
import type { SystemAddress } from './addresses.ts'
import { ADDRESSES_KEPT_MS } from './limits.ts'

/** Bridges of the Docker engine: nobody outside reaches a node there. */
const ENGINE_BRIDGES: ReadonlySet<string> = new Set(['docker0', 'docker_gwbridge'])

export class HostAddresses {
  readonly #clock: Clock
  readonly #read: typeof networkInterfaces
  #published: readonly string[] = []
  #atMs = Number.NEGATIVE_INFINITY

  constructor(clock: Clock, read: typeof networkInterfaces = networkInterfaces) {
    this.#clock = clock
    this.#read = read
  }

  /** Every address of the interfaces that are up, loopback not among them, as it is now. */
  system(): readonly SystemAddress[] {
    this.#atMs = this.#clock.nowMs()
    const system = Object.entries(this.#read())
      .filter(([name]) => !ENGINE_BRIDGES.has(name))
      .flatMap(([name, addresses]) =>
        (addresses ?? [])
          .filter(({ internal }) => !internal)
          .map(({ address }) => ({ interface: name, address })),
      )
    this.#published = system
      .filter((one) => !one.interface.startsWith('weft') && !/^fe80:/i.test(one.address))
      .map(({ address }) => address)
      .sort()
    return system
  }

  /** Where published ports answer, as it was ADDRESSES_KEPT_MS ago or later: link-local addresses
   * need a scope and are left out, and what weft itself made is none of the host's. */
  published(): readonly string[] {
    if (this.#clock.nowMs() - this.#atMs >= ADDRESSES_KEPT_MS) this.system()
    return this.#published
  }
}
