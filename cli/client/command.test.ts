// Goal: commands take and print what the docker CLI takes and prints. Method: the frame against an
// API made up on a unix socket, with a terminal that remembers.

import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { UsageError } from '../exit.ts'
import { type Command, runNoun } from './command.ts'
import { NODE_COMMANDS } from './node-commands.ts'
import { SWARM_COMMANDS } from './swarm-commands.ts'
import { align, renderList, since } from './table.ts'
import { renderTemplate } from './template.ts'
import { KeptTerminal } from './testing/terminal.ts'

interface Asked {
  readonly request: string
  readonly body: unknown
}

type Answers = Readonly<Record<string, unknown>>

/** Serves `answers` by "METHOD /path" (without version and query) while `body` runs. */
async function withApi(
  answers: Answers,
  body: (socket: string, asked: Asked[]) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-client-'))
  const asked: Asked[] = []
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const chunk of request) text += chunk
    const path = request.url!.replace(/^\/v1\.\d+/, '')
    asked.push({
      request: `${request.method} ${path}`,
      body: text === '' ? null : JSON.parse(text),
    })
    const found = answers[`${request.method} ${path.split('?', 1)[0]}`]
    const refusal = found instanceof Error ? found : null
    response.statusCode = found === undefined ? 404 : refusal === null ? 200 : 503
    const words = refusal?.message ?? 'page not found'
    response.end(JSON.stringify(response.statusCode === 200 ? found : { message: words }))
  })
  const socket = join(folder, 'api.sock')
  await new Promise<void>((resolve) => server.listen(socket, resolve))
  try {
    await body(socket, asked)
  } finally {
    server.close()
    rmSync(folder, { recursive: true })
  }
}

async function run(
  noun: string,
  commands: readonly Command[],
  args: readonly string[],
): Promise<{ status: number; out: string; err: string }> {
  const terminal = new KeptTerminal('SWMKEY-1-secret')
  const status = await runNoun(noun, '', commands, args, terminal)
  return { status, out: terminal.stdout, err: terminal.stderr }
}

const NODES = [
  {
    ID: 'aaa',
    Version: { Index: 7 },
    CreatedAt: '2026-01-01T00:00:00Z',
    Spec: { Labels: { a: '1' }, Role: 'manager', Availability: 'active' },
    Description: { Hostname: 'h10', Engine: { EngineVersion: '0.1.0' } },
    Status: { State: 'ready', Addr: '10.0.0.1' },
    ManagerStatus: { Leader: true, Reachability: 'reachable', Addr: '10.0.0.1:2377' },
  },
  {
    ID: 'bbb',
    Version: { Index: 8 },
    CreatedAt: '2026-01-01T00:00:00Z',
    Spec: { Labels: {}, Role: 'worker', Availability: 'drain' },
    Description: { Hostname: 'h9', Engine: { EngineVersion: '0.1.0' } },
    Status: { State: 'down' },
  },
]
const API: Answers = {
  'GET /nodes': NODES,
  'GET /nodes/aaa': NODES[0],
  'GET /nodes/bbb': NODES[1],
  'GET /info': { Swarm: { NodeID: 'aaa', LocalNodeState: 'active', ControlAvailable: true } },
  'POST /nodes/aaa/update': null,
  'POST /nodes/bbb/update': null,
  'GET /swarm': {
    Version: { Index: 5 },
    Spec: { CAConfig: { ForceRotate: 2 }, EncryptionConfig: { AutoLockManagers: false } },
    JoinTokens: { Worker: 'SWMTKN-1-w', Manager: 'SWMTKN-1-m' },
    TLSInfo: { TrustRoot: 'PEM\n' },
  },
  'POST /swarm/update': null,
  'POST /swarm/leave': new Error('You are attempting to leave the swarm'),
}

