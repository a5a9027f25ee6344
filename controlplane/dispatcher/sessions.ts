// The session streams: what a node has to know of the cluster apart from its assignments. Each
// message is complete; a node gets a new one when its own differs from the last.

import type { SessionMessage } from '../proto/dispatcher.ts'
import type { ReadTransaction, Store } from '../store/contract.ts'
import type { NodeObject } from '../store/objects.ts'
import { type DispatchError, sessionOver } from './errors.ts'

/** The outgoing half of a stream of a session, whichever it is. */
export interface Ending {
  /** Ends the call; with an error if it did not come to its natural end. */
  end(error: DispatchError | null): void
}

export interface SessionStream extends Ending {
  write(message: SessionMessage): void
}

interface Session {
  readonly id: string
  readonly nodeId: string
  readonly stream: SessionStream
  /** Streams that live as long as the session. */
  readonly others: Set<Ending>
  last: string
}

export class Sessions {
  readonly #store: Store
  readonly #periodMs: () => number
  readonly #sessions = new Map<string, Session>()

  constructor(store: Store, periodMs: () => number) {
    this.#store = store
    this.#periodMs = periodMs
  }

  get size(): number {
    return this.#sessions.size
  }

  /** Opens the node's session, in place of an earlier one. */
  open(nodeId: string, id: string, stream: SessionStream): void {
    this.close(nodeId, sessionOver())
    const session: Session = { id, nodeId, stream, others: new Set(), last: '' }
    this.#sessions.set(nodeId, session)
    this.#store.view((tx) => this.#tell(session, clusterPart(tx), tx))
  }

  /** The call behind the session's stream has ended. */
  ended(nodeId: string, id: string): void {
    const session = this.#sessions.get(nodeId)
    if (session?.id === id) this.close(nodeId, sessionOver())
  }

  /** Adds a stream that ends with the session. Throws when there is no such session. */
  attach(nodeId: string, id: string, stream: Ending): () => void {
    const session = this.#sessions.get(nodeId)
    if (session === undefined || session.id !== id || id === '') throw sessionOver()
    session.others.add(stream)
    return () => session.others.delete(stream)
  }

  close(nodeId: string, error: DispatchError | null): void {
    const session = this.#sessions.get(nodeId)
    if (session === undefined) return
    this.#sessions.delete(nodeId)
    for (const stream of session.others) stream.end(error)
    session.stream.end(error)
  }

  closeAll(error: DispatchError | null): void {
    for (const nodeId of [...this.#sessions.keys()]) this.close(nodeId, error)
  }

  /** Something that this node's message is made of has changed. */
  refresh(nodeId: string): void {
    const session = this.#sessions.get(nodeId)
    if (session === undefined) return
    this.#store.view((tx) => this.#tell(session, clusterPart(tx), tx))
  }

  /** Something that everybody's message is made of has changed. */
  refreshAll(): void {
    this.#store.view((tx) => {
      const shared = clusterPart(tx)
      for (const session of this.#sessions.values()) this.#tell(session, shared, tx)
    })
  }

  #tell(session: Session, shared: ClusterPart, tx: ReadTransaction): void {
    const node = tx.get('nodes', session.nodeId)
    if (node === undefined) return
    const own = JSON.stringify(nodePart(node))
    const heartbeatMs = this.#periodMs()
    const text = `${shared.text} ${heartbeatMs} ${own}`
    if (text === session.last) return
    session.last = text
    session.stream.write({
      ...shared.message,
      sessionId: session.id,
      node: Buffer.from(own),
      heartbeatMs,
    })
  }
}

/** What a node acts on of its own object. */
export function nodePart({ id, spec, role, certificate }: NodeObject): object {
  return { id, spec, role, certificate: { state: certificate.state, role: certificate.role } }
}

interface ClusterPart {
  readonly message: SessionMessage
  /** Equal texts, equal parts. */
  readonly text: string
}

function clusterPart(tx: ReadTransaction): ClusterPart {
  const cluster = tx.cluster()
  const managers = tx
    .find('nodes', 'role', 'manager')
    .flatMap(({ id, manager }) =>
      manager === null || manager.address === ''
        ? []
        : [{ nodeId: id, address: manager.address, weight: 1 }],
    )
    .sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
  const keys = cluster?.tunnelKeys ?? []
  const rootCa = cluster?.rootCa.certificate ?? ''
  const dataPathPort = cluster?.dataPathPort ?? 0
  return {
    message: {
      managers,
      tunnelKeys: keys.map(({ key }) => Buffer.from(key, 'base64')),
      rootCa: Buffer.from(rootCa),
      dataPathPort,
    },
    text: JSON.stringify([managers, keys, rootCa, dataPathPort]),
  }
}
