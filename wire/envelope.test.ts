// Goal: the headers between tunnel ends (VXLAN, envelope) and between kernel and loop (virtio-net)
// are the bytes their pictures show.

import t from 'tap'
import { hexView, toHex } from '../test/hex.ts'
import * as envelope from './envelope.ts'
import * as vnet from './vnet.ts'
import * as vxlan from './vxlan.ts'

t.test('a VXLAN header', async (t) => {
  const view = hexView('ff'.repeat(8))
  vxlan.writeVxlan(view, 0, 0xabcdef, 0)
  t.equal(toHex(view), '08000000abcdef00')
  t.ok(vxlan.checkVxlan(view, 0, 8))
  t.notOk(vxlan.checkVxlan(view, 0, 7))
  t.equal(vxlan.vxlanVni(view, 0), 0xabcdef)
  t.equal(vxlan.vxlanInnerFlags(view, 0), 0)
  vxlan.writeVxlan(view, 0, 1, vxlan.VXLAN_INNER_CHECKSUM_PARTIAL)
  t.equal(toHex(view), '0801000000000100')
  vxlan.setVxlanInnerFlags(view, 0, 0x80)
  vxlan.setVxlanVni(view, 0, 0xffffff)
  t.equal(toHex(view), '08800000ffffff00')
  t.equal(vxlan.vxlanInnerFlags(view, 0), 0x80)
  view.setUint8(0, 0xf7)
  t.notOk(vxlan.checkVxlan(view, 0, 8), 'no VNI without the I flag')
})

t.test('a transport envelope', async (t) => {
  const view = hexView('ff'.repeat(16) + '00'.repeat(16))
  envelope.writeEnvelope(view, 0, envelope.ENVELOPE_TRANSPORT, 0xdeadbeef)
  envelope.setEnvelopeCounter(view, 0, 0x1_0000_0002)
  t.equal(toHex(view, 0, 16), '04000000deadbeef0000000100000002')
  t.equal(envelope.envelopeType(view, 0), envelope.ENVELOPE_TRANSPORT)
  t.equal(envelope.envelopeReceiverIndex(view, 0), 0xdeadbeef)
  t.equal(envelope.envelopeCounter(view, 0), 0x1_0000_0002)
  t.equal(envelope.envelopeCounterAt(0), 8)
  t.ok(envelope.checkEnvelopeTransport(view, 0, 32))
  t.notOk(envelope.checkEnvelopeTransport(view, 0, 31))
  envelope.setEnvelopeReceiverIndex(view, 0, 7)
  t.equal(envelope.envelopeReceiverIndex(view, 0), 7)
  for (const counter of [0, 1, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER]) {
    envelope.setEnvelopeCounter(view, 0, counter)
    t.equal(envelope.envelopeCounter(view, 0), counter)
  }
  view.setUint8(3, 1)
  t.notOk(envelope.checkEnvelopeTransport(view, 0, 32), 'flags that nobody knows')
})

t.test('every first byte is one kind of message or none, never two', async (t) => {
  const known = []
  for (let first = 0; first < 256; first++) {
    const view = hexView(`${first.toString(16).padStart(2, '0')}000000`)
    const ours = envelope.checkEnvelopeType(view, 0, 4)
    const plain = envelope.isPlainVxlan(view, 0, 4)
    if (ours && plain) t.fail(`${first} is both`)
    if (ours) known.push(first)
  }
  t.same(known, [1, 2, 3, 4, 5])
  t.notOk(envelope.checkEnvelopeType(hexView('040000'), 0, 3))
  t.notOk(envelope.checkEnvelopeType(hexView('04000100'), 0, 4))
  t.ok(envelope.isPlainVxlan(hexView('08'), 0, 1))
  t.notOk(envelope.isPlainVxlan(hexView('08'), 0, 0))
})

t.test('a virtio-net header, in host order', async (t) => {
  const view = hexView('ff'.repeat(10))
  vnet.writeVnet(view, 0, vnet.VNET_FLAG_NEEDS_CHECKSUM, vnet.VNET_GSO_TCPV4, 66, 1448, 34, 16)
  t.equal(toHex(view), '01014200a80522001000')
  t.ok(vnet.checkVnet(view, 0, 10))
  t.notOk(vnet.checkVnet(view, 0, 9))
  t.equal(vnet.vnetFlags(view, 0), 1)
  t.equal(vnet.vnetGsoType(view, 0), 1)
  t.equal(vnet.vnetHeaderSize(view, 0), 66)
  t.equal(vnet.vnetSegmentSize(view, 0), 1448)
  t.equal(vnet.vnetChecksumStart(view, 0), 34)
  t.equal(vnet.vnetChecksumOffset(view, 0), 16)
  vnet.clearVnet(view, 0)
  t.equal(toHex(view), '00'.repeat(10))
})
