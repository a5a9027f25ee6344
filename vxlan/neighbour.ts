// Answers to "who has this address?": ARP requests (RFC 826) and neighbour solicitations (RFC 4861)
// of local endpoints are answered from the tables, in the name of whoever has the address, on
// whatever node. Nothing of them crosses the underlay: no broadcast to replicate, no answer to
// forge.
//
// Answered are questions about an address in the tables, whether sent to one or to many, including
// duplicate address detection (a probe, from 0.0.0.0 or ::) for somebody else's address: the prober
// must learn that it is taken. Not answered are questions about the asker's own address: a host
// that probes its own address must not be told that it is taken. "Own" is decided by the MAC, as a
// prober has no address yet.
//
// A network is a number of the caller's (its VNI, for instance). The tables are built whole and
// swapped. The answer is a complete Ethernet frame for the asker's device.

import {
  ARP_REPLY,
  ARP_REQUEST,
  ARP_SIZE,
  arpOperation,
  arpSenderAddress,
  arpSenderMacHi,
  arpSenderMacLo,
  arpTargetAddress,
  checkArp,
  setArpSender,
  setArpTarget,
  writeArpHeader,
} from '../wire/arp.ts'
import { checksumHolds, pseudoSumV6 } from '../wire/checksum.ts'
import {
  ETHERNET_HEADER_SIZE,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV6,
  ethernetSourceHi,
  ethernetSourceLo,
  ethernetType,
  setEthernetSource,
  setEthernetTarget,
  setEthernetType,
} from '../wire/ethernet.ts'
import {
  checkNeighbour,
  fillIcmpv6Checksum,
  ICMPV6_NEIGHBOUR_ADVERTISEMENT,
  ICMPV6_NEIGHBOUR_SOLICITATION,
  icmpv6Type,
  linkOptionMacHi,
  linkOptionMacLo,
  ND_FLAG_OVERRIDE,
  ND_FLAG_SOLICITED,
  ND_HOP_LIMIT,
  ND_LINK_OPTION_SIZE,
  ND_OPTION_SOURCE_LINK,
  ND_OPTION_TARGET_LINK,
  ND_SIZE,
  neighbourOption,
  neighbourTargetAt,
  setIcmpv6Code,
  setIcmpv6Type,
  setNeighbourFlags,
  writeLinkOption,
} from '../wire/icmpv6.ts'
import { PROTOCOL_ICMPV6 } from '../wire/ipv4.ts'
import {
  checkIpv6,
  copyIpv6Address,
  IPV6_HEADER_SIZE,
  ipv6End,
  ipv6HopLimit,
  ipv6NextHeader,
  ipv6SourceAt,
  ipv6TargetAt,
  isIpv6Multicast,
  isIpv6Unspecified,
  writeIpv6Header,
} from '../wire/ipv6.ts'

/** Not a question at all: an ordinary frame, to be forwarded. */
export const NEIGHBOUR_NO_QUESTION: number = -1
/** A question that breaks its RFC. */
export const NEIGHBOUR_MALFORMED: number = -2
/** Nobody on this network has the address. */
export const NEIGHBOUR_UNKNOWN: number = -3
/** The asker has it. */
export const NEIGHBOUR_OWN: number = -4
/** An announcement, an unasked answer: the tables know better. */
export const NEIGHBOUR_ANNOUNCEMENT: number = -5

/** The longest answer in bytes: room that `outAt` must have. */
export const NEIGHBOUR_ANSWER_SIZE_MAX: number =
  ETHERNET_HEADER_SIZE + IPV6_HEADER_SIZE + ND_SIZE + ND_LINK_OPTION_SIZE

export interface NeighbourEntryV4 {
  readonly network: number
  readonly address: number
  readonly macHi: number
  readonly macLo: number
}

export interface NeighbourEntryV6 {
  readonly network: number
  /** 16 bytes. */
  readonly address: Uint8Array
  readonly macHi: number
  readonly macLo: number
}

// Entry of either table: | network + 1, zero = free | address, 1 or 4 words | MAC hi | MAC lo |
const NETWORK = 0
const ADDRESS = 1
const WORDS_V4 = 4
const HI_V4 = 2
const WORDS_V6 = 8
const HI_V6 = 5
const ENTRIES_MIN = 8

