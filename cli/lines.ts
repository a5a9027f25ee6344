// Bytes of a stream as lines, with a bound: a line that grows beyond it is the stream's end.

const NEWLINE = 10

export class LineSplitter {
  private parts: Buffer[] = []
  private size: number = 0
  private readonly sizeMax: number

  /** `sizeMax`: bytes of a line without its newline. */
  constructor(sizeMax: number) {
    this.sizeMax = sizeMax
  }

  /** Takes bytes and calls `take` for each line they complete. False when a line is too long. */
  push(bytes: Buffer, take: (line: string) => void): boolean {
    let from = 0
    for (;;) {
      const end = bytes.indexOf(NEWLINE, from)
      const part = bytes.subarray(from, end < 0 ? undefined : end)
      this.size += part.length
      if (this.size > this.sizeMax) return false
      this.parts.push(part)
      if (end < 0) return true
      const line = Buffer.concat(this.parts).toString('utf8')
      this.parts = []
      this.size = 0
      take(line)
      from = end + 1
    }
  }
}
