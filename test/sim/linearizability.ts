// Is there an order of the operations on a register that everybody could have seen? An order in
// which each operation takes effect at one moment between its call and its return, and each read
// returns what the last write before it wrote (Herlihy and Wing, 1990).
//
// In general that is a search (NP-complete). Here every write writes another value, so each read
// names its write, and the question can be answered by sorting (Gibbons and Korach, "Testing
// Shared Memories", 1997, section 4). Take a write and all reads of its value as one cluster. Let
// `first` be the earliest return in it and `last` the latest call. If first < last, the register
// must hold that value from `first` to `last` at least: a forward zone. Otherwise there is a
// moment, anywhere in [last, first], at which the whole cluster could happen: a backward zone. The
// history is linearizable if and only if
//
//   1. every read returns a value whose write was called before the read returned,
//   2. no two forward zones overlap, and
//   3. no backward zone lies within a forward zone.
//
// Registers are independent of each other (linearizability is local), so each is judged alone. A
// write that never returned may have happened or not: without a read of its value it is left out,
// with one it counts as returning at the end of time. A read that never returned says nothing.

export interface Operation {
  readonly kind: 'write' | 'read'
  readonly key: number
  /** Written or read; each write's differs, and none is 0, which stands for "never written". */
  readonly value: number
  /** Positions in one global order: no two are equal. */
  readonly called: number
  /** Infinity when it never returned. */
  readonly returned: number
  readonly client: number
}

interface Zone {
  readonly value: number
  readonly from: number
  readonly to: number
}

/** The first fault found, as a sentence; null for a linearizable history. */
export function findAnomaly(history: readonly Operation[]): string | null {
  const keys = new Map<number, Operation[]>()
  for (const operation of history) {
    if (operation.kind === 'read' && operation.returned === Number.POSITIVE_INFINITY) continue
    const list = keys.get(operation.key)
    if (list === undefined) keys.set(operation.key, [operation])
    else list.push(operation)
  }
  for (const [key, operations] of keys) {
    const anomaly = findRegisterAnomaly(operations)
    if (anomaly !== null) return `register ${key}: ${anomaly}`
  }
  return null
}

function findRegisterAnomaly(operations: readonly Operation[]): string | null {
  const writes = new Map<number, Operation>()
  for (const operation of operations) {
    if (operation.kind !== 'write') continue
    if (writes.has(operation.value)) throw new RangeError('every write must differ')
    writes.set(operation.value, operation)
  }
  const reads = new Map<number, Operation[]>()
  for (const operation of operations) {
    if (operation.kind !== 'read') continue
    const write = writes.get(operation.value)
    if (operation.value !== 0 && write === undefined) return `${show(operation)} was never written`
    if (write !== undefined && write.called > operation.returned) {
      return `${show(operation)} returned before ${show(write)} was called`
    }
    const list = reads.get(operation.value)
    if (list === undefined) reads.set(operation.value, [operation])
    else list.push(operation)
  }
  return findOverlap(zonesOf(writes, reads))
}

function zonesOf(
  writes: ReadonlyMap<number, Operation>,
  reads: ReadonlyMap<number, readonly Operation[]>,
): { forward: Zone[]; backward: Zone[] } {
  const forward: Zone[] = []
  const backward: Zone[] = []
  const add = (value: number, called: number, returned: number): void => {
    let first = returned
    let last = called
    for (const read of reads.get(value) ?? []) {
      first = Math.min(first, read.returned)
      last = Math.max(last, read.called)
    }
    if (first < last) forward.push({ value, from: first, to: last })
    else backward.push({ value, from: last, to: first })
  }
  // The initial value was written before everything.
  add(0, Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY)
  for (const { value, called, returned } of writes.values()) {
    if (returned === Number.POSITIVE_INFINITY && !reads.has(value)) continue
    add(value, called, returned)
  }
  return { forward, backward }
}

function findOverlap({ forward, backward }: { forward: Zone[]; backward: Zone[] }): string | null {
  forward.sort(byStart)
  for (let i = 1; i < forward.length; i++) {
    const [before, after] = [forward[i - 1]!, forward[i]!]
    if (after.from < before.to) {
      return `values ${before.value} and ${after.value} must both have been there at ${after.from}`
    }
  }
  backward.sort(byStart)
  let next = 0
  for (const zone of backward) {
    while (next < forward.length && forward[next]!.to < zone.from) next++
    const around = forward[next]
    if (around !== undefined && around.from < zone.from && zone.to < around.to) {
      const moment = `[${zone.from}, ${zone.to}]`
      return `${zone.value} must have been there within ${moment}, but ${around.value} was`
    }
  }
  return null
}

function byStart(a: Zone, b: Zone): number {
  return a.from - b.from
}

function show({ kind, client, value, called, returned }: Operation): string {
  return `client ${client}'s ${kind} of ${value} [${called}, ${returned}]`
}
