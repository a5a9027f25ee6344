// Goal: certificates and requests are what RFC 5280 and RFC 2986 say, names and times are Swarm's.
// Method: the openssl command verifies and prints them, roots of every kind of key sign, and
// verifyChain() is held to openssl's verdict over chains that are right, wrong and becoming wrong.

import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import t from 'tap'
import { crossSign, makeRoot } from './certificate.ts'
import { makeCsr, readCsr } from './csr.ts'
import { generateKey, pemOfKey, spkiOf } from './keys.ts'
import { BACKDATE_MS, NODE_LIFE_MS, ROOT_LIFE_MS } from './limits.ts'
import { writePem } from './pem.ts'
import { crossSignRoot, issue, readRoot, readSigner } from './root.ts'
import { ALICE, NOW_MS, testNode, testSwarm } from './testing/doubles.ts'
import { openssl, opensslMissing } from './testing/openssl.ts'
import { nodeSubject, readChain, verifyChain } from './x509.ts'

const DAY_MS = 86_400_000
const seconds = (ms: number): string => String(Math.floor(ms / 1000))

t.test(
  'a root and a node certificate, as openssl prints them',
  { skip: opensslMissing },
  async (t) => {
    const swarm = testSwarm()
    const node = testNode(swarm)
    const root = openssl(['x509', '-in', '@r', '-noout', '-text'], { r: swarm.certificate }).output
    t.match(root, /Version: 3 \(0x2\)/)
    t.match(root, /Issuer: CN ?= ?swarm-ca/)
    t.match(root, /Subject: CN ?= ?swarm-ca/)
    t.match(root, /ecdsa-with-SHA256/)
    t.match(root, /Key Usage: critical\s+Certificate Sign, CRL Sign/)
    t.match(root, /Basic Constraints: critical\s+CA:TRUE/)
    const leaf = openssl(['x509', '-in', '@c', '-noout', '-text'], { c: node.chain }).output
    t.match(leaf, /Issuer: CN ?= ?swarm-ca/)
    t.match(
      leaf,
      new RegExp(`O ?= ?${ALICE.clusterId}, ?OU ?= ?swarm-manager, ?CN ?= ?${ALICE.nodeId}`),
    )
    t.match(leaf, /ASN1 OID: prime256v1/)
    t.match(leaf, /Key Usage: critical\s+Digital Signature\n/)
    t.match(leaf, /TLS Web Server Authentication, TLS Web Client Authentication/)
    t.match(leaf, /Basic Constraints: critical\s+CA:FALSE/)
    t.match(leaf, /Subject Key Identifier/)
    t.match(leaf, /Authority Key Identifier/)
    t.match(leaf, new RegExp(`DNS:swarm-manager, DNS:${ALICE.nodeId}, DNS:swarm-ca`))
    t.match(leaf, /Not Before: Mar {2}1 11:00:00 2026 GMT/)
    t.match(leaf, /Not After : May 30 12:00:00 2026 GMT/)
    const worker = openssl(['x509', '-in', '@c', '-noout', '-text'], {
      c: testNode(swarm, { role: 'worker' }).chain,
    }).output
    t.match(worker, /DNS:swarm-worker, DNS:\w{25}\n/)
  },
)

t.test('lives and serial numbers', async (t) => {
  const swarm = testSwarm()
  const [root] = swarm.trust.certificates
  t.equal(root!.notBeforeMs, NOW_MS - BACKDATE_MS)
  t.equal(root!.notAfterMs, NOW_MS + ROOT_LIFE_MS)
  const serials = new Set<string>()
  for (let i = 0; i < 20; i++) {
    const [leaf] = readChain(testNode(swarm).chain)
    t.equal(leaf!.notAfterMs - leaf!.notBeforeMs, NODE_LIFE_MS + BACKDATE_MS)
    serials.add(leaf!.x509.serialNumber)
  }
  t.equal(serials.size, 20)
  for (const serial of serials) t.match(serial, /^[4-7][0-9A-F]{31}$/)
  // A leaf does not outlive its root; a year from 2050 on is a GeneralizedTime.
  const late = NOW_MS + ROOT_LIFE_MS - DAY_MS
  const [short] = readChain(testNode(swarm, {}, late).chain)
  t.equal(short!.notAfterMs, root!.notAfterMs)
  const [far] = readRoot(testSwarm(Date.UTC(2049, 11, 31)).certificate).certificates
  t.equal(far!.notAfterMs, Date.UTC(2049, 11, 31) + ROOT_LIFE_MS)
})

