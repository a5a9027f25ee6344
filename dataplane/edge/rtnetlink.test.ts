// Goal: what is asked of the kernel directly comes out as when `ip` asks. Method: inside a lab, the
// same lines in two namespaces, one by `ip` and one by rtnetlink.ts, and what `ip` then shows of
// both; a substitute for `ip` that tells what it was given.

import { changeIp, type IpCommand } from './command.ts'
import { makeNetworkNamespace, releaseNetworkNamespace } from './netns.ts'
import { changeLinks } from './rtnetlink.ts'
import { insideLab, run, until } from './testing/lab.ts'

const t = await insideLab(import.meta.filename)
const OURS = '/run/ours'
const THEIRS = '/run/theirs'
makeNetworkNamespace(OURS)
makeNetworkNamespace(THEIRS)
t.teardown(() => {
  for (const path of [OURS, THEIRS]) releaseNetworkNamespace(path)
})

const inside = (path: string, ...words: string[]): string =>
  run('nsenter', `--net=${path}`, 'ip', ...words)

/** What differs by itself: numbers of devices and namespaces. */
const shown = (path: string): string =>
  ['-d link', '-4 addr', '-6 addr', '-4 route show table all', '-6 route show table all', 'neigh']
    .map((words) => inside(path, ...words.split(' ')))
    .join('')
    .replaceAll(/^\d+: |@if\d+|link-netnsid \d+|hoplimit \d+|pref medium|state \w+/gm, '')

const commands = (lines: readonly string[]): IpCommand[] => lines.map((line) => ({ line }))

const nothingLeft: typeof changeIp = async (left) => {
  if (left.length > 0) throw new Error(`left to ip: ${left[0]!.line}`)
}

const INSIDE = [
  'link set dev p0 addrgenmode none',
  'link set dev p0 address 02:42:0a:00:00:03 mtu 1400 txqueuelen 77 ' +
    'gso_max_size 60000 gso_max_segs 44 up',
  'addr replace 10.0.0.3/24 dev p0',
  'addr replace 10.0.0.3/24 dev p0',
  'addr replace 10.0.0.4/24 dev p0',
  'addr del 10.0.0.4/24 dev p0',
  'addr replace FD00:0::3/64 dev p0 nodad',
  'neigh replace 10.0.0.1 lladdr 02:42:0a:00:00:01 dev p0 nud permanent',
  'route replace default via 10.0.0.1 dev p0',
  'route replace default via 10.0.0.2 dev p0',
  'route replace default via fd00::1 dev p0',
  'route replace default via 10.0.0.1 dev p0 table 4789',
  'route replace 169.254.47.90 dev p0 scope link',
  'route replace 10.9.0.0/16 dev p0',
]

t.test('the same as ip', async (t) => {
  for (const [path, name, change] of [
    [OURS, 'v0', changeLinks],
    [THEIRS, 'v1', changeIp],
  ] as const) {
    const add = `link add name ${name} address 02:42:0a:00:00:01 type veth`
    const peer = `peer name p0 address 02:42:0a:00:00:02 netns ${path}`
    const outside = [`${add} ${peer}`, `link set dev ${name} up`]
    await change(commands(outside), {}, nothingLeft)
    for (const family of [4, 6] as const) {
      const lines = INSIDE.filter((line) => (/fd00/i.test(line) ? 6 : 4) === family)
      await change(commands(lines), { namespace: path, family }, nothingLeft)
    }
  }
  // The carrier comes a moment after the device.
  const isSame = (): boolean => shown(OURS) === shown(THEIRS)
  await until('both are the same', isSame).catch(() => {})
  t.equal(shown(OURS), shown(THEIRS))
  t.match(shown(OURS), /gso_max_segs 44/)
  await changeLinks(commands(['link del dev v0']), {}, nothingLeft)
  t.notMatch(shown(OURS), 'p0', 'with both ends')
})

t.test('what may go wrong, what may not, and what is left to ip', async (t) => {
  const how = { namespace: THEIRS }
  const missing: IpCommand = { line: 'link del dev nodev', tolerate: 'missing' }
  await changeLinks([missing], how, nothingLeft)
  const wrong = commands(['addr replace 10.8.0.1/24 dev nodev', 'link set dev nodev2 up'])
  const error = await changeLinks([...wrong, ...commands(['link set dev p0 mtu 1300'])], how).catch(
    (problem) => problem,
  )
  t.match(error, { code: 'COMMAND_FAILED', message: /10.8.0.1.*ENODEV[\s\S]*nodev2.*ENODEV/ })
  t.match(inside(THEIRS, 'link', 'show', 'p0'), 'mtu 1300', 'the rest is done')
  const left: string[] = []
  const lines = ['link set dev p0 mtu 1290', 'link set dev p0 promisc on', 'addr del x dev p0']
  await changeLinks(commands(lines), how, async (rest) => {
    left.push(...rest.map(({ line }) => line))
  })
  t.same(left, lines.slice(1))
  await t.rejects(changeLinks([], { namespace: '/run/none' }), { code: 'NAMESPACE_MISSING' })
})
