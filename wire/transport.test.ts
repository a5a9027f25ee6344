// Goal: the UDP and TCP accessors agree with literal bytes, options are found wherever they stand,
// and clamping and resets leave right checksums.

import t from 'tap'
import { hexView, toHex } from '../test/hex.ts'
import { checksumHolds, pseudoSumV4, pseudoSumV6, sumBytes } from './checksum.ts'
import { checkIpv4, ipv4HeaderHolds, ipv4Source, ipv4Target } from './ipv4.ts'
import { checkIpv6, equalIpv6Address, walkIpv6, walkProtocol } from './ipv6.ts'
import * as tcp from './tcp.ts'
import * as reset from './tcp-reset.ts'
import * as udp from './udp.ts'

t.test('a UDP header comes apart and is put together', async (t) => {
  const text = 'd431 12b5 000a beef 6869'
  const view = hexView(text)
  t.ok(udp.checkUdp(view, 0, 10))
  t.equal(udp.udpSourcePort(view, 0), 0xd431)
  t.equal(udp.udpTargetPort(view, 0), 4789)
  t.equal(udp.udpLength(view, 0), 10)
  t.equal(udp.udpChecksum(view, 0), 0xbeef)
  const copy = hexView(`${'00'.repeat(8)}6869`)
  udp.setUdpSourcePort(copy, 0, 0xd431)
  udp.setUdpTargetPort(copy, 0, 4789)
  udp.setUdpLength(copy, 0, 10)
  udp.setUdpChecksum(copy, 0, 0xbeef)
  t.equal(toHex(copy), toHex(view))
  udp.storeUdpChecksum(copy, 0, 0)
  t.equal(udp.udpChecksum(copy, 0), 0xffff)
  udp.storeUdpChecksum(copy, 0, 1)
  t.equal(udp.udpChecksum(copy, 0), 1)
})

t.test('UDP lengths that lie are refused', async (t) => {
  const view = hexView('d431 12b5 000a beef 6869')
  t.notOk(udp.checkUdp(view, 0, 7))
  t.notOk(udp.checkUdp(view, 0, 9))
  udp.setUdpLength(view, 0, 7)
  t.notOk(udp.checkUdp(view, 0, 10))
  udp.setUdpLength(view, 0, 8)
  t.ok(udp.checkUdp(view, 0, 10))
})

const SYN = `d431 0050 01020304 a0b0c0d0 a0 c2 faf0 1234 0001
  020405b4 0402 080a 11223344 00000000 01 030307`

t.test('a TCP header comes apart and is put together', async (t) => {
  const view = hexView(SYN)
  t.ok(tcp.checkTcp(view, 0, 40))
  t.equal(tcp.tcpSourcePort(view, 0), 0xd431)
  t.equal(tcp.tcpTargetPort(view, 0), 80)
  t.equal(tcp.tcpSequence(view, 0), 0x01020304)
  t.equal(tcp.tcpAcknowledgement(view, 0), 0xa0b0c0d0)
  t.equal(tcp.tcpHeaderSize(view, 0), 40)
  t.equal(tcp.tcpFlags(view, 0), tcp.TCP_SYN | tcp.TCP_ECE | tcp.TCP_CWR)
  t.equal(tcp.tcpWindow(view, 0), 0xfaf0)
  t.equal(tcp.tcpChecksum(view, 0), 0x1234)
  t.equal(tcp.tcpUrgent(view, 0), 1)
  const copy = hexView('00'.repeat(20))
  tcp.setTcpSourcePort(copy, 0, 0xd431)
  tcp.setTcpTargetPort(copy, 0, 80)
  tcp.setTcpSequence(copy, 0, 0x01020304)
  tcp.setTcpAcknowledgement(copy, 0, 0xa0b0c0d0)
  tcp.setTcpHeaderSize(copy, 0, 40)
  tcp.setTcpFlags(copy, 0, 0xc2)
  tcp.setTcpWindow(copy, 0, 0xfaf0)
  tcp.setTcpChecksum(copy, 0, 0x1234)
  tcp.setTcpUrgent(copy, 0, 1)
  t.equal(toHex(copy), toHex(view, 0, 20))
})

t.test('TCP headers that leave the packet are refused', async (t) => {
  const view = hexView(SYN)
  t.notOk(tcp.checkTcp(view, 0, 39))
  t.notOk(tcp.checkTcp(view, 0, 19))
  tcp.setTcpHeaderSize(view, 0, 16)
  t.notOk(tcp.checkTcp(view, 0, 40))
})

