// Limits that more than one folder relies on. A limit of one folder alone stands in that folder's
// own limits.ts. Each is a decision: raising one has a cost in memory or time that its comment
// names.

// Specification: another party decided these.

/** Device names are at most 15 bytes: IFNAMSIZ counts the closing zero (linux/if.h). */
export const INTERFACE_NAME_BYTES_MAX = 15
/** A VXLAN network identifier has 24 bits (RFC 7348 section 5). */
export const VNI_MAX = 0xff_ff_ff
/** 0 and everything below stay free, so that 0 can mean "no network". */
export const VNI_MIN = 1
/** Every IPv6 link carries 1280 bytes unfragmented (RFC 8200 section 5). */
export const MTU_MIN_IPV6 = 1280
/** Every IPv4 host accepts 576 bytes (RFC 1122 section 3.3.2): our least for networks without
 * IPv6. */
export const MTU_MIN_IPV4 = 576
/** IPv4 total length and IPv6 payload length have 16 bits. */
export const IP_PACKET_SIZE_MAX = 65535
export const PORT_MAX = 65535

// Implementation: ours to change.

/** Largest inner IP MTU a network may ask for: jumbo frames, within what every virtual device
 * takes. */
export const MTU_MAX = 9000
/** Names of networks, nodes, services and endpoints; one DNS label is 63 octets (RFC 1035
 * section 2.3.4). */
export const NAME_BYTES_MAX = 63
/** Weight of a backend. 16 bits keep sums over all backends of a service exact in a 32-bit
 * integer. */
export const WEIGHT_MAX = 65535
/** Idle keep-alive a peer may ask for. */
export const KEEPALIVE_SECONDS_MAX = 3600
