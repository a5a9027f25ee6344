// Goal: the host's addresses are those a client reaches, and the system is not asked for them more
// often than is needed. Method: a made-up list of interfaces and a clock that is moved by hand.

import type { NetworkInterfaceInfo, networkInterfaces } from 'node:os'
import t from 'tap'
import { HostAddresses } from './host-addresses.ts'
import { ADDRESSES_KEPT_MS } from './limits.ts'

function one(address: string, internal = false): NetworkInterfaceInfo {
  return { address, internal } as NetworkInterfaceInfo
}

t.test('what is published, and how often it is read', async (t) => {
  let ms = 0
  let reads = 0
  const shown: ReturnType<typeof networkInterfaces> = {
    lo: [one('127.0.0.1', true)],
    eth0: [one('192.0.2.2'), one('fe80::1'), one('2001:db8::2')],
    docker_gwbridge: [one('172.18.0.1')],
    weft0: [one('10.0.0.1')],
  }
  const read = (): typeof shown => {
    reads++
    return shown
  }
  const addresses = new HostAddresses({ nowMs: () => ms, wallMs: () => ms }, read)
  t.same(addresses.published(), ['192.0.2.2', '2001:db8::2'])
  shown.eth1 = [one('192.0.2.1')]
  ms += ADDRESSES_KEPT_MS - 1
  t.same(addresses.published(), ['192.0.2.2', '2001:db8::2'])
  t.equal(reads, 1)
  ms++
  t.same(addresses.published(), ['192.0.2.1', '192.0.2.2', '2001:db8::2'])
  t.equal(reads, 2)
  shown.eth2 = [one('192.0.2.3')]
  t.equal(addresses.system().length, 6, 'who asks for all of them has them as they are now')
  t.equal(addresses.published().length, 4)
})
