// A small signing server in CFSSL's JSON, as far as a swarm uses it, with a root of its own and
// every lie that a test wants from it.

import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { crossSign } from '../certificate.ts'
import { readCsr } from '../csr.ts'
import type { ExternalTls } from '../external.ts'
import { generateKey, pemOfKey, spkiOf } from '../keys.ts'
import { NODE_LIFE_MS } from '../limits.ts'
import type { NodeSubject } from '../names.ts'
import { issue, readRoot } from '../root.ts'
import type { TestSwarm } from './doubles.ts'
import { openssl } from './openssl.ts'

export interface CfsslRequest {
  readonly hosts: readonly string[]
  readonly certificate_request: string
  readonly subject?: { readonly CN: string; readonly names: readonly { O: string; OU: string }[] }
  readonly profile?: string
}

/** What the server does instead of what it should. */
export type Lie = (request: CfsslRequest) => string | null

export interface CfsslDouble {
  readonly url: string
  readonly requests: CfsslRequest[]
  /** Whole answers in place of the right one. */
  lie: Lie
  close(): Promise<void>
}

/** `next` is what the root to be cross-signed is taken from, as this double reads no requests of
 * other kinds of key itself. */
export async function cfsslDouble(swarm: TestSwarm, next?: TestSwarm): Promise<CfsslDouble> {
  const key = generateKey()
  const certificate = serverCertificate(swarm, pemOfKey(key))
  const requests: CfsslRequest[] = []
  const server: Server = createServer(
    { key: pemOfKey(key), cert: certificate, ca: swarm.certificate, requestCert: true },
    (call, answer) => {
      let body = ''
      call.setEncoding('utf8').on('data', (part: string) => {
        body += part
      })
      call.on('end', () => {
        const request = JSON.parse(body) as CfsslRequest
        if (request.certificate_request === undefined) return answer.end(refused('no request'))
        requests.push(request)
        answer.end(double.lie(request) ?? signed(swarm, request, next))
      })
    },
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const double: CfsslDouble = {
    url: `https://localhost:${port}/api/v1/cfssl/sign`,
    requests,
    lie: () => null,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
  return double
}

export function answerOf(certificate: string): string {
  return JSON.stringify({ success: true, result: { certificate }, errors: [], messages: [] })
}

export function refused(message: string): string {
  return JSON.stringify({ success: false, result: null, errors: [{ code: 1, message }] })
}

function signed(swarm: TestSwarm, request: CfsslRequest, next?: TestSwarm): string {
  if (request.profile === 'CA') {
    if (next === undefined) return refused('no root to sign')
    return answerOf(crossSign(swarm.signing.signer, readRoot(next.certificate).certificates[0]!))
  }
  const { CN, names } = request.subject!
  const role = names[0]!.OU.replace('swarm-', '') as NodeSubject['role']
  const subject = { nodeId: CN, role, clusterId: names[0]!.O }
  const { spki } = readCsr(request.certificate_request)
  return answerOf(issue(swarm.signing, spki, subject, Date.now(), NODE_LIFE_MS))
}

/** A certificate for localhost under the swarm's root, made by openssl. */
function serverCertificate(swarm: TestSwarm, keyPem: string): string {
  const request = openssl(['req', '-new', '-key', '@k', '-subj', '/CN=localhost'], { k: keyPem })
  const { ok, output } = openssl(
    [
      'x509',
      '-req',
      '-in',
      '@r',
      '-CA',
      '@c',
      '-CAkey',
      '@a',
      '-days',
      '2',
      '-set_serial',
      '7',
      '-extfile',
      '@e',
    ],
    {
      r: pemPart(request.output),
      c: swarm.certificate,
      a: swarm.key,
      e: 'subjectAltName=DNS:localhost',
    },
  )
  if (!ok) throw new Error(output)
  return pemPart(output)
}

/** openssl writes remarks around what it makes. */
function pemPart(text: string): string {
  return `${/-----BEGIN [\s\S]*-----END [A-Z ]+-----/.exec(text)?.[0] ?? ''}\n`
}

/** A client certificate for the double. */
export function clientOf(swarm: TestSwarm, subject: NodeSubject): ExternalTls {
  const key = generateKey()
  return {
    certificate: issue(swarm.signing, spkiOf(key), subject, Date.now(), NODE_LIFE_MS),
    privateKey: pemOfKey(key),
    roots: swarm.certificate,
  }
}
