// The endpoint table against a Map, and addresses against their text.

import fc from 'fast-check'
import t from 'tap'
import { AddressCodec } from './address.ts'
import { EndpointTable, NAME_STRIDE_WORDS } from './endpoint-table.ts'

const AF_INET = 2
const AF_INET6 = 10

t.test('any sequence of intern and release agrees with a Map', (t) => {
  const CAPACITY = 8
  const operation = fc.oneof(
    fc.record({ intern: fc.integer({ min: 0, max: 12 }) }),
    fc.record({ release: fc.integer({ min: -1, max: CAPACITY }) }),
  )
  const property = fc.property(
    fc.array(operation, { maxLength: 200 }),
    fc.integer(),
    (ops, seed) => {
      const table = new EndpointTable(CAPACITY, seed)
      const handles = new Map<number, number>() // name -> handle
      const references = new Map<number, number>() // handle -> count
      const words = new Int32Array(2 * NAME_STRIDE_WORDS)
      for (const op of ops) {
        if ('intern' in op) {
          // A name that differs from its neighbours in one word only, another one each time.
          words.fill(0)
          words[NAME_STRIDE_WORDS + (op.intern % 7)] = op.intern + 1
          const handle = table.intern(words, NAME_STRIDE_WORDS)
          const known = handles.get(op.intern)
          if (known !== undefined) {
            if (handle !== known) return false
            references.set(known, references.get(known)! + 1)
          } else if (handles.size === CAPACITY) {
            if (handle !== -1) return false
          } else {
            if (handle < 0 || handle >= CAPACITY || references.has(handle)) return false
            handles.set(op.intern, handle)
            references.set(handle, 1)
          }
          if (handle >= 0 && !table.matches(handle, words, NAME_STRIDE_WORDS)) return false
        } else {
          const count = references.get(op.release) ?? 0
          if (table.release(op.release) !== count > 0) return false
          if (count > 1) references.set(op.release, count - 1)
          if (count === 1) {
            references.delete(op.release)
            for (const [name, handle] of handles) if (handle === op.release) handles.delete(name)
          }
        }
        if (table.count !== handles.size) return false
        for (let i = -1; i <= CAPACITY; i++) if (table.used(i) !== references.has(i)) return false
      }
      return true
    },
  )
  fc.assert(property, { numRuns: 500 })
  t.end()
})

t.test('a free handle is reused as late as possible', (t) => {
  const table = new EndpointTable(4, 1)
  const name = (value: number): Int32Array => Int32Array.from([value, 0, 0, 0, 0, 0, 0, 0])
  const first = table.intern(name(1), 0)
  table.intern(name(2), 0)
  table.release(first)
  t.not(table.intern(name(3), 0), first)
  t.not(table.intern(name(4), 0), first)
  t.equal(table.intern(name(5), 0), first)
  t.equal(table.intern(name(6), 0), -1)
  t.end()
})

t.test('matches() looks at each word of a sockaddr and at no more', (t) => {
  const table = new EndpointTable(1, 1)
  const words = new Int32Array(NAME_STRIDE_WORDS)
  const handle = table.intern(words, 0)
  for (let i = 0; i < NAME_STRIDE_WORDS; i++) {
    words.fill(0)
    words[i] = 1 << 31
    t.equal(table.matches(handle, words, 0), i === 7, `word ${i}`)
  }
  t.end()
})

t.test('addresses: text to sockaddr and back', (t) => {
  const rows: [text: string, back: string, v4: boolean][] = [
    ['0.0.0.0', '0.0.0.0', true],
    ['192.0.2.255', '192.0.2.255', true],
    ['::ffff:192.0.2.1', '192.0.2.1', true],
    ['::', '::', false],
    ['::1', '::1', false],
    ['2001:DB8:0:0:1:0:0:1', '2001:db8::1:0:0:1', false],
    ['fe80::1%7', 'fe80::1%7', false],
    ['fe80::1%lo', 'fe80::1%1', false],
    ['::192.0.2.1', '::192.0.2.1', false],
  ]
  for (const family of [AF_INET, AF_INET6]) {
    for (const [text, back, v4] of rows) {
      const codec = new AddressCodec(family)
      codec.encode(text, 0x1234)
      const copy = new AddressCodec(family)
      copy.load(codec.words, 0)
      t.same([copy.address(), copy.port(), copy.isV4()], [back, 0x1234, v4], text)
      const table = new EndpointTable(1, 0)
      t.equal(table.isV6(table.intern(codec.words, 0)), !v4)
    }
  }
  t.end()
})

t.test('sockaddr bytes', (t) => {
  const codec = new AddressCodec(AF_INET6)
  codec.encode('2001:db8::5%3', 0x1234)
  const hex = (): string => Buffer.from(codec.memory.bytes.subarray(0, 32)).toString('hex')
  t.equal(hex(), '0a0012340000000020010db80000000000000000000000050300000000000000')
  codec.encode('192.0.2.1', 0x1234)
  t.equal(hex(), '0a0012340000000000000000000000000000ffffc00002010000000000000000')
  const v4 = new AddressCodec(AF_INET)
  for (const text of ['192.0.2.1', '::ffff:c000:201']) {
    v4.encode(text, 0x1234)
    const bytes = Buffer.from(v4.memory.bytes.subarray(0, 32)).toString('hex')
    t.equal(bytes, `02001234c0000201${'0'.repeat(48)}`)
  }
  t.end()
})

t.test('what is no literal address is refused', (t) => {
  const codec = new AddressCodec(AF_INET6)
  for (const text of [
    '',
    'localhost',
    '1.2.3',
    '1.2.3.4.5',
    '::1::',
    'fe80::1%nothing',
    '1.2.3.4 ',
  ]) {
    t.throws(() => codec.encode(text, 1), { code: 'ERR_INVALID_ADDRESS' }, text)
  }
  for (const port of [-1, 65_536, 1.5, Number.NaN]) {
    t.throws(() => codec.encode('::1', port), { code: 'ERR_SOCKET_BAD_PORT' })
  }
  t.end()
})
