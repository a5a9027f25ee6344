// A lab: hosts and containers as network namespaces, joined by links, all inside namespaces that
// enter.ts made. Nothing here is visible on the machine, and it is all gone when the process is.
//
//   lab.bridge([h1, h2, c])                    lab.veth(c, h1)
//
//     h1      h2      c                          c ───── h1
//      └───────┼──────┘                          .1      .2
//            bridge  (in the lab's own namespace)
//
// Link number k has the prefixes 192.168.(10+k).0/24 and fd00:(10+k)::/64; its i-th member has .i
// and ::i. veth keeps its offloads (TSO, GSO, checksum), as the virtual machines of a data centre
// do.

import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { insideLab } from './enter.ts'
import { Host } from './host.ts'
import { LINK_MEMBERS_MAX, LINKS_MAX } from './limits.ts'
import { type LabProcess, must, run } from './process.ts'
import { threadsStarted } from './thread.ts'

/** First value of the prefix's counter: link 0 is 192.168.10.0/24. */
const FIRST_PREFIX = 10

export interface LinkOptions {
  /** MTU of the link, default 1500. */
  readonly mtu?: number
  /** False = no IPv6 addresses. Default true. */
  readonly ipv6?: boolean
}

export interface Link {
  readonly prefix: string
  readonly prefix6: string
  /** Name of the bridge in the lab's namespace; undefined for a veth pair. */
  readonly bridge?: string
}

export class Lab {
  readonly hosts: Map<string, Host> = new Map()
  /** A folder for this lab's files; it is in memory and gone with the lab. */
  readonly folder: string
  readonly #processes = new Set<LabProcess>()
  /** Devices of the lab's own namespace: bridges and their ports. */
  readonly #devices: string[] = []
  readonly #ends: (() => Promise<void>)[] = []
  #links = 0
  #closed: Promise<void> | undefined

  /** Throws outside a lab's namespaces (enter.ts). */
  constructor() {
    if (!insideLab())
      throw new Error('a lab is made inside its own namespaces only: call enterLab()')
    mkdirSync('/run/lab', { recursive: true })
    this.folder = mkdtempSync('/run/lab/')
  }

  /** Makes a host (or a container): a network namespace with nothing but lo. Names are 1 to 15
   * bytes and unique in the lab. */
  async host(name: string): Promise<Host> {
    if (!/^[a-z0-9][a-z0-9._-]{0,14}$/.test(name)) throw new Error(`bad host name "${name}"`)
    if (this.hosts.has(name)) throw new Error(`there is a host ${name} already`)
    const host = new Host(name, this.#processes)
    this.hosts.set(name, host)
    await must(['ip', 'netns', 'add', name])
    await must(['ip', '-netns', name, 'link', 'set', 'lo', 'up'])
    return host
  }

  /** Makes several at once. */
  hostsNamed(...names: string[]): Promise<Host[]> {
    return Promise.all(names.map((name) => this.host(name)))
  }

  #nextPrefix(members: number): { prefix: string; prefix6: string } {
    if (this.#links >= LINKS_MAX) throw new Error(`a lab has at most ${LINKS_MAX} links`)
    if (members > LINK_MEMBERS_MAX)
      throw new Error(`a link has at most ${LINK_MEMBERS_MAX} members`)
    const number = FIRST_PREFIX + this.#links++
    return { prefix: `192.168.${number}.`, prefix6: `fd00:${number}::` }
  }

  async #address(host: Host, device: string, link: Link, i: number, o: LinkOptions): Promise<void> {
    const lines = [`addr add ${link.prefix}${i}/24 dev ${device}`]
    if (o.ipv6 ?? true) {
      lines.push(`addr add ${link.prefix6}${i}/64 dev ${device} nodad`)
      host.addresses6.push(`${link.prefix6}${i}`)
    }
    host.addresses.push(`${link.prefix}${i}`)
    host.interfaces.push(device)
    await host.ip([...lines, `link set ${device} mtu ${o.mtu ?? 1500} up`])
  }

