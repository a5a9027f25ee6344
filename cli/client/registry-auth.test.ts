// Goal: what `docker login` has kept goes to the agent as the docker CLI sends it, and nothing is
// sent that was not asked for. Method: a config.json of the test's own, helpers included; a server
// that only listens; the stock docker CLI sends the same requests where it is installed.

import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { registryAuth, registryOf } from './registry-auth.ts'

const WEFT = fileURLToPath(new URL('../weft.ts', import.meta.url))

const base64 = (text: string): string => Buffer.from(text).toString('base64')

const CONFIG = {
  auths: {
    'https://index.docker.io/v1/': { auth: base64('hub:pass:word') },
    'reg.example:5000': { auth: base64('joe:x') },
    'https://old.example/v1/': { auth: base64('old:y') },
    'token.example': { auth: base64('a:b'), identitytoken: 'TOKEN' },
    'only.example': { identitytoken: 'TOKEN' },
    'empty.example': {},
  },
  credHelpers: { 'help.example': 'weft-good', 'bad.example': 'weft-bad', 'no.example': 'weft-no' },
}

/** Scripts of the helper protocol, which is lines and JSON. */
const HELPERS = {
  'weft-good':
    'read server; ' +
    'echo "{\\"ServerURL\\":\\"$server\\",\\"Username\\":\\"ann\\",\\"Secret\\":\\"$1\\"}"',
  'weft-bad': 'echo broken; exit 0',
  'weft-no': 'echo "credentials not found in native keychain"; exit 1',
}

/** Environment with the config.json and the helpers. */
function surroundings(t: Test, config: string = JSON.stringify(CONFIG)): NodeJS.ProcessEnv {
  const folder = mkdtempSync(join(tmpdir(), 'weft-auth-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  mkdirSync(join(folder, 'bin'))
  writeFileSync(join(folder, 'config.json'), config, { mode: 0o600 })
  for (const [name, line] of Object.entries(HELPERS)) {
    const path = join(folder, 'bin', `docker-credential-${name}`)
    writeFileSync(path, `#!/bin/sh\n${line}\n`)
    chmodSync(path, 0o755)
  }
  const path = `${join(folder, 'bin')}:${process.env.PATH}`
  return { ...process.env, DOCKER_CONFIG: folder, PATH: path, HOME: folder }
}

function use(t: Test, environment: NodeJS.ProcessEnv): void {
  const { DOCKER_CONFIG, PATH } = process.env
  Object.assign(process.env, environment)
  t.teardown(() => {
    if (DOCKER_CONFIG === undefined) delete process.env.DOCKER_CONFIG
    else process.env.DOCKER_CONFIG = DOCKER_CONFIG
    process.env.PATH = PATH
  })
}

async function decoded(image: string): Promise<unknown> {
  const text = await registryAuth(image)
  return text === undefined ? undefined : JSON.parse(Buffer.from(text, 'base64url').toString())
}

const HUB = 'https://index.docker.io/v1/'

t.test('the registry of an image', async (t) => {
  for (const [image, registry] of [
    ['nginx', HUB],
    ['library/nginx:1', HUB],
    ['docker.io/nginx', HUB],
    ['reg.example:5000/a/b@sha256:0', 'reg.example:5000'],
    ['localhost/x', 'localhost'],
    ['localhost:5000/x', 'localhost:5000'],
  ] as const) {
    t.equal(registryOf(image), registry, image)
  }
})

t.test('credentials', async (t) => {
  use(t, surroundings(t))
  const hub = { username: 'hub', password: 'pass:word', serveraddress: HUB }
  t.same(await decoded('nginx'), hub, 'a colon in the password')
  t.match(await decoded('reg.example:5000/x'), { username: 'joe', password: 'x' })
  t.match(await decoded('old.example/x'), { username: 'old', password: 'y' })
  t.match(await decoded('token.example/x'), { identitytoken: 'TOKEN', username: 'a' })
  const token = { identitytoken: 'TOKEN', serveraddress: 'only.example' }
  t.same(await decoded('only.example/x'), token)
  t.match(await decoded('help.example/x'), { username: 'ann', password: 'get' })
  for (const image of ['empty.example/x', 'other.example/x', 'no.example/x']) {
    t.same(await decoded(image), {}, image)
  }
  t.equal(await decoded('host'), undefined)
  t.equal(await decoded('file:///srv'), undefined)
  await t.rejects(registryAuth('bad.example/x'), /docker-credential-weft-bad get: no credentials/)
})

t.test('a broken file', async (t) => {
  use(t, surroundings(t, '{"auths": {"x": {"auth": "SECRET'))
  const error = await registryAuth('nginx').catch((error: Error) => error)
  t.match(String(error), /config\.json: is no JSON/)
  t.notMatch(String(error), /SECRET/)
  use(t, surroundings(t, JSON.stringify({ credsStore: '../../evil' })))
  await t.rejects(registryAuth('nginx'), /invalid name/)
  use(t, surroundings(t, JSON.stringify({ credsStore: 'weft-absent' })))
  await t.rejects(registryAuth('nginx'), /docker-credential-weft-absent/)
  use(t, { ...surroundings(t), DOCKER_CONFIG: '/nonexistent' })
  t.same(await decoded('nginx'), {}, 'no file, nothing known')
})

/** Headers of the requests about services and images that a command line makes. */
async function headersOf(
  t: Test,
  program: readonly [string, ...string[]],
  image: string,
): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-auth-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const seen: string[] = []
  const server = createServer((request, response) => {
    const url = (request.url ?? '').replace(/^\/v[\d.]+/, '')
    const auth = String(request.headers['x-registry-auth'] ?? '')
    if (/^\/(services|distribution)/.test(url)) {
      const text = Buffer.from(auth, 'base64url').toString()
      seen.push(`${request.method} ${url} ${auth === '' ? '' : canonical(text)}`)
    }
    const status = request.method === 'POST' ? 201 : url === '/_ping' ? 200 : 404
    response.writeHead(status, { 'content-type': 'application/json', 'api-version': '1.50' })
    response.end(JSON.stringify({ ID: 'id', message: 'no' }))
  })
  const socket = join(folder, 's')
  await new Promise<void>((done) => server.listen(socket, done))
  t.teardown(() => server.close())
  const words = ['service', 'create', '-d', '--name', 'x', '--with-registry-auth', image]
  const [command, ...before] = program
  const host = `unix://${socket}`
  const args = before.length === 0 ? ['-H', host, ...words] : [...before, ...words]
  const env = { ...surroundings(t), WEFT_HOST: host }
  const child = spawn(command, args, { stdio: 'ignore', env })
  await new Promise((done) => child.on('close', done))
  return seen
}

function canonical(text: string): string {
  const parsed = JSON.parse(text) as Record<string, unknown>
  return JSON.stringify(Object.fromEntries(Object.entries(parsed).sort()))
}

const isThere = spawnSync('docker', ['--version']).status === 0

t.test('as the docker CLI sends it', { skip: isThere ? false : 'no docker CLI' }, async (t) => {
  for (const image of [
    'nginx:1',
    'reg.example:5000/x:1',
    'token.example/x:1',
    'help.example/x:1',
  ]) {
    const ours = await headersOf(t, [process.execPath, WEFT], image)
    const theirs = await headersOf(t, ['docker'], image)
    t.ok(ours.length >= 2, image)
    t.same(ours, theirs, image)
  }
})
