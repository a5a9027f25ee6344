// What runs tasks: the contract between the worker (worker.ts), which decides what is to happen to
// a task, and an executor (Docker Engine, processes of this host), which makes it happen.
//
//   accepted > preparing --prepare()--> ready > starting --start()--> running --wait()--> complete
//                  |                               |                     |
//               rejected                        failed                 failed    + shutdown()
//
// Every method of a controller is *idempotent and resumes*: a worker that was killed at any moment
// calls the same method again on a new controller of the same task. prepare() of what is prepared
// returns at once, start() of what runs returns at once (or waits on for its health), wait() of
// what has ended meanwhile tells how. So nothing that runs is restarted because the agent was.
//
// prepare, start, wait, shutdown and remove are called one at a time per task; `signal` aborts the
// one under way, which then rejects with anything. The other methods may be called at any moment.

import type { LocalInterface } from '../../dataplane/tables.ts'
import type { AssignedTask, DataItem, NetworkItem } from '../store/assignment.ts'
import type { NodeDescription, TaskStatus } from '../store/objects.ts'
import type { PortConfig } from '../store/specs.ts'

export interface Executor {
  /** What this node has to offer, without its certificate: called at start and every 20 s. */
  describe(): Promise<Omit<NodeDescription, 'tls'>>
  /** Makes the controller of a task. Called once per task and start of the agent; touches nothing.
   */
  controller(task: AssignedTask, host: TaskHost): TaskController
  /** Ids of the tasks of which something is left on this node (containers, directories, also dead
   * ones). Of those that the cluster has forgotten, removeRemains() takes it away. */
  remains(): Promise<readonly string[]>
  removeRemains(taskId: string): Promise<void>
  /** Makes an attachable network known to the engine here, so that a container can be attached to
   * it; resolves with its name there. Absent where there is no engine. */
  ensureNetwork?(network: NetworkItem): Promise<string>
  /** The agent ends; tasks go on. */
  close(): Promise<void>
}

/** What an executor may ask of the cluster for containers that are no service's. Everything rejects
 * while no manager is in reach. */
export interface AttachmentCalls {
  /** Asks for a task of runtime "attachment" on this node, or names the container of one that is
   * there (`taskId`). Resolves with its id; it comes with the assignment. */
  attach(request: {
    readonly networkId: string
    readonly taskId?: string
    readonly containerId?: string
    readonly aliases?: readonly string[]
  }): Promise<string>
  /** The container has gone. */
  detach(taskId: string): Promise<void>
}

/** What a task may ask of the node that runs it. */
export interface TaskHost {
  /** Present before prepare() is called. */
  secret(id: string): DataItem | undefined
  config(id: string): DataItem | undefined
  /** For templates. */
  readonly node: { readonly id: string; readonly hostname: string }
  /** To be called when what interfaceOf() or status() returns has changed: tables and status are
   * read again. */
  changed(): void
  /** Resolves when the data plane has an interface for each of the task's networks, configured;
   * rejects when `signal` aborts. */
  networked(signal: AbortSignal): Promise<void>
}

export interface TaskController {
  /** A newer description of the same task: what may differ is desiredState, endpoint, networks. */
  update(task: AssignedTask): void
  /** Fetches the image, makes what start() needs. Rejects with a TaskError. */
  prepare(signal: AbortSignal): Promise<void>
  /** Starts it; resolves when it runs and, where it has a health check, is healthy. */
  start(signal: AbortSignal): Promise<void>
  /** Resolves when it ended with status 0; rejects with a TaskError when it failed or got
   * unhealthy (it may run still: shutdown() follows). */
  wait(signal: AbortSignal): Promise<void>
  /** Stop signal, grace period, kill. Resolves when nothing of it runs; also when nothing ever
   * did. */
  shutdown(signal: AbortSignal): Promise<void>
  /** Kills it at once. */
  terminate(): Promise<void>
  /** Deletes all that is left of it. It does not run any more. */
  remove(): Promise<void>
  /** True when it was found unhealthy and is being stopped: it runs, and is to get no new flows. */
  readonly isSick?: boolean
  /** What the status of the task says of its container. */
  status(): Pick<TaskStatus, 'container' | 'hostPorts'>
  /** Where the interface on this network is to be made; null while there is no place yet. */
  interfaceOf(networkId: string): LocalInterface | null
  /** True when the task reaches outside by a link that the host is to masquerade. */
  hasEgress?(): boolean
  /** Ports that the data plane is to publish for this task, on this node alone. Absent where
   * something else does. */
  hostPorts?(): readonly PortConfig[]
  /** Lines that were written, oldest first; with `follow` it goes on until `signal` aborts or the
   * task is removed. */
  logs(options: LogOptions, signal: AbortSignal): AsyncIterable<LogLine>
}

export interface LogOptions {
  readonly follow: boolean
  /** Lines from the end; -1 = all. */
  readonly tail: number
  /** Milliseconds since 1970; 0 = from the beginning. */
  readonly sinceMs: number
  readonly stdout: boolean
  readonly stderr: boolean
}

export interface LogLine {
  readonly stream: 'stdout' | 'stderr'
  /** Nanoseconds since 1970, decimal. */
  readonly timestampNs: string
  readonly attributes: Readonly<Record<string, string>>
  /** With its newline, if it has one. */
  readonly data: Uint8Array
}

/** Why a task does not go on. */
export class TaskError extends Error {
  /** `temporary`: the same call may succeed later and is made again. */
  readonly kind: 'failed' | 'temporary'
  /** Where the task's process told one. */
  readonly exitCode: number | null

  constructor(
    message: string,
    { temporary = false, exitCode = null }: { temporary?: boolean; exitCode?: number | null } = {},
  ) {
    super(message)
    this.name = 'TaskError'
    this.kind = temporary ? 'temporary' : 'failed'
    this.exitCode = exitCode
  }
}
