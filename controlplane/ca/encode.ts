// Writing DER: X.509 certificates (RFC 5280) and PKCS#10 requests (RFC 2986) as trees of forge's
// asn1 module, which knows tags, lengths and object identifiers. Only writing: nothing that came
// from outside goes through forge's parser. Parts that are DER already (a public key from
// node:crypto, a subject out of a certificate) are put in as they are, with raw().

import forge from 'node-forge'
import { type Element, only } from './der.ts'

const { asn1 } = forge

export type Node = forge.asn1.Asn1

const { UNIVERSAL, CONTEXT_SPECIFIC } = asn1.Class
const { Type } = asn1

/** A byte string in forge's shape: one character per byte. */
function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

export function encode(node: Node): Buffer {
  return Buffer.from(asn1.toDer(node).getBytes(), 'latin1')
}

export function sequence(...items: Node[]): Node {
  return asn1.create(UNIVERSAL, Type.SEQUENCE, true, items)
}

export function set(...items: Node[]): Node {
  return asn1.create(UNIVERSAL, Type.SET, true, items)
}

export function oid(dotted: string): Node {
  return asn1.create(UNIVERSAL, Type.OID, false, asn1.oidToDer(dotted).getBytes())
}

export function nothing(): Node {
  return asn1.create(UNIVERSAL, Type.NULL, false, '')
}

export function boolean(value: boolean): Node {
  return asn1.create(UNIVERSAL, Type.BOOLEAN, false, value ? '\u00ff' : '\u0000')
}

/** A non-negative integer from its big-endian bytes; leading zeros are made minimal. */
export function integer(bytes: Uint8Array): Node {
  let start = 0
  while (start < bytes.length - 1 && bytes[start] === 0) start++
  const minimal = bytes.subarray(start)
  const padded = minimal[0]! >= 0x80 ? Buffer.concat([Buffer.alloc(1), minimal]) : minimal
  return asn1.create(UNIVERSAL, Type.INTEGER, false, latin1(padded))
}

export function utf8(text: string): Node {
  return asn1.create(UNIVERSAL, Type.UTF8, false, latin1(Buffer.from(text, 'utf8')))
}

export function octets(bytes: Uint8Array): Node {
  return asn1.create(UNIVERSAL, Type.OCTETSTRING, false, latin1(bytes))
}

/** A bit string of whole bytes, or of `unused` fewer bits. */
export function bits(bytes: Uint8Array, unused = 0): Node {
  const value = String.fromCharCode(unused) + latin1(bytes)
  return asn1.create(UNIVERSAL, Type.BITSTRING, false, value)
}

/** [tag] EXPLICIT around items, or IMPLICIT of a constructed type. */
export function tagged(tag: number, ...items: Node[]): Node {
  return asn1.create(CONTEXT_SPECIFIC, tag as forge.asn1.Type, true, items)
}

/** [tag] IMPLICIT of a primitive type. */
export function taggedBytes(tag: number, bytes: Uint8Array): Node {
  return asn1.create(CONTEXT_SPECIFIC, tag as forge.asn1.Type, false, latin1(bytes))
}

/** A point in time (RFC 5280 section 4.1.2.5): UTCTime before 2050, GeneralizedTime from then on;
 * seconds, as certificates have no finer ones. */
export function time(ms: number): Node {
  const at = new Date(Math.floor(ms / 1000) * 1000)
  const digits = `${at
    .toISOString()
    .replace(/\.\d+Z$/, '')
    .replace(/[-:T]/g, '')}Z`
  return at.getUTCFullYear() < 2050
    ? asn1.create(UNIVERSAL, Type.UTCTIME, false, digits.slice(2))
    : asn1.create(UNIVERSAL, Type.GENERALIZEDTIME, false, digits)
}

/** An element that is DER already. forge has no node for it; a primitive node whose type carries
 * the constructed bit comes out as the same bytes. */
export function raw(der: Uint8Array): Node {
  const { tag, content }: Element = only(der, der[0] ?? 0)
  return asn1.create(
    (tag & 0xc0) as forge.asn1.Class,
    (tag & 0x3f) as number,
    false,
    latin1(content),
  )
}
