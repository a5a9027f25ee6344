// The project's habits, enforced: who may import whom, what is banned outside the edges, how long
// things may be, and that documents hold together. Each check is first shown to fail on a few lines
// of made-up source, then run over the whole tree. A complaint names the place and what to do
// instead.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import * as tidy from './tidy-rules.ts'

/** The import table of docs/architecture.md. Tests, test/ and bench/ may import anything. */
const IMPORT_RULES: readonly tidy.ImportRule[] = [
  { folder: 'base', folders: [], packages: [] },
  { folder: 'wire', folders: ['base'], packages: [] },
  { folder: 'vxlan', folders: ['base', 'wire'], packages: ['node:crypto'] },
  { folder: 'ipvs-emulator', folders: ['base', 'wire'], packages: [] },
  {
    folder: 'dataplane',
    folders: ['base', 'wire', 'vxlan', 'ipvs-emulator'],
    packages: ['node:crypto', 'ip-address'],
  },
  {
    folder: 'dataplane/edge',
    folders: ['base', 'wire', 'dataplane/dgram-plus'],
    packages: ['node:*', 'koffi'],
  },
  { folder: 'dataplane/dgram-plus', folders: [], packages: ['node:*', 'koffi'] },
  { folder: 'controlplane/raft', folders: ['base'], packages: [] },
  {
    folder: 'controlplane/raft/shell',
    folders: ['base', 'controlplane/raft', 'controlplane/proto'],
    packages: ['node:*', '@grpc/grpc-js', '@grpc/proto-loader'],
  },
  {
    folder: 'controlplane/proto',
    folders: ['base'],
    packages: ['node:*', '@grpc/grpc-js', '@grpc/proto-loader'],
  },
  { folder: 'controlplane/store', folders: ['base'], packages: ['node:crypto', 'ip-address'] },
  {
    folder: 'controlplane/ca',
    folders: ['base', 'controlplane/store', 'controlplane/proto'],
    packages: ['node:*', 'node-forge', '@grpc/grpc-js'],
  },
  {
    folder: 'controlplane/allocator',
    folders: ['base', 'controlplane/store'],
    packages: ['ip-address'],
  },
  { folder: 'controlplane/orchestrator', folders: ['base', 'controlplane/store'], packages: [] },
  { folder: 'controlplane/scheduler', folders: ['base', 'controlplane/store'], packages: [] },
  {
    folder: 'controlplane/dispatcher',
    folders: ['base', 'controlplane/store', 'controlplane/proto'],
    packages: ['node:crypto', '@grpc/grpc-js'],
  },
  {
    folder: 'controlplane/api',
    folders: ['base', 'controlplane/store'],
    packages: ['node:*', 'ip-address', 'dockerode'],
  },
  {
    folder: 'controlplane/agent',
    folders: ['base', 'wire', 'controlplane/store', 'controlplane/proto'],
    types: ['dataplane/tables.ts'],
    packages: ['node:*', 'dockerode', '@grpc/grpc-js', 'ip-address'],
  },
  { folder: 'cli', folders: ['*'], packages: ['*'] },
  { folder: 'bench', folders: ['*'], packages: ['*'] },
  { folder: 'test', folders: ['*'], packages: ['*'] },
]

/** Nobody imports cli/ but itself, the tests and the benchmarks: the rules above never name it. */
const WORKSPACES: Readonly<Record<string, string>> = { 'dgram-plus': 'dataplane/dgram-plus' }

/** Files that are started rather than imported; tests are entry points as well. */
const ENTRY_POINTS: readonly string[] = [
  'cli/weft.ts',
  'cli/warm.ts',
  'dataplane/dgram-plus/index.ts',
  'dataplane/dgram-plus/bench.ts',
  'test/run.ts',
  'test/sim/run.ts',
  'bench/',
]

/** Where clocks, timers, randomness, environment and console are at home. */
const EDGES: readonly string[] = [
  'dataplane/edge',
  'dataplane/dgram-plus',
  'controlplane/raft/shell',
  'controlplane/proto',
  'controlplane/agent',
  'controlplane/api',
  'cli',
  // The timer of any length that the edges share.
  'base/long-timer.ts',
  'bench',
  'test',
]

