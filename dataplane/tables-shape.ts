// What ForwardingTables (tables.ts) look like, as data for shape.ts: fields, ranges and the form of
// every text. What fields must have to do with one another is validate.ts's.

import {
  INTERFACE_NAME_BYTES_MAX,
  KEEPALIVE_SECONDS_MAX,
  MTU_MAX,
  MTU_MIN_IPV4,
  NAME_BYTES_MAX,
  PORT_MAX,
  VNI_MAX,
  VNI_MIN,
  WEIGHT_MAX,
} from '../base/limits.ts'
import {
  CONNECTIONS_MAX,
  PERSISTENCE_SECONDS_MAX,
  SLOW_START_SECONDS_MAX,
  THRESHOLD_MAX,
} from '../ipvs-emulator/limits.ts'
import {
  parseAddress,
  parseKey,
  parseMac,
  parsePrefix,
  parseSocketAddress,
  prefixText,
} from './address.ts'
import {
  BACKENDS_PER_SERVICE_MAX,
  DROP_RATE_MAX,
  ENDPOINTS_MAX,
  FLOWS_MAX_LEAST,
  IDLE_SECONDS_MAX,
  KEY_SIZE,
  MH_SLOTS_MAX,
  NETWORKS_MAX,
  NODE_ADDRESSES_MAX,
  PEERS_MAX,
  PORTS_PER_SERVICE_MAX,
  PRESHARED_KEYS_MAX,
  PROCESS_ID_MAX,
  PUBLISHED_PORTS_MAX,
  SCHEDULER_FLAGS_MAX,
  SERVICES_MAX,
  SUBNETS_PER_NETWORK_MAX,
  VIPS_PER_SERVICE_MAX,
} from './limits.ts'
import {
  either,
  flag,
  integer,
  list,
  object,
  optional,
  required,
  type Shape,
  secret,
  text,
} from './shape.ts'

/** Longest path that Linux takes, less its closing zero (PATH_MAX, include/uapi/linux/limits.h). */
const PATH_LENGTH_MAX = 4095

const name = text((value) => {
  if (value.length > NAME_BYTES_MAX) return `must be at most ${NAME_BYTES_MAX} characters`
  return /^[A-Za-z0-9][A-Za-z0-9_.:-]*$/.test(value)
    ? null
    : 'must be letters, digits, "_", ".", ":" and "-", beginning with a letter or digit'
})

const address = text((value) =>
  parseAddress(value) === null ? 'must be an IPv4 or IPv6 address' : null,
)

const prefix = text((value) => {
  const parsed = parsePrefix(value)
  if (parsed === null) return 'must be a prefix such as 10.1.0.0/16 or fd00:1::/64'
  // The text may be any form of IPv6, so compare what it means: the address part is the network's
  // own.
  const given = parseAddress(value.slice(0, value.indexOf('/')))
  return given?.text === parsed.text ? null : `has host bits set: write ${prefixText(parsed)}`
})

const isKey = (value: string): string | null => {
  const bytes = parseKey(value)
  if (bytes === null) return `must be base64 of ${KEY_SIZE} bytes (44 characters)`
  return bytes.every((byte) => byte === 0) ? 'must not be all zero' : null
}
const key = text(isKey)
const secretKey = secret(isKey)

const socketAddress = text((value) =>
  parseSocketAddress(value) === null ? 'must be "address:port" or "[IPv6 address]:port"' : null,
)

const mac = text((value) => {
  const bytes = parseMac(value)
  if (bytes === null) return 'must be six bytes such as 02:42:0a:01:00:02'
  if ((bytes[0]! & 1) === 1) return 'must be a unicast address (even first byte)'
  return bytes.every((byte) => byte === 0) ? 'must not be zero' : null
})

const path = text((value) => {
  if (value.length === 0 || value.length > PATH_LENGTH_MAX || value.includes('\0')) {
    return 'must be a file path'
  }
  return null
})

const netnsPath = text((value) =>
  /^\/[^\0]+$/.test(value) && value.length <= PATH_LENGTH_MAX
    ? null
    : 'must be an absolute path or a process id',
)

// dev_valid_name() of net/core/dev.c: no slash, colon or white space, neither "." nor "..", at most
// 15 bytes. A "%" would be a pattern for the kernel to number.
const deviceName = text((value) => {
  if (Buffer.byteLength(value) > INTERFACE_NAME_BYTES_MAX) {
    return `must be at most ${INTERFACE_NAME_BYTES_MAX} bytes`
  }
  return /^[\x21-\x24\x26-\x2e\x30-\x39\x3b-\x7e]+$/.test(value) && !/^\.\.?$/.test(value)
    ? null
    : 'must be printable ASCII without white space, "/", ":" and "%"'
})

const protocol = text((value) =>
  value === 'tcp' || value === 'udp' ? null : 'must be "tcp" or "udp"',
)

const balancedProtocol = text((value) =>
  value === 'tcp' || value === 'udp' || value === 'sctp' ? null : 'must be "tcp", "udp" or "sctp"',
)

const portNumber = integer(1, PORT_MAX)

