// The thread behind sniffer.ts: a packet socket (packet(7)) bound to one interface, read until time
// is up.

import { parentPort, workerData } from 'node:worker_threads'
import koffi from 'koffi'
import type { Sight, SnifferOrder } from './sniffer.ts'
import { STARTED } from './thread.ts'

const AF_PACKET = 17
const SOCK_RAW = 3
const SOCK_NONBLOCK = 0o4000
const ETH_P_ALL = 3
const SOL_SOCKET = 1
const SO_RCVBUF = 8
/** A super-packet of a veth pair is at most 64 KB and its headers. */
const PACKET_MAX = 1 << 17
const RECEIVE_BUFFER = 8 << 20
const UNDERLAY_PORT = 4789
const ETHERTYPE_IPV4 = 0x0800
const ETHERTYPE_IPV6 = 0x86dd
const PROTOCOL_UDP = 17

const libc = koffi.load(null)
const socket = libc.func('int socket(int, int, int)')
const bind = libc.func('int bind(int, const uint8_t*, uint32_t)')
const setsockopt = libc.func('int setsockopt(int, int, int, const int32_t*, uint32_t)')
const read = libc.func('intptr_t read(int, void*, size_t)')
const nametoindex = libc.func('uint32_t if_nametoindex(const char*)')
const close = libc.func('int close(int)')

function listen(device: string): number {
  // Protocol 0 hears nothing: with another the socket would hear every interface until it is bound.
  const fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0)
  if (fd < 0) throw new Error(`no packet socket: errno ${koffi.errno()}`)
  const index = nametoindex(device)
  if (index === 0) throw new Error(`there is no interface ${device}`)
  // struct sockaddr_ll: family, protocol (network order), interface index.
  const address = Buffer.alloc(20)
  address.writeUInt16LE(AF_PACKET, 0)
  address.writeUInt16BE(ETH_P_ALL, 2)
  address.writeInt32LE(index, 4)
  if (bind(fd, address, address.length) !== 0) {
    throw new Error(`cannot listen on ${device}: errno ${koffi.errno()}`)
  }
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, Int32Array.of(RECEIVE_BUFFER), 4)
  return fd
}

/** True for a UDP datagram from or to the underlay's port. */
function isTunnelled(packet: Buffer): boolean {
  if (packet.length < 42) return false
  const type = packet.readUInt16BE(12)
  let at = 14
  if (type === ETHERTYPE_IPV4 && packet[23] === PROTOCOL_UDP) at += (packet[14]! & 15) * 4
  else if (type === ETHERTYPE_IPV6 && packet[20] === PROTOCOL_UDP) at += 40
  else return false
  if (packet.length < at + 4) return false
  return packet.readUInt16BE(at) === UNDERLAY_PORT || packet.readUInt16BE(at + 2) === UNDERLAY_PORT
}

async function watch(order: SnifferOrder): Promise<Sight> {
  const fd = listen(order.device)
  const buffer = Buffer.alloc(PACKET_MAX)
  const end = performance.now() + order.durationMs
  const seen = { packets: 0, bytes: 0, readable: 0, tunnelled: 0 }
  while (performance.now() < end) {
    const size = Number(read(fd, buffer, PACKET_MAX))
    if (size <= 0) {
      await new Promise((resolve) => setTimeout(resolve, 2))
      continue
    }
    const packet = buffer.subarray(0, size)
    seen.packets++
    seen.bytes += size
    if (isTunnelled(packet)) seen.tunnelled++
    if (packet.includes(order.marker)) seen.readable++
  }
  close(fd)
  return seen
}

parentPort?.postMessage(STARTED)
watch(workerData as SnifferOrder)
  .catch((error: Error) => ({
    ...{ packets: 0, bytes: 0, readable: 0, tunnelled: 0 },
    error: error.message,
  }))
  .then((sight) => parentPort?.postMessage(sight))