t.test('sequence numbers compare modulo 2^32', async (t) => {
  t.ok(tcp.sequenceBefore(1, 2))
  t.notOk(tcp.sequenceBefore(2, 2))
  t.ok(tcp.sequenceBefore(0xfffffff0, 5))
  t.notOk(tcp.sequenceBefore(5, 0xfffffff0))
})

t.test('options are found wherever they stand', async (t) => {
  const view = hexView(SYN)
  t.equal(tcp.tcpOption(view, 0, tcp.TCP_OPTION_MSS), 20)
  t.equal(tcp.tcpOption(view, 0, tcp.TCP_OPTION_SACK_PERMITTED), 24)
  t.equal(tcp.tcpOption(view, 0, tcp.TCP_OPTION_TIMESTAMPS), 26)
  t.equal(tcp.tcpOption(view, 0, tcp.TCP_OPTION_WINDOW_SCALE), 37)
  t.equal(tcp.tcpOption(view, 0, tcp.TCP_OPTION_SACK), -1)
  t.equal(tcp.tcpMssAt(view, 0), 22)
})

/** A TCP header with `options`, padded to a multiple of four. */
function withOptions(options: string): DataView {
  const size = options.replace(/\s/g, '').length / 2
  const padded = Math.ceil(size / 4) * 4
  const view = hexView('00'.repeat(20) + options + '00'.repeat(padded - size))
  tcp.setTcpHeaderSize(view, 0, 20 + padded)
  return view
}

t.test('malformed options end the search inside the header', async (t) => {
  const none: [string, string][] = [
    ['no options', ''],
    ['an end in front', '00 020405b4'],
    ['a kind without a size', '01010102'],
    ['a size of zero', '0300 0204 05b4'],
    ['a size of one', '0301 0204 05b4'],
    ['a size beyond the header', '0309 0204 05b4'],
    ['an MSS option of the wrong size', '0203 0501'],
    ['an MSS option whose value is behind the header', '0101 0204'],
  ]
  for (const [name, options] of none) t.equal(tcp.tcpMssAt(withOptions(options), 0), -1, name)
})

t.test('clamping the MSS mends the checksum at even and odd places', async (t) => {
  for (const options of ['020405b4', '01 020405b4', '0101 020405b4', '03030a 020405b4']) {
    const view = withOptions(options)
    const size = view.byteLength
    tcp.setTcpChecksum(view, 0, ~sumBytes(view, 0, size, 0x1234) & 0xffff)
    t.notOk(tcp.clampTcpMss(view, 0, 1460, false), 'already small enough')
    t.ok(tcp.clampTcpMss(view, 0, 1337, false))
    t.equal(view.getUint16(tcp.tcpMssAt(view, 0)), 1337)
    t.ok(checksumHolds(view, 0, size, 0x1234), options)
    const before = tcp.tcpChecksum(view, 0)
    t.ok(tcp.clampTcpMss(view, 0, 1000, true))
    t.equal(tcp.tcpChecksum(view, 0), before, 'a partial checksum stays')
  }
  t.notOk(tcp.clampTcpMss(withOptions('0101'), 0, 1000, false), 'no MSS option')
})

const V4 = '4500 0000 abcd 4000 3f 06 0000 0a000001 0a000002'
const V6 = '60000000 0000 06 3f 20010db8000000000000000000000001 20010db8000000000000000000000002'

interface ResetCase {
  readonly name: string
  /** Flags of the segment, and its payload size. */
  readonly flags: number
  readonly payload: number
  /** What the reset must say: sequence, acknowledgement, flags. */
  readonly reply: readonly [number, number, number]
  readonly forward: readonly [number, number, number]
}

const SEQ = 0xfffffffe
const ACK = 0x01020304

const RESETS: readonly ResetCase[] = [
  {
    name: 'data with ACK',
    flags: tcp.TCP_ACK | tcp.TCP_PSH,
    payload: 5,
    reply: [ACK, 0, tcp.TCP_RST],
    forward: [SEQ, ACK, tcp.TCP_RST | tcp.TCP_ACK],
  },
  {
    name: 'a SYN, whose answer acknowledges one past it',
    flags: tcp.TCP_SYN,
    payload: 0,
    reply: [0, 0xffffffff, tcp.TCP_RST | tcp.TCP_ACK],
    forward: [SEQ, 0, tcp.TCP_RST],
  },
  {
    name: 'a SYN with data, FIN and no ACK, across the wrap',
    flags: tcp.TCP_SYN | tcp.TCP_FIN,
    payload: 5,
    reply: [0, 5, tcp.TCP_RST | tcp.TCP_ACK],
    forward: [SEQ, 0, tcp.TCP_RST],
  },
]

