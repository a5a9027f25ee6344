// What the member's thread and its disk's thread tell each other.

import type { Checkpoint, DatabaseWrite, StoredState } from './database.ts'
import type { Identity } from './directory.ts'
import type { StorageErrorCode } from './errors.ts'
import type { DataKeys } from './keys.ts'

/** What the disk's thread is started with. */
export interface StorageStart {
  readonly directory: string
  readonly keys: DataKeys
  /** What is known of the identity; anything else found is an error. */
  readonly expected: Partial<Identity>
  /** Make a new member first. */
  readonly founding: {
    readonly identity: Identity
    /** Null for a joiner, which starts with nothing. */
    readonly write: DatabaseWrite | null
    readonly firstPeers: string
  } | null
  /** The memory of a Mailbox. */
  readonly mailbox: SharedArrayBuffer
  /** A restored backup may be opened, to found a new cluster. */
  readonly takesRestored: boolean
}

export type StorageRequest =
  | { readonly id: number; readonly kind: 'write'; readonly write: DatabaseWrite }
  /** Answered when it begins. */
  | { readonly id: number; readonly kind: 'checkpoint'; readonly checkpoint: Checkpoint }
  | { readonly id: number; readonly kind: 'change-key'; readonly keys: DataKeys }
  | { readonly id: number; readonly kind: 'reseal' }
  | { readonly id: number; readonly kind: 'backup'; readonly path: string }
  | {
      readonly id: number
      readonly kind: 'refound'
      readonly identity: Identity
      readonly write: DatabaseWrite
    }
  | { readonly id: number; readonly kind: 'first-peers'; readonly text: string }
  | { readonly id: number; readonly kind: 'close' }

/** An error on its way from one thread to the other. */
export interface PlainError {
  /** Of a StorageError; null for any other. */
  readonly code: StorageErrorCode | null
  readonly reason: string
}

export interface StorageReply {
  /** 0 answers the start itself, with `state`. */
  readonly id: number
  readonly error: PlainError | null
  /** How long the disk took, milliseconds. */
  readonly tookMs: number
  /** resealing: nothing is left to do. */
  readonly finished: boolean
  readonly state: StoredState | null
}
