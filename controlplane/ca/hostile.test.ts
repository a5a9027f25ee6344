// Goal: whatever bytes come, each reader answers with a value or a CaError, and never takes changed
// bytes for the right ones. Method: seeded mutations of good input (flips, cuts, repetitions,
// lengths that lie), and the shapes that DER parsers have fallen for before. A failure prints its
// seed; WEFT_FUZZ_RUNS makes it longer.

import t from 'tap'
import { type Prng, prng } from '../../base/prng.ts'
import { makeCsr, readCsr } from './csr.ts'
import { checkWellFormed, elements, only, TAG, text } from './der.ts'
import * as der from './encode.ts'
import { CaError } from './errors.ts'
import { generateKey } from './keys.ts'
import { readPem, writePem } from './pem.ts'
import { readRoot } from './root.ts'
import { testNode, testSwarm } from './testing/doubles.ts'
import { parseToken } from './token.ts'
import { nodeSubject, readCertificate } from './x509.ts'

const RUNS = Number(process.env.WEFT_FUZZ_RUNS ?? 3000)

function mutate(random: Prng, bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  for (let i = random.below(4); i >= 0; i--) {
    const at = random.below(copy.length)
    switch (random.below(4)) {
      case 0:
        copy[at]! ^= 1 << random.below(8)
        break
      case 1:
        copy[at] = [0x00, 0x30, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xff][random.below(8)]!
        break
      case 2:
        return copy.subarray(0, at)
      default:
        copy.copy(copy, at, random.below(copy.length))
    }
  }
  return copy
}

/** Runs `read` and says whether it took the input. Anything but a CaError is a failure. */
function takes(read: () => unknown): boolean {
  try {
    read()
    return true
  } catch (error) {
    if (error instanceof CaError) return false
    throw error
  }
}

t.test('mutations', async (t) => {
  const swarm = testSwarm()
  const csr = readPem(makeCsr(generateKey()), 4096, 1)[0]!.bytes
  const leaf = readPem(testNode(swarm).chain, 4096, 1)[0]!.bytes
  const root = readPem(swarm.certificate, 4096, 1)[0]!.bytes
  const [trusted] = swarm.trust.certificates
  const seed = Number(process.env.WEFT_FUZZ_SEED ?? 1)
  for (let run = 0; run < RUNS; run++) {
    const random = prng(seed + run)
    const name = `seed ${seed + run}`
    const badCsr = mutate(random, csr)
    const tookCsr = takes(() => readCsr(writePem('CERTIFICATE REQUEST', badCsr)))
    if (tookCsr && !badCsr.equals(csr)) t.fail(`${name}: a changed request was taken`)
    const badLeaf = mutate(random, leaf)
    takes(() => {
      const certificate = readCertificate(badLeaf)
      nodeSubject(certificate)
      const isSigned = certificate.x509.verify(trusted!.x509.publicKey)
      if (isSigned && !badLeaf.equals(leaf)) t.fail(`${name}: a changed certificate was taken`)
    })
    takes(() => readRoot(writePem('CERTIFICATE', mutate(random, root))))
    const badText = mutate(random, Buffer.from(swarm.certificate)).toString('latin1')
    takes(() => readPem(badText, 4096, 2))
    takes(() => parseToken(badText))
  }
  t.pass(`${RUNS} runs`)
})

t.test('shapes that DER parsers have fallen for', async (t) => {
  const deep = (depth: number): Buffer => {
    let node = der.nothing()
    for (let i = 0; i < depth; i++) node = der.sequence(node)
    return der.encode(node)
  }
  const bad: readonly [string, string | Buffer][] = [
    ['nothing', ''],
    ['a tag alone', '30'],
    ['an indefinite length', '30800000'],
    ['a length in more bytes than needed', '308101'.concat('00')],
    ['a length with a leading zero', `30820080${'00'.repeat(128)}`],
    ['a length beyond the end', '300500'],
    ['a length of four bytes', '3084ffffffff00'],
    ['a high tag number', '3f8101'.concat('00')],
    ['bytes behind the end', '300000'],
    ['a child beyond its parent', '3003020500'],
    ['too deep', deep(40)],
  ]
  for (const [name, value] of bad) {
    const bytes = typeof value === 'string' ? Buffer.from(value, 'hex') : value
    t.throws(() => checkWellFormed(bytes), { code: 'INVALID_ARGUMENT' }, name)
  }
  t.doesNotThrow(() => checkWellFormed(deep(10)))
  t.throws(() => elements(Buffer.from('0500'.repeat(9), 'hex'), 8), /more than 8/)
  t.throws(() => only(Buffer.from('0500', 'hex'), TAG.sequence), /tag 5/)
})

t.test('names that look like others', async (t) => {
  const word = (value: string): unknown => text(only(der.encode(der.utf8(value)), TAG.utf8String))
  t.equal(word('plain'), 'plain')
  // A line break would split a printed name, a zero end a C string.
  for (const value of ['a\nOU=swarm-manager', 'a\0b', '\u001b[2J', '\u0085']) {
    t.throws(() => word(value), { code: 'INVALID_ARGUMENT' })
  }
  const broken = Buffer.from([TAG.utf8String, 2, 0xc3, 0x28])
  t.throws(() => text(only(broken, TAG.utf8String)), /not UTF-8/)
})

t.test('PEM', async (t) => {
  const { certificate } = testSwarm()
  const [begin = '', ...rest] = certificate.trimEnd().split('\n')
  const end = rest.at(-1)!
  const bad = [
    'text',
    begin,
    `${begin}\n${end}`,
    `${begin}\nAAA\n${end}`,
    `${begin}\nAA=A\n${end}`,
    `${begin}\nAB==\n${end}`,
    `${begin}\nA-_A\n${end}`,
    `${begin}\na: b\na: c\n\nAAAA\n${end}`,
    `${begin}\na b: c\n\nAAAA\n${end}`,
    `${certificate}x`,
    certificate.replace('END CERTIFICATE', 'END KEY'),
    certificate.repeat(3),
  ]
  for (const value of bad) {
    t.throws(() => readPem(value, 100_000, 2), { code: 'INVALID_ARGUMENT' }, value.slice(0, 60))
  }
  t.throws(() => readPem(' '.repeat(5000), 4096, 1), /more than 4096/)
  t.same(readPem('', 10, 1), [])
  const headed = writePem('X', Buffer.from('abc'), [
    ['one', '1'],
    ['two', ''],
  ])
  t.same(
    [...readPem(headed, 1000, 1)[0]!.headers],
    [
      ['one', '1'],
      ['two', ''],
    ],
  )
})