function segment(ip: string, ipSize: number, flags: number, payload: number): DataView {
  const view = hexView(ip + '00'.repeat(20 + payload + 100))
  tcp.setTcpSourcePort(view, ipSize, 1111)
  tcp.setTcpTargetPort(view, ipSize, 80)
  tcp.setTcpSequence(view, ipSize, SEQ)
  tcp.setTcpAcknowledgement(view, ipSize, (flags & tcp.TCP_ACK) !== 0 ? ACK : 0)
  tcp.setTcpHeaderSize(view, ipSize, 20)
  tcp.setTcpFlags(view, ipSize, flags)
  if (ipSize === 20) view.setUint16(2, 40 + payload)
  else view.setUint16(4, 20 + payload)
  return view
}

t.test('resets carry the numbers of RFC 9293 and right checksums, IPv4', async (t) => {
  for (const { name, flags, payload, reply, forward } of RESETS) {
    const view = segment(V4, 20, flags, payload)
    const out = 40 + payload
    for (const [size, expected, swapped] of [
      [reset.writeTcpResetReplyV4(view, 0, out), reply, true],
      [reset.writeTcpResetForwardV4(view, 0, out), forward, false],
    ] as const) {
      t.equal(size, 40, name)
      // The later of the two stands there: write again what this row is about.
      if (swapped) reset.writeTcpResetReplyV4(view, 0, out)
      else reset.writeTcpResetForwardV4(view, 0, out)
      t.ok(checkIpv4(view, out, out + 40))
      t.ok(ipv4HeaderHolds(view, out))
      t.equal(ipv4Source(view, out), swapped ? 0x0a000002 : 0x0a000001)
      t.equal(ipv4Target(view, out), swapped ? 0x0a000001 : 0x0a000002)
      const at = out + 20
      t.equal(tcp.tcpSourcePort(view, at), swapped ? 80 : 1111)
      t.equal(tcp.tcpTargetPort(view, at), swapped ? 1111 : 80)
      t.same(
        [tcp.tcpSequence(view, at), tcp.tcpAcknowledgement(view, at), tcp.tcpFlags(view, at)],
        expected,
        name,
      )
      t.ok(checksumHolds(view, at, at + 20, pseudoSumV4(view, out, 6, 20)), name)
    }
  }
})

t.test('resets carry the numbers of RFC 9293 and right checksums, IPv6', async (t) => {
  for (const { name, flags, payload, reply, forward } of RESETS) {
    const view = segment(V6, 40, flags, payload)
    const out = 60 + payload
    for (const [write, expected, source] of [
      [reset.writeTcpResetReplyV6, reply, 24],
      [reset.writeTcpResetForwardV6, forward, 8],
    ] as const) {
      t.equal(write(view, 0, 40, out), 60, name)
      t.ok(checkIpv6(view, out, out + 60))
      t.equal(walkProtocol(walkIpv6(view, out)), 6)
      t.ok(equalIpv6Address(view, out + 8, view, source))
      const at = out + 40
      t.same(
        [tcp.tcpSequence(view, at), tcp.tcpAcknowledgement(view, at), tcp.tcpFlags(view, at)],
        expected,
        name,
      )
      t.ok(checksumHolds(view, at, at + 20, pseudoSumV6(view, out, 6, 20)), name)
    }
  }
})

t.test('a reset is never answered and never sent on', async (t) => {
  const v4 = segment(V4, 20, tcp.TCP_RST | tcp.TCP_ACK, 0)
  const before = toHex(v4)
  t.equal(reset.writeTcpResetReplyV4(v4, 0, 60), 0)
  t.equal(reset.writeTcpResetForwardV4(v4, 0, 60), 0)
  t.equal(toHex(v4), before)
  const v6 = segment(V6, 40, tcp.TCP_RST, 0)
  t.equal(reset.writeTcpResetReplyV6(v6, 0, 40, 80), 0)
  t.equal(reset.writeTcpResetForwardV6(v6, 0, 40, 80), 0)
})
