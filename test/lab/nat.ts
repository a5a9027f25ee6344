// A router of the lab that translates addresses, as a home's or an office's does:
//
//     host ──── router ════ the others          192.168.1x.0/24 ──── 192.168.10.0/24
//      .2        .1  .r
//
// The others have no way into the network behind it; what comes from there wears the router's
// address, at a port of the router's choice. By nf_tables, in the namespace of the router.

import type { Host } from '../../cli/lab/host.ts'
import type { Lab } from '../../cli/lab/lab.ts'

export interface NatPlan {
  /** What UDP flows wear outside: all one port, so that where one peer hears the host others reach
   * it too, once it has called them; or each another port of a range, so that they do not. */
  readonly ports: `${number}` | `${number}-${number}`
}

export class NatRouter {
  readonly router: Host
  readonly inside: Host

  private constructor(router: Host, inside: Host) {
    this.router = router
    this.inside = inside
  }

  /** Puts `inside` behind `router`, whose first link leads outside. Returns why not, when the
   * machine has no address translation. */
  static async make(
    lab: Lab,
    router: Host,
    inside: Host,
    plan: NatPlan,
  ): Promise<NatRouter | string> {
    const nat = new NatRouter(router, inside)
    const obstacle = await nat.#translate(plan)
    if (obstacle !== undefined) return obstacle
    const link = await lab.veth(router, inside, { ipv6: false })
    await router.sysctl('net.ipv4.ip_forward', '1')
    // A connection that it has forgotten is broken, and not taken up again in its middle.
    await router.sysctl('net.netfilter.nf_conntrack_tcp_loose', '0')
    await inside.ip([`route add default via ${link.prefix}1`])
    return nat
  }

  /** Forgets every flow, and translates otherwise from now on. */
  async change(plan: NatPlan): Promise<void> {
    const obstacle = await this.#translate(plan)
    if (obstacle !== undefined) throw new Error(obstacle)
    // Masqueraded flows end with the interface that they go out by.
    const device = this.router.interfaces[0]!
    await this.router.ip([`link set ${device} down`, `link set ${device} up`])
  }

  async #translate({ ports }: NatPlan): Promise<string | undefined> {
    const device = this.router.interfaces[0]!
    // Without the word the kernel keeps the port that the first who was called has seen.
    const choice = ports.includes('-') ? `${ports} fully-random` : ports
    const rules = [
      'table ip weft_lab_nat',
      'delete table ip weft_lab_nat',
      'table ip weft_lab_nat {',
      'chain out {',
      'type nat hook postrouting priority 100',
      `oifname "${device}" ip protocol udp masquerade to :${choice}`,
      `oifname "${device}" masquerade`,
      '}',
      // As routers do. A datagram that was let in to the router itself would take up the port.
      'chain in {',
      'type filter hook input priority 0',
      `iifname "${device}" ct state new drop`,
      '}',
      '}',
    ]
    const result = await this.router.exec(['nft', '-f', '-'], { input: `${rules.join('\n')}\n` })
    return result.status === 0
      ? undefined
      : `no address translation: ${result.stderr.trim().split('\n')[0] ?? ''}`
  }
}
