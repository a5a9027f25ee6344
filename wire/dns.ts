// DNS messages, RFC 1035 section 4.1, as far as a name server needs them that answers one question
// with addresses or a name and passes everything else on untouched.
//
//   0        2        4        6        8        10       12
//   | id     | flags  | qd     | an     | ns     | ar     | question | answers ...
//
//   flags    QR | opcode(4) | AA | TC | RD | RA | Z | AD | CD | rcode(4)
//   question labels (length, bytes) ... 0 | type(2) | class(2)
//   answer   name | type(2) | class(2) | ttl(4) | length(2) | data
//
// A question's name is never compressed (nothing precedes it); an answer's name is a pointer to the
// question's (section 4.1.4), since every answer here is about the name that was asked for.
//
// Readers take any bytes and never read past `end`. Writers are given room for DNS_UDP_MAX or
// DNS_TCP_MAX bytes and check it.

export const DNS_HEADER_SIZE = 12
/** Largest message over UDP without EDNS (RFC 1035 section 4.2.1). */
export const DNS_UDP_MAX = 512
/** What a resolver may ask for at most with EDNS, by what passes a path of 1280 bytes. */
export const DNS_EDNS_MAX = 1232
/** Over TCP a length of two bytes stands in front (section 4.2.2). */
export const DNS_TCP_MAX = 65535
/** Of a name as it is written, and of one label (section 2.3.4). */
const NAME_BYTES_MAX = 255
const LABEL_BYTES_MAX = 63

export const DNS_TYPE_A = 1
export const DNS_TYPE_PTR = 12
export const DNS_TYPE_AAAA = 28
export const DNS_TYPE_OPT = 41
export const DNS_TYPE_ANY = 255
export const DNS_CLASS_IN = 1
export const DNS_CLASS_ANY = 255

export const DNS_NO_ERROR = 0
export const DNS_FORMAT_ERROR = 1
export const DNS_SERVER_FAILURE = 2
export const DNS_NAME_ERROR = 3
export const DNS_NOT_IMPLEMENTED = 4
export const DNS_REFUSED = 5
/** The version of EDNS is not ours; only an OPT record has room for it (RFC 6891 section 9). */
export const DNS_BAD_VERSION = 16

const FLAG_RESPONSE = 0x8000
const FLAG_AUTHORITATIVE = 0x0400
const FLAG_TRUNCATED = 0x0200
const FLAG_RECURSION_DESIRED = 0x0100
const FLAG_RECURSION_AVAILABLE = 0x0080
const FLAG_CHECKING_DISABLED = 0x0010
const OPCODE = 0x7800
const RCODE = 0x000f

/** The question's name, at the start of the message. */
const QUESTION_POINTER = 0xc000 | DNS_HEADER_SIZE
const ANSWER_HEADER_SIZE = 12
/** OPT: root name, type, class (payload size), ttl (flags), length 0 (RFC 6891 section 6.1.2). */
const OPT_SIZE = 11

export interface DnsQuestion {
  /** Lower case, without the dot at the end; bytes beyond printable ASCII as "\ddd". */
  readonly name: string
  readonly type: number
  readonly klass: number
  /** The first byte behind the question. */
  readonly end: number
  /** UDP payload that the asker takes (EDNS), DNS_UDP_MAX at least; 0 = it did not say. */
  readonly payloadMax: number
  /** Version of its EDNS; 0 also when it has none. */
  readonly ednsVersion: number
}

export function dnsId(view: DataView, at: number): number {
  return view.getUint16(at)
}

export function setDnsId(view: DataView, at: number, id: number): void {
  view.setUint16(at, id)
}

export function isDnsResponse(view: DataView, at: number): boolean {
  return (view.getUint16(at + 2) & FLAG_RESPONSE) !== 0
}

export function isDnsTruncated(view: DataView, at: number): boolean {
  return (view.getUint16(at + 2) & FLAG_TRUNCATED) !== 0
}

export function dnsRcode(view: DataView, at: number): number {
  return view.getUint16(at + 2) & RCODE
}

/** Reads the one question of a query. Returns it, or the response code that refuses the message, or
 * -1 for what is no query at all and deserves no answer. */
export function readDnsQuery(view: DataView, at: number, end: number): DnsQuestion | number {
  if (end - at < DNS_HEADER_SIZE || isDnsResponse(view, at)) return -1
  if ((view.getUint16(at + 2) & OPCODE) !== 0) return DNS_NOT_IMPLEMENTED
  if (view.getUint16(at + 4) !== 1 || view.getUint16(at + 6) !== 0) return DNS_FORMAT_ERROR
  const question = readDnsQuestion(view, at, end)
  if (question === null) return DNS_FORMAT_ERROR
  const additional = view.getUint16(at + 10)
  if (additional === 0 || view.getUint16(at + 8) !== 0) return question
  return readOpt(view, question, end)
}

