// Why a packet went no further. Every stage either hands a packet on or names one of these; each is
// a counter, a metric label and a sentence for the person who reads it. The table is the
// documentation: add a row and a constant, and the metric is there.

export const DROP_NONE = 0
export const DROP_TRUNCATED = 1
export const DROP_BAD_HEADER = 2
export const DROP_NOT_IP = 3
export const DROP_SPOOFED_SOURCE = 4
export const DROP_UNKNOWN_DESTINATION = 5
export const DROP_UNKNOWN_NEIGHBOUR = 6
export const DROP_MULTICAST_OFF = 7
export const DROP_NO_ROUTE = 8
export const DROP_NO_PORT = 9
export const DROP_DEVICE_REFUSED = 10
export const DROP_NO_ENDPOINT = 11
export const DROP_NO_SESSION = 12
export const DROP_STAGING_FULL = 13
export const DROP_SEAL_FAILED = 14
export const DROP_TOO_BIG = 15
export const DROP_UNKNOWN_RECEIVER = 16
export const DROP_REPLAYED = 17
export const DROP_BAD_TAG = 18
export const DROP_PLAINTEXT = 19
export const DROP_UNKNOWN_VNI = 20
export const DROP_UNKNOWN_PEER = 21
export const DROP_HANDSHAKE_REFUSED = 22
export const DROP_NOT_OURS = 23
export const DROP_FORGED_NEIGHBOUR = 24
export const DROP_NO_BACKEND = 25
export const DROP_NOT_SYN = 26
export const DROP_FLOWS_FULL = 27
export const DROP_FLOW_CONFLICT = 28
export const DROP_ORPHAN_FRAGMENT = 29
export const DROP_NOT_PUBLISHED = 30
export const DROP_ANSWER_LIMITED = 31
export const DROP_DEFENCE = 32
export const DROP_PROXY_EARLY = 33
export const DROP_NO_FLOW = 34
export const DROP_ERROR_LIMITED = 35

export interface DropReason {
  /** Metric label. */
  readonly name: string
  readonly sentence: string
}

/** Row i describes reason i. */
export const DROP_REASONS: readonly DropReason[] = [
  { name: 'none', sentence: 'Not dropped.' },
  { name: 'truncated', sentence: 'A header or the packet ends before its own length says.' },
  { name: 'bad_header', sentence: 'Header fields contradict each other or the offload request.' },
  { name: 'not_ip', sentence: 'Neither IPv4, IPv6 nor ARP.' },
  { name: 'spoofed_source', sentence: 'The source address is not the sending endpoint’s own.' },
  {
    name: 'unknown_destination',
    sentence: 'No endpoint of the network has the target MAC address.',
  },
  {
    name: 'unknown_neighbour',
    sentence: 'ARP or neighbour solicitation for an address nobody has.',
  },
  {
    name: 'multicast_off',
    sentence: 'Broadcast or multicast on a network that does not carry it.',
  },
  {
    name: 'no_route',
    sentence: 'Sent to the gateway, for an address that is not reached through it.',
  },
  { name: 'no_port', sentence: 'For an endpoint of this node whose interface is not there.' },
  { name: 'device_refused', sentence: 'The TAP or TUN device did not take the frame.' },
  { name: 'no_endpoint', sentence: 'No underlay address of the peer is known yet.' },
  { name: 'no_session', sentence: 'No session with the peer, and the handshake did not succeed.' },
  { name: 'staging_full', sentence: 'Too many frames wait for the peer’s session.' },
  { name: 'seal_failed', sentence: 'The cipher refused to seal.' },
  { name: 'too_big', sentence: 'Larger than the path to the peer; the sender was told the MTU.' },
  { name: 'unknown_receiver', sentence: 'No session has the receiver index of the datagram.' },
  { name: 'replayed', sentence: 'The counter was seen before or is older than the window.' },
  { name: 'bad_tag', sentence: 'Authentication failed: forged or damaged.' },
  { name: 'plaintext', sentence: 'A frame in the clear for an encrypted network.' },
  { name: 'unknown_vni', sentence: 'No network of this node has the VNI.' },
  { name: 'unknown_peer', sentence: 'From an underlay address that no peer of the network has.' },
  {
    name: 'handshake_refused',
    sentence: 'A handshake message failed: wrong key, forged, replayed, or too many.',
  },
  { name: 'not_ours', sentence: 'Neither a weft datagram nor VXLAN.' },
  {
    name: 'forged_neighbour',
    sentence: 'An advertisement or redirect: who has an address is in the tables.',
  },
  { name: 'no_backend', sentence: 'The service has no backend that takes new flows.' },
  { name: 'not_syn', sentence: 'A TCP segment to a service, of no flow that is known.' },
  { name: 'flows_full', sentence: 'The connection table is full.' },
  { name: 'flow_conflict', sentence: 'Its replies could not be told from those of another flow.' },
  { name: 'orphan_fragment', sentence: 'A fragment whose first fragment was not seen.' },
  { name: 'not_published', sentence: 'To a port of this node that is not published.' },
  {
    name: 'answer_limited',
    sentence: 'An ICMP error or reset was due, but too many were made already.',
  },
  { name: 'defence', sentence: 'A new flow, dropped by the defence against floods.' },
  {
    name: 'proxy_early',
    sentence: 'Before its flow’s PROXY header: data in a SYN, or a guess of the handshake.',
  },
  { name: 'no_flow', sentence: 'An ICMP error from outside, about no flow of a published port.' },
  { name: 'error_limited', sentence: 'An ICMP error from outside, among too many of them.' },
]
