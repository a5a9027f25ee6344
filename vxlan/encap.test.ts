// Goal: what is encapsulated comes out again, the layouts are those of docs/packet-formats.md, and
// no datagram of any length leads outside its bounds.

import fc from 'fast-check'
import t from 'tap'
import { memorySlab } from '../base/slab.ts'
import {
  VXLAN_HEADER_SIZE,
  VXLAN_INNER_CHECKSUM_PARTIAL,
  vxlanInnerFlags,
  vxlanVni,
} from '../wire/vxlan.ts'
import { PlainAeadFactory } from './aead.ts'
import {
  CONTROL_KEEPALIVE,
  CONTROL_OVERHEAD,
  CONTROL_PROBE,
  CONTROL_PROBE_ACK,
  controlKind,
  controlSize,
  isControl,
  isWholeProbe,
  writeKeepalive,
  writeProbe,
  writeProbeAck,
} from './control.ts'
import {
  DECAP_CONTROL,
  DECAP_INVALID,
  DECAP_SHORT,
  decapPlain,
  decapSealed,
  frameEnd,
  openedAt,
  openLength,
} from './decap.ts'
import {
  encapPlain,
  encapSealed,
  innerMtu,
  SEALED_HEADROOM,
  SEALED_OVERHEAD,
  SEALED_TAILROOM,
  sealedAt,
  sealedLength,
  udpPayloadMax,
} from './encap.ts'
import { transportAad } from './keyring.ts'

const KEY = new Uint8Array(32).fill(3)
const SALT = new Uint8Array(4).fill(4)
const INDEX = 0xdeadbeef

t.test('sealed: layout and way back', async (t) => {
  const slab = memorySlab(4096)
  const factory = new PlainAeadFactory(slab)
  const sealer = factory.sealer(KEY, SALT, transportAad(INDEX), 5)
  const opener = factory.opener(KEY, SALT, transportAad(INDEX))
  const frame = 200
  const length = 60
  slab.bytes.fill(0x77, frame, frame + length)
  const start = encapSealed(slab.view, frame, INDEX, 0x123456, VXLAN_INNER_CHECKSUM_PARTIAL)
  t.equal(start, frame - SEALED_HEADROOM)
  t.equal(sealer.seal(sealedAt(frame), sealedLength(length)), 0)
  const end = frame + length + SEALED_TAILROOM
  t.equal(end - start, length + SEALED_OVERHEAD)
  const header = Buffer.from(slab.bytes.subarray(start, start + 16)).toString('hex')
  t.equal(header, '04000000deadbeef0000000000000005')
  t.not(slab.bytes[frame], 0x77, 'the frame is not in the clear')
  t.equal(opener.open(start + 8, openLength(end - start)), 0)
  t.equal(decapSealed(slab.view, start, end), frame)
  t.equal(frameEnd(end), frame + length)
  t.equal(vxlanVni(slab.view, frame - VXLAN_HEADER_SIZE), 0x123456)
  t.equal(vxlanInnerFlags(slab.view, frame - VXLAN_HEADER_SIZE), VXLAN_INNER_CHECKSUM_PARTIAL)
})

t.test('plain: RFC 7348 figure 1', async (t) => {
  const slab = memorySlab(256)
  const start = encapPlain(slab.view, 64, 0xabcdef)
  const header = Buffer.from(slab.bytes.subarray(start, 64)).toString('hex')
  t.equal(header, '08000000abcdef00')
  t.equal(decapPlain(slab.view, start, 64 + 14), 64)
  t.equal(decapPlain(slab.view, start, 64 + 13), DECAP_SHORT)
  slab.bytes[start] = 0xff
  slab.bytes[start + 7] = 0xff
  t.equal(decapPlain(slab.view, start, 64 + 14), 64, 'reserved bits are ignored')
  slab.bytes[start] = 0xf7
  t.equal(decapPlain(slab.view, start, 64 + 14), DECAP_INVALID)
})

t.test('control messages are told from frames', async (t) => {
  const { view, bytes } = memorySlab(2048)
  const at = 0
  const inner = openedAt(at)
  bytes[0] = 4
  const length = writeKeepalive(view, inner)
  t.equal(decapSealed(view, at, inner + length + 16), DECAP_CONTROL)
  t.equal(controlKind(view, inner), CONTROL_KEEPALIVE)

  bytes.fill(0xff, inner)
  const probe = writeProbe(view, inner, 1400)
  t.equal(probe + CONTROL_OVERHEAD, 1400)
  t.equal(controlKind(view, inner), CONTROL_PROBE)
  t.ok(bytes.subarray(inner + 4, inner + probe).every((byte) => byte === 0))
  t.equal(bytes[inner + probe], 0xff, 'not a byte more')
  t.ok(isWholeProbe(view, inner, inner + probe))
  t.notOk(isWholeProbe(view, inner, inner + probe - 1), 'a size that is not true')

  writeProbeAck(view, inner, 1400)
  t.equal(controlKind(view, inner), CONTROL_PROBE_ACK)
  t.equal(controlSize(view, inner), 1400)
  t.notOk(isWholeProbe(view, inner, inner + 1368))
  t.notOk(isControl(view, inner, inner + 3), 'too short')
})

t.test('no length and no bytes lead outside', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (datagram) => {
      // The view ends where the datagram ends: reading on would throw.
      const view = new DataView(Uint8Array.from(datagram).buffer)
      for (const at of [
        decapPlain(view, 0, datagram.length),
        decapSealed(view, 0, datagram.length),
      ]) {
        if (at >= 0 && at + 14 > datagram.length) return false
      }
      return true
    }),
    { numRuns: 2000 },
  )
})

t.test('what fits', async (t) => {
  t.equal(udpPayloadMax(1500, false), 1472)
  t.equal(udpPayloadMax(1500, true), 1452)
  t.equal(innerMtu(1472, false), 1450, 'as every VXLAN')
  t.equal(innerMtu(1472, true), 1418)
  t.equal(innerMtu(1452, true), 1398)
})
