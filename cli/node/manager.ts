// The manager's part of a node: its Raft member with the store on it, the one gRPC server with all
// services of the control plane, and, while it leads, the loops (leader-loops.ts). It exists as
// long as the node's certificate says that it is a manager.
//
//   found     a swarm of one, at once
//   join      the log is still empty; the others are asked to take this member in
//             (become-member.ts)
//   restart   from its directory; asks again where it had not been taken in yet
//   force-new-cluster   alone, with what its log has

import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Prng } from '../../base/prng.ts'
import type { Timers } from '../../base/timers.ts'
import { noLeader } from '../../controlplane/api/errors.ts'
import type { ApiRequest, ApiResponse } from '../../controlplane/api/node-control.ts'
import { authorize, isOut, type Membership, membershipOf } from '../../controlplane/ca/authorize.ts'
import { CaForwarder, managerOf, serveCa } from '../../controlplane/ca/ca-rpc.ts'
import { followUnlockKey } from '../../controlplane/ca/cluster.ts'
import { ExternalCaClient } from '../../controlplane/ca/external.ts'
import type { NodeSecurity } from '../../controlplane/ca/security.ts'
import { CaService } from '../../controlplane/ca/service.ts'
import { dispatcherDefinition, dispatcherHandlers } from '../../controlplane/dispatcher/service.ts'
import type { ControlClient } from '../../controlplane/proto/control.ts'
import { RpcServer } from '../../controlplane/proto/server.ts'
import { MemberError } from '../../controlplane/raft/shell/errors.ts'
import { GrpcTransport } from '../../controlplane/raft/shell/grpc/transport.ts'
import type { Member } from '../../controlplane/raft/shell/member.ts'
import { openMember, type StartMode } from '../../controlplane/raft/shell/open-member.ts'
import type { StoreEvent } from '../../controlplane/store/contract.ts'
import type { MemoryStore } from '../../controlplane/store/memory-store.ts'
import { Admission } from './admission.ts'
import { controlClientTo, forwardRequest } from './control-channel.ts'
import { serveControl } from './control-service.ts'
import { LeaderLoops } from './leader-loops.ts'
import { LEADER_POLL_MS, LEADER_WAIT_MS } from './limits.ts'
import { RaftStore } from './raft-store.ts'
import { newPrng, sleep } from './system.ts'

export interface ManagerOptions {
  readonly directory: string
  readonly start: StartMode
  readonly clusterId: string
  readonly listenAddress: string
}

export interface ManagerParts {
  readonly security: NodeSecurity
  /** Serves a request that another manager handed over. */
  readonly handle: (request: ApiRequest) => Promise<ApiResponse>
  /** The store has something new to say of who leads. */
  readonly onLeadership: () => void
  /** This member was taken out of the Raft group. */
  readonly onRemoved: () => void
  readonly clock: Clock
  readonly timers: Timers
  readonly log: Logger
}

export class Manager {
  readonly store: MemoryStore
  readonly external: ExternalCaClient
  readonly #options: ManagerOptions
  readonly #parts: ManagerParts
  readonly #raft: RaftStore
  readonly #server: RpcServer
  readonly #membership: Membership
  readonly #ca: CaService
  readonly #caForwarder: CaForwarder
  readonly #random: Prng = newPrng()
  readonly #endings: (() => void)[] = []
  #member: Member | null = null
  #loops: LeaderLoops | null = null
  #stoppingLoops: Promise<void> = Promise.resolve()
  #forward: { readonly address: string; readonly client: ControlClient } | null = null
  #closing: Promise<void> | null = null

