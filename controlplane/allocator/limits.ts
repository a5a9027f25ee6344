// Limits of the allocator.

// Specification: Swarm's own figures, which users see.

/** VNIs that are handed out; users may name others (moby, libnetwork/drivers/overlay). */
export const VNI_FIRST: number = 4_096
export const VNI_LAST: number = 0xff_ff_ff
/** Ports of the routing mesh for services that leave the choice (SwarmKit, allocator). */
export const DYNAMIC_PORT_FIRST: number = 30_000
export const DYNAMIC_PORT_LAST: number = 32_767
/** Where subnets come from when the cluster names no pools. */
export const DEFAULT_POOLS: readonly string[] = ['10.0.0.0/8']
export const DEFAULT_SUBNET_SIZE: number = 24

// Implementation: ours to change.

/** Prefix length of IPv6 subnets that are handed out (RFC 4291 section 2.5.4). */
export const SUBNET_SIZE_IPV6: number = 64
/** Addresses of a subnet that are handed out; no more fit in a cluster. Keeps offsets exact. */
export const OFFSETS_MAX: bigint = 1n << 32n
/** Tasks that one pass allocates. Bounds how long the loop holds the thread. */
export const TASKS_PER_PASS: number = 1_000
/** And that it looks at: those that are refused come on top. */
export const LOOKS_PER_PASS: number = 5_000
/** Under load a pass waits until events pause for so long, at most so long. */
export const ALLOCATE_QUIET_MS: number = 10
export const ALLOCATE_WAIT_MS_MAX: number = 100
