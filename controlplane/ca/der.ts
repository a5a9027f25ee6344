// A reader for DER (X.690), strict and bounded, for the few places where bytes of others must be
// taken apart before anything is known of them: a certificate request, a certificate's names. It
// reads one element at a time, never recurses by itself, copies nothing and allocates one small
// object per element.
//
// Strict means: definite lengths in the fewest bytes (X.690 section 10.1), tag numbers below 31
// (nothing in X.509 needs more), every element inside the one that holds it, no bytes left over.
// What OpenSSL would tolerate is refused here; our own encoder (encode.ts) makes nothing else.

import { CaError } from './errors.ts'
import { DER_DEPTH_MAX } from './limits.ts'

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
  /** [n], constructed, of the context. */
  context0: 0xa0,
  context3: 0xa3,
} as const

/** One element: its tag byte, all of its bytes, and its contents. */
export interface Element {
  readonly tag: number
  readonly raw: Uint8Array
  readonly content: Uint8Array
}

function bad(what: string): CaError {
  return new CaError('INVALID_ARGUMENT', `malformed DER: ${what}`)
}

/** The element at the start of `bytes`; bytes may follow it. */
function head(bytes: Uint8Array): Element {
  if (bytes.length < 2) throw bad('an element is cut short')
  const tag = bytes[0]!
  if ((tag & 0x1f) === 0x1f) throw bad('a tag number is too high')
  let at = 1
  let length = bytes[at++]!
  if (length >= 0x80) {
    const count = length & 0x7f
    if (count === 0 || count > 3) throw bad('a length is indefinite or too long')
    if (bytes.length < at + count) throw bad('a length is cut short')
    length = 0
    for (let i = 0; i < count; i++) length = length * 256 + bytes[at++]!
    if (length < 0x80 || length < 256 ** (count - 1)) throw bad('a length is not the shortest')
  }
  if (length > bytes.length - at) throw bad('an element reaches beyond its end')
  return { tag, raw: bytes.subarray(0, at + length), content: bytes.subarray(at, at + length) }
}

/** The one element that `bytes` consist of. Throws CaError INVALID_ARGUMENT when its tag is not
 * `tag` or bytes follow it. */
export function only(bytes: Uint8Array, tag: number): Element {
  const element = head(bytes)
  if (element.raw.length !== bytes.length) throw bad('bytes follow the end')
  if (element.tag !== tag) throw bad(`tag ${element.tag} where ${tag} belongs`)
  return element
}

/** The elements one after another in a constructed element's contents. At most `max`. */
export function elements(content: Uint8Array, max: number): Element[] {
  const list: Element[] = []
  let rest = content
  while (rest.length > 0) {
    if (list.length === max) throw bad(`more than ${max} elements`)
    const element = head(rest)
    list.push(element)
    rest = rest.subarray(element.raw.length)
  }
  return list
}

/** `element`, which must be there and have this tag. */
export function expect(element: Element | undefined, tag: number): Element {
  if (element === undefined) throw bad(`tag ${tag} is missing`)
  if (element.tag !== tag) throw bad(`tag ${element.tag} where ${tag} belongs`)
  return element
}

/** Checks that all of `bytes` is well formed, constructed elements to the bottom, no deeper than
 * DER_DEPTH_MAX. For bytes that go on to another parser. */
export function checkWellFormed(bytes: Uint8Array): void {
  let level: Uint8Array[] = [only(bytes, bytes[0] ?? 0).raw]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > DER_DEPTH_MAX) throw bad('nested too deep')
    const next: Uint8Array[] = []
    for (const part of level) {
      for (const element of elements(part, part.length)) {
        if ((element.tag & 0x20) !== 0) next.push(element.content)
      }
    }
    level = next
  }
}

/** Text of a UTF8String, PrintableString or IA5String; throws for anything else and for bytes that
 * are not UTF-8 or hold control characters. */
export function text(element: Element): string {
  const { tag, content } = element
  if (tag !== TAG.utf8String && tag !== TAG.printableString && tag !== TAG.ia5String) {
    throw bad(`tag ${tag} where text belongs`)
  }
  let value: string
  try {
    value = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content)
  } catch {
    throw bad('text that is not UTF-8')
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (/[\u0000-\u001f\u007f-\u009f]/.test(value)) throw bad('control characters in text')
  return value
}
