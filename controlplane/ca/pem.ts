// PEM (RFC 7468, with the headers of RFC 1421): the text around certificates and keys. Bounded and
// strict: known shape of the lines, standard base64, nothing between or around the blocks but white
// space, so that a hash over a normalised bundle says everything about it.

import { CaError } from './errors.ts'

export interface PemBlock {
  /** What stands after BEGIN, as in "CERTIFICATE". */
  readonly label: string
  /** The lines "name: value" before the first empty one, in order. */
  readonly headers: ReadonlyMap<string, string>
  readonly bytes: Buffer
}

const BEGIN = /^-----BEGIN ([A-Z0-9 ]{1,64})-----$/
const HEADER = /^([A-Za-z0-9-]{1,64}): ?([\x20-\x7e]{0,1024})$/
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/

function bad(what: string): CaError {
  return new CaError('INVALID_ARGUMENT', `malformed PEM: ${what}`)
}

/** All blocks of `text`. Throws CaError INVALID_ARGUMENT for text over `sizeMax` characters, over
 * `countMax` blocks, or with anything else between them. */
export function readPem(text: string, sizeMax: number, countMax: number): PemBlock[] {
  if (text.length > sizeMax) throw bad(`more than ${sizeMax} characters`)
  const lines = text.split(/\r?\n/).map((line) => line.trimEnd())
  const blocks: PemBlock[] = []
  let at = 0
  while (at < lines.length) {
    const line = lines[at++]!
    if (line === '') continue
    const label = BEGIN.exec(line)?.[1]
    if (label === undefined) throw bad('text outside of a block')
    const end = lines.indexOf(`-----END ${label}-----`, at)
    if (end === -1) throw bad('a block without an end')
    if (blocks.length === countMax) throw bad(`more than ${countMax} blocks`)
    blocks.push(block(label, lines.slice(at, end)))
    at = end + 1
  }
  return blocks
}

function block(label: string, lines: readonly string[]): PemBlock {
  const headers = new Map<string, string>()
  let at = 0
  if (lines.some((line) => line.includes(':'))) {
    for (; at < lines.length && lines[at] !== ''; at++) {
      const header = HEADER.exec(lines[at]!)
      if (header === null || headers.has(header[1]!)) throw bad('a header line')
      headers.set(header[1]!, header[2]!)
    }
    at++
  }
  const body = lines.slice(at).join('')
  if (!BASE64.test(body) || body.length % 4 !== 0) throw bad('a body that is not base64')
  const bytes = Buffer.from(body, 'base64')
  if (bytes.toString('base64') !== body) throw bad('a body that is not base64')
  return { label, headers, bytes }
}

/** One block as text. Headers are written in the order given. */
export function writePem(
  label: string,
  bytes: Uint8Array,
  headers: Iterable<readonly [string, string]> = [],
): string {
  const head = [...headers].map(([name, value]) => `${name}: ${value}`)
  const body =
    Buffer.from(bytes)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  const lines = [...head, ...(head.length > 0 ? [''] : []), ...body]
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}

/** The certificates of a bundle or chain, as DER, in order. */
export function readCertificates(text: string, sizeMax: number, countMax: number): Buffer[] {
  const blocks = readPem(text, sizeMax, countMax)
  if (blocks.length === 0) throw bad('no certificate')
  for (const { label, headers } of blocks) {
    if (label !== 'CERTIFICATE') throw bad(`a ${label} where a certificate belongs`)
    if (headers.size > 0) throw bad('headers on a certificate')
  }
  return blocks.map(({ bytes }) => bytes)
}
