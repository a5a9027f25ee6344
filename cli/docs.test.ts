// Goal: what the documents show is true. Method: every tables file in a document is validated,
// every metric and drop reason is looked for in docs/operations.md, every option in a verb's usage.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { DROP_NONE, DROP_REASONS } from '../dataplane/drop-reasons.ts'
import { ENGINE_METRICS, LOADS, ROW_KINDS, TOTALS } from '../dataplane/metrics.ts'
import { problemText, validateTables } from '../dataplane/validate.ts'
import * as backup from './backup.ts'
import { SCHEDULERS } from './compose.ts'
import * as dataplane from './dataplane.ts'
import * as demo from './demo.ts'
import { EXIT_RESTART } from './exit.ts'
import * as ipvs from './ipvs.ts'
import * as keygen from './keygen.ts'
import * as restore from './restore.ts'
import * as up from './up.ts'
import * as version from './version.ts'

const ROOT = join(import.meta.dirname, '..')

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}

t.test('tables shown in documents are good', async (t) => {
  for (const file of ['README.md', 'docs/tables.md']) {
    const blocks = [...read(file).matchAll(/```json\n(.*?)```/gs)].map((match) => match[1]!)
    t.ok(blocks.length > 0, `${file} shows tables`)
    for (const block of blocks) {
      const { problems } = validateTables(JSON.parse(block), { schedulers: SCHEDULERS })
      t.strictSame(problems.map(problemText), [], file)
    }
  }
})

t.test('docs/operations.md tells every metric and drop reason', async (t) => {
  const text = read('docs/operations.md')
  for (const { name } of ENGINE_METRICS) t.ok(text.includes(`\`${name}\``), name)
  for (const { name } of LOADS) t.ok(text.includes(`\`${name}\``), name)
  for (const [name] of TOTALS) t.ok(text.includes(`\`${name}\``), name)
  for (const { noun } of ROW_KINDS) t.ok(text.includes(`\`weft_${noun}\``), noun)
  DROP_REASONS.forEach(({ name, sentence }, reason) => {
    if (reason !== DROP_NONE) t.ok(text.includes(`| \`${name}\` | ${sentence} |`), name)
  })
})

t.test('docs/ipvs-command.md and the usage name the same options', async (t) => {
  const text = read('docs/ipvs-command.md')
  for (const option of ['--run-dir', '-A', '-a', '-L', '-S', '-R', '-C', '--stats', '-m', '-g']) {
    t.ok(text.includes(option), option)
    t.ok(ipvs.usage.includes(option), option)
  }
})

t.test('docs/operations.md and the usage name the same options', async (t) => {
  const text = read('docs/operations.md')
  for (const option of ['--config', '--run-dir', '--pcap', '--metrics', '--log-format']) {
    t.ok(text.includes(option), option)
    t.ok(dataplane.usage.includes(option), option)
  }
})

t.test('docs/swarm.md tells every option of weft up', async (t) => {
  const text = read('docs/swarm.md')
  const options = new Set([...up.usage.matchAll(/--[a-z][a-z-]+/g)].map(([option]) => option))
  options.delete('--help')
  t.ok(options.size > 10)
  for (const option of options) t.ok(text.includes(option), option)
})

t.test('a restart has one status: in the unit, the documents and the usage', async (t) => {
  const unit = read('packaging/weft.service')
  for (const setting of ['RestartForceExitStatus', 'SuccessExitStatus']) {
    t.match(unit, new RegExp(`^${setting}=${EXIT_RESTART}$`, 'm'))
  }
  t.match(unit, /^ExecReload=.*kill -s USR2 \$MAINPID$/m)
  t.ok(read('docs/operations.md').includes(`| ${EXIT_RESTART} |`))
  for (const { usage } of [up, dataplane]) t.match(usage, new RegExp(`status\\s${EXIT_RESTART} `))
})

t.test('the usage of every verb fits a terminal of 80 columns', async (t) => {
  const verbs = { backup, dataplane, demo, ipvs, keygen, restore, up, version }
  for (const [name, { usage }] of Object.entries(verbs)) {
    t.strictSame(
      usage.split('\n').filter((line) => line.length > 80),
      [],
      name,
    )
  }
})

t.test('every file that a command in a document names is there', async (t) => {
  const documents = readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)
  let count = 0
  for (const file of [...documents, 'README.md', 'CONTRIBUTING.md']) {
    for (const [, name] of read(file).matchAll(/(?:npx tap|bin\/node) ([\w./-]+\.ts)/g)) {
      t.ok(existsSync(join(ROOT, name!)), `${file}: ${name}`)
      count++
    }
  }
  t.ok(count > 5)
})

t.test('docs/nodes.md tells every label of a service', async (t) => {
  const text = read('docs/nodes.md')
  const files = ['agent/service-options.ts', 'agent/drain-timeout.ts', 'scheduler/rebalance.ts']
  for (const file of files) {
    const labels = [...read(`controlplane/${file}`).matchAll(/'(weft\.[a-z-]+)'/g)]
    t.ok(labels.length > 0, file)
    for (const [, label] of labels) t.ok(text.includes(`| \`${label}\` |`), label!)
  }
})

t.test('every scheduler is in docs/tables.md', async (t) => {
  const text = read('docs/tables.md')
  for (const name of SCHEDULERS) t.ok(text.includes(`\`${name}\``), name)
})

t.test('every dependency is in docs/dependencies.md', async (t) => {
  const text = read('docs/dependencies.md')
  const manifest = JSON.parse(read('package.json')) as Record<string, Record<string, string>>
  for (const list of ['dependencies', 'optionalDependencies', 'devDependencies']) {
    for (const name of Object.keys(manifest[list] ?? {})) t.ok(text.includes(`\`${name}\``), name)
  }
})
