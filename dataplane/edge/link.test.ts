// Goal: a device is configured as asked, again without harm, and quietly. Method: the plan as text;
// then in a lab against what `ip` reports inside the namespace.

import { closeSync } from 'node:fs'
import { EdgeError } from './errors.ts'
import { applyIngress, type IngressWish, NO_INGRESS } from './ingress.ts'
import { configureLink, type LinkOptions, planLink } from './link.ts'
import { inNamespace } from './netns.ts'
import { readSysctl } from './sysctl.ts'
import { insideLab, run } from './testing/lab.ts'
import { openTap } from './tuntap.ts'

const t = await insideLab(import.meta.filename)

const OPTIONS: LinkOptions = {
  name: 'eth0',
  namespace: '/run/netns/web1',
  mac: '02:42:0a:00:00:02',
  addresses: ['10.0.0.2/24', 'FD00:0::2/64'],
  mtu: 1400,
  transmitQueueLength: 1000,
  gsoSizeMax: 60_000,
  gsoSegmentCountMax: 44,
  defaultGateways: ['10.0.0.1', 'fd00::1'],
  ingressGateways: ['10.0.0.1', 'fd00::1'],
}

t.test('the plan, in words', async (t) => {
  const { commands, sysctls } = planLink(OPTIONS)
  t.strictSame(
    commands[4].map(({ line }) => line),
    [
      'link set dev eth0 address 02:42:0a:00:00:02 mtu 1400 txqueuelen 1000 ' +
        'gso_max_size 60000 gso_max_segs 44 up',
      'addr replace 10.0.0.2/24 dev eth0',
      'route replace default via 10.0.0.1 dev eth0',
      'route replace default via 10.0.0.1 dev eth0 table 4789',
    ],
  )
  t.strictSame(
    commands[6].map(({ line }) => line),
    [
      'addr replace FD00:0::2/64 dev eth0 nodad',
      'route replace default via fd00::1 dev eth0',
      'route replace default via fd00::1 dev eth0 table 4789',
    ],
  )
  t.ok(sysctls.some(([name, value]) => name === 'ipv6/conf/eth0/accept_ra' && value === '0'))
  const four = planLink({ name: 'eth0', addresses: ['10.0.0.2/24'] })
  t.strictSame(four.sysctls, [['ipv6/conf/eth0/disable_ipv6', '1']])
})

const inside = (...words: string[]): string => run('ip', '-n', 'web1', ...words)

t.test('a new device, the same again, and one taken over with other wishes', async (t) => {
  run('ip', 'netns', 'add', 'web1')
  const tap = openTap({ name: 'eth0', namespace: '/run/netns/web1', persistent: true })
  await configureLink(OPTIONS)
  const ingress: IngressWish = { addresses: ['10.0.0.2', 'FD00:0::2'], udpPorts: [53] }
  await applyIngress(ingress, '/run/netns/web1')
  const link = inside('-d', 'link', 'show', 'eth0')
  for (const part of [
    'mtu 1400',
    'qlen 1000',
    '02:42:0a:00:00:02',
    'gso_max_size 60000',
    'gso_max_segs 44',
    'UP',
  ]) {
    t.match(link, part)
  }
  t.match(inside('addr', 'show', 'eth0'), '10.0.0.2/24')
  const six = inside('-6', 'addr', 'show', 'eth0')
  t.match(six, 'fd00::2/64')
  t.notMatch(six, /tentative|fe80/)
  t.match(inside('route', 'get', '8.8.8.8'), 'via 10.0.0.1 dev eth0')
  t.match(inside('-6', 'route', 'get', '2001:db8::1'), 'via fd00::1 dev eth0')
  const table = ['route', 'get', '8.8.8.8', 'from', '10.0.0.2']
  t.match(inside(...table), 'via 10.0.0.1 dev eth0 table 4789')
  t.equal(
    inNamespace('/run/netns/web1', () => readSysctl('ipv6/conf/eth0/accept_ra')),
    '0',
  )

  // A socket bound to no address: the port decides, and the route names the source.
  const unbound = inside('route', 'get', '8.8.8.8', 'ipproto', 'udp', 'sport', '53')
  t.match(unbound, 'via 10.0.0.1 dev eth0 table 4789 src 10.0.0.2')

  const rules = inside('rule') + inside('-6', 'rule')
  await configureLink(OPTIONS)
  await applyIngress(ingress, '/run/netns/web1')
  t.equal(inside('rule') + inside('-6', 'rule'), rules, 'twice is once')

  closeSync(tap.fd)
  const again = openTap({ name: 'eth0', namespace: '/run/netns/web1', persistent: false })
  t.ok(again.adopted)
  const addresses = ['10.0.0.2/24', '10.0.0.9/24', 'fd00:0:0::9/64']
  await configureLink({ ...OPTIONS, addresses, ingressGateways: [] }, again.adopted)
  const after = inside('addr', 'show', 'eth0')
  t.match(after, '10.0.0.9/24')
  t.match(after, '10.0.0.2/24')
  t.match(after, 'fd00::9/64')
  t.notMatch(after, 'fd00::2/64', 'not wanted any more')

  run('ip', '-n', 'web1', 'rule', 'add', 'pref', '4789', 'from', '10.0.0.0/24', 'lookup', '4789')
  await applyIngress({ addresses: ['10.0.0.9'], udpPorts: [54] }, '/run/netns/web1')
  t.match(inside('rule'), /from 10\.0\.0\.9 lookup 4789[\s\S]*ipproto udp sport 54 lookup 4789/)
  t.notMatch(inside('rule'), /10\.0\.0\.2 |sport 53/, 'changed')
  t.notMatch(inside('-6', 'rule'), '4789', 'no address of the family, no rule')
  await applyIngress(NO_INGRESS, '/run/netns/web1')
  t.match(inside('rule'), 'from 10.0.0.0/24 lookup 4789', 'a rule of somebody else stays')
  t.notMatch(inside('rule'), /10\.0\.0\.9|sport/)
  await applyIngress(NO_INGRESS, '/run/netns/gone')
  closeSync(again.fd)
})

t.test('what cannot be done is said', async (t) => {
  const options = { name: 'nodev', addresses: ['10.0.0.2/24'] }
  await t.rejects(configureLink(options), { code: 'COMMAND_FAILED', message: /nodev/ })
  await t.rejects(configureLink({ ...options, namespace: '/run/netns/none' }), {
    code: 'NAMESPACE_MISSING',
  })
  const error = await configureLink({ name: 'lo', addresses: ['10.0.0.300/24'] }).catch((e) => e)
  t.type(error, EdgeError)
  t.match(error.message, '10.0.0.300/24')
})
