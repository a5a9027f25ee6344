// Goal: the Ethernet and ARP accessors agree with literal bytes in both directions.

import t from 'tap'
import { hexView, toHex } from '../test/hex.ts'
import * as arp from './arp.ts'
import * as ethernet from './ethernet.ts'

const ARP_FRAME = `
  ffffffffffff 0242c0a80001 0806
  0001 0800 06 04 0001 0242c0a80001 c0a80001 000000000000 c0a80002`

t.test('an Ethernet header comes apart into its fields', async (t) => {
  const view = hexView(ARP_FRAME)
  t.ok(ethernet.checkEthernet(view, 0, 42))
  t.notOk(ethernet.checkEthernet(view, 0, 13))
  t.equal(ethernet.ethernetTargetHi(view, 0), 0xffff)
  t.equal(ethernet.ethernetTargetLo(view, 0), 0xffffffff)
  t.equal(ethernet.ethernetSourceHi(view, 0), 0x0242)
  t.equal(ethernet.ethernetSourceLo(view, 0), 0xc0a80001)
  t.equal(ethernet.ethernetType(view, 0), ethernet.ETHERTYPE_ARP)
  t.ok(ethernet.isGroupMac(0xffff))
  t.ok(ethernet.isGroupMac(0x0100))
  t.notOk(ethernet.isGroupMac(0x0242))
  t.ok(ethernet.isBroadcastMac(0xffff, 0xffffffff))
  t.notOk(ethernet.isBroadcastMac(0xffff, 0xfffffffe))
})

t.test('an Ethernet header and an ARP request are put together from their fields', async (t) => {
  const view = hexView('00'.repeat(42))
  ethernet.setEthernetTarget(view, 0, 0xffff, 0xffffffff)
  ethernet.setEthernetSource(view, 0, 0x0242, 0xc0a80001)
  ethernet.setEthernetType(view, 0, ethernet.ETHERTYPE_ARP)
  arp.writeArpHeader(view, 14, arp.ARP_REQUEST)
  arp.setArpSender(view, 14, 0x0242, 0xc0a80001, 0xc0a80001)
  arp.setArpTarget(view, 14, 0, 0, 0xc0a80002)
  t.equal(toHex(view), toHex(hexView(ARP_FRAME)))
})

t.test('a MAC is copied whole and nothing else', async (t) => {
  const view = hexView('112233445566 aaaa 000000000000 bbbb')
  ethernet.copyMac(view, 0, 8)
  t.equal(toHex(view), '112233445566aaaa112233445566bbbb')
  t.equal(ethernet.macHi(view, 8), 0x1122)
  t.equal(ethernet.macLo(view, 8), 0x33445566)
  ethernet.setMac(view, 0, 0xfedc, 0xba987654)
  t.equal(toHex(view, 0, 8), 'fedcba987654aaaa')
})

t.test('an ARP packet comes apart, and other kinds of ARP do not pass', async (t) => {
  const view = hexView(ARP_FRAME)
  t.ok(arp.checkArp(view, 14, 42))
  t.notOk(arp.checkArp(view, 14, 41))
  t.equal(arp.arpOperation(view, 14), arp.ARP_REQUEST)
  t.equal(arp.arpSenderMacHi(view, 14), 0x0242)
  t.equal(arp.arpSenderMacLo(view, 14), 0xc0a80001)
  t.equal(arp.arpSenderAddress(view, 14), 0xc0a80001)
  t.equal(arp.arpTargetMacHi(view, 14), 0)
  t.equal(arp.arpTargetMacLo(view, 14), 0)
  t.equal(arp.arpTargetAddress(view, 14), 0xc0a80002)
  arp.setArpOperation(view, 14, arp.ARP_REPLY)
  t.equal(arp.arpOperation(view, 14), arp.ARP_REPLY)
  for (const [at, value] of [
    [15, 6],
    [16, 9],
    [18, 8],
    [19, 16],
  ] as const) {
    const other = hexView(ARP_FRAME)
    other.setUint8(at, value)
    t.notOk(arp.checkArp(other, 14, 42), `byte ${at}`)
  }
})
