// weft as the engine's network driver (libnetwork's remote driver protocol, scope local): the
// engine asks by HTTP over a socket in its plugin directory. A container on an overlay gets the
// interface that the packet loop has made for it, before its process starts: in Join the engine is
// told the interface's name, moves it into the container, renames and configures it.
//
// Addresses are the cluster's. The engine brings those of a task in its request; for a container
// that a user starts on an attachable network it asks the driver's IPAM half, which asks the
// cluster.
//
// Never call the engine from a callback: it holds its locks while it asks.

import { chmod, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { dirname } from 'node:path'
import { Address4, Address6 } from 'ip-address'
import type { Logger } from '../../../base/log.ts'
import { makeDirectory } from '../make-directory.ts'
import { DEVICE_TIMEOUT_MS, PLUGIN_BODY_BYTES_MAX } from './limits.ts'

/** An address for which the packet loop has an interface, or will. */
export interface ExpectedEndpoint {
  /** Interface in the agent's (and the engine's) network namespace. */
  readonly device: string
  /** "02:42:0a:00:01:03". */
  readonly mac: string
  /** No way outside through the engine's gateway bridge. */
  readonly internal: boolean
}

export interface DriverParts {
  readonly log: Logger
  /** Gives a container that is no task an address, "10.0.1.9/24". Rejects with a sentence. */
  readonly attach: (networkId: string, pool: string) => Promise<string>
  readonly detach: (networkId: string, address: string) => Promise<void>
  /** Whether the engine can give containers a way outside (docker_gwbridge). */
  readonly hasEgress: () => boolean
  /** Waits until the packet loop has made an interface; false when it has not within `limitMs`. */
  readonly made: (device: string, limitMs: number) => Promise<boolean>
}

/** Name of the driver, and of its socket. */
export const DRIVER_NAME = 'weft'
/** Option of a twin network and its IPAM: the id of the overlay. */
export const NETWORK_OPTION = 'io.weft.network'

type Json = Record<string, unknown>
type Handler = (body: Json) => Json | Promise<Json>

const GATEWAY_REQUEST = 'com.docker.network.gateway'
const ADDRESS_SPACES = { LocalDefaultAddressSpace: 'weft', GlobalDefaultAddressSpace: 'weft' }

export class NetworkDriver {
  readonly #parts: DriverParts
  /** By address without prefix length. */
  readonly #expected = new Map<string, ExpectedEndpoint>()
  /** Address of the engine's endpoints. */
  readonly #endpoints = new Map<string, string>()
  #server: Server | null = null

  constructor(parts: DriverParts) {
    this.#parts = parts
  }

  expect(address: string, endpoint: ExpectedEndpoint): void {
    this.#expected.set(address, endpoint)
  }

  /** Another one may have got the address meanwhile. */
  forget(address: string, device: string): void {
    if (this.#expected.get(address)?.device === device) this.#expected.delete(address)
  }

  /** Serves the plugin protocol at `socket`; a stale one is replaced. */
  async listen(socket: string): Promise<void> {
    makeDirectory(dirname(socket), 0o755)
    await rm(socket, { force: true })
    const server = createServer((request, response) => this.#serve(request, response))
    await new Promise<void>((listening, fail) => {
      server.once('error', fail)
      server.once('listening', listening)
      // Nobody may connect in the moment before the mode is set; the socket is made in this call.
      const mask = process.umask(0o177)
      server.listen(socket)
      process.umask(mask)
    })
    await chmod(socket, 0o600)
    this.#server = server
  }

  async close(): Promise<void> {
    const server = this.#server
    this.#server = null
    if (server === null) return
    server.closeAllConnections()
    await new Promise<void>((closed) => server.close(() => closed()))
  }

  readonly #handlers: Readonly<Record<string, Handler>> = {
    '/Plugin.Activate': () => ({ Implements: ['NetworkDriver', 'IpamDriver'] }),
    '/NetworkDriver.GetCapabilities': () => ({ Scope: 'local', ConnectivityScope: 'global' }),
    '/NetworkDriver.CreateNetwork': () => ({}),
    '/NetworkDriver.DeleteNetwork': () => ({}),
    '/NetworkDriver.CreateEndpoint': (body) => this.#createEndpoint(body),
    '/NetworkDriver.EndpointOperInfo': () => ({ Value: {} }),
    '/NetworkDriver.DeleteEndpoint': (body) => {
      this.#endpoints.delete(text(body.EndpointID))
      return {}
    },
    '/NetworkDriver.Join': (body) => this.#join(body),
    '/NetworkDriver.Leave': () => ({}),
    '/NetworkDriver.DiscoverNew': () => ({}),
    '/NetworkDriver.DiscoverDelete': () => ({}),
    '/NetworkDriver.ProgramExternalConnectivity': () => ({}),
    '/NetworkDriver.RevokeExternalConnectivity': () => ({}),
    '/IpamDriver.GetCapabilities': () => ({ RequiresMACAddress: false }),
    '/IpamDriver.GetDefaultAddressSpaces': () => ADDRESS_SPACES,
    '/IpamDriver.RequestPool': (body) => requestPool(body),
    '/IpamDriver.ReleasePool': () => ({}),
    '/IpamDriver.RequestAddress': (body) => this.#requestAddress(body),
    '/IpamDriver.ReleaseAddress': (body) => this.#releaseAddress(body),
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? ''
    const answer = (status: number, body: Json): void => {
      response.writeHead(status, {
        'content-type': 'application/vnd.docker.plugins.v1.2+json',
      })
      response.end(`${JSON.stringify(body)}\n`)
    }
    const handler = Object.hasOwn(this.#handlers, path) ? this.#handlers[path] : undefined
    if (handler === undefined) return answer(404, { Err: `${path} is not known` })
    readBody(request)
      .then(async (body) => answer(200, await handler(body)))
      .catch((error: Error) => {
        this.#parts.log.warn('the engine asked for what cannot be', {
          call: path,
          error: error.message,
        })
        const key = path.startsWith('/IpamDriver') ? 'Error' : 'Err'
        answer(200, { [key]: error.message })
      })
  }

  #createEndpoint(body: Json): Json {
    const given = object(body.Interface)
    const address = bare(text(given.Address)) || bare(text(given.AddressIPv6))
    const expected = this.#expected.get(address)
    if (expected === undefined) throw new Error(`no task or container has the address ${address}`)
    this.#endpoints.set(text(body.EndpointID), address)
    // What the engine gave must not be repeated.
    return { Interface: text(given.MacAddress) === '' ? { MacAddress: expected.mac } : {} }
  }

  async #join(body: Json): Promise<Json> {
    const address = this.#endpoints.get(text(body.EndpointID)) ?? ''
    const expected = this.#expected.get(address)
    if (expected === undefined) throw new Error('the endpoint is not known')
    const { device } = expected
    if (!(await this.#parts.made(device, DEVICE_TIMEOUT_MS))) {
      throw new Error(`interface ${device} did not appear`)
    }
    return {
      InterfaceName: { SrcName: device, DstPrefix: 'eth' },
      DisableGatewayService: expected.internal || !this.#parts.hasEgress(),
    }
  }

  async #requestAddress(body: Json): Promise<Json> {
    const { networkId, pool } = poolOf(text(body.PoolID))
    const prefix = pool.replace(/^.*\//, '')
    const wanted = text(body.Address)
    if (wanted !== '') return { Address: `${wanted}/${prefix}`, Data: {} }
    // A network without a gateway: nobody routes by what the engine is told here.
    if (text(object(body.Options).RequestAddressType) === GATEWAY_REQUEST) {
      return { Address: `${firstAddress(pool)}/${prefix}`, Data: {} }
    }
    return { Address: await this.#parts.attach(networkId, pool), Data: {} }
  }

  async #releaseAddress(body: Json): Promise<Json> {
    const { networkId } = poolOf(text(body.PoolID))
    await this.#parts.detach(networkId, text(body.Address))
    return {}
  }
}