t.test('openssl and verifyChain agree', { skip: opensslMissing }, async (t) => {
  const swarm = testSwarm()
  const other = testSwarm()
  const node = testNode(swarm)
  const next = testSwarm()
  const crossed = {
    signer: readSigner(next.certificate, next.key),
    intermediate: crossSignRoot(swarm.signing.signer, next.trust),
  }
  const both = issue(crossed, spkiOf(node.key), ALICE, NOW_MS, NODE_LIFE_MS)
  const bare = issue(
    { ...crossed, intermediate: '' },
    spkiOf(node.key),
    ALICE,
    NOW_MS,
    NODE_LIFE_MS,
  )
  // A leaf that signs another leaf: its holder is no CA.
  const forger = { signer: { certificate: readChain(node.chain)[0]!, key: node.key } }
  const forged = issue(
    { ...forger, intermediate: node.chain },
    spkiOf(generateKey()),
    ALICE,
    NOW_MS,
    NODE_LIFE_MS,
  )
  const cases: readonly [string, string, string, number, boolean][] = [
    ['the right root', node.chain, swarm.certificate, NOW_MS, true],
    ['another root of the same name', node.chain, other.certificate, NOW_MS, false],
    ['a bundle of both', node.chain, other.certificate + swarm.certificate, NOW_MS, true],
    ['an hour early, for slow clocks', node.chain, swarm.certificate, NOW_MS - BACKDATE_MS, true],
    ['a second earlier', node.chain, swarm.certificate, NOW_MS - BACKDATE_MS - 1000, false],
    ['the last second', node.chain, swarm.certificate, NOW_MS + NODE_LIFE_MS - 1000, true],
    ['over', node.chain, swarm.certificate, NOW_MS + NODE_LIFE_MS + 1000, false],
    ['a clock one year ahead', node.chain, swarm.certificate, NOW_MS + 365 * DAY_MS, false],
    ['a clock one year behind', node.chain, swarm.certificate, NOW_MS - 365 * DAY_MS, false],
    ['cross-signed, for the old root', both, swarm.certificate, NOW_MS, true],
    ['cross-signed, for the new root', both, next.certificate, NOW_MS, true],
    ['cross-signed, for a third root', both, other.certificate, NOW_MS, false],
    ['the new root without the cross', bare, swarm.certificate, NOW_MS, false],
    ['signed by a leaf', forged, swarm.certificate, NOW_MS, false],
  ]
  for (const [name, chain, roots, atMs, expected] of cases) {
    const verdict = openssl(
      [
        'verify',
        '-x509_strict',
        '-attime',
        seconds(atMs),
        '-CAfile',
        '@ca',
        '-untrusted',
        '@c',
        '@c',
      ],
      { ca: roots, c: chain },
    )
    t.equal(verdict.ok, expected, `openssl: ${name}: ${verdict.output}`)
    const verify = (): unknown => verifyChain(readChain(chain), readRoot(roots).certificates, atMs)
    if (expected) t.doesNotThrow(verify, `ours: ${name}`)
    else t.throws(verify, { code: 'UNAUTHENTICATED' }, `ours: ${name}`)
  }
})

t.test('roots of other kinds of key', { skip: opensslMissing }, async (t) => {
  const validity = { notBeforeMs: NOW_MS, notAfterMs: NOW_MS + ROOT_LIFE_MS }
  const old = testSwarm()
  const kinds = [
    ['P-384', generateKeyPairSync('ec', { namedCurve: 'secp384r1' }).privateKey],
    ['P-521', generateKeyPairSync('ec', { namedCurve: 'secp521r1' }).privateKey],
    ['RSA', generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey],
  ] as const
  for (const [kind, key] of kinds) {
    const certificate = makeRoot(key, validity, `root of ${kind}`)
    const signer = readSigner(certificate, pemOfKey(key))
    const cross = crossSignRoot(old.signing.signer, readRoot(certificate))
    const leaf = generateKey()
    const chain = issue({ signer, intermediate: cross }, spkiOf(leaf), ALICE, NOW_MS, NODE_LIFE_MS)
    for (const trusted of [certificate, old.certificate]) {
      const verdict = openssl(
        ['verify', '-attime', seconds(NOW_MS), '-CAfile', '@ca', '-untrusted', '@c', '@c'],
        { ca: trusted, c: chain },
      )
      t.ok(verdict.ok, `${kind}: ${verdict.output}`)
      verifyChain(readChain(chain), readRoot(trusted).certificates, NOW_MS)
    }
  }
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey
  t.throws(() => makeRoot(weak, validity), { code: 'INVALID_ARGUMENT' })
  const edwards = generateKeyPairSync('ed25519').privateKey
  t.throws(() => makeRoot(edwards, validity), { code: 'INVALID_ARGUMENT' })
  t.throws(() => readSigner(old.certificate, testSwarm().key), /does not belong/)
  t.throws(() => readSigner(old.certificate, 'no key'), /could not read the private key/)
})

