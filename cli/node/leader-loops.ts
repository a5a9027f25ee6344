// What runs on the leader alone, from the moment that it leads to the moment that it does not:
// certificates, roles, addresses, tasks, the nodes' sessions. The loops meet in the store and know
// nothing of one another; here is the one list of them.

import { randomBytes } from 'node:crypto'
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { Prng } from '../../base/prng.ts'
import type { Timers } from '../../base/timers.ts'
import { Allocator } from '../../controlplane/allocator/allocator.ts'
import type { ExternalCaClient } from '../../controlplane/ca/external.ts'
import { CaReconciler } from '../../controlplane/ca/reconciler.ts'
import { RoleManager } from '../../controlplane/ca/role-manager.ts'
import { Signer } from '../../controlplane/ca/signer.ts'
import { Dispatcher } from '../../controlplane/dispatcher/dispatcher.ts'
import { ConstraintEnforcer } from '../../controlplane/orchestrator/constraint-enforcer.ts'
import { Orchestrator } from '../../controlplane/orchestrator/orchestrator.ts'
import { Reaper } from '../../controlplane/orchestrator/reaper.ts'
import type { Member } from '../../controlplane/raft/shell/member.ts'
import { Rebalancer } from '../../controlplane/scheduler/rebalance.ts'
import { Scheduler } from '../../controlplane/scheduler/scheduler.ts'
import type { Store } from '../../controlplane/store/contract.ts'
import type { ControlLoop, LoopContext } from '../../controlplane/store/control-loop.ts'
import { newId } from '../../controlplane/store/ids.ts'
import { ManagerStatusLoop } from './manager-status.ts'
import { sleep } from './system.ts'

export interface LeaderParts {
  readonly store: Store
  readonly member: Member
  readonly external: ExternalCaClient
  readonly clock: Clock
  readonly timers: Timers
  readonly random: Prng
  readonly log: Logger
}

interface Loop {
  start(): void
  stop(): void | Promise<void>
}

export class LeaderLoops {
  readonly dispatcher: Dispatcher
  readonly managers: ManagerStatusLoop
  readonly allocator: Allocator
  readonly scheduler: Scheduler
  /** By name, with their counters: for metrics. */
  readonly control: ReadonlyMap<string, ControlLoop>
  readonly #loops: readonly Loop[]

  constructor(parts: LeaderParts) {
    const { store, member, external, clock, timers, random, log } = parts
    const common = { store, clock, sleep, log }
    this.managers = new ManagerStatusLoop({ store, member, timers, log })
    this.dispatcher = new Dispatcher({ store, clock, timers, random, randomBytes, log })
    const context: LoopContext = {
      store,
      clock,
      timers,
      random,
      log,
      newId: () => newId((size) => randomBytes(size)),
    }
    this.allocator = new Allocator(context)
    this.scheduler = new Scheduler(context)
    this.control = new Map<string, ControlLoop>([
      ['allocator', this.allocator],
      ['scheduler', this.scheduler],
      ['orchestrator', new Orchestrator(context)],
      ['constraint-enforcer', new ConstraintEnforcer(context)],
      ['reaper', new Reaper(context)],
      ['rebalancer', new Rebalancer(context)],
    ])
    this.#loops = [
      this.managers,
      new Signer({ ...common, external: external.sign }),
      new CaReconciler(common),
      new RoleManager({ ...common, raft: raftGroup(member, this.managers) }),
      this.dispatcher,
      ...this.control.values(),
    ]
  }

  start(): void {
    for (const loop of this.#loops) loop.start()
  }

  async stop(): Promise<void> {
    await Promise.all(this.#loops.map((loop) => loop.stop()))
  }
}

function raftGroup(member: Member, managers: ManagerStatusLoop) {
  return {
    self: member.id,
    membersOf: (nodeId: string) => {
      const all = member.membership.members()
      return all.filter((one) => one.nodeId === nodeId).map(({ id }) => id)
    },
    remove: async (id: number) => {
      await member.membership.change({ kind: 'remove', id })
      managers.poke()
    },
    handOver: () => member.transferLeadership(),
  }
}
