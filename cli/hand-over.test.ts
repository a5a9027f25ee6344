// Goal: an interface that a container engine moves, renames and configures goes on belonging to the
// packet loop, and replies of published ports find their way from where it was moved to. Method:
// inside a lab, the real packet loop; `ip` plays the engine.

import { spawnSync } from 'node:child_process'
import { silentLogger } from '../base/log.ts'
import { compileTables } from '../dataplane/compile.ts'
import { insideLab, run } from '../dataplane/edge/testing/lab.ts'
import type { Endpoint, ForwardingTables, LocalInterface } from '../dataplane/tables.ts'
import { validateTables } from '../dataplane/validate.ts'
import { EngineThread } from './engine-thread.ts'
import { waitFor } from './lab/wait.ts'

const t = await insideLab(import.meta.filename)

function tables(version: number, interfaces: readonly LocalInterface[]): ForwardingTables {
  return {
    version,
    node: { name: 'a', listenAddress: '127.0.0.1' },
    peers: [],
    networks: [
      { name: 'in', vni: 4096, subnets: ['10.0.0.0/24'], encrypted: false, ingress: true },
    ],
    endpoints: interfaces.map((local, n): Endpoint => {
      const address = `10.0.0.${n + 3}`
      return { name: `t${n}`, network: 'in', node: 'a', addresses: [address], interface: local }
    }),
    services: [],
    publishedPorts: [],
  }
}

const ping = (target: string): number | null =>
  spawnSync('ip', ['netns', 'exec', 'c0', 'ping', '-c', '1', '-W', '5', target]).status

t.test('made here, used there', { timeout: 100_000 }, async (t) => {
  const engine = new EngineThread()
  const onFailure = (error: Error): void => {
    t.fail(error.message)
  }
  const options = { runDirectory: '/run/weft', captures: new Map(), log: silentLogger, onFailure }
  run('mkdir', '-p', '/run/weft')
  const bare: LocalInterface[] = [0, 1].map((n) => ({ name: `wft${n}`, handedOver: true }))
  const compiled = (version: number, interfaces: readonly LocalInterface[]) =>
    compileTables(tables(version, interfaces), { privateKey: null })
  await engine.start(compiled(1, bare), options)
  t.teardown(() => engine.stop())
  t.match(run('ip', '-o', 'link', 'show', 'wft0'), /02:42:0a:00:00:03/)
  t.notMatch(run('ip', '-o', 'addr', 'show', 'wft0'), /inet /, 'no address')
  for (const n of [0, 1]) {
    run('ip', 'netns', 'add', `c${n}`)
    run('ip', 'link', 'set', `wft${n}`, 'netns', `c${n}`, 'name', 'eth0')
    run('ip', '-n', `c${n}`, 'addr', 'add', `10.0.0.${n + 3}/24`, 'dev', 'eth0')
    run('ip', '-n', `c${n}`, 'link', 'set', 'eth0', 'up')
  }
  const moved = bare.map((local, n) => ({
    ...local,
    movedTo: { netns: `/run/netns/c${n}`, name: 'eth0' },
  }))
  await engine.swap(compiled(2, moved))
  t.match(run('ip', '-n', 'c1', 'rule'), /from 10\.0\.0\.4 lookup 4789/)
  t.match(
    run('ip', '-n', 'c1', 'route', 'show', 'table', '4789'),
    /default via 10\.0\.0\.1 dev eth0/,
  )
  if (spawnSync('ping', ['-V']).error) t.pass('ping', { skip: 'ping is not installed' })
  else t.equal(ping('10.0.0.4'), 0, 'one container reaches the other')
  run('ip', 'netns', 'delete', 'c1')
  await engine.swap(compiled(3, moved.slice(0, 1)))
  t.match(run('ip', '-n', 'c0', '-o', 'link'), /eth0/, 'the other stays')
})

t.test('made anew before the old ones have ended', { timeout: 100_000 }, async (t) => {
  const engine = new EngineThread()
  const onFailure = (error: Error): void => {
    t.fail(error.message)
  }
  const options = { runDirectory: '/run/weft', captures: new Map(), log: silentLogger, onFailure }
  const many: LocalInterface[] = Array.from({ length: 8 }, (_, n) => {
    return { name: `wfu${n}`, handedOver: true }
  })
  const compiled = (version: number, interfaces: readonly LocalInterface[]) =>
    compileTables(tables(version, interfaces), { privateKey: null })
  const shown = (): number => run('ip', '-o', 'link').match(/ wfu\d/g)?.length ?? 0
  await engine.start(compiled(1, many), options)
  t.teardown(() => engine.stop())
  t.equal(shown(), many.length)
  const before = run('ip', '-o', 'link', 'show', 'wfu7').split(':')[0]
  await engine.swap(compiled(2, []))
  await engine.swap(compiled(3, many))
  t.equal(shown(), many.length)
  t.not(run('ip', '-o', 'link', 'show', 'wfu7').split(':')[0], before, 'another device')
  await engine.swap(compiled(4, many.slice(0, 1)))
  await waitFor(() => shown() === 1, { what: 'the others to end' })
  await engine.stop()
  t.equal(shown(), 0, 'who has stopped has ended them all')
})

t.test('tables that hand over what cannot be are refused', async (t) => {
  const problem = (local: LocalInterface): string | undefined =>
    validateTables(tables(1, [local]), { schedulers: ['rr'] }).problems[0]?.message
  t.match(problem({ name: 'a', handedOver: true, defaultRoute: true }), /is for the engine to set/)
  t.match(problem({ name: 'a', movedTo: { netns: 1, name: 'b' } }), /only for an interface/)
})
