// Goal: whatever becomes of the node's address, a datagram to [::1] harms nobody else. Method: the
// real proxy, and an address that a socket may not be connected to.

import { createSocket } from 'node:dgram'
import t from 'tap'
import { sinkLogger } from '../base/log.ts'
import { waitFor } from './lab/wait.ts'
import { LoopbackProxy } from './loopback-proxy.ts'

/** A port of UDP that is free on [::1]. */
async function freePort(): Promise<number> {
  const socket = createSocket({ type: 'udp6', ipv6Only: true })
  await new Promise<void>((bound) => socket.bind({ address: '::1', port: 0 }, bound))
  const { port } = socket.address()
  await new Promise<void>((closed) => socket.close(closed))
  return port
}

t.test('an address that is gone loses datagrams, and nothing more', async (t) => {
  const port = await freePort()
  const warnings: string[] = []
  const proxy = new LoopbackProxy(sinkLogger((_level, message) => warnings.push(message)))
  t.teardown(() => proxy.close())
  const server = createSocket('udp4')
  t.teardown(() => server.close())
  const heard: string[] = []
  server.on('message', (message) => heard.push(String(message)))
  await new Promise<void>((bound) => server.bind({ address: '127.0.0.1', port }, bound))
  const client = createSocket('udp6')
  t.teardown(() => client.close())
  const send = (text: string): void => client.send(text, port, '::1')
  // A socket may not be connected to this one, as to one that no route leads to.
  proxy.apply('255.255.255.255', [{ protocol: 'udp', port }])
  for (let i = 0; i < 10; i++) send('lost')
  await new Promise((done) => setImmediate(done))
  proxy.apply('127.0.0.1', [{ protocol: 'udp', port }])
  await waitFor(
    () => {
      send('found')
      return heard.includes('found')
    },
    { what: 'the datagram at the new address' },
  )
  t.same(warnings, [], 'the port is served all the time')
})
