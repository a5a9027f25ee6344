import { randomBytes } from 'node:crypto'
import { type KeyPair, keyPairOf, publicKeyOf, sharedSecret } from '../vxlan/curve.ts'
import { Initiator, Responder } from '../vxlan/noise.ts'
import type { Bench, Yield } from './harness.ts'

const PROLOGUE: Uint8Array = Buffer.from('weft bench')
/** The timestamp that an initiation carries. */
const PAYLOAD: Uint8Array = Buffer.alloc(12)
const NOTHING: Uint8Array = new Uint8Array(0)
/** Handshakes prepared at a time for the responder's measurement. */
const BATCH = 64

function newKeys(): KeyPair {
  return keyPairOf(randomBytes(32))
}

const presharedKey: Uint8Array = randomBytes(32)
const initiatorKeys = newKeys()
const responderKeys = newKeys()
const responderKey = publicKeyOf(responderKeys.publicKey)
/** Both ends keep this one: it is the same in every handshake of the pair. */
const staticStatic: Uint8Array = sharedSecret(initiatorKeys, responderKey)!

function initiator(): Initiator {
  return new Initiator({
    prologue: PROLOGUE,
    local: initiatorKeys,
    remoteStatic: responderKeys.publicKey,
    remoteKey: responderKey,
    staticStatic,
    presharedKeys: [presharedKey],
    ephemeral: newKeys(),
  })
}

/** The responder's whole part: reads message 1, writes message 2. */
function answer(message: Uint8Array): Uint8Array {
  const options = { prologue: PROLOGUE, local: responderKeys }
  const responder = new Responder({ ...options, staticStatic: () => staticStatic })
  if (responder.readInitiation(message) === null) throw new Error('the initiation was refused')
  return responder.writeResponse(newKeys(), NOTHING, presharedKey)!.message
}

/** Calls `work` until `seconds` have passed; returns calls per second. */
function ratePerSecond(seconds: number, work: () => void): number {
  const start = performance.now()
  const end = start + seconds * 1000
  let calls = 0
  while (performance.now() < end) {
    work()
    calls++
  }
  return (calls * 1000) / (performance.now() - start)
}

/** Only the answering is timed: a node that restarts is called by all its peers at once. */
function answersPerSecond(seconds: number): number {
  let answered = 0
  let spentMs = 0
  while (spentMs < seconds * 1000) {
    const messages = Array.from({ length: BATCH }, () => initiator().writeInitiation(PAYLOAD)!)
    const start = performance.now()
    for (const message of messages) answer(message)
    spentMs += performance.now() - start
    answered += BATCH
  }
  return (answered * 1000) / spentMs
}

async function weft(seconds: number): Promise<Yield> {
  const both = ratePerSecond(seconds, () => {
    const caller = initiator()
    const message = answer(caller.writeInitiation(PAYLOAD)!)
    if (caller.readResponse(message) === null) throw new Error('the response was refused')
  })
  return { 'handshakes, both ends': both, 'handshakes answered': answersPerSecond(seconds) }
}

/** What X25519 itself costs: a key pair per end and three shared secrets per end. */
async function curveAlone(seconds: number): Promise<Yield> {
  const oneEnd = (): void => {
    const ephemeral = newKeys()
    for (let i = 0; i < 3; i++) sharedSecret(ephemeral, responderKey)
  }
  const ends = ratePerSecond(seconds, oneEnd)
  return { 'handshakes, both ends': ends / 2, 'handshakes answered': ends }
}

export const bench: Bench = {
  name: 'handshake',
  question: 'How many Noise handshakes per second does one core make?',
  lab: false,
  metrics: [
    { name: 'handshakes, both ends', unit: '1/s' },
    { name: 'handshakes answered', unit: '1/s' },
  ],
  goals: [],
  contestants: async () => [
    { name: 'weft', measure: weft },
    { name: 'X25519 alone', measure: curveAlone },
  ],
}