  /** Joins hosts by a bridge that stands in the lab's own namespace. */
  async bridge(hosts: readonly Host[], options: LinkOptions = {}): Promise<Link> {
    const name = `br${this.#links}`
    const link: Link = { ...this.#nextPrefix(hosts.length), bridge: name }
    const mtu = options.mtu ?? 1500
    this.#devices.push(name)
    const lines = [`link add ${name} type bridge`, `link set ${name} up`]
    for (const [i, host] of hosts.entries()) {
      const device = `eth${host.interfaces.length}`
      const port = `${name}p${i + 1}`
      this.#devices.push(port)
      lines.push(
        `link add ${port} mtu ${mtu} type veth peer name ${device} netns ${host.name}`,
        `link set ${port} master ${name} up`,
      )
    }
    await must(['ip', '-batch', '-'], { input: `${lines.join('\n')}\n` })
    for (const [i, host] of hosts.entries()) {
      await this.#address(host, `eth${host.interfaces.length}`, link, i + 1, options)
    }
    return link
  }

  /** Joins two hosts by a veth pair; `a` has address .1, `b` has .2. */
  async veth(a: Host, b: Host, options: LinkOptions = {}): Promise<Link> {
    const link: Link = this.#nextPrefix(2)
    const device = `eth${a.interfaces.length}`
    const other = `eth${b.interfaces.length}`
    await must(
      `ip link add ${device} netns ${a.name} type veth peer name ${other} netns ${b.name}`.split(
        ' ',
      ),
    )
    await this.#address(a, device, link, 1, options)
    await this.#address(b, other, link, 2, options)
    return link
  }

  /** Makes `host` lose `percent` of the packets that arrive on `device`. Uses nf_tables, for the
   * kernel's netem is often not there. Returns why not, when it cannot. */
  async lose(host: Host, device: string, percent: number): Promise<string | undefined> {
    const share = Math.round(percent * 100)
    const chance = share >= 10_000 ? '' : `numgen random mod 10000 < ${share}`
    const rules = [
      'table inet weft_lab_loss',
      'delete table inet weft_lab_loss',
      'table inet weft_lab_loss {',
      'chain in {',
      'type filter hook prerouting priority -300',
      `iifname "${device}" ${chance} drop`,
      '}',
      '}',
    ]
    const result = await host.exec(['nft', '-f', '-'], { input: `${rules.join('\n')}\n` })
    return result.status === 0 ? undefined : `no nf_tables: ${result.stderr.trim()}`
  }

  /** Has `work` done when the lab is closed, before its processes are ended. */
  atEnd(work: () => Promise<void>): void {
    this.#ends.push(work)
  }

  /** Ends every process, then removes the links and namespaces. Safe to call twice and after a
   * failure. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  /** What agents have mounted below the folder: namespaces of tasks, files in memory. The last one
   * first. */
  #mounts(): string[] {
    return readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[1] ?? '')
      .filter((path) => path.startsWith(`${this.folder}/`))
      .reverse()
  }

  async #close(): Promise<void> {
    await Promise.allSettled(this.#ends.map((work) => work()))
    await Promise.all([...this.#processes].map((child) => child.stop()))
    await Promise.all([...this.hosts.values()].map((host) => host.release()))
    await threadsStarted()
    // The kernel empties a namespace some time after its name is gone; what is visible here goes at
    // once.
    const input = this.#devices.map((device) => `link del ${device}\n`).join('')
    if (input !== '') await run(['ip', '-force', '-batch', '-'], { input })
    for (const name of this.hosts.keys()) await run(['ip', 'netns', 'del', name])
    for (const path of this.#mounts()) await run(['umount', '--lazy', path])
    for (const path of mountsBelow(this.folder)) await run(['umount', '-l', path])
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** Mount points below a folder, the deepest first: agents keep secrets in file systems of their
 * own, which outlive them. */
function mountsBelow(folder: string): string[] {
  const paths = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
  return paths.filter((path) => path.startsWith(`${folder}/`)).reverse()
}
