// Goal: a join token has one spelling, names one root, and everything else is refused.
// Method: a published token is taken apart and put together again; every truncation, extension and
// change of a letter is tried.

import { createHash, randomBytes } from 'node:crypto'
import t from 'tap'
import { checkDigest, readRoot } from './root.ts'
import { testSwarm } from './testing/doubles.ts'
import { base36, generateToken, parseToken, tokenEquals } from './token.ts'

/** The example of the Engine API's description. */
const PUBLISHED =
  'SWMTKN-1-3pu6hszjas19xyp7ghgosyx9k8atbfcr8p2is99znpy26u2lkl-1awxwuwd3z9j1z3puu7rcgdbx'

t.test('tokens are written as they are read', async (t) => {
  const parsed = parseToken(PUBLISHED)
  t.equal(parsed.digest.length, 32)
  t.equal(parsed.secret.length, 16)
  t.equal(generateToken(parsed.digest, parsed.secret), PUBLISHED)
  for (const fill of [0x00, 0xff]) {
    const digest = Buffer.alloc(32, fill)
    const token = generateToken(digest, Buffer.alloc(16, fill))
    t.equal(token.length, PUBLISHED.length)
    t.same(parseToken(token), { digest, secret: Buffer.alloc(16, fill) })
  }
  for (let i = 0; i < 200; i++) {
    const digest = randomBytes(32)
    const token = generateToken(digest)
    t.ok(parseToken(token).digest.equals(digest))
    t.not(token, generateToken(digest), 'the secret is new each time')
  }
  t.equal(base36(Buffer.from([0x24]), 3), '010')
})

t.test('everything else is an invalid join token', async (t) => {
  const bad = [
    '',
    'x',
    ` ${PUBLISHED}`,
    `${PUBLISHED} `,
    `${PUBLISHED}\n`,
    PUBLISHED.toUpperCase(),
    PUBLISHED.replace('SWMTKN-1', 'SWMTKN-2'),
    PUBLISHED.replace('SWMTKN-1', 'SWMTKN-2-0'),
    PUBLISHED.replace('SWMTKN', 'SWMKEY'),
    `SWMTKN-1-${'z'.repeat(50)}-${'0'.repeat(25)}`,
    `SWMTKN-1-${'0'.repeat(50)}-${'z'.repeat(25)}`,
    'SWMTKN-1-'.repeat(100_000),
  ]
  for (let size = 0; size < PUBLISHED.length; size++) {
    bad.push(PUBLISHED.slice(0, size), PUBLISHED.slice(size + 1))
  }
  for (const token of bad) {
    t.throws(() => parseToken(token), { code: 'UNKNOWN', message: 'invalid join token' })
  }
})

t.test('comparison accepts the one token', async (t) => {
  t.ok(tokenEquals(PUBLISHED, PUBLISHED))
  t.notOk(tokenEquals('', ''))
  t.notOk(tokenEquals('', PUBLISHED))
  for (let at = 0; at < PUBLISHED.length; at++) {
    const changed = PUBLISHED[at] === 'q' ? 'r' : 'q'
    t.notOk(tokenEquals(PUBLISHED.slice(0, at) + changed + PUBLISHED.slice(at + 1), PUBLISHED))
    t.notOk(tokenEquals(PUBLISHED.slice(0, at), PUBLISHED))
  }
})

t.test('the digest is of the whole bundle', async (t) => {
  const one = testSwarm()
  const two = testSwarm()
  const both = readRoot(one.certificate + two.certificate)
  t.ok(
    both.digest.equals(
      createHash('sha256')
        .update(one.certificate + two.certificate)
        .digest(),
    ),
  )
  const { digest } = parseToken(generateToken(one.trust.digest))
  t.doesNotThrow(() => checkDigest(one.trust, digest))
  // A root smuggled in beside the right one is another bundle.
  for (const forged of [two.trust, both, readRoot(two.certificate + one.certificate)]) {
    t.throws(() => checkDigest(forged, digest), {
      message: `remote CA does not match fingerprint. Expected: ${digest.toString('hex')}`,
    })
  }
  // White space and line ends around the blocks do not make another bundle.
  t.doesNotThrow(() =>
    checkDigest(readRoot(`\n${one.certificate.replaceAll('\n', '\r\n')}\n`), digest),
  )
})
