// The way outside of a process in a network namespace of its own: a pair of devices, one end in the
// namespace with a default route, the other on the host with a route to the one address behind it.
//
//     namespace: ethN, 169.254.48.7 ── default via 169.254.47.90 ──> host: weftx1a2b3c4d5e
//
// The host forwards and masquerades what comes from there (mesh-plan.ts, egress). There is no
// bridge and no subnet: each pair stands alone, so what is in one namespace reaches nobody in
// another by it. Both ends know each other's MAC address, so there is no ARP and the host's end
// needs no address. A pair ends with the namespace at the latest.

import { changeIp, type IpCommand, runCommand } from './command.ts'
import { EGRESS_DEVICES, EGRESS_SUBNET } from './mesh-plan.ts'
import { changeLinks } from './rtnetlink.ts'
import { sysctlDevices } from './sysctl.ts'

/** The host's end, for the namespace: next to MESH_DEVICE_ADDRESS, on no device. */
const GATEWAY = '169.254.47.90'
const HOST_MAC = '02:42:a9:fe:2f:5a'

export interface EgressLink {
  readonly namespace: string
  /** Name of the host's end; begins with EGRESS_DEVICES. */
  readonly device: string
  /** Name of the namespace's end. */
  readonly name: string
  /** Of EGRESS_SUBNET, without prefix length. */
  readonly address: string
}

/** Addresses of EGRESS_SUBNET that a link may have: all but the first and the last. */
export const EGRESS_ADDRESSES: number = 2 ** (32 - Number(EGRESS_SUBNET.split('/')[1])) - 2

/** The `n`th of them, from 0. */
export function egressAddress(n: number): string {
  const [a, b, c] = EGRESS_SUBNET.split('.').map(Number)
  return `${a}.${b}.${c! + ((n + 1) >> 8)}.${(n + 1) & 255}`
}

/** Makes the pair where it is missing. Rejects as openEgressLink(). */
export async function restoreEgressLink(link: EgressLink): Promise<void> {
  if (!sysctlDevices('ipv4').includes(link.device)) await openEgressLink(link)
}

/** Makes the pair anew. Rejects with EdgeError COMMAND_*, NO_PERMISSION. */
export async function openEgressLink(link: EgressLink): Promise<void> {
  const { namespace, device, name, address } = link
  const mac = `02:42:${address
    .split('.')
    .map((part) => hex(Number(part)))
    .join(':')}`
  const peer = `peer name ${name} address ${mac} netns ${namespace}`
  await changeLinks([
    { line: `link del dev ${device}`, tolerate: 'missing' },
    { line: `link add name ${device} address ${HOST_MAC} type veth ${peer}` },
    // Before it is up, or an address is made before it is forbidden.
    { line: `link set dev ${device} addrgenmode none` },
    { line: `link set dev ${device} up` },
    { line: `neigh replace ${address} lladdr ${mac} dev ${device} nud permanent` },
    { line: `route replace ${address}/32 dev ${device}` },
  ])
  const inside = [
    `addr replace ${address}/32 dev ${name}`,
    `link set dev ${name} addrgenmode none`,
    `link set dev ${name} up`,
    `neigh replace ${GATEWAY} lladdr ${HOST_MAC} dev ${name} nud permanent`,
    `route replace ${GATEWAY} dev ${name} scope link`,
    `route replace default via ${GATEWAY} dev ${name}`,
  ]
  await changeLinks(
    inside.map((line) => ({ line })),
    { namespace },
  )
}

/** Takes both ends away, if they are there. */
export async function closeEgressLink(device: string): Promise<void> {
  await changeLinks([{ line: `link del dev ${device}`, tolerate: 'missing' }])
}

const TRIAL = `${EGRESS_DEVICES}-trial`

/** Why this host cannot make such links or masquerade what comes from them, or null. */
export async function egressObstacle(): Promise<string | null> {
  try {
    const gone: IpCommand = { line: `link del dev ${TRIAL}`, tolerate: 'missing' }
    await changeIp([gone, { line: `link add name ${TRIAL} type veth` }, gone])
    const words = ['-w', '-t', 'nat', '-S', 'POSTROUTING']
    const { status, stderr } = await runCommand('iptables', words)
    return status === 0 ? null : stderr.trim().split('\n')[0]!
  } catch (error) {
    return (error as Error).message
  }
}

const hex = (byte: number): string => byte.toString(16).padStart(2, '0')