  private constructor(options: ManagerOptions, parts: ManagerParts) {
    const { security, clock } = parts
    const { clusterId } = options
    this.#options = options
    this.#parts = parts
    this.#raft = new RaftStore(clock)
    this.store = this.#raft.store
    const identity = security.holder
    this.#membership = membershipOf(this.store, clusterId)
    this.#server = new RpcServer({
      identity,
      authorize: (peer, method) => authorize(peer, method, this.#membership),
      clock,
    })
    const tls = () => identity.identity
    this.external = new ExternalCaClient(tls, () => clock.wallMs())
    const leader = (): string | null => this.leaderAddress()
    this.#caForwarder = new CaForwarder({ identity, clusterId, leader })
    this.#ca = new CaService({
      store: this.store,
      clock,
      sleep,
      isLeader: () => this.isLeader,
      forward: this.#caForwarder.forward,
    })
    this.#serve()
  }

  /** Rejects with a StorageError, or with an Error when the address cannot be listened on. */
  static async open(options: ManagerOptions, parts: ManagerParts): Promise<Manager> {
    const manager = new Manager(options, parts)
    try {
      await manager.#open()
      return manager
    } catch (error) {
      await manager.close()
      throw error
    }
  }

  get member(): Member {
    return this.#member!
  }

  /** The loops of the leader; null while this manager does not lead. */
  get loops(): LeaderLoops | null {
    return this.#loops
  }

  get isLeader(): boolean {
    return this.#loops !== null
  }

  /** True once this member votes: until then it may not know the swarm. */
  get isVoter(): boolean {
    return this.member.membership.config().voters.includes(this.member.id)
  }

  /** "address:port" of the leader when it is another manager; null when it is not known. */
  leaderAddress(): string | null {
    const leader = this.#member?.leader() ?? null
    return leader === null || leader.id === this.#member?.id ? null : leader.address || null
  }

  /** Hands a request of the Engine API to the leader, which may be this manager by now. */
  async forward(request: ApiRequest): Promise<ApiResponse> {
    const untilMs = this.#parts.clock.nowMs() + LEADER_WAIT_MS
    while (!this.isLeader && this.leaderAddress() === null) {
      if (this.#parts.clock.nowMs() > untilMs || request.signal.aborted) throw noLeader()
      await sleep(LEADER_POLL_MS)
    }
    if (this.isLeader) return this.#parts.handle(request)
    return forwardRequest(this.#clientOfLeader(this.leaderAddress()!), request)
  }

  /** Resolves when the store here is as fresh as the cluster was when this was called. Rejects with
   * an ApiError. */
  async readBarrier(): Promise<void> {
    const untilMs = this.#parts.clock.nowMs() + LEADER_WAIT_MS
    for (;;) {
      try {
        await this.member.readBarrier(LEADER_WAIT_MS)
        return
      } catch (error) {
        if (!(error instanceof MemberError) || error.code === 'overloaded') throw error
        if (this.#parts.clock.nowMs() > untilMs || error.code === 'shut-down') throw noLeader()
        await sleep(LEADER_POLL_MS)
      }
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    for (const end of this.#endings.splice(0)) end()
    this.#follow(false)
    await this.#stoppingLoops
    this.#ca.close()
    this.#caForwarder.close()
    this.#forward?.client.close()
    this.#forward = null
    await this.#member?.close()
    await this.#server.close()
  }

  async #open(): Promise<void> {
    const { directory, start, clusterId, listenAddress } = this.#options
    const { security, log } = this.#parts
    const identity = security.holder
    const member = await openMember(
      { directory, start },
      {
        machine: this.#raft.machine,
        keys: security.keyFile,
        logger: log,
        transport: (self) =>
          new GrpcTransport({
            id: self.raftId,
            clusterId,
            identity,
            server: this.#server,
            speaksFor: (peer, id) => this.#member?.speaksFor(peer.nodeId, id) ?? false,
            checkServer: managerOf(clusterId),
            logger: log,
          }),
      },
    )
    this.#member = member
    this.#raft.attach(member)
    await this.#server.listen(listenAddress).catch((error: Error) => {
      throw new Error(`listen tcp ${listenAddress}: ${error.message}`)
    })
    this.#endings.push(
      member.leadership.on(({ leads }) => this.#follow(leads)),
      member.removed.on(() => this.#parts.onRemoved()),
      this.store.watch((event) => {
        this.#followCluster()
        if (takesRights(event)) this.#server.recheck((peer) => isOut(peer, this.#membership))
      }),
    )
    this.#followCluster()
    if (member.isLeader) this.#follow(true)
  }

  /** Leadership begins or ends. */
  #follow(leads: boolean): void {
    if (leads === this.isLeader || (leads && this.#closing !== null)) return
    const { clock, timers, log } = this.#parts
    const loops = this.#loops
    if (leads) {
      this.#loops = new LeaderLoops({
        store: this.store,
        member: this.member,
        external: this.external,
        clock,
        timers,
        random: this.#random,
        log,
      })
      this.#loops.start()
      log.info('this manager leads')
    } else if (loops !== null) {
      this.#loops = null
      this.#stoppingLoops = loops.stop()
      log.info('this manager does not lead any more')
    }
    this.#parts.onLeadership()
  }

  /** Managers are locked, and their keys change, as the cluster says. */
  #followCluster(): void {
    const cluster = this.store.view((tx) => tx.cluster())
    if (cluster !== undefined) followUnlockKey(this.#parts.security.keyFile, cluster.unlockKey)
  }

  #serve(): void {
    const server = this.#server
    const leader = (): string | null => this.leaderAddress()
    serveCa(server, this.#ca)
    server.addService(
      dispatcherDefinition(),
      dispatcherHandlers({
        dispatcher: () => this.#loops?.dispatcher ?? null,
        leader,
        peerOf: (call) => server.peerOf(call),
      }),
    )
    const admission = new Admission({
      store: this.store,
      member: () => this.member,
      onChange: () => this.#loops?.managers.poke(),
      clock: this.#parts.clock,
      log: this.#parts.log,
    })
    serveControl(server, {
      isLeader: () => this.isLeader,
      leader,
      members: () => this.#member?.membership.members() ?? [],
      join: (nodeId, id, address) => admission.join(nodeId, id, address),
      handle: this.#parts.handle,
    })
  }

  #clientOfLeader(address: string): ControlClient {
    if (this.#forward?.address !== address) {
      this.#forward?.client.close()
      const { security } = this.#parts
      const client = controlClientTo(address, security.holder, this.#options.clusterId)
      this.#forward = { address, client }
    }
    return this.#forward!.client
  }
}

/** A node is gone or no manager any more; after a snapshot, perhaps. */
function takesRights(event: StoreEvent): boolean {
  if (event.kind === 'reset') return true
  return event.changes.some(
    (change) =>
      change.table === 'nodes' &&
      (change.kind === 'remove' ||
        (change.kind === 'update' && change.old.role !== change.object.role)),
  )
}
