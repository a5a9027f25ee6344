// Published ports with PROXY headers, among real TCPs: the header names the client and the address
// and port that it asked, in both versions and families, to a backend on the node itself and on
// another one; the server speaks before it has read it; megabytes go both ways, through loss too; a
// server that answers with SYN cookies takes the connection; it goes on after a restart of the
// agent. nginx, which reads headers of both versions, is the judge from outside.

import './enter.ts'
import { mkdirSync, writeFileSync } from 'node:fs'
import t from 'tap'
import { run } from '../../cli/lab/process.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { addressBytes } from '../../dataplane/testing/packets.ts'
import { quiet, type Scene, sceneTest } from './scene.ts'
import { nameOf, type Served } from './station.ts'

type Version = 'v1' | 'v2'

const PROXIED_PORT = 8181
const NGINX_PORT = 8282
/** Published port by version and backend. */
const PORTS: Readonly<Record<Version, Readonly<Record<string, number>>>> = {
  v1: { near: 8001, far: 8002 },
  v2: { near: 8003, far: 8004 },
}
const NGINX: Readonly<Record<Version, number>> = { v1: 8005, v2: 8006 }
const VERSIONS: readonly Version[] = ['v1', 'v2']
const BACKEND: Readonly<Record<string, string>> = { near: 'b1', far: 'b2' }
const BULK = 4_000_000
/** Through loss TCP waits, and waits longer. */
const LOSSY_BULK = 400_000
const PATIENCE_MS = 60_000
const LOSS_PERCENT = 3

/** The header as haproxy's text has it, in hexadecimal digits. */
function headerOf(
  version: Version,
  [client, clientPort]: [string, number],
  [asked, askedPort]: [string, number],
): string {
  const is6 = client.includes(':')
  if (version === 'v1') {
    const line = `PROXY TCP${is6 ? 6 : 4} ${client} ${asked} ${clientPort} ${askedPort}\r\n`
    return Buffer.from(line).toString('hex')
  }
  const ports = Buffer.alloc(4)
  ports.writeUInt16BE(clientPort, 0)
  ports.writeUInt16BE(askedPort, 2)
  const addresses = Buffer.concat([addressBytes(client), addressBytes(asked), ports])
  return `0d0a0d0a000d0a515549540a21${is6 ? '210024' : '11000c'}${addresses.toString('hex')}`
}

async function servedTo(scene: Scene, task: string, port: number): Promise<Served | undefined> {
  const rows = await scene.at(task).must('served', { port: PROXIED_PORT })
  return rows.findLast(({ peerPort }) => peerPort === port)
}

let nextPort = 30_000

function headerTests(scene: Scene): void {
  const [out, one, two] = ['out', 'node1', 'node2'].map((name) => scene.host(name))
  const places: readonly [from: string, client: string, asked: string][] = [
    ['out', out!.address, one!.address],
    ['out', out!.address6, one!.address6],
    ['node2', two!.address, one!.address],
    // Seen as the node, as without a header.
    ['node1', one!.address, '127.0.0.1'],
  ]
  for (const version of VERSIONS) {
    for (const [where, port] of Object.entries(PORTS[version])) {
      for (const [from, client, asked] of places) {
        t.test(`${version}, from ${client} at ${from} to ${asked}, ${where}`, async (t) => {
          const localPort = nextPort++
          const call = await scene.at(from).connect(asked, port, { localPort })
          t.equal(call.greeting.name, BACKEND[where], 'the server spoke before it had read')
          for (const text of ['one', 'two']) t.equal(await call.say(text), text)
          const row = await servedTo(scene, BACKEND[where]!, call.greeting.peerPort)
          t.equal(row?.header, headerOf(version, [client, localPort], [asked, port]))
          await call.close()
        })
      }
    }
  }

  t.test('a client that says nothing is named too', async (t) => {
    const localPort = nextPort++
    const asked = scene.host('node1').address
    const call = await scene.at('out').connect(asked, PORTS.v1.far!, { localPort })
    const row = await waitFor(
      async () => {
        const served = await servedTo(scene, 'b2', localPort)
        return served?.header === '' ? undefined : served
      },
      { what: 'the header' },
    )
    const client = scene.host('out').address
    t.equal(row.header, headerOf('v1', [client, localPort], [asked, PORTS.v1.far!]))
    await call.close()
  })

  t.test('::1 is asked by the node, in the name of a client of the node', async (t) => {
    const { address6 } = scene.host('node1')
    const port = PORTS.v1.far!
    const call = await scene.at('node1').connect('::1', port)
    t.equal(await call.say('one'), 'one')
    const { peerPort } = call.greeting
    const row = await servedTo(scene, 'b2', peerPort)
    t.equal(row?.header, headerOf('v1', [address6, peerPort], [address6, port]))
    await call.close()
  })

  t.test('other ports of the same servers have none', async (t) => {
    const answer = await scene.at('out').who(scene.host('node1').address, 8000)
    t.ok('name' in answer, nameOf(answer))
  })
}

