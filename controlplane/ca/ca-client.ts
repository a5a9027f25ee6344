// The CA on gRPC, the asking side: three ways to be connected to a manager, from no trust to full.
//
//   unverified   any server is taken. Good for one question, the root certificate, whose answer is
//                checked against the digest in the token; nothing secret is ever said on it.
//   verified     the server must be a manager under that root. The token is said here.
//   identified   this node shows its certificate too: renewals.

import { X509Certificate } from 'node:crypto'
import {
  type ChannelCredentials,
  type ClientUnaryCall,
  credentials,
  type ServiceError,
} from '@grpc/grpc-js'
import { channelCredentials, channelOptions } from '../proto/credentials.ts'
import type { IssueAnswer__Output } from '../proto/generated/weft/ca/IssueAnswer.ts'
import type { RootAnswer__Output } from '../proto/generated/weft/ca/RootAnswer.ts'
import type { IdentityHolder } from '../proto/identity.ts'
import { MANAGER_ROLE, peerFromCertificate } from '../proto/peer.ts'
import { CA, managerOf, outcomeOf, timed } from './ca-rpc.ts'
import type { TrustRoot } from './root.ts'
import type { IssueOutcome, IssueRequest } from './service.ts'

type Client = InstanceType<typeof CA>

/** The root bundle of whoever answers at `address`. Nobody has verified it. */
export async function fetchRootCertificate(address: string): Promise<string> {
  const anybody = credentials.createSsl(null, null, null, {
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
  })
  const answer = await ask<RootAnswer__Output>(address, anybody, (client, done) =>
    client.getRootCertificate({}, done),
  )
  return answer.certificate
}

/** Asks a manager under `root` for a first certificate. */
export async function requestByToken(
  address: string,
  root: TrustRoot,
  request: IssueRequest,
): Promise<IssueOutcome> {
  const manager = credentials.createSsl(Buffer.from(root.pem), null, null, {
    checkServerIdentity: (_host, { raw }) => {
      const server = peerFromCertificate(new X509Certificate(raw))
      return server?.role === MANAGER_ROLE ? undefined : new Error('the server is no manager')
    },
  })
  return issue(address, manager, request)
}

/** Asks a manager of the swarm to renew the certificate that `identity` holds. */
export async function requestRenewal(
  address: string,
  identity: IdentityHolder,
  clusterId: string,
  csr: string,
): Promise<IssueOutcome> {
  const known = channelCredentials(identity, managerOf(clusterId))
  return issue(address, known, { csr, token: '', availability: '' })
}

async function issue(
  address: string,
  channel: ChannelCredentials,
  request: IssueRequest,
): Promise<IssueOutcome> {
  const answer = await ask<IssueAnswer__Output>(address, channel, (client, done) =>
    client.issueNodeCertificate(request, done),
  )
  return outcomeOf(answer)
}

/** One call on a connection of its own, which is closed after it. Rejects with CaError. */
async function ask<T>(
  address: string,
  channel: ChannelCredentials,
  call: (client: Client, done: (error: ServiceError | null, value?: T) => void) => ClientUnaryCall,
): Promise<T> {
  const client = new CA(address, channel, channelOptions())
  try {
    return await timed<T>((done) => call(client, done))
  } finally {
    client.close()
  }
}
