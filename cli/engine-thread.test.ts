// Goal: tables that the host refuses do not stay, at whatever step it refuses them. Method: inside
// a lab, the real packet loop; more published ports than the host is given rules for, and an `ip`
// that does nothing.

import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { silentLogger } from '../base/log.ts'
import { compileTables } from '../dataplane/compile.ts'
import type { CompiledTables } from '../dataplane/compiled.ts'
import { ENGINE_CELLS } from '../dataplane/counters.ts'
import { insideLab, run } from '../dataplane/edge/testing/lab.ts'
import type { Endpoint, PublishedPort } from '../dataplane/tables.ts'
import { validateTables } from '../dataplane/validate.ts'
import { EngineThread } from './engine-thread.ts'

const t = await insideLab(import.meta.filename)

/** One task on the ingress network, and one published port per address at most. */
function tables(version: number, tasks: number, ports: number, addresses: number): CompiledTables {
  const endpoints = Array.from({ length: tasks }, (_, n): Endpoint => {
    const interfaceName = { name: `wfe${n}` }
    const place = { network: 'in', node: 'a', interface: interfaceName }
    return { name: `t${n}`, addresses: [`10.0.0.${n + 3}`], ...place }
  })
  const publishedPorts = Array.from({ length: ports }, (_, n): PublishedPort => {
    return { protocol: 'tcp', port: 8000 + n, service: 'web' }
  })
  const network = { name: 'in', vni: 4096, subnets: ['10.0.0.0/24'], encrypted: false }
  const backends = endpoints.map(({ name }) => ({ endpoint: name }))
  const checked = validateTables(
    {
      version,
      node: {
        name: 'a',
        listenAddress: '127.0.0.1',
        addresses: Array.from({ length: addresses }, (_, n) => `10.1.0.${n + 1}`),
      },
      peers: [],
      networks: [{ ...network, ingress: true }],
      endpoints,
      services: [{ name: 'web', network: 'in', vips: [], backends }],
      publishedPorts,
    },
    { schedulers: ['rr'] },
  )
  return compileTables(checked.tables!, { privateKey: null })
}

t.test('the tables that ran before still run', { timeout: 100_000 }, async (t) => {
  const engine = new EngineThread()
  const onFailure = (error: Error): void => {
    t.fail(error.message)
  }
  const options = { runDirectory: '/run/weft', captures: new Map(), log: silentLogger, onFailure }
  run('mkdir', '-p', '/run/weft')
  const version = (): number => new Float64Array(engine.counters)[ENGINE_CELLS.tablesVersion]!
  const devices = (): string[] => run('ip', '-o', 'link').match(/wfe\d/g) ?? []
  await engine.start(tables(1, 1, 2, 1), options)
  t.teardown(() => engine.stop())
  const rules = run('ip', 'rule')
  await t.rejects(engine.swap(tables(2, 2, 70, 60)), /are more than \d+ rules/)
  t.equal(version(), 1)
  t.equal(run('ip', 'rule'), rules)
  const { backends } = await engine.ask('drain', { endpoint: 't1' })
  t.equal(backends, 0, 'the backend of the refused tables is none')
  mkdirSync('/run/weft/bin')
  writeFileSync('/run/weft/bin/ip', '#!/bin/sh\nexit 1\n')
  chmodSync('/run/weft/bin/ip', 0o755)
  const { PATH } = process.env
  process.env.PATH = `/run/weft/bin:${PATH}`
  await t.rejects(engine.swap(tables(3, 1, 3, 1)))
  process.env.PATH = PATH
  t.equal(version(), 1, 'the loop goes back')
  t.equal(run('ip', 'rule'), rules)
  await engine.swap(tables(4, 1, 3, 1))
  t.equal(version(), 4, 'and the next ones come')
  t.match(run('ip', 'rule'), /dport 8002/)
  t.same(devices(), ['wfe0'], 'nothing of the refused ones stays')
})
