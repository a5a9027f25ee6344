// The way to a manager: mutual TLS, and a server that must be a manager of this cluster.

import { channelCredentials, channelOptions } from '../proto/credentials.ts'
import { type DispatcherClient, dispatcherClient } from '../proto/dispatcher.ts'
import type { IdentityHolder } from '../proto/identity.ts'
import { SESSION_KEEPALIVE_MS } from './limits.ts'

/** Makes clients of managers at an address ("host:port"), under the node's certificate as it is
 * when they connect. */
export function connector(identity: IdentityHolder): (address: string) => DispatcherClient {
  return (address) => {
    const Client = dispatcherClient()
    const options = { ...channelOptions(), 'grpc.keepalive_time_ms': SESSION_KEEPALIVE_MS }
    return new Client(address, channelCredentials(identity), options)
  }
}
