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
