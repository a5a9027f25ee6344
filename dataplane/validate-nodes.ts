// The second validation pass over this node and its peers: keys, endpoints, names.

import { createPrivateKey, createPublicKey } from 'node:crypto'
import {
  parseAddress,
  parseKey,
  parseSocketAddress,
  socketAddressText,
  specialKind,
} from './address.ts'
import type { Problem } from './shape.ts'
import type { ForwardingTables, Peer } from './tables.ts'
import { type Context, isEncrypted } from './validate-context.ts'

/** PKCS #8 around a raw X25519 private key (RFC 8410 section 7): everything before its 32 bytes. */
const PKCS8_X25519 = Buffer.from('302e020100300506032b656e04220420', 'hex')

/** The X25519 public key (base64) of a private key of 32 bytes. */
export function publicKeyOf(privateKey: Uint8Array): string {
  const der = Buffer.concat([PKCS8_X25519, privateKey])
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  const jwk = createPublicKey(key).export({ format: 'jwk' })
  return Buffer.from(jwk.x!, 'base64url').toString('base64')
}

/** The peer that has this node's own key, which would be this node talking to itself. For a key
 * that stands in a file: validateTables() sees only one that stands in the tables. */
export function ownKeyProblem(tables: ForwardingTables, privateKey: Uint8Array): Problem | null {
  const own = publicKeyOf(privateKey)
  const index = tables.peers.findIndex((peer) => peer.publicKey === own)
  return index < 0 ? null : { path: `peers[${index}].publicKey`, message: "is this node's own key" }
}

function checkLocalNode({ tables, report }: Context): void {
  const { node, networks } = tables
  const encrypted = networks.find(isEncrypted)
  if (node.privateKey !== undefined && node.privateKeyFile !== undefined) {
    report('node.privateKey', 'is given twice: here and as privateKeyFile')
  } else if (
    encrypted !== undefined &&
    node.privateKey === undefined &&
    node.privateKeyFile === undefined
  ) {
    report('node.privateKeyFile', `is missing: network "${encrypted.name}" is encrypted`)
  }
  if (node.presharedKey !== undefined && node.presharedKeys !== undefined) {
    report('node.presharedKeys', 'is given beside presharedKey: give one of them')
  }
  const seen = new Map<string, number>()
  for (const [a, text] of (node.addresses ?? []).entries()) {
    const address = parseAddress(text)!
    const path = `node.addresses[${a}]`
    const kind = specialKind(address)
    // Loopback is always served; naming it does no harm.
    if (kind !== null && kind !== 'loopback') {
      report(path, `must be an address of this host; ${text} is ${kind}`)
    }
    const first = seen.get(address.text)
    if (first === undefined) seen.set(address.text, a)
    else report(path, `is also node.addresses[${first}]`)
  }
}

function checkRelay({ tables, peers, report }: Context, peer: Peer, path: string): void {
  if (peer.relay === undefined) return
  const relay = tables.peers[peers.get(peer.relay) ?? -1]
  if (peer.publicKey === undefined) report(`${path}.relay`, 'only what is sealed can be relayed')
  if (relay === undefined) report(`${path}.relay`, `there is no peer "${peer.relay}"`)
  else if (relay === peer) report(`${path}.relay`, 'is the peer itself')
  else if (relay.publicKey === undefined || relay.endpoint === undefined) {
    report(`${path}.relay`, `"${peer.relay}" has no key or no endpoint`)
  }
}

export function checkNodes(context: Context): void {
  const { tables, report } = context
  checkLocalNode(context)
  const keys = new Map<string, string>()
  if (tables.node.privateKey !== undefined) {
    keys.set(publicKeyOf(parseKey(tables.node.privateKey)!), "this node's own key")
  }
  const sockets = new Map<string, number>()
  tables.peers.forEach((peer, p) => {
    const path = `peers[${p}]`
    if (peer.name === tables.node.name) report(`${path}.name`, `is this node's own name`)
    if (peer.publicKey !== undefined) {
      const earlier = keys.get(peer.publicKey)
      if (earlier === undefined)
        keys.set(peer.publicKey, `also that of peers[${p}] ("${peer.name}")`)
      else report(`${path}.publicKey`, `is ${earlier}`)
    }
    checkRelay(context, peer, path)
    if (peer.endpoint === undefined) {
      // Who has no key cannot make itself known, so it has to be known.
      if (peer.publicKey === undefined) report(path, 'needs a publicKey, an endpoint or both')
      return
    }
    const socket = parseSocketAddress(peer.endpoint)!
    const kind = specialKind(socket.address)
    // Several agents on one host may meet over loopback.
    if (kind !== null && kind !== 'loopback') {
      report(`${path}.endpoint`, `must be an address of a host; ${socket.address.text} is ${kind}`)
    }
    const canonical = socketAddressText(socket)
    const first = sockets.get(canonical)
    if (first === undefined) sockets.set(canonical, p)
    else report(`${path}.endpoint`, `is also that of peers[${first}]`)
  })
}