const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1)
const ALL_NODES_VIEW: DataView = new DataView(ALL_NODES.buffer)
/** 33:33 and the last 32 bits of the group (RFC 2464 section 7). */
const MULTICAST_MAC_HI = 0x3333

function mix(hash: number): number {
  const once = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  const twice = Math.imul(once ^ (once >>> 13), 0xc2b2ae35)
  return twice ^ (twice >>> 16)
}

function hashV4(network: number, address: number): number {
  return mix(Math.imul(network, 0x9e3779b1) ^ address)
}

function hashV6(network: number, view: DataView, at: number): number {
  let hash = Math.imul(network, 0x9e3779b1)
  for (let i = at; i < at + 16; i += 4) hash = Math.imul(hash ^ view.getInt32(i), 0x01000193)
  return mix(hash)
}

function capacityFor(count: number): number {
  let capacity = ENTRIES_MIN
  while (capacity < count * 2) capacity *= 2
  return capacity
}

export class NeighbourTable {
  readonly #v4: Int32Array
  readonly #v6: Int32Array

  /** Throws an Error when an address stands twice in one network. */
  constructor(v4: readonly NeighbourEntryV4[], v6: readonly NeighbourEntryV6[]) {
    this.#v4 = new Int32Array(capacityFor(v4.length) * WORDS_V4)
    this.#v6 = new Int32Array(capacityFor(v6.length) * WORDS_V6)
    for (const entry of v4) this.#insertV4(entry)
    for (const entry of v6) this.#insertV6(entry)
  }

  /** Place of an IPv4 address for macHiAt/macLoAt, -1 = unknown. */
  findV4(network: number, address: number): number {
    const table = this.#v4
    let at = (hashV4(network, address) * WORDS_V4) & (table.length - WORDS_V4)
    while (table[at + NETWORK] !== 0) {
      if (table[at + NETWORK] === network + 1 && table[at + ADDRESS] === (address | 0)) return at
      at = (at + WORDS_V4) & (table.length - 1)
    }
    return -1
  }

  /** Place of the IPv6 address at [addressAt, addressAt + 16), -1 = unknown. */
  findV6(network: number, view: DataView, addressAt: number): number {
    const table = this.#v6
    let at = (hashV6(network, view, addressAt) * WORDS_V6) & (table.length - WORDS_V6)
    while (table[at + NETWORK] !== 0) {
      if (
        table[at + NETWORK] === network + 1 &&
        table[at + ADDRESS + 3] === view.getInt32(addressAt + 12) &&
        table[at + ADDRESS + 2] === view.getInt32(addressAt + 8) &&
        table[at + ADDRESS + 1] === view.getInt32(addressAt + 4) &&
        table[at + ADDRESS] === view.getInt32(addressAt)
      ) {
        return at
      }
      at = (at + WORDS_V6) & (table.length - 1)
    }
    return -1
  }

  macHiV4(place: number): number {
    return this.#v4[place + HI_V4]!
  }

  macLoV4(place: number): number {
    return this.#v4[place + HI_V4 + 1]! >>> 0
  }

  macHiV6(place: number): number {
    return this.#v6[place + HI_V6]!
  }

  macLoV6(place: number): number {
    return this.#v6[place + HI_V6 + 1]! >>> 0
  }

  #insertV4({ network, address, macHi, macLo }: NeighbourEntryV4): void {
    if (this.findV4(network, address) >= 0) {
      throw new Error(`address ${address} stands twice in network ${network}`)
    }
    const table = this.#v4
    let at = (hashV4(network, address) * WORDS_V4) & (table.length - WORDS_V4)
    while (table[at + NETWORK] !== 0) at = (at + WORDS_V4) & (table.length - 1)
    table.set([network + 1, address, macHi, macLo], at)
  }

  #insertV6({ network, address, macHi, macLo }: NeighbourEntryV6): void {
    const view = new DataView(address.buffer, address.byteOffset, 16)
    if (this.findV6(network, view, 0) >= 0) {
      throw new Error(`address ${Buffer.from(address).toString('hex')} stands twice in ${network}`)
    }
    const table = this.#v6
    let at = (hashV6(network, view, 0) * WORDS_V6) & (table.length - WORDS_V6)
    while (table[at + NETWORK] !== 0) at = (at + WORDS_V6) & (table.length - 1)
    table[at + NETWORK] = network + 1
    for (let i = 0; i < 4; i++) table[at + ADDRESS + i] = view.getInt32(i * 4)
    table[at + HI_V6] = macHi
    table[at + HI_V6 + 1] = macLo
  }
}

