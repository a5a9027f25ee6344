// CRC-32C (Castagnoli), the checksum of SCTP: polynomial 0x1EDC6F41 in reflected form (RFC 9260
// appendix A, RFC 3385). One table of 256, one step per byte: SCTP packets are few here.

const POLYNOMIAL = 0x82f63b78

const TABLE: Int32Array = new Int32Array(256)
for (let i = 0; i < 256; i++) {
  let crc = i
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1) !== 0 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
  TABLE[i] = crc
}

/** CRC-32C of [at, end), unsigned. */
export function crc32c(view: DataView, at: number, end: number): number {
  let crc = -1
  for (let i = at; i < end; i++) crc = TABLE[(crc ^ view.getUint8(i)) & 255]! ^ (crc >>> 8)
  return ~crc >>> 0
}