async function transfers(
  t0: Pick<typeof t, 'match'>,
  scene: Scene,
  size: number,
  what: string,
): Promise<void> {
  const timeoutMs = PATIENCE_MS
  for (const version of VERSIONS) {
    for (const [where, port] of Object.entries(PORTS[version])) {
      for (const address of [scene.host('node1').address, scene.host('node1').address6]) {
        const answer = await scene
          .at('out')
          .bulk(address, port, { up: size, down: size, timeoutMs })
        t0.match(answer, { intact: true, name: BACKEND[where] }, `${what}: ${version} ${address}`)
      }
    }
  }
}

function transferTests(scene: Scene): void {
  t.test('large transfers both ways at once', async (t) => {
    await transfers(t, scene, BULK, 'bulk')
  })

  t.test('servers that answer with SYN cookies', async (t) => {
    for (const name of ['b1', 'b2']) await scene.host(name).sysctl('net.ipv4.tcp_syncookies', '2')
    await transfers(t, scene, 10_000, 'cookies')
    for (const name of ['b1', 'b2']) await scene.host(name).sysctl('net.ipv4.tcp_syncookies', '1')
  })

  t.test('through loss on all sides', async (t) => {
    const hosts = ['out', 'node1', 'node2'].map((name) => scene.host(name))
    const lose = (percent: number): Promise<(string | undefined)[]> =>
      Promise.all(hosts.map((host) => scene.lab.lose(host, host.interfaces[0]!, percent)))
    const why = (await lose(LOSS_PERCENT)).find((reason) => reason !== undefined)
    if (why !== undefined) {
      t.pass('loss', { skip: why })
      return
    }
    t.teardown(() => lose(0))
    await transfers(t, scene, LOSSY_BULK, 'loss')
  })
}

function restartTests(scene: Scene): void {
  t.test('connections go on after a restart of the agent', async (t) => {
    const calls = []
    for (const version of VERSIONS) {
      for (const port of Object.values(PORTS[version])) {
        for (const address of [scene.host('node1').address, scene.host('node1').address6]) {
          const call = await scene.at('out').connect(address, port)
          t.equal(await call.say('before'), 'before')
          calls.push(call)
        }
      }
    }
    await quiet(scene)
    const agent = scene.agent('node1')
    t.equal(await agent.stop(), 0)
    await agent.start(scene.plan.tables('node1'))
    for (const call of calls) t.equal(await call.say('after', PATIENCE_MS), 'after')
    for (const call of calls) await call.close()
  })
}

const nginxConfig = (folder: string): string => `
user root; daemon off; master_process off; pid ${folder}/pid; error_log ${folder}/error.log;
events { worker_connections 64; }
http {
  access_log off;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${folder}/${name};`)
    .join(' ')}
  server {
    listen ${NGINX_PORT} proxy_protocol;
    listen [::]:${NGINX_PORT} proxy_protocol;
    location / {
      return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr \
$proxy_protocol_server_port $remote_addr";
    }
  }
}
`

function judgeTests(scene: Scene): void {
  t.test('nginx reads the same', async (t) => {
    const found = await run(['nginx', '-v'])
    const curl = await run(['curl', '--version'])
    if (found.status !== 0 || curl.status !== 0) {
      t.pass('nginx', { skip: 'nginx and curl are not both installed' })
      return
    }
    const folder = `${scene.lab.folder}/nginx`
    mkdirSync(folder)
    writeFileSync(`${folder}/nginx.conf`, nginxConfig(folder))
    const argv = ['nginx', '-c', `${folder}/nginx.conf`, '-p', folder, '-e', `${folder}/error.log`]
    const server = scene.host('b2').spawn(argv)
    for (const version of VERSIONS) {
      for (const family of ['address', 'address6'] as const) {
        const client = scene.host('out')[family]
        const asked = scene.host('node1')[family]
        const host = asked.includes(':') ? `[${asked}]` : asked
        const from = String(nextPort++)
        const url = `http://${host}:${NGINX[version]}/`
        const answer = await waitFor(
          async () => {
            if (!server.running) throw new Error(`nginx ended: ${server.stderr}`)
            const ask = ['curl', '-s', '-m', '5', '--local-port', from, url]
            const { status, stdout } = await scene.host('out').exec(ask)
            return status === 0 ? stdout : undefined
          },
          { what: 'nginx to answer' },
        )
        t.equal(answer, `${client} ${from} ${asked} ${NGINX[version]} ${client}`, version)
      }
    }
    await server.stop()
  })
}

// Run by itself, the file has tap's 30 seconds otherwise.
t.setTimeout(280_000)
await sceneTest('PROXY headers', async (scene) => {
  for (const [where, task] of Object.entries(BACKEND)) {
    scene.service(where, { tasks: [task] })
    await scene.at(task).serveProxied(PROXIED_PORT)
    for (const version of VERSIONS) {
      const [port, targetPort] = [PORTS[version][where]!, PROXIED_PORT]
      scene.plan.publish({
        ...{ protocol: 'tcp', port, service: where, targetPort },
        proxyProtocol: version,
      })
    }
  }
  for (const version of VERSIONS) {
    const [port, targetPort] = [NGINX[version], NGINX_PORT]
    scene.plan.publish({
      ...{ protocol: 'tcp', port, service: 'far', targetPort },
      proxyProtocol: version,
    })
  }
  scene.plan.publish({ protocol: 'tcp', port: 8000, service: 'far', targetPort: 8080 })
  await scene.startAgents()
  headerTests(scene)
  transferTests(scene)
  restartTests(scene)
  judgeTests(scene)
})
