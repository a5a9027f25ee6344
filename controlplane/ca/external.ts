// An external CA: somebody else has the root's key and signs for the swarm, over HTTPS, in the JSON
// that CFSSL speaks (its endpoint "sign" or "authsign"'s plain form). The node shows its own
// certificate; the server must be verifiable by the swarm's root, under the host name of its URL.
//
//   POST URL  {"hosts": [...], "certificate_request": PEM, "subject":
//             {"CN", "names": [{"O","OU"}]}}
//   answer    {"success": true, "result": {"certificate": PEM}, "errors": [], "messages": []}
//
// The swarm asks for names, but whoever signs decides: what comes back is read, verified up to the
// root, and must be for the key that was sent and the names that were asked for. A new root is
// cross-signed the same way, under the profile "CA".

import { type RequestOptions, request } from 'node:https'
import type { Signer } from './certificate.ts'
import { makeCsr, readCsr } from './csr.ts'
import { CaError, words } from './errors.ts'
import { EXTERNAL_ANSWER_SIZE_MAX, EXTERNAL_TIMEOUT_MS } from './limits.ts'
import { CA_UNIT, type NodeSubject, OID, ROLE_UNITS } from './names.ts'
import { normalizePem, type TrustRoot } from './root.ts'
import type { ExternalSign } from './signer.ts'
import { type Certificate, nodeSubject, readChain, verifyChain } from './x509.ts'

/** What the node shows to the external CA, and whom it believes. PEM. */
export interface ExternalTls {
  readonly certificate: string | Buffer
  readonly privateKey: string | Buffer
  readonly roots: string | Buffer
}

/** basicConstraints of a CA, for signers that do not take it from the request. */
const CA_EXTENSION = { id: OID.basicConstraints, critical: true, value: '30030101ff' }

export class ExternalCaClient {
  readonly #tls: () => ExternalTls
  readonly #wallMs: () => number

  constructor(tls: () => ExternalTls, wallMs: () => number) {
    this.#tls = tls
    this.#wallMs = wallMs
  }

  /** Asks each external CA in turn for a node certificate. See ExternalSign. */
  readonly sign: ExternalSign = async ({ urls, trust, intermediate }, csr, subject) => {
    const names = [{ O: subject.clusterId, OU: ROLE_UNITS[subject.role] }]
    const answer = await this.#askInTurn(urls, {
      hosts: hostsOf(subject),
      certificate_request: csr,
      subject: { CN: subject.nodeId, names },
    })
    checkNodeAnswer(answer, csr, subject, trust, this.#wallMs())
    return normalizePem(answer) + intermediate
  }

  /** Has `next` signed by the external CA of `current`: the cross certificate, as PEM. */
  async crossSign(urls: readonly string[], current: TrustRoot, next: Signer): Promise<string> {
    const { certificate } = next
    const answer = await this.#askInTurn(urls, {
      hosts: [],
      certificate_request: makeCsr(next.key, certificate.subjectDer),
      profile: 'CA',
      extensions: [CA_EXTENSION],
    })
    const [cross] = readChain(answer)
    const isNext =
      cross!.spki.equals(certificate.spki) && cross!.subjectDer.equals(certificate.subjectDer)
    if (!isNext || !cross!.x509.ca) {
      throw new CaError('INTERNAL', 'the external CA signed something else than the new root')
    }
    verifyChain([cross!], current.certificates, this.#wallMs())
    return normalizePem(answer)
  }

  /** True when one of the external CAs can be reached and verified: it answers at all. */
  async isReachable(urls: readonly string[]): Promise<boolean> {
    for (const url of urls) {
      try {
        await this.#post(url, '{}')
        return true
      } catch {
        // The next one.
      }
    }
    return false
  }

  async #askInTurn(urls: readonly string[], body: object): Promise<string> {
    const faults: string[] = []
    for (const url of urls) {
      try {
        return certificateOf(await this.#post(url, JSON.stringify(body)))
      } catch (error) {
        faults.push(`${hostOf(url)}: ${words(error)}`)
      }
    }
    const what = faults.length === 0 ? 'none is configured for this root' : faults.join('; ')
    throw new CaError('UNAVAILABLE', `no external CA signed: ${what}`)
  }

  #post(url: string, body: string): Promise<string> {
    const { certificate, privateKey, roots } = this.#tls()
    const options: RequestOptions = {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) },
      cert: certificate,
      key: privateKey,
      ca: roots,
      minVersion: 'TLSv1.2',
      agent: false,
      signal: AbortSignal.timeout(EXTERNAL_TIMEOUT_MS),
    }
    return new Promise((resolve, reject) => {
      const call = request(checkUrl(url), options, (answer) => {
        let text = ''
        answer.setEncoding('utf8')
        answer.on('data', (part: string) => {
          text += part
          if (text.length > EXTERNAL_ANSWER_SIZE_MAX) {
            answer.destroy(new Error(`an answer over ${EXTERNAL_ANSWER_SIZE_MAX} bytes`))
          }
        })
        answer.on('error', reject)
        answer.on('end', () => resolve(text))
      })
      call.on('error', reject)
      call.end(body)
    })
  }
}

