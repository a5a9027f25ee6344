// The CA on gRPC, the asking side: three ways to be connected to a manager, from no trust to full.
//
//   unverified   any server is taken. Good for one question, the root certificate, whose answer is
//                checked against the digest in the token; nothing secret is ever said on it.
//   verified     the server must be a manager under that root. The token is said here.
//   identified   this node shows its certificate too: renewals.

import { X509Certificate } from 'node:crypto'
import { type ChannelCredentials, credentials, type ServiceError } from '@grpc/grpc-js'
import type { Clock } from '../../base/clock.ts'
import { channelCredentials, channelOptions } from '../proto/credentials.ts'
import type { IdentityHolder } from '../proto/identity.ts'
import { MANAGER_ROLE, peerFromCertificate } from '../proto/peer.ts'
import { CA, callError, managerOf, outcomeOf } from './ca-rpc.ts'
import { CALL_TIMEOUT_MS } from './limits.ts'
import type { TrustRoot } from './root.ts'
import type { IssueOutcome, IssueRequest } from './service.ts'

type Client = InstanceType<typeof CA>

/** The root bundle of whoever answers at `address`. Nobody has verified it. */
export async function fetchRootCertificate(address: string, clock: Clock): Promise<string> {
  const anybody = credentials.createSsl(null, null, null, {
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
  })
  return ask(address, anybody, clock, (client, options, done) => {
    client.getRootCertificate({}, options, (error, answer) => done(error, answer?.certificate))
  })
}

/** Asks a manager under `root` for a first certificate. */
export async function requestByToken(
  address: string,
  root: TrustRoot,
  request: IssueRequest,
  clock: Clock,
): Promise<IssueOutcome> {
  const manager = credentials.createSsl(Buffer.from(root.pem), null, null, {
    checkServerIdentity: (_host, { raw }) => {
      const server = peerFromCertificate(new X509Certificate(raw))
      return server?.role === MANAGER_ROLE ? undefined : new Error('the server is no manager')
    },
  })
  return issue(address, manager, request, clock)
}

/** Asks a manager of the swarm to renew the certificate that `identity` holds. */
export async function requestRenewal(
  address: string,
  identity: IdentityHolder,
  clusterId: string,
  csr: string,
  clock: Clock,
): Promise<IssueOutcome> {
  const known = channelCredentials(identity, managerOf(clusterId))
  return issue(address, known, { csr, token: '', availability: '' }, clock)
}

function issue(
  address: string,
  channel: ChannelCredentials,
  request: IssueRequest,
  clock: Clock,
): Promise<IssueOutcome> {
  return ask(address, channel, clock, (client, options, done) => {
    client.issueNodeCertificate(request, options, (error, answer) =>
      done(error, answer === undefined ? undefined : outcomeOf(answer)),
    )
  })
}

type Done<T> = (error: ServiceError | null, value?: T) => void

/** One call on a connection of its own, which is closed after it. Rejects with CaError. */
async function ask<T>(
  address: string,
  channel: ChannelCredentials,
  clock: Clock,
  call: (client: Client, options: { deadline: number }, done: Done<T>) => void,
): Promise<T> {
  const client = new CA(address, channel, channelOptions())
  try {
    return await new Promise<T>((resolve, reject) => {
      const deadline = clock.wallMs() + CALL_TIMEOUT_MS
      call(client, { deadline }, (error, value) =>
        error === null && value !== undefined ? resolve(value) : reject(callError(error!)),
      )
    })
  } finally {
    client.close()
  }
}