/** Answers the frame [at, end) of a local endpoint on `network`, if it is a question, with a frame
 * at `outAt`, which has room for NEIGHBOUR_ANSWER_SIZE_MAX bytes and does not overlap the question.
 * Returns the answer's length, or one of the NEIGHBOUR_ codes, all negative. */
export function answerNeighbour(
  table: NeighbourTable,
  network: number,
  view: DataView,
  at: number,
  end: number,
  outAt: number,
): number {
  if (end - at < ETHERNET_HEADER_SIZE) return NEIGHBOUR_MALFORMED
  const type = ethernetType(view, at)
  if (type === ETHERTYPE_ARP) return answerArp(table, network, view, at, end, outAt)
  if (type === ETHERTYPE_IPV6) return answerSolicitation(table, network, view, at, end, outAt)
  return NEIGHBOUR_NO_QUESTION
}

function answerArp(
  table: NeighbourTable,
  network: number,
  view: DataView,
  at: number,
  end: number,
  outAt: number,
): number {
  const arp = at + ETHERNET_HEADER_SIZE
  if (!checkArp(view, arp, end)) return NEIGHBOUR_MALFORMED
  if (arpOperation(view, arp) !== ARP_REQUEST) return NEIGHBOUR_ANNOUNCEMENT
  const address = arpTargetAddress(view, arp)
  const senderAddress = arpSenderAddress(view, arp)
  if (address === senderAddress) return NEIGHBOUR_ANNOUNCEMENT // RFC 5227 section 2.3
  const place = table.findV4(network, address)
  if (place < 0) return NEIGHBOUR_UNKNOWN
  const hi = table.macHiV4(place)
  const lo = table.macLoV4(place)
  const askerHi = arpSenderMacHi(view, arp)
  const askerLo = arpSenderMacLo(view, arp)
  if (hi === askerHi && lo === askerLo) return NEIGHBOUR_OWN
  writeEthernet(view, outAt, askerHi, askerLo, hi, lo, ETHERTYPE_ARP)
  const out = outAt + ETHERNET_HEADER_SIZE
  writeArpHeader(view, out, ARP_REPLY)
  setArpSender(view, out, hi, lo, address)
  setArpTarget(view, out, askerHi, askerLo, senderAddress)
  return ETHERNET_HEADER_SIZE + ARP_SIZE
}

function answerSolicitation(
  table: NeighbourTable,
  network: number,
  view: DataView,
  at: number,
  end: number,
  outAt: number,
): number {
  const ip = at + ETHERNET_HEADER_SIZE
  // A solicitation behind extension headers is legal and never seen; it goes on like any other
  // frame.
  if (!checkIpv6(view, ip, end) || ipv6NextHeader(view, ip) !== PROTOCOL_ICMPV6) {
    return NEIGHBOUR_NO_QUESTION
  }
  const icmp = ip + IPV6_HEADER_SIZE
  const icmpEnd = ipv6End(view, ip)
  if (icmpEnd <= icmp || icmpv6Type(view, icmp) !== ICMPV6_NEIGHBOUR_SOLICITATION) {
    return NEIGHBOUR_NO_QUESTION
  }
  if (!checkSolicitation(view, ip, icmp, icmpEnd)) return NEIGHBOUR_MALFORMED
  const target = neighbourTargetAt(icmp)
  const place = table.findV6(network, view, target)
  if (place < 0) return NEIGHBOUR_UNKNOWN
  const hi = table.macHiV6(place)
  const lo = table.macLoV6(place)
  // Where the answer goes: to the link-layer address given, or back where the question came from.
  const option = neighbourOption(view, icmp, icmpEnd, ND_OPTION_SOURCE_LINK)
  const askerHi = option < 0 ? ethernetSourceHi(view, at) : linkOptionMacHi(view, option)
  const askerLo = option < 0 ? ethernetSourceLo(view, at) : linkOptionMacLo(view, option)
  if (hi === askerHi && lo === askerLo) return NEIGHBOUR_OWN
  writeAdvertisement(view, ip, target, outAt, hi, lo)
  if (isIpv6Unspecified(view, ipv6SourceAt(ip))) {
    writeEthernet(view, outAt, MULTICAST_MAC_HI, 1, hi, lo, ETHERTYPE_IPV6)
  } else {
    writeEthernet(view, outAt, askerHi, askerLo, hi, lo, ETHERTYPE_IPV6)
  }
  return NEIGHBOUR_ANSWER_SIZE_MAX
}

