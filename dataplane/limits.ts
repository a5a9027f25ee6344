// Limits of the forwarding tables: how much of everything one file may hold. They bound memory and
// the time of a swap; a file beyond one is refused as a whole. Limits of single values that other
// folders share (VNI, MTU, weight, name) stand in base/limits.ts.

import {
  REAL_SERVERS_MAX as BALANCER_SERVERS_MAX,
  SERVICES_MAX as BALANCER_SERVICES_MAX,
} from '../ipvs-emulator/limits.ts'

/** Bytes of a tables file. A full one of 65,536 endpoints is about 10 MB. */
export const TABLES_FILE_SIZE_MAX: number = 64 * 1024 * 1024

/** Nodes besides this one. Each costs a session, a path-MTU search and four counter cells. */
export const PEERS_MAX: number = 4096
export const NETWORKS_MAX: number = 4096
export const SUBNETS_PER_NETWORK_MAX: number = 8
export const ENDPOINTS_MAX: number = 65_536
/** Interfaces on this node: each is a device, a file descriptor and a poll token. */
export const LOCAL_PORTS_MAX: number = 1024
export const SERVICES_MAX: number = 8192
export const VIPS_PER_SERVICE_MAX: number = 16
export const PORTS_PER_SERVICE_MAX: number = 256
export const BACKENDS_PER_SERVICE_MAX: number = 4096
/** Over all services; each costs counter cells and a balancer entry per virtual service. */
export const BACKENDS_MAX: number = 131_072
/** Services added by hand, and the real servers of all of them. */
export const MANUAL_SERVICES_MAX: number = 4096
export const MANUAL_SERVERS_MAX: number = 16_384
/** Changes of them that are made at once, by one swap of the tables: as many as fit a line to the
 * agent, 300 bytes each, with room to spare. */
export const CHANGES_MAX: number = 2048
/** Virtual services over all services: VIPs times ports. Together with those added by hand they are
 * what the balancer takes. */
export const VIRTUAL_SERVICES_MAX: number = BALANCER_SERVICES_MAX - MANUAL_SERVICES_MAX
/** Real servers over all virtual services: the product that a file can blow up most easily. */
export const REAL_SERVERS_MAX: number = BALANCER_SERVERS_MAX - MANUAL_SERVERS_MAX
/** Each costs a policy rule per address of the node. */
export const PUBLISHED_PORTS_MAX: number = 1024
export const NODE_ADDRESSES_MAX: number = 64

/** Options of one service: the schedulers' flags, the largest table of mh (ipvs-emulator), and a
 * year for idle flows. */
export const SCHEDULER_FLAGS_MAX: number = 2
export const MH_SLOTS_MAX: number = 131_071
export const IDLE_SECONDS_MAX: number = 365 * 24 * 60 * 60
/** The smallest flow table that a node may be given. */
export const FLOWS_MAX_LEAST: number = 1024
export const DROP_RATE_MAX: number = 1000

/** Bytes of the header of saved flows: a name and a number per network. */
export const SAVED_HEADER_SIZE_MAX: number = 1024 * 1024

/** PID_MAX_LIMIT of a 64-bit Linux (include/linux/threads.h). */
export const PROCESS_ID_MAX: number = 4_194_304
/** X25519 keys and the preshared key, bytes. */
export const KEY_SIZE: number = 32
/** Preshared keys that are good at the same time: the next one, the one in use, the last one. */
export const PRESHARED_KEYS_MAX: number = 3

/** Problems that are told of one file; the rest is only counted. */
export const PROBLEMS_MAX: number = 100
