// ARP for IPv4 over Ethernet, RFC 826.
//
//   0       2       4   5   6       8
//   | htype | ptype |hln|pln| oper  |
//   8                       14              18                      24              28
//   | sender MAC            | sender IPv4   | target MAC            | target IPv4   |
//
// Other hardware or protocol types fail checkArp(). An announcement (RFC 5227) is a request whose
// sender and target address are equal; a probe is a request whose sender address is 0.

import { ETHERTYPE_IPV4, setMac } from './ethernet.ts'

export const ARP_SIZE = 28
export const ARP_REQUEST = 1
export const ARP_REPLY = 2

const HARDWARE_TYPE = 0
const PROTOCOL_TYPE = 2
const HARDWARE_SIZE = 4
const PROTOCOL_SIZE = 5
const OPERATION = 6
const SENDER_MAC = 8
const SENDER_ADDRESS = 14
const TARGET_MAC = 18
const TARGET_ADDRESS = 24

const HARDWARE_ETHERNET = 1

/** True when [at, end) holds a whole ARP packet for IPv4 over Ethernet. */
export function checkArp(view: DataView, at: number, end: number): boolean {
  return (
    end - at >= ARP_SIZE &&
    view.getUint16(at + HARDWARE_TYPE) === HARDWARE_ETHERNET &&
    view.getUint16(at + PROTOCOL_TYPE) === ETHERTYPE_IPV4 &&
    view.getUint8(at + HARDWARE_SIZE) === 6 &&
    view.getUint8(at + PROTOCOL_SIZE) === 4
  )
}

/** ARP_REQUEST, ARP_REPLY or a number we do not serve. */
export function arpOperation(view: DataView, at: number): number {
  return view.getUint16(at + OPERATION)
}

export function arpSenderMacHi(view: DataView, at: number): number {
  return view.getUint16(at + SENDER_MAC)
}

export function arpSenderMacLo(view: DataView, at: number): number {
  return view.getUint32(at + SENDER_MAC + 2)
}

export function arpSenderAddress(view: DataView, at: number): number {
  return view.getUint32(at + SENDER_ADDRESS)
}

export function arpTargetMacHi(view: DataView, at: number): number {
  return view.getUint16(at + TARGET_MAC)
}

export function arpTargetMacLo(view: DataView, at: number): number {
  return view.getUint32(at + TARGET_MAC + 2)
}

export function arpTargetAddress(view: DataView, at: number): number {
  return view.getUint32(at + TARGET_ADDRESS)
}

export function setArpOperation(view: DataView, at: number, value: number): void {
  view.setUint16(at + OPERATION, value)
}

export function setArpSender(
  view: DataView,
  at: number,
  macHi: number,
  macLo: number,
  address: number,
): void {
  setMac(view, at + SENDER_MAC, macHi, macLo)
  view.setUint32(at + SENDER_ADDRESS, address)
}

export function setArpTarget(
  view: DataView,
  at: number,
  macHi: number,
  macLo: number,
  address: number,
): void {
  setMac(view, at + TARGET_MAC, macHi, macLo)
  view.setUint32(at + TARGET_ADDRESS, address)
}

/** Writes the constant first eight bytes; sender and target are the caller's to set. */
export function writeArpHeader(view: DataView, at: number, operation: number): void {
  view.setUint16(at + HARDWARE_TYPE, HARDWARE_ETHERNET)
  view.setUint16(at + PROTOCOL_TYPE, ETHERTYPE_IPV4)
  view.setUint8(at + HARDWARE_SIZE, 6)
  view.setUint8(at + PROTOCOL_SIZE, 4)
  view.setUint16(at + OPERATION, operation)
}
