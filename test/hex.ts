// Literal bytes for tests: hexadecimal text to a view and back.

/** The bytes that `text` spells, two hexadecimal digits each; blanks and |...| remarks are
 * skipped. */
export function hex(text: string): Uint8Array {
  const digits = text.replace(/\|[^|]*\|/g, '').replace(/\s+/g, '')
  if (!/^([0-9a-f]{2})*$/i.test(digits)) throw new TypeError(`not hexadecimal: ${text}`)
  return new Uint8Array(Buffer.from(digits, 'hex'))
}

/** A view over the bytes that `text` spells. */
export function hexView(text: string): DataView {
  return viewOf(hex(text))
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Hexadecimal text of `view`, or of [at, end) of it. */
export function toHex(view: DataView, at: number = 0, end: number = view.byteLength): string {
  return Buffer.from(view.buffer, view.byteOffset + at, end - at).toString('hex')
}
