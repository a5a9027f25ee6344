// From the bytes of a query to the bytes of its answer, or the word that somebody outside must be
// asked. Pure: no socket, no clock; the order of several addresses comes from the generator.
//
// Names of ours live for a second (TTL), so a client that keeps answers is wrong for no longer than
// the tables take to change. A name of ours without an address of the family asked for is an empty
// answer, not an error: resolvers that ask for A and AAAA at once would otherwise give up.

import type { Prng } from '../../../base/prng.ts'
import * as dns from '../../../wire/dns.ts'
import { ANSWERS_KEPT_MAX, KEPT_QUERY_BYTES_MAX } from './limits.ts'
import { type Addresses, type DnsZones, pointerAddress } from './zone.ts'

export const TTL_SECONDS = 1

export type Transport = 'udp' | 'tcp'

/** `forward`: nobody here knows the name. `ignore`: it is no query. */
export type Verdict = Uint8Array | 'forward' | 'ignore'

const QUESTIONS_ANSWERED: ReadonlySet<number> = new Set([
  dns.DNS_TYPE_A,
  dns.DNS_TYPE_AAAA,
  dns.DNS_TYPE_ANY,
])

export class Answerer {
  readonly #random: Prng
  readonly #out: Uint8Array = new Uint8Array(dns.DNS_TCP_MAX)
  #zones: DnsZones
  /** Whole answers to UDP questions, by who asked and the question but for its id. Only those that
   * are the same each time; until the tables change. */
  readonly #kept = new Map<string, Uint8Array>()
  /** The answer being made depends on chance. */
  #isByChance = false

  constructor(zones: DnsZones, random: Prng) {
    this.#zones = zones
    this.#random = random
  }

  swap(zones: DnsZones): void {
    this.#zones = zones
    this.#kept.clear()
  }

  /** Answers the query in `bytes` of the client at `address`. The answer is the caller's only until
   * the next call. */
  answer(bytes: Uint8Array, address: string, transport: Transport): Verdict {
    if (transport !== 'udp' || bytes.length > KEPT_QUERY_BYTES_MAX) {
      return this.answerAnew(bytes, address, transport)
    }
    const key = address + textOf(bytes)
    const kept = this.#kept.get(key)
    if (kept !== undefined) {
      kept[0] = bytes[0]!
      kept[1] = bytes[1]!
      return kept
    }
    this.#isByChance = false
    const verdict = this.answerAnew(bytes, address, transport)
    if (typeof verdict !== 'string' && !this.#isByChance) {
      if (this.#kept.size >= ANSWERS_KEPT_MAX) this.#kept.clear()
      this.#kept.set(key, Uint8Array.from(verdict))
    }
    return verdict
  }

  private answerAnew(bytes: Uint8Array, address: string, transport: Transport): Verdict {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const question = dns.readDnsQuery(view, 0, bytes.length)
    if (question === -1) return 'ignore'
    if (typeof question === 'number') return this.refusal(bytes, dns.DNS_HEADER_SIZE, question, 0)
    const refuse = (code: number): Uint8Array =>
      this.refusal(bytes, question.end, code, question.payloadMax)
    if (question.ednsVersion !== 0) return refuse(dns.DNS_BAD_VERSION)
    if (question.klass !== dns.DNS_CLASS_IN && question.klass !== dns.DNS_CLASS_ANY) {
      return refuse(dns.DNS_REFUSED)
    }
    const client = this.#zones.client(address)
    if (client === null) return refuse(dns.DNS_REFUSED)
    const outside = client.external ? 'forward' : refuse(dns.DNS_NAME_ERROR)
    const pointer = pointerAddress(question.name)
    if (pointer !== null) {
      const name = client.nameOf(pointer)
      if (name === undefined) return outside
      return name === null ? refuse(dns.DNS_NAME_ERROR) : this.pointer(bytes, question, name)
    }
    const found = client.find(question.name)
    if (found === null) return outside
    return this.addresses(bytes, question, found, transport)
  }

  /** An answer that says only why there is none. */
  failure(bytes: Uint8Array, code: number): Uint8Array | null {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const question = dns.readDnsQuery(view, 0, bytes.length)
    if (typeof question === 'number') return null
    return this.refusal(bytes, question.end, code, question.payloadMax)
  }

  private refusal(
    query: Uint8Array,
    questionEnd: number,
    rcode: number,
    payloadMax: number,
  ): Uint8Array {
    const at = dns.beginDnsResponse(this.#out, query, questionEnd)
    const options = { rcode, authoritative: false, truncated: false, payloadMax }
    return this.#out.subarray(0, dns.endDnsResponse(this.#out, at, options))
  }

  private addresses(
    query: Uint8Array,
    question: dns.DnsQuestion,
    found: Addresses,
    transport: Transport,
  ): Uint8Array {
    const max = sizeMax(question, transport)
    let at = dns.beginDnsResponse(this.#out, query, question.end)
    let truncated = false
    const { type, payloadMax } = question
    if (QUESTIONS_ANSWERED.has(type)) {
      for (const [list, kind] of [
        [found.v4, dns.DNS_TYPE_A],
        [found.v6, dns.DNS_TYPE_AAAA],
      ] as const) {
        if (type !== kind && type !== dns.DNS_TYPE_ANY) continue
        // Another one comes first each time, or everybody would go to the same.
        if (list.length > 1) this.#isByChance = true
        const first = list.length < 2 ? 0 : this.#random.below(list.length)
        for (let i = 0; i < list.length && !truncated; i++) {
          const data = list[(first + i) % list.length]!
          const end = dns.writeDnsAnswer(this.#out, at, max, kind, TTL_SECONDS, data)
          if (end === 0) truncated = true
          else at = end
        }
      }
    }
    const options = { rcode: dns.DNS_NO_ERROR, authoritative: true, truncated, payloadMax }
    return this.#out.subarray(0, dns.endDnsResponse(this.#out, at, options))
  }

  private pointer(query: Uint8Array, question: dns.DnsQuestion, name: Uint8Array): Uint8Array {
    let at = dns.beginDnsResponse(this.#out, query, question.end)
    const { type, payloadMax } = question
    if (type === dns.DNS_TYPE_PTR || type === dns.DNS_TYPE_ANY) {
      // A question about an address is short (74 bytes at most), so this always fits 512.
      at = dns.writeDnsAnswer(this.#out, at, 2 * dns.DNS_UDP_MAX, dns.DNS_TYPE_PTR, 1, name)
    }
    const options = { rcode: dns.DNS_NO_ERROR, authoritative: true, truncated: false, payloadMax }
    return this.#out.subarray(0, dns.endDnsResponse(this.#out, at, options))
  }
}

/** A question but for its id, one character a byte. */
function textOf(bytes: Uint8Array): string {
  const { buffer, byteOffset, length } = bytes
  return ` ${Buffer.from(buffer, byteOffset, length).toString('latin1', 2)}`
}

/** Where answers must end, so that the whole message fits. */
function sizeMax({ payloadMax }: dns.DnsQuestion, transport: Transport): number {
  if (transport === 'tcp') return dns.DNS_TCP_MAX - dns.DNS_TRAILER_MAX
  if (payloadMax === 0) return dns.DNS_UDP_MAX
  return Math.min(payloadMax, dns.DNS_EDNS_MAX) - dns.DNS_TRAILER_MAX
}