/** RFC 4861 section 7.1.1, all of it. */
function checkSolicitation(view: DataView, ip: number, icmp: number, end: number): boolean {
  if (ipv6HopLimit(view, ip) !== ND_HOP_LIMIT) return false
  if (!checkNeighbour(view, icmp, end)) return false
  const sum = pseudoSumV6(view, ip, PROTOCOL_ICMPV6, end - icmp)
  if (!checksumHolds(view, icmp, end, sum)) return false
  const target = neighbourTargetAt(icmp)
  if (isIpv6Multicast(view, target)) return false
  if (!isIpv6Unspecified(view, ipv6SourceAt(ip))) return true
  return (
    isSolicitedNode(view, ipv6TargetAt(ip)) &&
    neighbourOption(view, icmp, end, ND_OPTION_SOURCE_LINK) < 0
  )
}

/** True for ff02::1:ff00:0/104 (RFC 4291 section 2.7.1). */
function isSolicitedNode(view: DataView, addressAt: number): boolean {
  return (
    view.getUint32(addressAt) === 0xff020000 &&
    view.getUint32(addressAt + 4) === 0 &&
    view.getUint32(addressAt + 8) === 1 &&
    view.getUint8(addressAt + 12) === 0xff
  )
}

/** IPv6 header and advertisement at `outAt` (behind room for Ethernet) in answer to the packet at
 * `ip`. */
function writeAdvertisement(
  view: DataView,
  ip: number,
  target: number,
  outAt: number,
  macHi: number,
  macLo: number,
): void {
  const outIp = outAt + ETHERNET_HEADER_SIZE
  const out = outIp + IPV6_HEADER_SIZE
  const size = ND_SIZE + ND_LINK_OPTION_SIZE
  writeIpv6Header(view, outIp, size, PROTOCOL_ICMPV6, ND_HOP_LIMIT)
  copyIpv6Address(view, target, view, ipv6SourceAt(outIp))
  // RFC 4861 section 7.2.4: a prober without an address is answered through the all-nodes group,
  // and the answer is then not "solicited".
  const probe = isIpv6Unspecified(view, ipv6SourceAt(ip))
  if (probe) copyIpv6Address(ALL_NODES_VIEW, 0, view, ipv6TargetAt(outIp))
  else copyIpv6Address(view, ipv6SourceAt(ip), view, ipv6TargetAt(outIp))
  setIcmpv6Type(view, out, ICMPV6_NEIGHBOUR_ADVERTISEMENT)
  setIcmpv6Code(view, out, 0)
  setNeighbourFlags(view, out, ND_FLAG_OVERRIDE | (probe ? 0 : ND_FLAG_SOLICITED))
  copyIpv6Address(view, target, view, neighbourTargetAt(out))
  writeLinkOption(view, out + ND_SIZE, ND_OPTION_TARGET_LINK, macHi, macLo)
  fillIcmpv6Checksum(view, outIp, out, out + size)
}

function writeEthernet(
  view: DataView,
  at: number,
  targetHi: number,
  targetLo: number,
  sourceHi: number,
  sourceLo: number,
  type: number,
): void {
  setEthernetTarget(view, at, targetHi, targetLo)
  setEthernetSource(view, at, sourceHi, sourceLo)
  setEthernetType(view, at, type)
}
