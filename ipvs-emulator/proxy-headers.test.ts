// Goal: PROXY headers cost their flows no garbage, and other flows nothing. Method: segments of one
// flow, over and over, past the calls of the packet loop, and the growth of the heap. What the
// headers do is in dataplane/proxy-headers.test.ts and proxy-cases.test.ts, with all around them.

import t from 'tap'
import { TCP_ACK, TCP_SYN } from '../wire/tcp.ts'
import { ConfigError } from './config.ts'
import { TCP } from './flow.ts'
import { type Lab, lab, NETS, service } from './lab-fixture.ts'
import { build, type Fields } from './packet-fixture.ts'
import { PROXY_BEFORE, PROXY_INSTEAD, PROXY_PASS } from './proxy-headers.ts'

const WARM_UP = 20_000
const WINDOWS = 5
const WINDOW = 10_000
/** Below this a difference is the sampling itself: one object per segment would be 16. */
const BYTES_MAX = 4
/** Size of a v2 header over IPv4. */
const LENGTH = 28

function growth(step: () => void): number {
  for (let i = 0; i < WARM_UP; i++) step()
  const windows = Array.from({ length: WINDOWS }, () => {
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < WINDOW; i++) step()
    return (process.memoryUsage().heapUsed - before) / WINDOW
  })
  return windows.sort((a, b) => a - b)[WINDOWS >> 1]!
}

const net = NETS.v4!
const forward: Fields = {
  protocol: TCP,
  source: net.client,
  target: net.vip,
  sourcePort: 4000,
  targetPort: 80,
}

/** A flow whose header is pending. */
function pending(): { self: Lab; connection: number } {
  const self = lab()
  self.apply(service(net, { proxyProtocol: 'v2' }))
  const connection = self.send(build({ ...forward, sequence: 1, flags: TCP_SYN }))
  const answer = build({ ...forward, sequence: 9, acknowledgement: 2, flags: TCP_SYN | TCP_ACK })
  const { proxyHeaders } = self.director
  proxyHeaders.shiftReply(connection, answer.view, answer.l4At, false, self.now)
  const { view, l4At, end } = build({
    ...{ ...forward, sequence: 2, acknowledgement: 10, flags: TCP_ACK },
  })
  t.equal(proxyHeaders.judge(connection, view, l4At, end, false, self.now), PROXY_INSTEAD)
  return { self, connection }
}

t.test('nothing is allocated per segment', async (t) => {
  const { self, connection } = pending()
  const { proxyHeaders } = self.director
  const payload = new Uint8Array(40)
  const data = build({ ...forward, sequence: 2, acknowledgement: 10, flags: TCP_ACK, payload })
  const answer = build({ ...forward, sequence: 10, acknowledgement: 2, flags: TCP_ACK })
  const out = new DataView(new ArrayBuffer(256))
  const bytes = (view: DataView): Uint8Array => new Uint8Array(view.buffer)
  const [sent, answered] = [data, answer].map(({ view }) => bytes(view).slice())
  const rest = (): void => {
    bytes(data.view).set(sent!)
    bytes(answer.view).set(answered!)
  }
  // What the copies and their views cost is measured first.
  const own = growth(rest)
  let now = self.now
  let headers = 0
  const step = (): void => {
    rest()
    now += 60
    const judged = proxyHeaders.judge(connection, data.view, data.l4At, data.end, false, now)
    if (judged === PROXY_BEFORE) {
      headers++
      proxyHeaders.write(connection, out, 0)
    }
    proxyHeaders.shiftForward(connection, data.view, data.l4At, false)
    proxyHeaders.shiftReply(connection, answer.view, answer.l4At, false, now)
    if (proxyHeaders.more(now)) proxyHeaders.due(now)
  }
  const before = growth(step) - own
  t.ok(headers > WINDOW, `${headers} headers`)
  t.ok(before < BYTES_MAX, `${before} bytes while the header is pending`)
  const all = build({ ...forward, sequence: 10, acknowledgement: 2 + LENGTH, flags: TCP_ACK })
  proxyHeaders.shiftReply(connection, all.view, all.l4At, false, now)
  const after = growth(step) - own
  t.ok(after < BYTES_MAX, `${after} bytes when it is not`)
  t.equal(proxyHeaders.judge(connection, data.view, data.l4At, data.end, false, now), PROXY_PASS)
})

t.test('a flow without a header is asked about nothing', async (t) => {
  const { self, connection } = pending()
  t.equal(self.director.proxyHeaders.count, 1)
  self.director.end(connection)
  t.equal(self.director.proxyHeaders.count, 0)
  t.equal(self.director.proxyHeaders.shiftOf(connection), 0)
  const plain = lab()
  plain.apply(service(net))
  t.ok(plain.send(build({ ...forward, flags: TCP_SYN })) >= 0)
  t.equal(plain.director.proxyHeaders.count, 0)
  const udp = lab()
  udp.apply(service(net, { proxyProtocol: 'v1' }))
  t.ok(udp.send(build({ ...forward, protocol: 17 })) >= 0)
  t.equal(udp.director.proxyHeaders.count, 0, 'UDP has none')
})

t.test('another version is refused', async (t) => {
  const self = lab()
  const proxyProtocol = 'v3' as 'v2'
  t.throws(() => self.apply(service(net, { proxyProtocol })), ConfigError)
})
