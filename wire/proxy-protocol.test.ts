// Goal: the header is the one that the protocol's text describes and that others write. Method:
// lines of the text itself, headers as haproxy and nginx have sent them, and for addresses in
// general the plain twin: text and bytes put together by string functions.

import fc from 'fast-check'
import t from 'tap'
import { PROXY_HEADER_SIZE_MAX, PROXY_V1, PROXY_V2, writeProxyHeader } from './proxy-protocol.ts'
import { formatIpv6 } from './text.ts'

const AT = 3

function write(version: number, source: number[], target: number[], ports: number[]): Buffer {
  const bytes = new Uint8Array(AT + PROXY_HEADER_SIZE_MAX + 8).fill(0xee)
  const records = Int32Array.from([9, ...source, 9, ...target])
  const size = writeProxyHeader(
    version,
    new DataView(bytes.buffer),
    AT,
    source.length,
    records,
    1,
    2 + source.length,
    ports[0]!,
    ports[1]!,
  )
  t.ok(
    bytes.every((byte, i) => (i >= AT && i < AT + size) || byte === 0xee),
    'nothing else was written',
  )
  return Buffer.from(bytes.subarray(AT, AT + size))
}

const ONES: number[] = [-1, -1, -1, -1]
/** 172.19.0.x */
const net = (host: number): number[] => [0xac130000 | host | 0]

const vectors: readonly [
  what: string,
  version: number,
  source: number[],
  target: number[],
  ports: number[],
  wanted: Buffer,
][] = [
  [
    'the longest line over IPv4 (section 2.1)',
    PROXY_V1,
    [-1],
    [-1],
    [65535, 65535],
    Buffer.from('PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n'),
  ],
  [
    'the longest line over IPv6 (section 2.1)',
    PROXY_V1,
    ONES,
    ONES,
    [65535, 65535],
    Buffer.from(
      `PROXY TCP6 ${Array(8).fill('ffff').join(':')} ${Array(8).fill('ffff').join(':')}` +
        ' 65535 65535\r\n',
    ),
  ],
  [
    'the example of section 2.1',
    PROXY_V1,
    [0xc0a80001 | 0],
    [0xc0a8000b | 0],
    [56324, 443],
    Buffer.from('PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n'),
  ],
  [
    'a line that nginx sent',
    PROXY_V1,
    net(1),
    net(3),
    [42272, 80],
    Buffer.from('PROXY TCP4 172.19.0.1 172.19.0.3 42272 80\r\n'),
  ],
  [
    'a header that haproxy sent',
    PROXY_V2,
    net(1),
    net(3),
    [0xa652, 80],
    Buffer.from('0d0a0d0a000d0a515549540a2111000cac130001ac130003a6520050', 'hex'),
  ],
  [
    'loopback over IPv6, by the fields of section 2.2',
    PROXY_V2,
    [0, 0, 0, 1],
    [0x20010db8, 0, 0, 2],
    [1, 443],
    Buffer.from(
      `0d0a0d0a000d0a515549540a21210024${'0'.repeat(31)}1` + `20010db8${'0'.repeat(23)}2000101bb`,
      'hex',
    ),
  ],
]

for (const [what, version, source, target, ports, wanted] of vectors) {
  t.test(what, async (t) => {
    t.same(write(version, source, target, ports), wanted)
  })
}

const word = fc.oneof(fc.constant(0), fc.integer(), fc.integer({ min: 0, max: 0xffff }))
const port = fc.integer({ min: 0, max: 65535 })

/** Text and bytes of an address. */
function plain(words: readonly number[]): { text: string; hex: string } {
  const bytes = Buffer.alloc(words.length * 4)
  for (const [i, value] of words.entries()) bytes.writeInt32BE(value, 4 * i)
  const text =
    words.length === 1
      ? [...bytes].join('.')
      : formatIpv6(new DataView(bytes.buffer, bytes.byteOffset), 0)
  return { text, hex: bytes.toString('hex') }
}

t.test('any addresses and ports', async (t) => {
  for (const size of [1, 4]) {
    const address = fc.array(word, { minLength: size, maxLength: size })
    fc.assert(
      fc.property(address, address, port, port, (source, target, from, to) => {
        const [one, two] = [plain(source), plain(target)]
        const line = `PROXY TCP${size === 1 ? 4 : 6} ${one.text} ${two.text} ${from} ${to}\r\n`
        t.equal(write(PROXY_V1, source, target, [from, to]).toString('latin1'), line)
        const ports = ((from << 16) | to) >>> 0
        const hex =
          `0d0a0d0a000d0a515549540a21${size === 1 ? '11000c' : '210024'}` +
          `${one.hex}${two.hex}${ports.toString(16).padStart(8, '0')}`
        t.equal(write(PROXY_V2, source, target, [from, to]).toString('hex'), hex)
      }),
      { numRuns: 300 },
    )
  }
})
