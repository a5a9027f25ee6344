// Goal: whatever comes when, the agent tells it, keeps what ran, undoes what it began and ends with
// the right status. Method: an agent over a fake engine whose start, swap and stop the test
// completes; signals from an emitter; real files, real watching, real metrics.

import { EventEmitter } from 'node:events'
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { type LogFields, type LogLevel, sinkLogger } from '../base/log.ts'
import type { BalancerRows } from '../dataplane/balanced-services.ts'
import type { CompiledTables } from '../dataplane/compiled.ts'
import { counterMemory } from '../dataplane/counters.ts'
import type { EngineEnd, EngineHandle, EngineOptions } from '../dataplane/engine-handle.ts'
import { Agent, type AgentOptions } from './agent.ts'
import { UsageError } from './exit.ts'

const GOOD = readFileSync(join(import.meta.dirname, '../dataplane/testdata/tables.json'), 'utf8')

// biome-ignore lint/suspicious/noExplicitAny: tables loose enough to be changed at will
function changed(change: (tables: any) => void): string {
  const tables = JSON.parse(GOOD)
  change(tables)
  return JSON.stringify(tables)
}

/** Waits for `condition` with a deadline. */
async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited in vain for ${what}`)
    await new Promise((done) => setTimeout(done, 5))
  }
}

class FakeEngine implements EngineHandle {
  readonly counters: SharedArrayBuffer = counterMemory(16)
  readonly calls: string[] = []
  options: EngineOptions | null = null
  tables: CompiledTables | null = null
  /** Null = succeeds at once; otherwise what start() and swap() wait for. */
  gate: Promise<void> | null = null
  refusal: Error | null = null
  stopError: Error | null = null

  readonly statistics: SharedArrayBuffer = new SharedArrayBuffer(64)

  counterRows(): [] {
    return []
  }

  balancerRows(): BalancerRows {
    return { backends: [], rows: new Int32Array(0), weights: new Int32Array(0) }
  }

  async ask(): Promise<never> {
    throw new Error('there is no loop')
  }

  async changeServices(): Promise<never> {
    throw new Error('there is no loop')
  }

  manualServices(): [] {
    return []
  }

  async start(tables: CompiledTables, options: EngineOptions): Promise<void> {
    this.calls.push('start')
    this.options = options
    await this.settle()
    this.tables = tables
  }

  async swap(tables: CompiledTables): Promise<void> {
    this.calls.push(`swap ${tables.version}`)
    await this.settle()
    this.tables = tables
  }

  async stop(end: EngineEnd = 'undo'): Promise<void> {
    this.calls.push(end === 'hold' ? 'hold' : 'stop')
    if (this.stopError !== null) throw this.stopError
  }

  private async settle(): Promise<void> {
    if (this.gate !== null) await this.gate
    if (this.refusal !== null) throw this.refusal
  }
}

interface Fixture {
  readonly engine: FakeEngine
  readonly signals: EventEmitter
  readonly logs: string[]
  readonly complaints: string[]
  readonly aborts: number[]
  readonly file: string
  readonly agent: Agent
  readonly status: Promise<number>
  readonly running: () => Promise<void>
}

type Teardown = { testdir: typeof t.testdir; teardown: typeof t.teardown }

function start(
  t: Teardown,
  text: string = GOOD,
  more: Partial<AgentOptions> = {},
  prepare: (engine: FakeEngine) => void = () => {},
): Fixture {
  const folder = t.testdir({ 'tables.json': text })
  const file = join(folder, 'tables.json')
  const engine = new FakeEngine()
  prepare(engine)
  const signals = new EventEmitter()
  const logs: string[] = []
  const complaints: string[] = []
  const aborts: number[] = []
  const sink = (level: LogLevel, message: string, fields: LogFields): void => {
    logs.push(`${level} ${message} ${JSON.stringify(fields)}`)
  }
  const agent = new Agent(
    { configFile: file, metrics: null, runDirectory: folder, captures: new Map(), ...more },
    {
      engine,
      schedulers: ['rr', 'wrr'],
      log: sinkLogger(sink, 'debug'),
      version: '0.1.0',
      signals,
      complain: (sentence) => complaints.push(sentence),
      abort: (status) => aborts.push(status),
    },
  )
  const status = agent.run()
  status.catch(() => {})
  t.teardown(async () => {
    signals.emit('SIGTERM')
    await status.catch(() => {})
  })
  const running = (): Promise<void> =>
    until(() => logs.some((line) => line.startsWith('info tables running')), 'the start')
  return { engine, signals, logs, complaints, aborts, file, agent, status, running }
}

t.test('runs, and stops on each signal with its status', async (t) => {
  for (const [signals, status, end] of [
    [['SIGINT'], 0, 'stop'],
    [['SIGTERM'], 0, 'stop'],
    [['SIGUSR2', 'SIGUSR2'], 75, 'hold'],
    [['SIGTERM', 'SIGUSR2'], 0, 'stop'],
  ] as const) {
    const f = start(t)
    await f.running()
    t.equal(f.engine.tables?.version, 7)
    for (const signal of signals) f.signals.emit(signal)
    t.equal(await f.status, status)
    t.strictSame(f.engine.calls, ['start', end])
  }
})

t.test('a bad file is told in full with status 2, and nothing is begun', async (t) => {
  const text = changed((x) => {
    x.networks[1].vni = 4096
    x.endpoints[0].addresses = ['10.9.9.9']
  })
  const f = start(t, text)
  t.equal(await f.status, 2)
  t.strictSame(f.engine.calls, [])
  t.match(f.complaints, [
    /tables\.json: networks\[1\]\.vni: is also that of networks\[0\]$/,
    /tables\.json: endpoints\[0\]\.addresses\[0\]: 10\.9\.9\.9 is outside the subnets/,
  ])
})

t.test('files that are no tables', async (t) => {
  const rows: readonly (readonly [string, RegExp])[] = [
    [
      '{"version": 1,\n "node" 3}',
      /tables\.json: is not JSON: unexpected text in line 2, column 9$/,
    ],
    ['{"version": 1', /tables\.json: is not JSON/],
    ['', /tables\.json: is not JSON: it ends too early$/],
    ['[]', /tables\.json: must be an object, not a list$/],
    ['{"node":{"privateKey":"sec\u0000ret"}}', /is not JSON/],
  ]
  for (const [text, words] of rows) {
    const f = start(t, text)
    t.equal(await f.status, 2)
    t.match(f.complaints[0], words)
    t.notMatch(f.complaints.join(), /sec/)
  }
  const missing = start(t, GOOD, { configFile: '/nonexistent/tables.json' })
  t.equal(await missing.status, 2)
  t.strictSame(missing.complaints, ['/nonexistent/tables.json: there is no such file'])
})

t.test('a key file that others may read is refused', async (t) => {
  const text = changed((x) => {
    delete x.node.privateKey
    x.node.privateKeyFile = 'key'
  })
  const key = `${Buffer.alloc(32, 7).toString('base64')}\n`
  for (const [mode, content, words] of [
    [0o600, key, null],
    [0o640, key, /privateKeyFile: .*\/key: others may read this private key \(mode 0640\)/],
    [0o604, key, /mode 0604/],
    [0o600, 'abc', /holds no private key/],
    [0o600, '', /holds no private key/],
  ] as const) {
    const folder = t.testdir({ 'tables.json': text })
    writeFileSync(join(folder, 'key'), content, { mode })
    const f = start({ testdir: () => folder, teardown: t.teardown.bind(t) }, text)
    if (words === null) await f.running()
    else {
      t.equal(await f.status, 2)
      t.match(f.complaints[0], words)
    }
    f.signals.emit('SIGTERM')
    await f.status
  }
})

t.test('an engine that cannot start is a sentence and status 1', async (t) => {
  const refusal = new Error('network namespace /run/netns/web1 does not exist; create it first')
  const f = start(t, GOOD, {}, (engine) => {
    engine.refusal = refusal
  })
  t.equal(await f.status, 1)
  t.match(f.logs.at(-1), /^error network namespace \/run\/netns\/web1 does not exist/)
  t.strictSame(f.engine.calls, ['start'])
})

t.test('a metrics address that is taken ends it before the host is touched', async (t) => {
  const first = start(t, GOOD, { metrics: { host: '127.0.0.1', port: 0 } })
  await first.running()
  const url = /"url":"([^"]+)"/.exec(first.logs.join())![1]!
  const second = start(t, GOOD, { metrics: { host: '127.0.0.1', port: Number(new URL(url).port) } })
  t.equal(await second.status, 1)
  t.match(second.logs.at(-1), /another process listens there/)
  t.strictSame(second.engine.calls, [])
  t.equal((await fetch(url)).status, 200)
})

t.test('a signal during the start stops the engine and ends with status 0', async (t) => {
  for (const outcome of ['never', 'late', 'fails'] as const) {
    let open = (): void => {}
    const f = start(t, GOOD, {}, (engine) => {
      engine.gate = new Promise((done) => {
        open = done
      })
      if (outcome === 'fails') engine.refusal = new Error('interrupted')
    })
    await until(() => f.engine.calls.includes('start'), 'the start')
    f.signals.emit('SIGINT')
    if (outcome !== 'never') open()
    t.equal(await f.status, 0, outcome)
    t.strictSame(f.engine.calls, ['start', 'stop'])
  }
})

t.test('a signal before the start begins is not lost', async (t) => {
  for (const [signal, status] of Object.entries({ SIGTERM: 0, SIGUSR2: 75 })) {
    const f = start(t, GOOD, { metrics: { host: '127.0.0.1', port: 0 } })
    f.signals.emit(signal)
    t.equal(await f.status, status)
    t.strictSame(f.engine.calls, [])
  }
})

t.test('a second signal gives up waiting', async (t) => {
  const f = start(t)
  await f.running()
  f.signals.emit('SIGINT')
  f.signals.emit('SIGINT')
  t.strictSame(f.aborts, [1])
  await f.status
})

t.test('a failure of the engine ends it with status 1', async (t) => {
  const f = start(t)
  await f.running()
  f.engine.options!.onFailure(new Error('the packet loop ended'))
  t.equal(await f.status, 1)
  t.strictSame(f.engine.calls, ['start', 'stop'])
  t.match(f.logs.join('\n'), /error the data plane has failed .*packet loop ended/)
  const g = start(t)
  await g.running()
  g.engine.stopError = new Error('device busy')
  g.signals.emit('SIGTERM')
  t.equal(await g.status, 1, 'a stop that fails is a failure')
})

t.test('a changed file is swapped in, however it is changed', async (t) => {
  const f = start(t)
  await f.running()
  const ways: readonly ((text: string) => void)[] = [
    (text) => writeFileSync(f.file, text),
    (text) => {
      writeFileSync(`${f.file}.new`, text)
      renameSync(`${f.file}.new`, f.file)
    },
    (text) => {
      renameSync(f.file, `${f.file}~`)
      writeFileSync(f.file, text)
    },
    (text) => {
      rmSync(f.file)
      writeFileSync(f.file, text.slice(0, 100))
      writeFileSync(f.file, text)
    },
  ]
  for (const [i, way] of ways.entries()) {
    way(
      changed((x) => {
        x.version = 100 + i
      }),
    )
    await until(() => f.engine.tables?.version === 100 + i, `version ${100 + i}`)
  }
  t.equal(f.agent.reloadFailures, 0)
})

t.test('a symbolic link that is switched is a change', async (t) => {
  const folder = t.testdir({ v1: { 'tables.json': GOOD }, v2: {}, v3: {} })
  for (const v of [2, 3]) {
    writeFileSync(
      join(folder, `v${v}/tables.json`),
      changed((x) => {
        x.version = v
      }),
    )
  }
  mkdirSync(join(folder, 'mount'))
  symlinkSync('../v1', join(folder, 'mount/..data'))
  symlinkSync('..data/tables.json', join(folder, 'mount/tables.json'))
  const own = { testdir: () => folder, teardown: t.teardown.bind(t) }
  const f = start(own, GOOD, { configFile: join(folder, 'mount/tables.json') })
  await f.running()
  for (const v of [2, 3]) {
    symlinkSync(`../v${v}`, join(folder, 'mount/..data_tmp'))
    renameSync(join(folder, 'mount/..data_tmp'), join(folder, 'mount/..data'))
    await until(() => f.engine.tables?.version === v, `version ${v}`)
  }
  writeFileSync(
    join(folder, 'v3/tables.json'),
    changed((x) => {
      x.version = 4
    }),
  )
  await until(() => f.engine.tables?.version === 4, 'an edit behind the link')
})

t.test('SIGHUP reloads; the same text is no change', async (t) => {
  const f = start(t)
  await f.running()
  f.signals.emit('SIGHUP')
  await until(() => f.logs.some((line) => line.startsWith('info tables unchanged')), 'a look')
  t.strictSame(f.engine.calls, ['start'])
})

t.test('SIGHUP during the start is done after it', async (t) => {
  let open = (): void => {}
  const f = start(t, GOOD, {}, (engine) => {
    engine.gate = new Promise((done) => {
      open = done
    })
  })
  await until(() => f.engine.calls.includes('start'), 'the start')
  writeFileSync(
    f.file,
    changed((x) => {
      x.version = 8
    }),
  )
  f.signals.emit('SIGHUP')
  open()
  await until(() => f.engine.tables?.version === 8, 'version 8')
})

t.test('tables that are refused leave the running ones', async (t) => {
  const f = start(t, GOOD, { metrics: { host: '127.0.0.1', port: 0 } })
  await f.running()
  const url = /"url":"([^"]+)"/.exec(f.logs.join())![1]!
  const failures = async (): Promise<string> =>
    /^weft_tables_reload_failures_total (.*)$/m.exec(await (await fetch(url)).text())![1]!
  t.equal(await failures(), '0')

  writeFileSync(
    f.file,
    changed((x) => {
      x.networks[0].vni = 42
    }),
  )
  await until(() => f.agent.reloadFailures === 1, 'a refusal')
  t.match(f.logs.join('\n'), /error tables refused .*"path":"networks\[1\]\.vni"/)
  t.match(f.logs.at(-1), /^warn the tables that ran before go on .*"version":7/)

  writeFileSync(f.file, '{')
  await until(() => f.agent.reloadFailures === 2, 'a second refusal')

  writeFileSync(
    f.file,
    changed((x) => {
      x.node.listenPort = 5000
      x.version = 9
    }),
  )
  await until(() => f.agent.reloadFailures === 3, 'a third refusal')
  t.match(f.logs.join('\n'), /"path":"node\.listenPort","problem":"cannot change while/)

  f.engine.refusal = new Error('network namespace /run/netns/gone does not exist')
  writeFileSync(
    f.file,
    changed((x) => {
      x.version = 10
    }),
  )
  await until(() => f.agent.reloadFailures === 4, 'a refusal by the host')
  t.equal(f.engine.tables?.version, 7)
  t.equal(await failures(), '4')

  f.engine.refusal = null
  writeFileSync(
    f.file,
    changed((x) => {
      x.version = 11
    }),
  )
  await until(() => f.engine.tables?.version === 11, 'version 11')
})

t.test('changes during a swap are swapped in after it, once', async (t) => {
  const f = start(t)
  await f.running()
  let open = (): void => {}
  f.engine.gate = new Promise((done) => {
    open = done
  })
  writeFileSync(
    f.file,
    changed((x) => {
      x.version = 20
    }),
  )
  f.signals.emit('SIGHUP')
  await until(() => f.engine.calls.includes('swap 20'), 'the first swap')
  for (let version = 21; version <= 25; version++) {
    writeFileSync(
      f.file,
      changed((x) => {
        x.version = version
      }),
    )
    f.signals.emit('SIGHUP')
  }
  f.engine.gate = null
  open()
  await until(() => f.engine.tables?.version === 25, 'the last version')
  t.strictSame(f.engine.calls, ['start', 'swap 20', 'swap 25'])
})

t.test('a signal during a swap stops the engine', async (t) => {
  const f = start(t)
  await f.running()
  f.engine.gate = new Promise(() => {})
  writeFileSync(
    f.file,
    changed((x) => {
      x.version = 20
    }),
  )
  f.signals.emit('SIGHUP')
  await until(() => f.engine.calls.includes('swap 20'), 'the swap')
  f.signals.emit('SIGTERM')
  t.equal(await f.status, 0)
  t.strictSame(f.engine.calls, ['start', 'swap 20', 'stop'])
})

t.test('captures name ports that are there', async (t) => {
  const f = start(t, GOOD, {
    captures: new Map([
      ['underlay', 'u'],
      ['web.1', 'w'],
    ]),
  })
  await f.running()
  t.strictSame([...f.engine.options!.captures.keys()], ['underlay', 'web.1'])
  const g = start(t, GOOD, { captures: new Map([['web.2', 'w']]) })
  await t.rejects(
    g.status,
    new UsageError('--pcap names "web.2", which is no local port; did you mean "web.1"?'),
  )
})

t.test('a tables file with a key that others may read is told', async (t) => {
  const f = start(t)
  await f.running()
  t.match(f.logs[0], /^warn the tables file holds a key and others may read it/)
})
