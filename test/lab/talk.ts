// Both ends of conversations that last: each says something every SAY_MS until the connection ends,
// and how it ended is written down.
//
//   node talk.ts serve NAME PORT FILE     says NAME first; a line "end CODE" in FILE per connection
//   node talk.ts call ADDRESS PORT COUNT  one JSON line when all have been greeted, {"greeted":
// [NAME,
//                                         ...]}, and one per end, {"name", "end"}
//
// An end is an error code, or 'end' where the other side closed in order.

import { appendFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import process from 'node:process'

const SAY_MS = 50

function talk(socket: Socket, ended: (how: string) => void): void {
  let how = 'end'
  socket.setNoDelay(true)
  const timer = setInterval(() => socket.write('.'), SAY_MS)
  socket.on('error', (error: NodeJS.ErrnoException) => {
    how = error.code ?? error.message
  })
  socket.on('close', () => {
    clearInterval(timer)
    ended(how)
  })
  socket.resume()
}

function serve(name: string, port: number, file: string): void {
  const server = createServer((socket) => {
    socket.write(`${name}\n`)
    talk(socket, (how) => appendFileSync(file, `end ${how}\n`))
  })
  server.listen(port, '::')
}

async function call(host: string, port: number, count: number): Promise<void> {
  const names = await Promise.all(
    Array.from({ length: count }, async () => {
      const socket = connect(port, host)
      const name = await new Promise<string>((resolve, reject) => {
        let text = ''
        socket.on('data', (bytes) => {
          text += String(bytes)
          const end = text.indexOf('\n')
          if (end < 0) return
          socket.removeAllListeners()
          resolve(text.slice(0, end))
        })
        socket.on('error', reject)
      })
      talk(socket, (end) => process.stdout.write(`${JSON.stringify({ name, end })}\n`))
      return name
    }),
  )
  process.stdout.write(`${JSON.stringify({ greeted: names })}\n`)
}

const [mode, first = '', second = '', third = ''] = process.argv.slice(2)
if (mode === 'serve') serve(first, Number(second), third)
else await call(first, Number(second), Number(third))
