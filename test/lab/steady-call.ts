// One connection to a page server (cli/lab/page-server.ts) that is asked every EVERY_MS, whether or
// not it has answered, until SIGTERM; then it waits for the answers that are due and prints
//
//   {"asked":N,"answered":N,"gapMs":N,"end":null}
//
// `gapMs` is the longest time between two answers, `end` why it ended before: an error code or
// "end".
//
//   node steady-call.ts ADDRESS PORT

import { connect } from 'node:net'
import process from 'node:process'

const EVERY_MS = 20
const PATIENCE_MS = 60_000
const REQUEST = 'GET / HTTP/1.1\r\nhost: lab\r\n\r\n'

const [host = '', port = ''] = process.argv.slice(2)
let asked = 0
let answered = 0
let end: string | null = null
let text = ''
let lastMs = Number.NaN
let gapMs = 0

/** Counts whole answers of status 200 at the beginning of the text, and cuts them off. */
function count(): void {
  for (;;) {
    const head = /^HTTP\/1\.1 200 [\s\S]*?content-length: (\d+)\r\n[\s\S]*?\r\n\r\n/i.exec(text)
    const size = head === null ? 0 : head[0].length + Number(head[1])
    if (head === null || text.length < size) return
    text = text.slice(size)
    answered++
    const nowMs = performance.now()
    if (nowMs - lastMs > gapMs) gapMs = Math.round(nowMs - lastMs)
    lastMs = nowMs
  }
}

const socket = connect(Number(port), host, () => process.stdout.write('asking\n'))
socket.setNoDelay(true)
socket.setEncoding('latin1')
socket.on('data', (piece: string) => {
  text += piece
  count()
})
socket.on('error', (error: NodeJS.ErrnoException) => {
  end ??= error.code ?? error.message
})
socket.on('end', () => {
  end ??= 'end'
})
const timer = setInterval(() => {
  asked++
  socket.write(REQUEST)
}, EVERY_MS)

process.once('SIGTERM', () => {
  clearInterval(timer)
  const deadlineMs = performance.now() + PATIENCE_MS
  const look = setInterval(() => {
    if (answered < asked && end === null && performance.now() < deadlineMs) return
    clearInterval(look)
    process.stdout.write(`${JSON.stringify({ asked, answered, gapMs, end })}\n`, () =>
      process.exit(0),
    )
  }, EVERY_MS)
})