const BANS: readonly tidy.Ban[] = [
  { pattern: /\bDate\.now\b/, instead: 'take a Clock (base/clock.ts)' },
  { pattern: /\bnew Date\(\s*\)/, instead: 'take a Clock (base/clock.ts)' },
  { pattern: /\bperformance\.now\b/, instead: 'take a Clock (base/clock.ts)' },
  { pattern: /\bprocess\.hrtime\b/, instead: 'take a Clock (base/clock.ts)' },
  { pattern: /\bset(Timeout|Interval|Immediate)\b/, instead: 'be told the time by the caller' },
  { pattern: /\bMath\.random\b/, instead: 'take a Prng (base/prng.ts), or bytes for keys' },
  { pattern: /\bprocess\.env\b/, instead: 'take it as an option' },
  { pattern: /\bconsole\.\w+/, instead: 'take a Logger (base/log.ts)' },
]

const SIZES: tidy.SizeLimits = {
  lineColumns: 100,
  fileLines: 500,
  functionLines: 70,
  longFileReason: 'Longer than 500 lines because',
  // One lab, many subtests: long lists of cases in one function.
  ratchet: {
    'test/lab/hostile-underlay.test.ts (anonymous)': 145,
    'test/lab/overlay-kernel-vxlan.test.ts (anonymous)': 80,
    'test/lab/overlay-unicast.test.ts (anonymous)': 255,
  },
}

// In two halves, so that this file does not hold them itself.
const MARKS: readonly string[] = ['FIX' + 'ME', 'XX' + 'X', 'TO' + 'DO']

/** `generated` holds types that a tool writes; their own test compares them with their source. */
const SKIPPED = new Set(['node_modules', '.git', '.tap', 'tap-snapshots', 'generated'])
const root = fileURLToPath(new URL('..', import.meta.url))