/** A pool's id tells the network and the subnet: nothing has to be remembered. */
function requestPool(body: Json): Json {
  const pool = text(body.Pool)
  const network = text(object(body.Options)[NETWORK_OPTION])
  if (pool === '' || network === '') {
    throw new Error(
      'networks of the driver "weft" are made by the cluster: docker network create -d overlay',
    )
  }
  return { PoolID: `${network} ${pool}`, Pool: pool, Data: {} }
}

function poolOf(id: string): { networkId: string; pool: string } {
  const [networkId = '', pool = ''] = id.split(' ')
  return { networkId, pool }
}

function firstAddress(pool: string): string {
  if (pool.includes(':')) return new Address6(pool).startAddressExclusive().correctForm()
  return new Address4(pool).startAddressExclusive().correctForm()
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '')
const object = (value: unknown): Json =>
  typeof value === 'object' && value !== null ? (value as Json) : {}
const bare = (address: string): string => address.replace(/\/.*$/, '')

async function readBody(request: IncomingMessage): Promise<Json> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of request) {
    size += (chunk as Buffer).length
    if (size > PLUGIN_BODY_BYTES_MAX) throw new Error('the request is too large')
    chunks.push(chunk as Buffer)
  }
  return size === 0 ? {} : object(JSON.parse(Buffer.concat(chunks).toString('utf8')))
}
