// A node that is whatever a test wants: a NodeControl over a store of its own, without Raft, CA or
// agents. `init` makes a cluster of one ready manager, so that the stock docker CLI finds what it
// expects. And an API over it on a unix socket.

import { randomBytes, X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Clock } from '../../../base/clock.ts'
import type { Unversioned } from '../../store/contract.ts'
import { newId } from '../../store/ids.ts'
import { localStore } from '../../store/local-store.ts'
import type { MemoryStore } from '../../store/memory-store.ts'
import type { ClusterObject, NodeObject } from '../../store/objects.ts'
import { EngineApi } from '../engine-api.ts'
import { ApiError, noLeader } from '../errors.ts'
import type {
  ApiRequest,
  ApiResponse,
  ClusterAccess,
  EngineNetwork,
  InitRequest,
  JoinRequest,
  LogLine,
  LogSubscription,
  NodeControl,
  NodeServices,
  NodeStatus,
} from '../node-control.ts'
import { type Listener, listen } from '../server.ts'

/** A root of the swarm kind, so that its issuer can be shown. */
export const ROOT_PEM = `-----BEGIN CERTIFICATE-----
MIIBazCCARCgAwIBAgIUYibtaRZkDn7fQ8Um1b2OjyKwKtwwCgYIKoZIzj0EAwIw
EzERMA8GA1UEAxMIc3dhcm0tY2EwHhcNMjYxMTIzMTAwNjAwWhcNNDYxMTE4MTAw
NjAwWjATMREwDwYDVQQDEwhzd2FybS1jYTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABFLTSWajwdD/gtjBpZQPWWdqSc1gYUnxTp9c5+2F9FqUK4o8h4TNlb53gmBk
jCDWzwSGn1mEI0u7ipm+cAD1UdSjQjBAMA4GA1UdDwEB/wQEAwIBBjAPBgNVHRMB
Af8EBTADAQH/MB0GA1UdDgQWBBRrP9dzy9fK+5nnPXz54kMKj3iq5jAKBggqhkjO
PQQDAgNJADBGAiEAxyFI5YAVYG60gjrJdhMT55BhWzWIxc9k//BTHc+xsQcCIQCI
G1ryOc9KXPsJxp8EAI4Azco/Eza5TvxMb69ZouGUSQ==
-----END CERTIFICATE-----
`
/** What a real engine showed as the issuer of certificates under it. */
export const ROOT_SUBJECT = 'MBMxETAPBgNVBAMTCHN3YXJtLWNh'

const systemClock: Clock = { nowMs: () => performance.now(), wallMs: () => Date.now() }

export class FakeNode implements NodeControl, NodeServices {
  readonly clock: Clock = systemClock
  readonly store: MemoryStore = localStore(systemClock, (size) => this.random(size))
  readonly joins: JoinRequest[] = []
  readonly logRequests: LogSubscription[] = []
  readonly preparedNetworks: string[] = []
  readonly forwarded: ApiRequest[] = []
  engineSocket: string | null = null
  state: NodeStatus['state'] = 'inactive'
  nodeId = ''
  isManager = false
  isLeader = true
  error = ''
  /** What `forward` does; null = there is no leader. */
  leader: ((request: ApiRequest) => Promise<ApiResponse>) | null = null
  lines: LogLine[] = []

  random(size: number): Uint8Array {
    return randomBytes(size)
  }

  status(): NodeStatus {
    const isActive = this.state === 'active'
    return {
      state: this.state,
      nodeId: this.nodeId,
      address: isActive ? '127.0.0.1' : '',
      isManager: this.isManager,
      error: this.error,
      managers: isActive ? [{ nodeId: this.nodeId, address: '127.0.0.1:2377' }] : [],
    }
  }

  async init(request: InitRequest): Promise<string> {
    this.nodeId = newId((size) => this.random(size))
    await this.store.update((tx) => {
      tx.create('clusters', newCluster(request))
      tx.create('nodes', newNode(this.nodeId, { isManager: true, request }))
    })
    this.state = 'active'
    this.isManager = true
    return this.nodeId
  }

  async join(request: JoinRequest): Promise<void> {
    this.joins.push(request)
    this.state = 'active'
    this.nodeId = newId((size) => this.random(size))
  }

  async leave(): Promise<void> {
    this.state = 'inactive'
    this.isManager = false
    this.nodeId = ''
  }

  async unlock(): Promise<void> {
    this.state = 'active'
  }

  cluster(): ClusterAccess | null {
    return this.isManager ? { store: this.store, isLeader: this.isLeader } : null
  }

  async forward(request: ApiRequest): Promise<ApiResponse> {
    this.forwarded.push(request)
    if (this.leader === null) throw noLeader()
    return this.leader(request)
  }

  async readBarrier(): Promise<void> {}

  async planRoot(current: ClusterObject['rootCa']): Promise<ClusterObject['rootCa']> {
    return current
  }

  async *logs(subscription: LogSubscription, signal: AbortSignal): AsyncGenerator<LogLine> {
    this.logRequests.push(subscription)
    yield* this.lines
    if (!subscription.follow || signal.aborted) return
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
  }

