// A client of etcd's key-value interface, as far as kv.proto has it.

import { fileURLToPath } from 'node:url'
import {
  type Client,
  credentials,
  loadPackageDefinition,
  type ServiceClientConstructor,
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

const path = fileURLToPath(new URL('kv.proto', import.meta.url))
const { KV, Maintenance } = loadPackageDefinition(loadSync(path, { longs: Number }))
  .etcdserverpb as unknown as Record<string, ServiceClientConstructor>

export interface KvStatus {
  readonly memberId: number
  readonly leader: number
  readonly term: number
}

type Unary = Client & Record<string, (request: object, options: object, done: Done) => void>
type Done = (error: Error | null, answer: Record<string, unknown>) => void

export class KvClient {
  readonly #kv: Unary
  readonly #maintenance: Unary

  constructor(address: string) {
    const options = {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_channelz': 0,
      'grpc.enable_retries': 0,
      'grpc.enable_http_proxy': 0,
      'grpc.initial_reconnect_backoff_ms': 20,
      'grpc.min_reconnect_backoff_ms': 20,
      'grpc.max_reconnect_backoff_ms': 50,
    }
    this.#kv = new KV!(address, credentials.createInsecure(), options) as unknown as Unary
    this.#maintenance = new Maintenance!(
      address,
      credentials.createInsecure(),
      options,
    ) as unknown as Unary
  }

  async put(key: Uint8Array, value: Uint8Array, timeoutMs = 30_000): Promise<void> {
    await call(this.#kv, 'Put', { key, value }, timeoutMs)
  }

  /** A linearizable read. */
  async get(key: Uint8Array, timeoutMs = 30_000): Promise<Uint8Array | null> {
    const { kvs } = await call(this.#kv, 'Range', { key }, timeoutMs)
    return (kvs as { value: Uint8Array }[] | undefined)?.[0]?.value ?? null
  }

  /** Ids are rounded where they do not fit a number: to be compared, not used. */
  async status(timeoutMs = 1_000): Promise<KvStatus> {
    const answer = await call(this.#maintenance, 'Status', {}, timeoutMs)
    const { memberId } = answer.header as { memberId: number }
    return {
      memberId,
      leader: Number(answer.leader ?? 0),
      term: Number(answer.raftTerm ?? 0),
    }
  }

  close(): void {
    this.#kv.close()
    this.#maintenance.close()
  }
}

function call(
  client: Unary,
  method: string,
  request: object,
  timeoutMs: number,
): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    client[method]!(request, { deadline: Date.now() + timeoutMs }, (error, answer) => {
      if (error === null) resolve(answer)
      else reject(error)
    })
  })
}
