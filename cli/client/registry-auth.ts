// Credentials of registries, from where `docker login` puts them: the docker CLI's config.json, or
// a helper that it names (docker-credential-NAME, github.com/docker/docker-credential-helpers).
// weft keeps none of its own; they go to the agent's socket in the header X-Registry-Auth.

import { spawn } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import { fileReason } from '../key-file.ts'
import { isLocalImage } from '../stack/image-name.ts'
import { CommandError } from './command-error.ts'

/** What docker's config.json calls Docker Hub. */
const HUB = 'https://index.docker.io/v1/'
const HUB_NAMES: readonly string[] = ['docker.io', 'index.docker.io', 'registry-1.docker.io']
const CONFIG_BYTES_MAX: number = 1024 * 1024
const ANSWER_BYTES_MAX: number = 64 * 1024
const HELPER_TIMEOUT_MS = 10_000
/** The user name by which a helper says that the secret is a token. */
const TOKEN_USER = '<token>'
const HELPER_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/

interface Credentials {
  readonly username?: string
  readonly password?: string
  readonly identitytoken?: string
  readonly serveraddress: string
}

interface DockerConfig {
  readonly auths?: Readonly<Record<string, { auth?: unknown; identitytoken?: unknown } | null>>
  readonly credsStore?: unknown
  readonly credHelpers?: Readonly<Record<string, unknown>>
}

/** The registry's name in docker's config.json, for an image: what stands before the first slash
 * where that has a dot or a colon or is "localhost", else Docker Hub. */
export function registryOf(image: string): string {
  const slash = image.indexOf('/')
  const first = image.slice(0, Math.max(0, slash))
  if (!/[.:]/.test(first) && first !== 'localhost') return HUB
  return HUB_NAMES.includes(first) ? HUB : first
}

/** The value of X-Registry-Auth for an image: base64url of JSON, "{}" where nothing is known.
 * Undefined for what no registry has. Throws CommandError where the file or helper is broken. */
export async function registryAuth(image: string): Promise<string | undefined> {
  if (isLocalImage(image)) return undefined
  const found = await credentialsOf(registryOf(image), readConfig())
  return Buffer.from(JSON.stringify(found ?? {})).toString('base64url')
}

function readConfig(): DockerConfig {
  const path = join(process.env.DOCKER_CONFIG || join(homedir(), '.docker'), 'config.json')
  let text: string
  try {
    if (statSync(path).size > CONFIG_BYTES_MAX) throw new CommandError(`${path} is too large`)
    text = readFileSync(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {}
    if (error instanceof CommandError) throw error
    throw new CommandError(`open ${path}: ${fileReason(error)}`)
  }
  try {
    return Object(JSON.parse(text)) as DockerConfig
  } catch {
    // The parser's words would show the text, which holds secrets.
    throw new CommandError(`${path}: is no JSON`)
  }
}

async function credentialsOf(
  registry: string,
  config: DockerConfig,
): Promise<Credentials | undefined> {
  const helper = Object(config.credHelpers)[registry] ?? config.credsStore
  if (typeof helper === 'string' && helper !== '') return fromHelper(helper, registry)
  const auths = Object(config.auths) as NonNullable<DockerConfig['auths']>
  const key = Object.keys(auths).find((name) => name === registry || hostOf(name) === registry)
  const entry = key === undefined ? undefined : auths[key]
  if (entry === undefined || entry === null) return undefined
  const decoded = Buffer.from(String(entry.auth ?? ''), 'base64').toString('utf8')
  const colon = decoded.indexOf(':')
  const token = typeof entry.identitytoken === 'string' ? entry.identitytoken : ''
  if (colon < 1 && token === '') return undefined
  const password = decoded.slice(colon + 1).replace(/\0+$/, '')
  return {
    ...(colon < 1 ? {} : { username: decoded.slice(0, colon), password }),
    ...(token === '' ? {} : { identitytoken: token }),
    serveraddress: registry,
  }
}

/** "https://registry.example/v2/" -> "registry.example". */
function hostOf(name: string): string {
  return name.replace(/^https?:\/\//, '').replace(/\/.*$/, '')
}

async function fromHelper(name: string, registry: string): Promise<Credentials | undefined> {
  if (!HELPER_NAME.test(name)) {
    throw new CommandError(`credential helper ${JSON.stringify(name)}: invalid name`)
  }
  const program = `docker-credential-${name}`
  const { status, out } = await ask(program, registry)
  // In docker's protocol a helper that knows nothing says so and fails.
  if (status !== 0 && /credentials not found/.test(out)) return undefined
  const answer = status === 0 ? parsed(out) : undefined
  const { Username, Secret } = Object(answer) as { Username?: unknown; Secret?: unknown }
  if (typeof Username !== 'string' || typeof Secret !== 'string') {
    throw new CommandError(`${program} get: no credentials for ${registry} came`)
  }
  return Username === TOKEN_USER
    ? { identitytoken: Secret, serveraddress: registry }
    : { username: Username, password: Secret, serveraddress: registry }
}

function ask(program: string, registry: string): Promise<{ status: number; out: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, ['get'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      // Unlike spawn's own timeout it is gone when the program could not be started.
      signal: AbortSignal.timeout(HELPER_TIMEOUT_MS),
    })
    let out = ''
    child.on('error', (error) => reject(new CommandError(`${program}: ${fileReason(error)}`)))
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      if (out.length < ANSWER_BYTES_MAX) out += text
    })
    // A helper may end without reading.
    child.stdin.on('error', () => {})
    child.stdin.end(registry)
    child.on('close', (status) => resolve({ status: status ?? 1, out }))
  })
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