t.test('node ls', async (t) => {
  await withApi(API, async (socket, asked) => {
    const ls = (...args: string[]) =>
      run('node', NODE_COMMANDS, ['ls', '-H', `unix://${socket}`, ...args])
    t.equal(
      (await ls()).out,
      'ID        HOSTNAME   STATUS    AVAILABILITY   MANAGER STATUS   ENGINE VERSION\n' +
        'bbb       h9         Down      Drain                           0.1.0\n' +
        'aaa *     h10        Ready     Active         Leader           0.1.0\n',
    )
    t.equal((await ls('-q')).out, 'bbb\naaa\n')
    t.equal(
      (await ls('--format', '{{.Hostname}}: {{lower .Status}}')).out,
      'h9: down\nh10: ready\n',
    )
    t.equal(
      (await ls('--format', 'table {{.Hostname}}\\t{{.Self}}')).out,
      'HOSTNAME   SELF\nh9         false\nh10        true\n',
    )
    t.match((await ls('--format', '{{.Nothing}}')).err, /can't evaluate field Nothing/)
    await ls('-f', 'role=manager', '--filter', 'role=worker')
    const query = new URLSearchParams(
      asked.filter(({ request }) => request.includes('filters'))[0]!.request.split('?')[1],
    )
    t.same(JSON.parse(query.get('filters')!), { role: { manager: true, worker: true } })
    t.match(await ls('-f', 'role'), { status: 1, err: /bad format of filter/ })
  })
})

t.test('node update, promote, demote, inspect', async (t) => {
  await withApi(API, async (socket, asked) => {
    const node = (...args: string[]) => run('node', NODE_COMMANDS, [...args, '-H', socket])
    await node('update', 'bbb', '--label-add', 'x=y', '--availability', 'Active')
    t.same(asked.at(-1), {
      request: 'POST /nodes/bbb/update?version=8',
      body: { Labels: { x: 'y' }, Role: 'worker', Availability: 'active' },
    })
    t.match(await node('update', 'bbb', '--role', 'king'), {
      status: 1,
      err: /invalid argument "king"/,
    })
    t.match(await node('update', 'bbb', '--label-rm', 'no'), { status: 1, err: /doesn't exist/ })
    t.equal((await node('promote', 'bbb')).out, 'Node bbb promoted to a manager in the swarm.\n')
    t.equal((await node('promote', 'aaa')).out, 'Node aaa is already a manager.\n')
    t.equal((await node('demote', 'aaa')).out, 'Manager aaa demoted in the swarm.\n')
    t.equal((await node('inspect', 'self', '--format', '{{.Spec.Role}}')).out, 'manager\n')
    t.same(JSON.parse((await node('inspect', 'bbb')).out)[0], NODES[1])
    t.match(await node('inspect', 'ccc'), { status: 1, out: '[]\n', err: /page not found/ })
    t.match((await node('inspect', 'aaa', '--pretty')).out, /Leader: +Yes/)
  })
})

t.test('swarm', async (t) => {
  await withApi(API, async (socket, asked) => {
    const swarm = (...args: string[]) => run('swarm', SWARM_COMMANDS, [...args, '-H', socket])
    t.equal((await swarm('join-token', '-q', 'worker')).out, 'SWMTKN-1-w\n')
    t.match(
      (await swarm('join-token', 'manager')).out,
      /weft swarm join --token SWMTKN-1-m 10.0.0.1:2377/,
    )
    await swarm('update', '--dispatcher-heartbeat', '2s', '--autolock=false')
    t.match(asked.at(-1), {
      request: 'POST /swarm/update?version=5',
      body: { Dispatcher: { HeartbeatPeriod: 2e9 }, EncryptionConfig: { AutoLockManagers: false } },
    })
    t.match(await swarm('update'), { status: 1, err: /nothing to change/ })
    t.match(await swarm('update', '--cert-expiry', '1 day'), { status: 1, err: /invalid duration/ })
    t.match(await swarm('leave'), {
      status: 1,
      err: /^Error response from daemon: You are attempting/,
    })
    t.equal((await swarm('ca')).out, 'PEM\n')
    t.match(await swarm('ca', '--ca-cert', 'x'), { status: 1, err: /requires the `--rotate` flag/ })
    await swarm('ca', '--rotate', '-d')
    t.match(asked.at(-1)!.body, { CAConfig: { ForceRotate: 3 } })
    t.match(await swarm('unlock'), { status: 1, err: /swarm is not locked/ })
  })
})

t.test('what is no command', async (t) => {
  const swarm = (...args: string[]) => run('swarm', SWARM_COMMANDS, args)
  await t.rejects(swarm('jion'), UsageError)
  t.match(await swarm(), { status: 2, out: '', err: /^usage: weft swarm COMMAND/ })
  t.match(await swarm('--help'), { status: 0, out: /^usage: weft swarm COMMAND/, err: '' })
  const noOperand = { message: 'requires exactly 1 argument (HOST:PORT)', command: 'join' }
  await t.rejects(swarm('join'), noOperand)
  await t.rejects(swarm('init', 'x'), /requires no arguments/)
  await t.rejects(swarm('init', '--autolok'), /unknown option "--autolok"; did you mean/)
  await t.rejects(swarm('ca', '-H', 'tcp://1.2.3.4:1'), /unix:/)
  t.match((await swarm('init', '--help')).out, /--force-new-cluster/)
  t.match(await swarm('ca', '-H', '/nowhere/x.sock'), { status: 1, err: /no agent answers/ })
})

t.test('tables and templates', async (t) => {
  t.equal(
    align([
      ['A', 'LONG TITLE'],
      ['0123456789', 'b'],
    ]),
    'A            LONG TITLE\n0123456789   b\n',
  )
  t.equal(
    renderList(
      [],
      [{ title: 'ID', name: 'ID', text: () => '' }],
      { quiet: false, format: undefined },
      () => '',
    ),
    'ID\n',
  )
  t.equal(
    renderTemplate('{{ .A.B }}-{{json .A}}-{{join .C ","}}-{{len .C}}', {
      A: { B: 1 },
      C: ['x', 'y'],
    }),
    '1-{"B":1}-x,y-2',
  )
  t.throws(() => renderTemplate('{{if .C}}x{{end}}', { C: 1 }), /more than|not defined/)
  t.throws(() => renderTemplate('{{nope .C}}', { C: 1 }), /function "nope" not defined/)
  const day = 86_400_000
  const shown = [
    0,
    1000,
    30_000,
    60_000,
    3_600_000,
    30 * 3_600_000,
    3 * day,
    20 * day,
    100 * day,
    800 * day,
  ]
  t.same(
    shown.map((ms) => since(0, ms)),
    [
      'less than a second ago',
      '1 second ago',
      '30 seconds ago',
      'about a minute ago',
      'about an hour ago',
      '30 hours ago',
      '3 days ago',
      '2 weeks ago',
      '3 months ago',
      '2 years ago',
    ],
  )
})
