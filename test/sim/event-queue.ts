// The simulator's calendar: a binary heap by time, and by order of arrival where times are equal,
// so that a run is the same every time.

export interface Timed {
  /** Virtual milliseconds. */
  readonly at: number
  /** Given by push(). */
  order: number
}

export class EventQueue<E extends Timed> {
  readonly #heap: E[] = []
  #pushed = 0

  get size(): number {
    return this.#heap.length
  }

  push(event: E): void {
    event.order = this.#pushed++
    const heap = this.#heap
    let hole = heap.length
    heap.push(event)
    while (hole > 0) {
      const parent = (hole - 1) >> 1
      if (!isBefore(event, heap[parent]!)) break
      heap[hole] = heap[parent]!
      hole = parent
    }
    heap[hole] = event
  }

  pop(): E | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let hole = 0
    for (;;) {
      let child = 2 * hole + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, last)) break
      heap[hole] = heap[child]!
      hole = child
    }
    heap[hole] = last
    return first
  }
}

function isBefore(a: Timed, b: Timed): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}