function walk(folder: string): string[] {
  return readdirSync(`${root}${folder}`, { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}${entry.name}`
    if (entry.isDirectory()) return SKIPPED.has(entry.name) ? [] : walk(`${path}/`)
    return entry.isFile() ? [path] : []
  })
}

const read = (path: string): tidy.SourceFile => ({
  path,
  text: readFileSync(`${root}${path}`, 'utf8'),
})
const paths = walk('')
const sources = paths.filter((path) => path.endsWith('.ts')).map(read)
const documents = paths.filter((path) => path.endsWith('.md')).map(read)
/** Files under the import table and the bans: tests and what is made for tests alone are free. */
const product = sources.filter(
  ({ path }) => !/\.test\.ts$|\/testing\/|\/test-support\.ts$/.test(path),
)

/** A file made up for a self-test. */
function made(path: string, text: string): tidy.SourceFile {
  return { path, text }
}

t.test('the tree is there', async (t) => {
  t.ok(sources.length > 20, `${sources.length} source files`)
  t.ok(documents.length >= 2, `${documents.length} documents`)
  t.ok(sources.some(({ path }) => path === 'test/tidy.test.ts'))
})

t.test('comments, strings and patterns are not code', async (t) => {
  const text = [
    "const a = 'it\\'s // no' // yes {",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: source text, not a template
    'const b = `x ${f({ y: "}" })} /* no */`; g(b) /* { */',
    'const c = /[/"\\]]{2}/.test(a) ? 4 / 2 / 1 : "}"',
  ].join('\n')
  const code = tidy.blank(text)
  t.equal(code.length, text.length)
  t.notMatch(code, /no|yes|\*/)
  t.match(code, /f\(\{ y: "/)
  t.match(code, /g\(b\)/)
  t.match(code, /\.test\(a\) \? 4 \/ 2 \/ 1/)
  t.equal(code.split('{').length, code.split('}').length, 'braces balance')
})

t.test('every kind of import is seen', async (t) => {
  const text = [
    "import a from './a.ts'",
    "import type { B } from './b.ts'",
    "import { type C, type D } from './c.ts'",
    "import { type E, f } from './d.ts'",
    "export * from './e.ts'",
    "import {\n  g,\n} from './f.ts'",
    "import './g.ts'",
    "const h = await import('./h.ts')",
    "new Worker(new URL('./i.ts', import.meta.url))",
    "// import j from './j.ts'",
    'const k = "import l from \'./k.ts\'"',
  ].join('\n')
  t.same(
    tidy.importsOf(text).map(({ specifier, typeOnly }) => [specifier, typeOnly]),
    [
      ['./a.ts', false],
      ['./b.ts', true],
      ['./c.ts', true],
      ['./d.ts', false],
      ['./e.ts', false],
      ['./f.ts', false],
      ['./g.ts', false],
      ['./h.ts', false],
      ['./i.ts', false],
    ],
  )
})

t.test('who may import whom', async (t) => {
  const complaints = tidy.checkImports(
    [
      made('base/a.ts', "import '../wire/b.ts'"),
      made('wire/b.ts', "import '../base/a.ts'\nimport { readFileSync } from 'node:fs'"),
      made('vxlan/c.ts', "import { x } from '../ipvs-emulator/d.ts'\nimport 'node:crypto'"),
      made('dataplane/e.ts', "import './edge/f.ts'\nimport './g.ts'\nimport 'dgram-plus'"),
      made('dataplane/edge/f.ts', "import { y } from 'dgram-plus'\nimport 'koffi'\nimport 'tap'"),
      made('controlplane/agent/h.ts', "import type { T } from '../../dataplane/tables.ts'"),
      made('controlplane/agent/i.ts', "import { z } from '../../dataplane/tables.ts'"),
      made('controlplane/api/j.ts', "import type { T } from '../scheduler/k.ts'"),
      made('wire/l.ts', "import '../cli/weft.ts'"),
      made('cli/weft.ts', "import '../controlplane/raft/m.ts'\nimport 'anything'"),
      made('elsewhere/n.ts', ''),
    ],
    IMPORT_RULES,
    WORKSPACES,
  )
  t.same(complaints, [
    'base/a.ts:1: base may not import ../wire/b.ts',
    'wire/b.ts:2: wire may not import node:fs',
    'vxlan/c.ts:1: vxlan may not import ../ipvs-emulator/d.ts',
    'dataplane/e.ts:1: dataplane may not import ./edge/f.ts',
    'dataplane/e.ts:3: dataplane may not import dgram-plus',
    'dataplane/edge/f.ts:3: dataplane/edge may not import tap',
    'controlplane/agent/i.ts:1: controlplane/agent may not import ../../dataplane/tables.ts',
    'controlplane/api/j.ts:1: controlplane/api may not import ../scheduler/k.ts',
    'wire/l.ts:1: wire may not import ../cli/weft.ts',
    'elsewhere/n.ts: no import rule covers this folder',
  ])
  t.same(tidy.checkImports(product, IMPORT_RULES, WORKSPACES), [])
})

t.test('no import cycles', async (t) => {
  const complaints = tidy.checkCycles([
    made('a.ts', "import './b.ts'\nimport './d.ts'"),
    made('b.ts', "import type { C } from './c.ts'\nnew URL('./a.ts', import.meta.url)"),
    made('c.ts', "import './a.ts'"),
    made('d.ts', ''),
  ])
  t.same(complaints, ['cycle: a.ts > b.ts > c.ts > a.ts'])
  t.same(tidy.checkCycles(sources), [])
})

t.test('no file that nobody imports', async (t) => {
  const files = [
    made('cli/weft.ts', "import './used.ts'"),
    made('cli/used.ts', ''),
    made('cli/unused.ts', "import './used.ts'"),
    made('cli/tested.ts', ''),
    made('cli/tested.test.ts', "import './tested.ts'"),
    made('bench/x.ts', ''),
  ]
  t.same(tidy.checkUnused(files, ENTRY_POINTS), ['cli/unused.ts: nothing imports it'])
  t.same(tidy.checkUnused(sources, ENTRY_POINTS), [])
})

t.test('clocks, timers, randomness, environment and console stay at the edges', async (t) => {
  const text = [
    'const a = Date.now() // Date.now',
    'const b = new Date()',
    'const c = new Date(0)',
    "setTimeout(() => {}, 1); log('Math.random')",
    'Math.random() + performance.now() + process.env.HOME',
    'console.log(process.hrtime())',
  ].join('\n')
  const atEdge = (path: string): boolean => EDGES.some((edge) => tidy.contains(edge, path))
  const files = [made('base/x.ts', text), made('cli/x.ts', text)]
  t.same(
    tidy.checkBans(files, BANS, atEdge).map((line) => line.split(': ').slice(0, 2).join(' ')),
    [
      'base/x.ts:1 Date.now',
      'base/x.ts:2 new Date()',
      'base/x.ts:5 performance.now',
      'base/x.ts:6 process.hrtime',
      'base/x.ts:4 setTimeout',
      'base/x.ts:5 Math.random',
      'base/x.ts:5 process.env',
      'base/x.ts:6 console.log',
    ],
  )
  t.same(tidy.checkBans(product, BANS, atEdge), [])
})

t.test('functions are found and measured', async (t) => {
  const text = [
    'export function one(a: number): number {',
    '  if (a) {',
    '  }',
    '}',
    'class Two {',
    '  constructor() {}',
    '  async three<T>(b: (x: T) => void): Promise<T> {',
    '    for (const c of []) {',
    '    }',
    '  }',
    '}',
    'const four = (d: string): void => {',
    '}',
    'five(() => {',
    '})',
    'const six = { seven: 8 }',
  ].join('\n')
  t.same(
    tidy.functionsOf(text).map(({ name, line, lines }) => `${name} ${line} ${lines}`),
    ['one 1 4', 'constructor 6 1', 'three 7 4', 'four 12 2', '(anonymous) 14 2'],
  )
})

t.test('lines, files and functions are of a readable size', async (t) => {
  const body = (lines: number): string => `function f() {\n${'x()\n'.repeat(lines - 2)}}\n`
  const long = 'x()\n'.repeat(501)
  const files = [
    made('a.ts', `${'x'.repeat(100)}\n${'x'.repeat(101)}\n`),
    made('b.ts', 'x()\n'.repeat(500)),
    made('c.ts', long),
    made('d.ts', `// Longer than 500 lines because it is a table.\n${long}`),
    made('e.ts', body(70)),
    made('f.ts', body(71)),
    made('g.ts', body(80)),
    made('h.ts', body(81)),
  ]
  const limits = { ...SIZES, ratchet: { 'g.ts f': 80, 'h.ts f': 80 } }
  t.same(tidy.checkSizes(files, limits), [
    'a.ts:2: 101 columns, over 100',
    'c.ts: 501 lines and no line says "Longer than 500 lines because ..."',
    'f.ts:1: f has 71 lines of 70',
    'h.ts:1: f has 81 lines of 80',
  ])
  t.same(tidy.checkSizes(sources, SIZES), [])
  const names = sources.flatMap(({ path, text }) =>
    tidy.functionsOf(text).map(({ name }) => `${path} ${name}`),
  )
  for (const old of Object.keys(SIZES.ratchet)) t.ok(names.includes(old), `${old} still exists`)
})

