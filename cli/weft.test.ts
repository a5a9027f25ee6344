// Goal: the command line says what is wrong with it and what it knows. Method: the real program,
// run as a process; key files and log lines as they end up on disk and on standard error.

import { spawnSync } from 'node:child_process'
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseKey } from '../dataplane/address.ts'
import { logLine } from './log-lines.ts'

const WEFT = join(import.meta.dirname, 'weft.ts')
const TABLES = join(import.meta.dirname, '../dataplane/testdata/tables.json')

function weft(...args: string[]): { status: number | null; out: string; err: string } {
  const run = spawnSync(process.execPath, [WEFT, ...args], { encoding: 'utf8' })
  return { status: run.status, out: run.stdout, err: run.stderr }
}

t.test('help', async (t) => {
  for (const args of [['help'], ['--help'], ['-h']]) {
    const { status, out, err } = weft(...args)
    t.strictSame([status, err], [0, ''])
    for (const verb of ['dataplane', 'demo', 'keygen', 'version']) t.match(out, ` ${verb} `)
  }
  t.match(weft(), { status: 2, out: '', err: /usage: weft VERB/ })
  for (const verb of ['dataplane', 'keygen', 'version']) {
    const usage = new RegExp(`^usage: weft ${verb}`)
    for (const args of [
      ['help', verb],
      [verb, '--help'],
      [verb, '-h'],
    ]) {
      t.match(weft(...args), { status: 0, out: usage, err: '' })
    }
  }
  t.match(weft('version'), { status: 0, out: /^weft \d+\.\d+\.\d+, node v24\./ })
  t.equal(weft('--version').out, weft('version').out)
})

t.test('options that Node has, too, are ours', async (t) => {
  const command = ['service', 'create', '--env-file', '/nowhere', 'nginx']
  const { stderr } = spawnSync(join(import.meta.dirname, '../weft'), command, { encoding: 'utf8' })
  t.equal(stderr, 'open /nowhere: there is no such file\n')
})

t.test('command lines that cannot be understood', async (t) => {
  const rows: readonly (readonly [string[], RegExp])[] = [
    [['keygne'], /^weft: unknown verb "keygne"; did you mean "keygen"\?\n$/],
    [['constructor'], /unknown verb "constructor"; "weft help" lists the verbs/],
    [['--verbose'], /unknown option "--verbose"/],
    [['version', 'x'], /version: takes no arguments; see "weft version --help"/],
    [['keygen'], /keygen: FILE is missing/],
    [['keygen', 'a', 'b'], /takes one FILE, not also "b"/],
    [['keygen', '--pubilc', 'a'], /unknown option "--pubilc"; did you mean "--public"\?/],
    [['node', 'updaet', 'x'], /^weft: node: unknown command "updaet"; did you mean "update"\?;/],
    [['node', 'update'], /^weft: node update: requires .* \(NODE\); see "weft node update --help"/],
    [['node', 'ls', '--al'], /^weft: node ls: unknown option "--al"; see "weft node ls --help"\n$/],
    [['demo', '--onec'], /^weft: demo: unknown option "--onec"; did you mean "--once"\?/],
    [['demo', 'x'], /^weft: demo: takes no arguments but --once; see "weft demo --help"\n$/],
    [['dataplane'], /--config FILE is missing/],
    [['dataplane', '--config'], /argument missing/],
    [['dataplane', 'tables.json'], /does not know what to do with "tables.json"/],
    [
      ['dataplane', '--config', 'x', '--metrics', 'localhost:80'],
      /--metrics wants ADDRESS:PORT or PORT, not "localhost:80"/,
    ],
    [['dataplane', '--config', 'x', '--pcap', 'eth0'], /--pcap wants PORT=FILE, not "eth0"/],
    [
      ['dataplane', '--config', 'x', '--pcap', 'a=b', '--pcap', 'a=c'],
      /--pcap names port "a" twice/,
    ],
    [
      ['dataplane', '--config', 'x', '--log-format', 'jsno'],
      /--log-format does not know "jsno"; did you mean "json"\?/,
    ],
    [['dataplane', '--config', 'x', '--log-level', 'loud'], /there are debug, info, warn, error/],
  ]
  for (const [args, words] of rows) {
    const { status, out, err } = weft(...args)
    t.strictSame([status, out], [2, ''], args.join(' '))
    t.match(err, words)
    t.equal(err.trimEnd().split('\n').length, 1, 'one line')
  }
})

t.test('--check judges a tables file', async (t) => {
  t.strictSame(weft('dataplane', '--check', '--config', TABLES), { status: 0, out: '', err: '' })
  const file = join(t.testdir(), 'tables.json')
  writeFileSync(file, readFileSync(TABLES, 'utf8').replace('"vni": 42', '"vni": 4096'))
  t.strictSame(weft('dataplane', '--check', '--config', file), {
    status: 2,
    out: '',
    err: `weft: ${file}: networks[1].vni: is also that of networks[0]\n`,
  })
})

t.test('keygen', async (t) => {
  const file = join(t.testdir(), 'key')
  const made = weft('keygen', file)
  t.equal(made.status, 0)
  t.equal(statSync(file).mode & 0o777, 0o600)
  const text = readFileSync(file, 'utf8')
  t.not(parseKey(text.trimEnd()), null)
  t.not(parseKey(made.out.trimEnd()), null)
  t.not(made.out, text)
  t.match(weft('keygen', '--public', file), { status: 0, out: made.out })
  t.match(weft('keygen', file), {
    status: 1,
    out: '',
    err: /exists already and is not overwritten/,
  })
  t.equal(readFileSync(file, 'utf8'), text)
  chmodSync(file, 0o644)
  t.match(weft('keygen', '--public', file), { status: 1, err: /others may read .* chmod 600 it/ })
  t.match(weft('keygen', '--public', '/nonexistent'), { status: 1, err: /there is no such file/ })
  t.match(weft('keygen', '/nonexistent/key'), { status: 1, err: /there is no such file/ })
})

t.test('the public key is X25519 of the private one (RFC 7748 section 6.1, Alice)', async (t) => {
  const file = join(t.testdir(), 'alice')
  const secret = '77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'
  const known = '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a'
  writeFileSync(file, `${Buffer.from(secret, 'hex').toString('base64')}\n`, { mode: 0o600 })
  const told = Buffer.from(weft('keygen', '--public', file).out, 'base64').toString('hex')
  t.equal(told, known)
})

t.test('log lines', async (t) => {
  const time = new Date(0)
  t.equal(
    logLine('text', time, 'info', 'tables running', { version: 7, node: 'host1', gone: undefined }),
    '1970-01-01T00:00:00.000Z info  tables running version=7 node=host1',
  )
  t.equal(
    logLine('text', time, 'error', 'refused', { error: 'a "b"\nweft=1', none: null, empty: '' }),
    '1970-01-01T00:00:00.000Z error refused error="a \\"b\\"\\nweft=1" none=null empty=""',
  )
  t.equal(logLine('text', time, 'warn', 'two\nlines', {}).split('\n').length, 1)
  t.strictSame(JSON.parse(logLine('json', time, 'warn', 'x', { peer: 'a\nb', n: 1 })), {
    time: '1970-01-01T00:00:00.000Z',
    level: 'warn',
    message: 'x',
    peer: 'a\nb',
    n: 1,
  })
})
