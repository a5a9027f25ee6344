// Goal: whatever moment an agent's end comes at, the host is afterwards as it was: while the packet
// loop is starting, and before one has started where a killed agent left something. Method: inside
// a lab, real loops with a published port; a child process is the agent that is killed.

import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync } from 'node:fs'
import { silentLogger } from '../../base/log.ts'
import { compileTables } from '../../dataplane/compile.ts'
import type { CompiledTables } from '../../dataplane/compiled.ts'
import { insideLab } from '../../dataplane/edge/testing/lab.ts'
import type { ForwardingTables } from '../../dataplane/tables.ts'
import { validateTables } from '../../dataplane/validate.ts'
import { NodeEngine } from './node-engine.ts'

const t = await insideLab(import.meta.filename)

const RUN_DIRECTORY = '/run/weft'
const CHILD = 'WEFT_TEST_ENGINE_CHILD'

/** With an interface of the task: `device`. */
function compiled(device?: string): CompiledTables {
  const place = device === undefined ? {} : { interface: { name: device } }
  const tables: ForwardingTables = {
    version: 1,
    node: { name: 'a', listenAddress: '127.0.0.1', addresses: ['127.0.0.1'] },
    peers: [],
    networks: [
      { name: 'in', vni: 4096, subnets: ['10.0.0.0/24'], encrypted: false, ingress: true },
    ],
    endpoints: [{ name: 'web', network: 'in', node: 'a', addresses: ['10.0.0.3'], ...place }],
    services: [{ name: 'web', network: 'in', vips: [], backends: [{ endpoint: 'web' }] }],
    publishedPorts: [{ protocol: 'tcp', port: 8080, targetPort: 80, service: 'web' }],
  }
  const checked = validateTables(tables, { schedulers: [] })
  if (checked.tables === null) throw new Error(JSON.stringify(checked.problems))
  return compileTables(checked.tables, { privateKey: null })
}

function newEngine(): NodeEngine {
  mkdirSync(RUN_DIRECTORY, { recursive: true })
  const onFailure = (error: Error): void => {
    t.fail(error.message)
  }
  return new NodeEngine({ runDirectory: RUN_DIRECTORY, log: silentLogger, onFailure })
}

/** What a loop with a published port changes. */
function host(): string[] {
  const rules = spawnSync('ip', ['rule'], { encoding: 'utf8' }).stdout
  const links = spawnSync('ip', ['-br', 'link'], { encoding: 'utf8' }).stdout
  const forwarding = readFileSync('/proc/sys/net/ipv4/ip_forward', 'utf8')
  return `${rules}\n${links}\n${forwarding}`.split('\n')
}

if (process.env[CHILD] !== undefined) {
  await newEngine().apply(compiled())
  process.stdout.write('ready\n')
  setInterval(() => {}, 1000)
} else {
  t.test('stopped while it starts', { timeout: 60_000 }, async (t) => {
    const before = host()
    const engine = newEngine()
    const starting = engine.apply(compiled())
    await engine.stop()
    await starting
    t.equal(engine.tables, null, 'no loop')
    t.same(host(), before)
    await engine.apply(compiled())
    t.match(String(host()), /dport 8080/, 'it can start again')
    await engine.stop()
    t.same(host(), before)
  })

  t.test('stopped while tasks go on: their interfaces stay, and are taken over', async (t) => {
    const before = host()
    const index = (): string | undefined => {
      const { stdout } = spawnSync('ip', ['-o', 'link', 'show', 'web1'], { encoding: 'utf8' })
      return /^(\d+): web1:/.exec(stdout)?.[1]
    }
    const engine = newEngine()
    await engine.apply(compiled('web1'))
    const first = index()
    t.type(first, 'string')
    for (const [end, isHeld] of [
      ['keep', false],
      ['hold', true],
    ] as const) {
      await engine.stop(end)
      t.equal(String(host()).includes('dport 8080'), isHeld, `${end}: published ports`)
      t.equal(index(), first, `${end}: the interface`)
      await engine.apply(compiled('web1'))
      t.equal(index(), first)
    }
    await engine.stop('keep')
    await newEngine().stop('keep')
    t.equal(index(), first, 'an agent that has had no tables keeps it as well')
    await newEngine().stop()
    t.same(host(), before, 'a node without tasks does not')
  })

  t.test('stopped before it has started, after one that was killed', async (t) => {
    const before = host()
    const { execPath, execArgv } = process
    const child = spawn(execPath, [...execArgv, import.meta.filename], {
      env: { ...process.env, [CHILD]: '1' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout!, 'data')
    child.kill('SIGKILL')
    await once(child, 'close')
    t.match(String(host()), /dport 8080/, 'it left its rules')
    await newEngine().stop()
    t.same(host(), before)
    await newEngine().stop()
    t.same(host(), before, 'and once more')
  })
}
