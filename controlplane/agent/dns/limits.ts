// Every limit of the name server.

/** Specification: the port (RFC 1035 section 4.2). */
export const DNS_PORT = 53

/** Implementation, each with what happens beyond it. */

/** Questions that wait for a server outside; the next one gets "server failure". As Docker's. */
export const FORWARDS_MAX = 1024
/** Answers that are kept until the tables change; beyond it all are forgotten and made anew. */
export const ANSWERS_KEPT_MAX = 8192
/** Longest question whose answer is kept, bytes. */
export const KEPT_QUERY_BYTES_MAX = 128
/** How long one server outside may take before the next is asked, and all of them together. */
export const UPSTREAM_TIMEOUT_MS = 2000
export const FORWARD_TIMEOUT_MS = 4000
/** Servers outside that are asked; further ones of resolv.conf are not. As resolv.conf(5). */
export const UPSTREAMS_MAX = 3
/** How long what resolv.conf said is believed. */
export const RESOLV_CONF_AGE_MS = 5000
/** TCP connections of all containers; the next one is reset. */
export const TCP_CONNECTIONS_MAX = 256
/** A connection that says nothing for so long is closed (RFC 7766 section 6.2.3). */
export const TCP_IDLE_MS = 10_000
/** Questions of one TCP connection that wait for an answer; it is read no further meanwhile. */
export const TCP_PENDING_MAX = 64