/** Throws CaError INVALID_ARGUMENT for a URL that is not https. */
export function checkUrl(text: string): URL {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    throw new CaError('INVALID_ARGUMENT', 'invalid external CA URL')
  }
  if (url.protocol !== 'https:') {
    throw new CaError('INVALID_ARGUMENT', 'invalid external CA URL: it must be https')
  }
  return url
}

/** A URL may hold a password; its host says enough. */
function hostOf(url: string): string {
  return URL.canParse(url) ? new URL(url).host : 'external CA'
}

export function hostsOf({ role, nodeId }: NodeSubject): string[] {
  return [ROLE_UNITS[role], nodeId, ...(role === 'manager' ? [CA_UNIT] : [])]
}

function certificateOf(answer: string): string {
  let value: unknown
  try {
    value = JSON.parse(answer)
  } catch {
    throw new CaError('INTERNAL', 'the answer is not JSON')
  }
  const { success, result } = Object(value) as { success?: unknown; result?: unknown }
  const { certificate } = Object(result) as { certificate?: unknown }
  if (success === true && typeof certificate === 'string') return certificate
  const { errors } = Object(value) as { errors?: unknown }
  const [first] = Array.isArray(errors) ? errors : []
  const { message } = Object(first) as { message?: unknown }
  const reason = typeof message === 'string' ? `: ${message.slice(0, 200)}` : ''
  throw new CaError('INTERNAL', `it refused${reason}`)
}

function checkNodeAnswer(
  pem: string,
  csr: string,
  subject: NodeSubject,
  trust: TrustRoot,
  wallMs: number,
): void {
  const fault = (what: string): CaError =>
    new CaError('INTERNAL', `the certificate of the external CA ${what}`)
  let chain: Certificate[]
  try {
    chain = readChain(pem)
    verifyChain(chain, trust.certificates, wallMs)
  } catch (error) {
    throw fault(`cannot be used: ${words(error)}`)
  }
  const [leaf] = chain
  if (!leaf!.spki.equals(readCsr(csr).spki)) throw fault('is for another key')
  if (leaf!.x509.ca) throw fault('is that of a CA')
  const is = nodeSubject(leaf!)
  const isAsked =
    is.nodeId === subject.nodeId && is.role === subject.role && is.clusterId === subject.clusterId
  if (!isAsked) throw fault('names another node, role or swarm')
  // Node calls the extended usages keyUsage; undefined = any.
  const usages: readonly string[] | undefined = leaf!.x509.keyUsage
  if (usages?.includes(OID.clientAuth) === false || usages?.includes(OID.serverAuth) === false) {
    throw fault('is not for TLS servers and clients both')
  }
}
