// etcd as its package has it, as the same number of processes on the same disk. Between members it
// uses mutual TLS, as weft's do; clients come without, as they come to weft's members.

import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { answers, freePort, leaderAddress } from './processes.ts'

/** The version, or null where it is not installed. */
export function etcdVersion(): string | null {
  try {
    return /etcd Version: (\S+)/.exec(execFileSync('etcd', ['--version']).toString())?.[1] ?? null
  } catch {
    return null
  }
}

interface EtcdMember {
  readonly name: string
  readonly clients: string
  readonly arguments: readonly string[]
  child: ChildProcess | null
}

export class EtcdCluster {
  readonly #members: EtcdMember[] = []

  static async start(folder: string, count: number): Promise<EtcdCluster> {
    const cluster = new EtcdCluster()
    process.on('exit', () => {
      for (const { child } of cluster.#members) child?.kill('SIGKILL')
    })
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    const tls = makeCertificates(folder)
    const names = Array.from({ length: count }, (_, i) => `etcd${i + 1}`)
    const peers: string[] = []
    for (const _ of names) peers.push(`https://127.0.0.1:${await freePort()}`)
    const initial = names.map((name, i) => `${name}=${peers[i]}`).join(',')
    for (const [i, name] of names.entries()) {
      const clients = `127.0.0.1:${await freePort()}`
      const options = {
        name,
        'data-dir': join(folder, name),
        'listen-peer-urls': peers[i],
        'initial-advertise-peer-urls': peers[i],
        'listen-client-urls': `http://${clients}`,
        'advertise-client-urls': `http://${clients}`,
        'initial-cluster': initial,
        'initial-cluster-state': 'new',
        'peer-client-cert-auth': 'true',
        'peer-trusted-ca-file': tls.root,
        'peer-cert-file': tls.certificate,
        'peer-key-file': tls.key,
        'log-level': 'error',
        logger: 'zap',
      }
      const list = Object.entries(options).map(([key, value]) => `--${key}=${value}`)
      cluster.#members.push({ name, clients, arguments: list, child: null })
    }
    for (const member of cluster.#members) cluster.#run(member)
    await cluster.leader()
    return cluster
  }

  #run(member: EtcdMember): void {
    const child = spawn('etcd', member.arguments, { stdio: 'ignore' })

    member.child = child
    child.on('error', () => {})
    child.on('exit', () => {
      if (member.child === child) member.child = null
    })
  }

  /** Client addresses of the members that run. */
  get running(): readonly string[] {
    return this.#members.filter(({ child }) => child !== null).map(({ clients }) => clients)
  }

  /** The client address of the member that leads. */
  leader(): Promise<string> {
    return leaderAddress(this.running)
  }

  /** Resolves when it is gone. */
  async kill(address: string): Promise<void> {
    const child = this.#members.find(({ clients }) => clients === address)?.child
    if (child === undefined || child === null) return
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL')
    await gone
  }

  /** Resolves when it answers. */
  async restart(address: string): Promise<void> {
    const member = this.#members.find(({ clients }) => clients === address)
    if (member === undefined || member.child !== null) return
    this.#run(member)
    await answers(address)
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#members.map(async ({ child }) => {
        if (child === null) return
        const gone = new Promise((resolve) => child.once('exit', resolve))
        child.kill('SIGKILL')
        await gone
      }),
    )
  }
}

/** A root and one certificate for 127.0.0.1, P-256 as weft's. */
function makeCertificates(folder: string): { root: string; certificate: string; key: string } {
  const at = (name: string): string => join(folder, name)
  const openssl = (...args: string[]): void => {
    execFileSync('openssl', args, { stdio: 'ignore' })
  }
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  openssl(
    'req',
    '-x509',
    ...curve,
    '-keyout',
    at('root.key'),
    '-out',
    at('root.crt'),
    '-days',
    '2',
    '-subj',
    '/CN=root',
  )
  openssl(
    'req',
    '-new',
    ...curve,
    '-keyout',
    at('peer.key'),
    '-out',
    at('peer.csr'),
    '-subj',
    '/CN=peer',
  )
  writeFileSync(
    at('peer.ext'),
    'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n',
  )
  openssl(
    'x509',
    '-req',
    '-in',
    at('peer.csr'),
    '-CA',
    at('root.crt'),
    '-CAkey',
    at('root.key'),
    '-CAcreateserial',
    '-days',
    '2',
    '-out',
    at('peer.crt'),
    '-extfile',
    at('peer.ext'),
  )
  return { root: at('root.crt'), certificate: at('peer.crt'), key: at('peer.key') }
}