/** Reads the question of any message that has one; null when it is broken or compressed. */
export function readDnsQuestion(view: DataView, at: number, end: number): DnsQuestion | null {
  let place = at + DNS_HEADER_SIZE
  let name = ''
  for (;;) {
    if (place >= end) return null
    const length = view.getUint8(place++)
    if (length === 0) break
    if (length > LABEL_BYTES_MAX || place + length > end) return null
    if (place + length - at - DNS_HEADER_SIZE > NAME_BYTES_MAX - 1) return null
    if (name !== '') name += '.'
    for (const labelEnd = place + length; place < labelEnd; place++) {
      name += labelText(view.getUint8(place))
    }
  }
  if (place + 4 > end) return null
  const type = view.getUint16(place)
  const klass = view.getUint16(place + 2)
  return { name, type, klass, end: place + 4, payloadMax: 0, ednsVersion: 0 }
}

/** One byte of a label as text, in lower case (RFC 4343). */
function labelText(byte: number): string {
  if (byte >= 0x41 && byte <= 0x5a) return String.fromCharCode(byte + 0x20)
  if (byte === 0x2e || byte === 0x5c) return `\\${String.fromCharCode(byte)}`
  if (byte > 0x20 && byte < 0x7f) return String.fromCharCode(byte)
  return `\\${String(byte).padStart(3, '0')}`
}

/** The question with what an OPT record says that stands first behind it. */
function readOpt(view: DataView, question: DnsQuestion, end: number): DnsQuestion {
  const at = question.end
  if (at + OPT_SIZE > end || view.getUint8(at) !== 0) return question
  if (view.getUint16(at + 1) !== DNS_TYPE_OPT) return question
  // Less than any resolver takes counts as that (RFC 6891 section 6.2.3).
  const payloadMax = Math.max(view.getUint16(at + 3), DNS_UDP_MAX)
  return { ...question, payloadMax, ednsVersion: view.getUint8(at + 6) }
}

/** Begins the response to the query at [0, question.end) of `query` in `out`. Returns where answers
 * go. `out` must have room for the question. */
export function beginDnsResponse(out: Uint8Array, query: Uint8Array, questionEnd: number): number {
  out.set(query.subarray(0, questionEnd))
  const view = new DataView(out.buffer, out.byteOffset)
  const kept = view.getUint16(2) & (OPCODE | FLAG_RECURSION_DESIRED | FLAG_CHECKING_DISABLED)
  view.setUint16(2, kept | FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE)
  view.setUint16(4, questionEnd > DNS_HEADER_SIZE ? 1 : 0)
  view.setUint16(6, 0)
  view.setUint32(8, 0)
  return questionEnd
}

/** Appends an answer about the question's name. Returns the end of it, or 0 when it does not fit
 * before `max`. */
export function writeDnsAnswer(
  out: Uint8Array,
  at: number,
  max: number,
  type: number,
  ttlSeconds: number,
  data: Uint8Array,
): number {
  const end = at + ANSWER_HEADER_SIZE + data.length
  if (end > max) return 0
  const view = new DataView(out.buffer, out.byteOffset)
  view.setUint16(at, QUESTION_POINTER)
  view.setUint16(at + 2, type)
  view.setUint16(at + 4, DNS_CLASS_IN)
  view.setUint32(at + 6, ttlSeconds)
  view.setUint16(at + 10, data.length)
  out.set(data, at + ANSWER_HEADER_SIZE)
  view.setUint16(6, view.getUint16(6) + 1)
  return end
}

/** Finishes a response: its code, whether it is ours to answer, whether something was left out, and
 * the OPT record if the query had one. Returns its end. */
export function endDnsResponse(
  out: Uint8Array,
  at: number,
  options: { rcode: number; authoritative: boolean; truncated: boolean; payloadMax: number },
): number {
  const view = new DataView(out.buffer, out.byteOffset)
  let flags = view.getUint16(2) | (options.rcode & RCODE)
  if (options.authoritative) flags |= FLAG_AUTHORITATIVE
  if (options.truncated) flags |= FLAG_TRUNCATED
  view.setUint16(2, flags)
  if (options.payloadMax === 0) return at
  view.setUint8(at, 0)
  view.setUint16(at + 1, DNS_TYPE_OPT)
  view.setUint16(at + 3, DNS_EDNS_MAX)
  view.setUint32(at + 5, (options.rcode >>> 4) << 24)
  view.setUint16(at + 9, 0)
  view.setUint16(10, 1)
  return at + OPT_SIZE
}

/** Bytes that the end of a response may still need. */
export const DNS_TRAILER_MAX: number = OPT_SIZE

/** A name as it is written in a message. Throws RangeError for one that cannot be. */
export function encodeDnsName(name: string): Uint8Array {
  const labels = name === '' ? [] : name.split('.').map((label) => Buffer.from(label, 'latin1'))
  const parts: Uint8Array[] = []
  let size = 1
  for (const label of labels) {
    size += label.length + 1
    if (label.length === 0 || label.length > LABEL_BYTES_MAX || size > NAME_BYTES_MAX) {
      throw new RangeError(`"${name}" cannot be a domain name`)
    }
    parts.push(Uint8Array.of(label.length), label)
  }
  return Buffer.concat([...parts, Uint8Array.of(0)])
}
