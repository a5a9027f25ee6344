// Numbers handed out in turn: each search begins behind the last number given, so that one which
// was given back is not given again before all others were. What still knows the old owner of an
// address, a port or a VNI has time to forget it.

export class NextFit {
  private readonly first: number
  private readonly last: number
  private readonly used = new Set<number>()
  /** How many of `used` lie in the range. */
  private usedInRange = 0
  private cursor: number

  /** Hands out `first` to `last`. Numbers outside can be claimed by name. */
  constructor(first: number, last: number) {
    this.first = first
    this.last = last
    this.cursor = first
  }

  get free(): number {
    return Math.max(0, this.last - this.first + 1 - this.usedInRange)
  }

  get size(): number {
    return this.used.size
  }

  has(number: number): boolean {
    return this.used.has(number)
  }

  /** The next free number, or null when all are taken. `refuses` passes over more. */
  take(refuses: (number: number) => boolean = () => false): number | null {
    if (this.free === 0) return null
    const count = this.last - this.first + 1
    for (let i = 0; i < count; i++) {
      const number = this.cursor
      this.cursor = number >= this.last ? this.first : number + 1
      if (!this.used.has(number) && !refuses(number)) {
        this.add(number)
        return number
      }
    }
    return null
  }

  /** Takes this very number; false when it is taken. `moves`: search behind it from now on. */
  claim(number: number, moves: boolean = false): boolean {
    if (this.used.has(number)) return false
    this.add(number)
    if (moves && this.isInRange(number)) {
      this.cursor = number >= this.last ? this.first : number + 1
    }
    return true
  }

  release(number: number): void {
    if (this.used.delete(number) && this.isInRange(number)) this.usedInRange--
  }

  private add(number: number): void {
    this.used.add(number)
    if (this.isInRange(number)) this.usedInRange++
  }

  private isInRange(number: number): boolean {
    return number >= this.first && number <= this.last
  }
}
