// The service of the lab's tests: an HTTP server that says who it is and whom it saw, and that ends
// the way a careful server does.
//
//   node page-server.ts NAME PORT
//
//   GET /...        "NAME saw 192.168.11.4\n"
//
// On SIGTERM it takes no new connections, says `Connection: close` with its next answer on each of
// those it has, and ends with the last, after LINGER_MS at the latest.

import { createServer } from 'node:http'
import { Server } from 'node:net'
import process from 'node:process'

const LINGER_MS = 3_000

const [name = 'page', port = '80'] = process.argv.slice(2)
let isEnding = false

const server = createServer((request, response) => {
  const from = (request.socket.remoteAddress ?? '?').replace(/^::ffff:/, '')
  if (isEnding) response.setHeader('connection', 'close')
  const body = `${name} saw ${from}\n`
  response.setHeader('content-length', body.length)
  response.end(body)
})
// Who keeps a connection decides how long.
server.keepAliveTimeout = 0
server.listen({ port: Number(port), host: '::', backlog: 1024 })

process.once('SIGTERM', () => {
  isEnding = true
  // The close() of HTTP would also end the connections that are idle, at which a request may be
  // under way.
  Server.prototype.close.call(server, () => process.exit(0))
  setTimeout(() => process.exit(0), LINGER_MS).unref()
})