const timeout = integer(1, PERSISTENCE_SECONDS_MAX)
const defence = integer(0, 3)

const balancer = object({
  flowsMax: optional(integer(FLOWS_MAX_LEAST, CONNECTIONS_MAX - 1)),
  tcpSeconds: optional(timeout),
  tcpFinSeconds: optional(timeout),
  udpSeconds: optional(timeout),
  connReuseMode: optional(integer(0, 1)),
  expireNodestConn: optional(flag),
  expireQuiescentTemplate: optional(flag),
  sloppyTcp: optional(flag),
  dropEntry: optional(defence),
  dropPacket: optional(defence),
  secureTcp: optional(defence),
  amDropRate: optional(integer(1, DROP_RATE_MAX)),
})

const node = object({
  name: required(name),
  listenAddress: optional(address),
  listenPort: optional(portNumber),
  privateKeyFile: optional(path),
  privateKey: optional(secretKey),
  presharedKey: optional(secretKey),
  relays: optional(flag),
  egress: optional(flag),
  presharedKeys: optional(list(secretKey, { min: 1, max: PRESHARED_KEYS_MAX })),
  addresses: optional(list(address, { max: NODE_ADDRESSES_MAX })),
  zone: optional(name),
  balancer: optional(balancer),
})

const peer = object({
  name: required(name),
  publicKey: optional(key),
  endpoint: optional(socketAddress),
  zone: optional(name),
  relay: optional(name),
  keepaliveSeconds: optional(integer(0, KEEPALIVE_SECONDS_MAX)),
})

const localInterface = object({
  netns: optional(either(netnsPath, integer(1, PROCESS_ID_MAX))),
  name: required(deviceName),
  defaultRoute: optional(flag),
  handedOver: optional(flag),
  movedTo: optional(
    object({
      netns: required(either(netnsPath, integer(1, PROCESS_ID_MAX))),
      name: required(deviceName),
    }),
  ),
})

const network = object({
  name: required(name),
  vni: required(integer(VNI_MIN, VNI_MAX)),
  subnets: required(list(prefix, { min: 1, max: SUBNETS_PER_NETWORK_MAX })),
  gateways: optional(list(address, { max: SUBNETS_PER_NETWORK_MAX })),
  mtu: optional(integer(MTU_MIN_IPV4, MTU_MAX)),
  encrypted: optional(flag),
  multicast: optional(flag),
  ingress: optional(flag),
  gatewayInterface: optional(localInterface),
})

const endpoint = object({
  name: required(name),
  network: required(name),
  node: required(name),
  addresses: required(list(address, { min: 1, max: SUBNETS_PER_NETWORK_MAX })),
  mac: optional(mac),
  interface: optional(localInterface),
})

const threshold = integer(0, THRESHOLD_MAX)

const backend = object({
  endpoint: required(name),
  weight: optional(integer(0, WEIGHT_MAX)),
  upperThreshold: optional(threshold),
  lowerThreshold: optional(threshold),
})

const service = object({
  name: required(name),
  network: required(name),
  vips: required(list(address, { max: VIPS_PER_SERVICE_MAX })),
  ports: optional(
    list(
      object({
        protocol: required(balancedProtocol),
        port: required(portNumber),
        targetPort: optional(portNumber),
      }),
      { max: PORTS_PER_SERVICE_MAX },
    ),
  ),
  scheduler: optional(name),
  schedulerFlags: optional(list(name, { max: SCHEDULER_FLAGS_MAX })),
  mhSlots: optional(integer(1, MH_SLOTS_MAX)),
  persistenceSeconds: optional(integer(0, PERSISTENCE_SECONDS_MAX)),
  persistencePrefix4: optional(integer(0, 32)),
  persistencePrefix6: optional(integer(0, 128)),
  onePacket: optional(flag),
  idleSeconds: optional(integer(1, IDLE_SECONDS_MAX)),
  prefer: optional(
    text((value) =>
      value === 'node' || value === 'zone' || value === 'nearest'
        ? null
        : 'must be "node", "zone" or "nearest"',
    ),
  ),
  slowStartSeconds: optional(integer(0, SLOW_START_SECONDS_MAX)),
  retryRefused: optional(flag),
  backends: required(list(backend, { max: BACKENDS_PER_SERVICE_MAX })),
})

const publishedPort = object({
  protocol: required(protocol),
  port: required(portNumber),
  service: required(name),
  targetPort: optional(portNumber),
  proxyProtocol: optional(
    text((value) => (value === 'v1' || value === 'v2' ? null : 'must be "v1" or "v2"')),
  ),
})

/** The shape of ForwardingTables. */
export const TABLES_SHAPE: Shape = object({
  version: required(integer(0, Number.MAX_SAFE_INTEGER)),
  node: required(node),
  peers: required(list(peer, { max: PEERS_MAX })),
  networks: required(list(network, { max: NETWORKS_MAX })),
  endpoints: required(list(endpoint, { max: ENDPOINTS_MAX })),
  services: required(list(service, { max: SERVICES_MAX })),
  publishedPorts: required(list(publishedPort, { max: PUBLISHED_PORTS_MAX })),
})