t.test('nothing is left marked as unfinished', async (t) => {
  const files = MARKS.map((mark, i) => made(`${i}.ts`, `\n// ${mark}: later`))
  t.equal(tidy.checkMarks(files, MARKS).length, MARKS.length)
  t.same(tidy.checkMarks([made('a.ts', '// Prefixed'), made('b.ts', `my${MARKS[0]}`)], MARKS), [])
  t.same(tidy.checkMarks([...sources, ...documents], MARKS), [])
})

t.test('documents have one title and no dead links', async (t) => {
  const files = [
    made('docs/a.md', '# A\n\n## Part one\n\n[b](b.md) [p](#part-one) [w](https://x.example/)\n'),
    made('docs/b.md', '# B\n# Two\n```\n# not a title\n```\n[gone](gone.md) [h](a.md#part-two)\n'),
    made('README.md', 'No title. [up](docs/a.md#part-one) `[code](nowhere.md)`\n'),
  ]
  const known = new Set(files.map(({ path }) => path))
  t.same(
    tidy.checkDocuments(files, (path) => known.has(path)),
    [
      'docs/b.md: 2 titles ("# ...") instead of one',
      'docs/b.md: link to gone.md: no such file',
      'docs/b.md: link to a.md#part-two: no such heading',
      'README.md: 0 titles ("# ...") instead of one',
    ],
  )
  t.same(
    tidy.checkDocuments(documents, (path) => existsSync(`${root}${path}`)),
    [],
  )
})

t.test('the lock file is bound to no registry', async (t) => {
  const lock = (resolved: string): string =>
    JSON.stringify({ packages: { '': {}, 'node_modules/a': { resolved } } })
  t.equal(tidy.checkLockfile(lock('https://registry.example/a.tgz')).length, 1)
  t.same(tidy.checkLockfile(lock('dataplane/dgram-plus')), [])
  t.same(tidy.checkLockfile(read('package-lock.json').text), [])
})
