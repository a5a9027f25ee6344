// The lab itself: links carry IPv4 and IPv6, containers have nothing, processes are bounded, and a
// process of one host is out of another's sight.

import './enter.ts'
import process from 'node:process'
import type { Host } from '../../cli/lab/host.ts'
import type { LabProcess } from '../../cli/lab/process.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { labTest } from './lab-test.ts'

const SERVER = `
  require('http').createServer((q, r) => r.end(q.socket.remoteAddress)).listen(80, '::')
  const u = require('dgram').createSocket('udp6')
  u.on('message', (m, from) => u.send('got ' + m, from.port, from.address))
  u.bind(80, () => console.log('up'))`

async function serve(host: Host): Promise<LabProcess> {
  const server = host.spawn([process.execPath, '-e', SERVER])
  await server.output(/up/)
  return server
}

labTest('hosts on a bridge reach each other by IPv4, IPv6, TCP and UDP', async (t, lab) => {
  const [h1, h2, h3] = (await lab.hostsNamed('h1', 'h2', 'h3')) as [Host, Host, Host]
  await lab.bridge([h1, h2, h3])
  await serve(h2)
  t.equal(await h1.probe.get(`http://${h2.address}/`), `::ffff:${h1.address}`)
  t.equal(await h3.probe.get(`http://[${h2.address6}]/`), h3.address6)
  t.equal(await h1.probe.udp(`${h2.address}:80`, 'x'), 'got x')
  t.match(await h1.probe.try('get', `http://${h2.address}:81/`), { error: /ECONNREFUSED/ })
  const silent = await h1.probe.try('get', 'http://192.168.10.99/', { timeoutMs: 200 })
  t.match(silent.error, /no answer within 200 ms/)
})

labTest('a veth pair joins two hosts with the MTU asked for', async (t, lab) => {
  const [a, b] = (await lab.hostsNamed('a', 'b')) as [Host, Host]
  const link = await lab.veth(a, b, { mtu: 9000 })
  t.equal(a.address, `${link.prefix}1`)
  t.match(await b.must(['ip', 'link', 'show', 'eth0']), /mtu 9000/)
  await serve(b)
  t.equal(await a.probe.get(`http://${b.address}/`), `::ffff:${a.address}`)
})

labTest('a container has lo and nothing else', async (t, lab) => {
  const box = await lab.host('box')
  const links = (await box.must(['ip', '-o', 'link'])).trim().split('\n')
  t.equal(links.length, 1)
  t.match(links[0], /: lo: <LOOPBACK,UP/)
})

labTest('loss can be asked for', async (t, lab) => {
  const [a, b] = (await lab.hostsNamed('a', 'b')) as [Host, Host]
  await lab.veth(a, b)
  await serve(b)
  const reason = await lab.lose(b, 'eth0', 100)
  if (reason !== undefined) {
    t.pass('loss', { skip: reason })
    return
  }
  const lost = await a.probe.try('udp', `udp://${b.address}:80`, { timeoutMs: 150, text: 'x' })
  t.match(lost.error, /no answer/)
  t.equal(await lab.lose(b, 'eth0', 0), undefined)
  t.equal(await a.probe.udp(`${b.address}:80`, 'x'), 'got x')
})

labTest('processes are bounded, ended by group, and their failure has words', async (t, lab) => {
  const host = await lab.host('h')
  const late = await host.exec(['sleep', '100'], { lifeMs: 50 })
  t.equal(late.status, 137)
  const bad = await host.exec(['sh', '-c', 'echo oh no >&2; exit 3'])
  t.match(bad, { status: 3, stderr: 'oh no\n' })
  await t.rejects(host.must(['false']), { message: /nsenter.*false" ended with status 1/ })
  t.equal((await host.exec(['no-such-command'])).status, 127)
  const family = host.spawn(['sh', '-c', 'trap "" TERM; sleep 1234 & echo ready; wait; sleep 1234'])
  await family.output(/ready/)
  t.equal(await family.stop(), 137)
  const gone = async (): Promise<boolean> =>
    !(await host.must(['ps', 'ax', '-o', 'stat,args'])).match(/^[^Z].*sleep 1234/m)
  await waitFor(gone, { what: 'the end of the whole group' })
  await t.rejects(host.spawn(['sh', '-c', 'exit 5']).output(/never/), { message: /status 5/ })
})

labTest('close() ends processes, links and namespaces, also when called twice', async (t, lab) => {
  const [a, b] = (await lab.hostsNamed('a', 'b')) as [Host, Host]
  await lab.bridge([a, b])
  const sleeper = a.spawn(['sleep', '1000'])
  await Promise.all([lab.close(), lab.close()])
  t.equal(sleeper.running, false)
  const { must } = await import('../../cli/lab/process.ts')
  t.equal((await must(['ip', 'netns', 'list'])).trim(), '')
  t.notMatch(await must(['ip', '-o', 'link']), /br0/)
})

labTest('a probe that is closed while it starts takes nobody with it', async (t, lab) => {
  const host = await lab.host('h')
  for (let i = 0; i < 10; i++) {
    const answer = host.probe.try('get', 'http://127.0.0.1/')
    await host.release()
    t.match((await answer).error, /ended|ECONNREFUSED/)
  }
})
