// The life of one peer's session as data: five states, eight events, one table. peer-table.ts
// carries the actions out; this file says only which.
//
//     IDLE      no key to seal with, and nobody asked for one
//     CALLING   no key to seal with; our initiation is out
//     ANSWERED  no key to seal with; our response is out and the initiator has not yet used the key
//     UP        a key to seal with
//     RENEWING  a key to seal with, and an initiation for the next one is out
//
// Both ends may call at once. Each then answers the other without giving up its own call; two
// sessions result and both ends hold both. Which one stays is settled in keyring.ts by comparing
// the static keys.

export const IDLE = 0
export const CALLING = 1
export const ANSWERED = 2
export const UP = 3
export const RENEWING = 4
export type SessionState = 0 | 1 | 2 | 3 | 4

/** A frame waits and there is no key. */
export const WANT = 0
/** The key is used up, by age or by packets, or the peer has gone silent. */
export const REKEY = 1
/** A good initiation came in. */
export const INITIATION = 2
/** A good response came in. */
export const RESPONSE = 3
/** The first datagram under the next key opened: the initiator has it. */
export const PROOF = 4
/** No response within REKEY_TIMEOUT_MS. */
export const RETRY = 5
/** No response within REKEY_ATTEMPT_MS. */
export const GIVE_UP = 6
/** The last key to seal with (or, in ANSWERED, the one awaiting proof) is gone. */
export const LOST = 7
export type SessionEvent = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7

/** Nothing to do. */
export const STAY = 0
/** Send an initiation; arm the retry. */
export const CALL = 1
/** Send a response; its keypair becomes the next. */
export const ANSWER = 2
/** The keypair of the response becomes the current one; send something under it at once. */
export const ADOPT = 3
/** The next keypair becomes the current one; whatever call was out is void. */
export const PROMOTE = 4
/** Call ends without a session. */
export const STOP = 5
/** A response was sent a moment ago: give its proof REKEY_TIMEOUT_MS before calling. */
export const WAIT = 6
/** Not asked for: count and forget. */
export const REFUSE = 7
export type SessionAction = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7

type Cell = readonly [action: SessionAction, next: SessionState]

const TABLE: readonly (readonly Cell[])[] = [
  /* IDLE */ [
    /* WANT */ [CALL, CALLING],
    /* REKEY */ [STAY, IDLE],
    /* INITIATION */ [ANSWER, ANSWERED],
    /* RESPONSE */ [REFUSE, IDLE],
    /* PROOF */ [PROMOTE, UP], // answered while calling, and the call was given up since
    /* RETRY */ [STAY, IDLE],
    /* GIVE_UP */ [STAY, IDLE],
    /* LOST */ [STAY, IDLE],
  ],
  /* CALLING */ [
    /* WANT */ [STAY, CALLING],
    /* REKEY */ [STAY, CALLING],
    /* INITIATION */ [ANSWER, CALLING],
    /* RESPONSE */ [ADOPT, UP],
    /* PROOF */ [PROMOTE, UP],
    /* RETRY */ [CALL, CALLING],
    /* GIVE_UP */ [STOP, IDLE],
    /* LOST */ [STAY, CALLING],
  ],
  /* ANSWERED */ [
    /* WANT */ [WAIT, ANSWERED],
    /* REKEY */ [STAY, ANSWERED],
    /* INITIATION */ [ANSWER, ANSWERED],
    /* RESPONSE */ [REFUSE, ANSWERED],
    /* PROOF */ [PROMOTE, UP],
    /* RETRY */ [CALL, CALLING], // the wait is over
    /* GIVE_UP */ [STAY, ANSWERED],
    /* LOST */ [STAY, IDLE],
  ],
  /* UP */ [
    /* WANT */ [STAY, UP],
    /* REKEY */ [CALL, RENEWING],
    /* INITIATION */ [ANSWER, UP],
    /* RESPONSE */ [REFUSE, UP],
    /* PROOF */ [PROMOTE, UP],
    /* RETRY */ [STAY, UP],
    /* GIVE_UP */ [STAY, UP],
    /* LOST */ [STAY, IDLE],
  ],
  /* RENEWING */ [
    /* WANT */ [STAY, RENEWING],
    /* REKEY */ [STAY, RENEWING],
    /* INITIATION */ [ANSWER, RENEWING],
    /* RESPONSE */ [ADOPT, UP],
    /* PROOF */ [PROMOTE, UP],
    /* RETRY */ [CALL, RENEWING],
    /* GIVE_UP */ [STOP, UP],
    /* LOST */ [STAY, CALLING],
  ],
]

export function sessionAction(state: SessionState, event: SessionEvent): SessionAction {
  return TABLE[state]![event]![0]
}

export function sessionNext(state: SessionState, event: SessionEvent): SessionState {
  return TABLE[state]![event]![1]
}

/** True in the states in which an initiation of ours is out. */
export function isCalling(state: SessionState): boolean {
  return state === CALLING || state === RENEWING
}
