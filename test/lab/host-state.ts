// Everything of a network namespace that an agent may have changed, as text to be compared: links,
// addresses, rules, routes, settings, packet filters.

import type { Host } from '../../cli/lab/host.ts'

/** What changes by itself: settings that count, and the kernel's own link-local addresses as they
 * settle. */
const RESTLESS =
  /fe80::|nf_conntrack_count|inet_peer|route\/flush|\/neigh\/|stable_secret|ns_last_pid/

const COMMANDS: readonly string[] = [
  'ip -o link',
  'ip -o addr | sed "s/valid_lft.*//"',
  'ip rule',
  'ip -6 rule',
  'ip route show table all',
  'ip -6 route show table all | sed "s/ expires.*//" | sort',
  'iptables -S 2>/dev/null; iptables -t raw -S 2>/dev/null; true',
  'ip6tables -S 2>/dev/null; true',
  'cd /proc/sys/net && grep -r -s "" . | sort',
]

/** The state of a host's or a container's namespace, one fact per line. */
export async function hostState(host: Host): Promise<string> {
  const script = COMMANDS.map((command) => `echo '# ${command.split(' |')[0]}'; ( ${command} )`)
  const text = await host.must(['sh', '-c', script.join('\n')])
  return text
    .split('\n')
    .filter((line) => !RESTLESS.test(line))
    .join('\n')
}

/** The states of several, by their names. */
export async function hostStates(hosts: readonly Host[]): Promise<Record<string, string>> {
  const texts: Record<string, string> = {}
  for (const host of hosts) texts[host.name] = await hostState(host)
  return texts
}

/** Lines that differ, so that a failure is short. */
export function differences(
  before: Readonly<Record<string, string>>,
  after: Readonly<Record<string, string>>,
): string[] {
  return Object.keys(before).flatMap((place) => {
    const old = before[place]!.split('\n')
    const now = after[place]!.split('\n')
    return [
      ...old.filter((line) => !now.includes(line)).map((line) => `${place} lost ${line}`),
      ...now.filter((line) => !old.includes(line)).map((line) => `${place} has ${line}`),
    ]
  })
}