  /** A line of the task in slot 1. */
  logLine(text: string): LogLine {
    const task = this.store.view((tx) => tx.all('tasks').find(({ slot }) => slot === 1)!)
    return {
      nodeId: task.nodeId,
      serviceId: task.serviceId,
      taskId: task.id,
      stream: 'stdout',
      atMs: 0,
      atNanos: 0,
      attributes: {},
      text: Buffer.from(text),
    }
  }

  async ensureEngineNetwork(network: string): Promise<EngineNetwork | null> {
    const found = this.store
      .view((tx) => tx.all('networks'))
      .find(({ id, spec }) => id === network || spec.Name === network)
    if (found === undefined) return null
    this.preparedNetworks.push(found.id)
    return { name: found.spec.Name, nameServers: ['10.0.9.1'] }
  }
}

function newCluster(request: InitRequest): Unversioned<ClusterObject> {
  const token = (role: string) => `SWMTKN-1-${'a'.repeat(50)}-${role.padEnd(25, '0')}`
  const isLocked = request.spec.EncryptionConfig.AutoLockManagers
  return {
    id: newId(randomBytes),
    spec: request.spec,
    rootCa: {
      certificate: ROOT_PEM,
      key: 'the secret root key',
      digest: ROOT_PEM,
      lastForcedRotation: 0,
      rotation: null,
    },
    joinTokens: { worker: token('worker'), manager: token('manager') },
    unlockKey: { key: isLocked ? randomBytes(32).toString('base64') : null, version: 0 },
    defaultAddressPools: request.defaultAddressPools,
    subnetSize: request.subnetSize,
    dataPathPort: request.dataPathPort,
    tunnelKeys: [],
    removedNodes: {},
  }
}

export interface NewNode {
  readonly isManager?: boolean
  readonly hostname?: string
  readonly state?: NodeObject['status']['state']
  readonly request?: InitRequest
}

export function newNode(id: string, given: NewNode = {}): Unversioned<NodeObject> {
  const role = given.isManager === true ? 'manager' : 'worker'
  const key = new X509Certificate(ROOT_PEM).publicKey.export({ type: 'spki', format: 'der' })
  return {
    id,
    spec: { Labels: {}, Role: role, Availability: given.request?.availability ?? 'active' },
    role,
    description: {
      hostname: given.hostname ?? 'vm',
      platform: { os: 'linux', architecture: 'x86_64' },
      resources: { nanoCpus: 2e9, memoryBytes: 4e9 },
      genericResources: [],
      engine: {
        version: '0.1.0',
        labels: {},
        plugins: [{ type: 'Network', name: 'overlay' }],
      },
      tls: {
        trustRoot: ROOT_PEM,
        issuerSubject: ROOT_SUBJECT,
        issuerPublicKey: key.toString('base64'),
      },
      addresses: [],
    },
    status: { state: given.state ?? 'ready', message: '', address: '127.0.0.1' },
    manager:
      given.isManager === true
        ? { raftId: 1, address: '127.0.0.1:2377', isLeader: true, reachability: 'reachable' }
        : null,
    certificate: { state: 'issued', role, error: '', csr: '', certificate: ROOT_PEM },
    tunnel: null,
  }
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
  /** Undefined where the text is no JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it as they like
  readonly body: any
}

/** An API for `node` on a socket of its own. */
export class TestApi {
  readonly api: EngineApi
  readonly socketPath: string
  readonly #listener: Listener
  readonly #folder: string

  private constructor(api: EngineApi, listener: Listener, folder: string) {
    this.api = api
    this.#listener = listener
    this.#folder = folder
    this.socketPath = join(folder, 'weft.sock')
  }

  static async start(node: FakeNode): Promise<TestApi> {
    const folder = mkdtempSync(join(tmpdir(), 'weft-api-'))
    const api = new EngineApi({ version: '0.1.0' }, node, node)
    const listener = await listen(api, { kind: 'unix', path: join(folder, 'weft.sock') })
    return new TestApi(api, listener, folder)
  }

  async close(): Promise<void> {
    this.api.close()
    await this.#listener.close()
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** Sends a request; `body` is JSON unless it is text. */
  call(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const text = typeof body === 'string' ? body : body === undefined ? null : JSON.stringify(body)
    const type: Record<string, string> = text === null ? {} : { 'content-type': 'application/json' }
    return new Promise((resolve, reject) => {
      const outgoing = httpRequest({
        socketPath: this.socketPath,
        method,
        path,
        headers: { ...type, ...headers },
        agent: false,
      })
      outgoing.once('error', reject)
      outgoing.once('response', async (response) => {
        const chunks: Buffer[] = []
        for await (const chunk of response) chunks.push(chunk as Buffer)
        const received = Buffer.concat(chunks).toString('latin1')
        const answer = { status: response.statusCode!, headers: response.headers, text: received }
        resolve({ ...answer, body: parsed(Buffer.concat(chunks).toString('utf8')) })
      })
      outgoing.end(text ?? undefined)
    })
  }

  get(path: string): Promise<Answer> {
    return this.call('GET', path)
  }

  post(path: string, body?: unknown): Promise<Answer> {
    return this.call('POST', path, body)
  }

  /** Founds a cluster and returns the node's id. */
  async init(body: object = {}): Promise<string> {
    const { status, body: id } = await this.post('/swarm/init', {
      ListenAddr: '0.0.0.0:2377',
      ...body,
    })
    if (status !== 200) throw new ApiError(status, JSON.stringify(id))
    this.api.clusterChanged()
    return id
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