t.test('a cross certificate keeps name, key and life', async (t) => {
  const old = testSwarm()
  const next = testSwarm()
  const [cross] = readChain(crossSign(old.signing.signer, next.trust.certificates[0]!))
  const [root] = next.trust.certificates
  t.ok(cross!.subjectDer.equals(root!.subjectDer))
  t.ok(cross!.spki.equals(root!.spki))
  t.ok(cross!.subjectKeyId!.equals(root!.subjectKeyId!))
  t.same([cross!.notBeforeMs, cross!.notAfterMs], [root!.notBeforeMs, root!.notAfterMs])
  t.not(cross!.x509.serialNumber, root!.x509.serialNumber)
})

t.test('a request proves possession, and openssl agrees', { skip: opensslMissing }, async (t) => {
  const key = generateKey()
  const csr = makeCsr(key)
  t.match(openssl(['req', '-verify', '-noout', '-in', '@r'], { r: csr }).output, /verify OK/)
  t.ok(readCsr(csr).spki.equals(spkiOf(key)))
  // Made by openssl, asking for a name, for extensions and to be a CA: only the key counts.
  const theirs = openssl(
    [
      'req',
      '-new',
      '-key',
      '@k',
      '-subj',
      '/O=evil/OU=swarm-manager/CN=root',
      '-addext',
      'basicConstraints=critical,CA:TRUE',
      '-addext',
      'subjectAltName=DNS:swarm-ca',
    ],
    { k: pemOfKey(key) },
  ).output
  const proven = readCsr(theirs.slice(theirs.indexOf('-----BEGIN')))
  t.ok(proven.spki.equals(spkiOf(key)))
  const swarm = testSwarm()
  const chain = issue(
    swarm.signing,
    proven.spki,
    { ...ALICE, role: 'worker' },
    NOW_MS,
    NODE_LIFE_MS,
  )
  const leaf = new X509Certificate(chain)
  t.notOk(leaf.ca)
  t.equal(leaf.subjectAltName, `DNS:swarm-worker, DNS:${ALICE.nodeId}`)
  t.same(nodeSubject(readChain(chain)[0]!), { ...ALICE, role: 'worker' })
})

t.test('requests that prove nothing are refused', async (t) => {
  const key = generateKey()
  const csr = makeCsr(key)
  const der = Buffer.from(csr.replace(/-----.*-----|\n/g, ''), 'base64')
  const pem = (bytes: Buffer): string => writePem('CERTIFICATE REQUEST', bytes)
  t.doesNotThrow(() => readCsr(pem(der)))
  for (let bit = 0; bit < der.length * 8; bit++) {
    const bytes = Buffer.from(der)
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    // Flips may only survive in nothing: each is under the signature or is the signature.
    t.throws(() => readCsr(pem(bytes)), { code: 'INVALID_ARGUMENT' }, `bit ${bit}`)
  }
  for (let size = 0; size < der.length; size++) {
    t.throws(
      () => readCsr(pem(der.subarray(0, size))),
      { code: 'INVALID_ARGUMENT' },
      `size ${size}`,
    )
  }
  // The key of another put into a request of one's own: the signature does not fit.
  const at = der.indexOf(spkiOf(key))
  const stolen = Buffer.from(der)
  spkiOf(generateKey()).copy(stolen, at)
  t.throws(() => readCsr(pem(stolen)), /not signed by its own key/)
  for (const text of ['', 'x', csr + csr, csr.repeat(40), csr.replaceAll(' REQUEST', '')]) {
    t.throws(() => readCsr(text), { code: 'INVALID_ARGUMENT' })
  }
  for (const other of [
    generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
    generateKeyPairSync('ec', { namedCurve: 'secp384r1' }).privateKey,
  ]) {
    t.throws(() => readCsr(makeCsr(other)), { code: 'INVALID_ARGUMENT' })
  }
})

t.test('certificates that are none, or not of a node', async (t) => {
  const swarm = testSwarm()
  t.throws(() => readChain(''), { code: 'INVALID_ARGUMENT' })
  t.throws(() => readChain(swarm.key), /PRIVATE KEY where a certificate belongs/)
  t.throws(() => readChain(swarm.certificate.repeat(9)), /more than 8 blocks/)
  t.throws(() => readChain(`${swarm.certificate}text`), /text outside/)
  t.throws(() => nodeSubject(swarm.trust.certificates[0]!), { code: 'UNAUTHENTICATED' })
  t.throws(() => readRoot(testNode(swarm).chain), /is not a CA/)
  const next = testSwarm()
  t.throws(() => readRoot(crossSignRoot(swarm.signing.signer, next.trust)), /signed by itself/)
  t.throws(() => verifyChain([], swarm.trust.certificates, NOW_MS), { code: 'UNAUTHENTICATED' })
})
