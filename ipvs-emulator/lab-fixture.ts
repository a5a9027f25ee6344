// A director with virtual time and two small networks, for the tests of this folder. send() does
// with a packet what the packet loop does.

import { prng } from '../base/prng.ts'
import type { ServiceConfig } from './config.ts'
import { Director, FORWARD } from './director.ts'
import type { Packet } from './packet-fixture.ts'

export const ZONE = 7

export interface Net {
  readonly client: string
  readonly vip: string
  readonly servers: readonly string[]
  readonly gateway: string
}

export const NETS: Record<string, Net> = {
  v4: {
    client: '10.0.0.9',
    vip: '10.0.0.2',
    servers: ['10.0.0.11', '10.0.0.12', '10.0.0.13'],
    gateway: '10.0.0.1',
  },
  v6: {
    client: 'fd00::9',
    vip: 'fd00::2',
    servers: ['fd00::11', 'fd00::12', 'fd00::13'],
    gateway: 'fd00::1',
  },
}

export function show(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

export function service(net: Net, more: Partial<ServiceConfig> = {}): ServiceConfig {
  return {
    key: 'web',
    zone: ZONE,
    virtuals: (['tcp', 'udp', 'sctp'] as const).map((protocol) => ({
      protocol,
      address: net.vip,
      port: 80,
    })),
    realServers: net.servers.map((address, i) => ({ key: `s${i}`, address, port: 8080 })),
    ...more,
  }
}

export interface Lab {
  readonly director: Director
  readonly orphans: number[]
  /** Connections whose ends were to be probed. */
  readonly probes: number[]
  now: number
  apply(...services: ServiceConfig[]): void
  send(packet: Packet, zone?: number, masquerade?: boolean, partial?: boolean): number
  /** Lets `ms` pass, advancing every 100 ms. */
  wait(ms: number): void
}

export function lab(connectionsMax = 4096): Lab {
  const random = prng(1)
  const orphans: number[] = []
  const probes: number[] = []
  const director = new Director({
    nowMs: 1000,
    random: () => random.nextU32(),
    connectionsMax,
    orphan: (connection) => {
      orphans.push(connection)
      return false
    },
    probe: (connection) => probes.push(connection),
  })
  const self: Lab = {
    director,
    orphans,
    probes,
    now: 1000,
    apply(...services) {
      director.apply({ services }, self.now)
    },
    send(packet, zone = ZONE, masquerade = false, partial = false) {
      const { view, ipAt, l4At, end, protocol } = packet
      let connection = director.lookup(zone, view, ipAt, l4At, protocol, end)
      let direction = director.direction
      if (connection < 0) {
        const found = director.findService(zone, view, ipAt, l4At, protocol, 0)
        if (found < 0) return -1
        direction = FORWARD
        connection = director.schedule(
          zone,
          found,
          view,
          ipAt,
          l4At,
          protocol,
          end,
          self.now,
          masquerade,
        )
        if (connection < 0) return connection
      }
      director.translate(connection, direction, view, ipAt, l4At, end, partial)
      director.track(connection, direction, view, ipAt, l4At, end, 1, end - ipAt, self.now)
      return connection
    },
    wait(ms) {
      const until = self.now + ms
      while (self.now < until) {
        self.now = Math.min(self.now + 100, until)
        director.advance(self.now, 10_000)
      }
    },
  }
  return self
}
