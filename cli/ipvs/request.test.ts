// Goal: the parts of `weft ipvs` that need no agent and no ipvsadm to compare with: names, the
// reading of addresses, and rules files. Method: literal cases; an agent that only notes.

import t from 'tap'
import { CHANGES_MAX } from '../../dataplane/limits.ts'
import type { ManualServer, ManualService } from '../../dataplane/manual-services.ts'
import { formatServices } from '../../ipvs-emulator/format.ts'
import { CONTROL_LINE_SIZE_MAX } from '../limits.ts'
import { inetAton, parseNetmask, parseService, wholeNumber } from './address.ts'
import { IpvsFailure } from './failure.ts'
import { type Asks, gatherServices } from './listing.ts'
import { Names } from './names.ts'
import { readRequest } from './request.ts'
import { restore } from './restore.ts'
import { runRequest } from './run.ts'

const names = new Names(
  '127.0.0.1 localhost\n10.0.0.5  web.test web # comment\nfd00::5 web6\n::1 localhost\nnonsense\n',
  'http 80/tcp www\nhttp 80/udp\ndomain\t53/udp\nbroken\nbig 99999/tcp\n# x 1/tcp\n',
)

t.test('names of hosts and ports', async (t) => {
  t.equal(names.address('WEB'), '10.0.0.5')
  t.equal(names.address('web6'), undefined, 'only IPv4 has names on a command line')
  t.equal(names.host('10.0.0.5'), 'web.test')
  t.equal(names.host('fd00::5'), 'web6')
  t.equal(names.host('10.0.0.6'), '10.0.0.6')
  t.equal(names.port('tcp', 'www'), 80)
  t.equal(names.port('udp', 'www'), undefined)
  t.equal(names.service('udp', 53), 'domain')
  t.equal(names.service('tcp', 53), '53')
  t.equal(names.port('tcp', 'big'), undefined)
})

t.test('addresses', async (t) => {
  for (const [text, address] of [
    ['1.2.3.4', '1.2.3.4'],
    ['1.2.3', '1.2.0.3'],
    ['1.2', '1.0.0.2'],
    ['0x7f.1', '127.0.0.1'],
    ['0300.0250.1', '192.168.0.1'],
    ['1.2.3.256', null],
    ['256.1', null],
    ['1.2.3.4.5', null],
    ['08.1', null],
    ['', null],
    ['1..2', null],
  ] as const) {
    t.equal(inetAton(text), address, text)
  }
  t.same(parseService('web:www', 'tcp', names), { family: 4, address: '10.0.0.5', port: 80 })
  t.same(parseService('[FD00:0::5]:80', 'tcp', names), { family: 6, address: 'fd00::5', port: 80 })
  t.same(parseService('fd00::5', 'tcp', names), { family: 6, address: 'fd00::5', port: null })
  t.equal(parseService('[fd00::5]', 'tcp', names), null)
  t.equal(parseNetmask('255.255.255.0'), 24)
  t.equal(parseNetmask('255.255.255.255'), 32)
  t.equal(parseNetmask('0.0.0.0'), 0)
  t.equal(parseNetmask('255.0.255.0'), null)
  t.equal(wholeNumber(' +7', 0, 9), 7)
  t.equal(wholeNumber('7 ', 0, 9), null)
})

/** Notes what it is asked; refuses the change number `failing`. */
function agent(failing: number = Number.POSITIVE_INFINITY): Asks & { changes: unknown[] } {
  const changes: unknown[] = []
  const call = async (verb: string, given: unknown): Promise<unknown> => {
    if (verb === 'ipvs.change') {
      const list = (given as { changes: { verb: string }[] }).changes
      for (const [made, change] of list.entries()) {
        if (changes.length === failing) return { made, error: 'EEXIST' }
        changes.push(change)
      }
      return { made: list.length, error: null }
    }
    if (verb === 'ipvs.services' || verb === 'ipvs.manual') return { services: [], next: null }
    if (verb === 'ipvs.connections') return { connections: [], next: -1 }
    if (verb === 'ipvs.timeouts') return [1, 2, 3]
    return 4096
  }
  return { call: call as Asks['call'], changes }
}

async function* pieces(text: string, size: number): AsyncGenerator<string> {
  for (let at = 0; at < text.length; at += size) yield text.slice(at, at + size)
}

const silent = (): void => {}

async function failureOf(work: Promise<void>): Promise<[number, string] | null> {
  try {
    await work
    return null
  } catch (error) {
    if (!(error instanceof IpvsFailure)) throw error
    return [error.status, error.message]
  }
}

t.test('rules in any pieces', async (t) => {
  const rules = '-A -t 1.2.3.4:80\n\n# no rule\nipvsadm -a -t 1.2.3.4:80 -r 5.6.7.8 -m\n-C'
  for (let size = 1; size < rules.length; size += 7) {
    const one = agent()
    t.equal(await failureOf(restore(one, pieces(rules, size), names, silent)), null)
    t.match(one.changes, [{ verb: 'add-service' }, { verb: 'add-server' }, { verb: 'clear' }])
  }
})

t.test('a rules file longer than a bunch, and its failures', async (t) => {
  const line = (i: number): string => `-A -t 10.0.${i >> 8}.${i & 255}:80`
  const count = CHANGES_MAX + 100
  const rules = Array.from({ length: count }, (_, i) => line(i)).join('\n')
  const whole = agent()
  t.equal(await failureOf(restore(whole, pieces(rules, 1000), names, silent)), null)
  t.equal(whole.changes.length, count)
  const failing = agent(CHANGES_MAX + 50)
  const failed = await failureOf(restore(failing, pieces(rules, 1000), names, silent))
  t.same(failed, [255, `line ${CHANGES_MAX + 51}: Service already exists`])
  const early = agent()
  const wrong = `${line(1)}\n${line(2)}\n-A -w\n${line(3)}\n`
  t.same(await failureOf(restore(early, pieces(wrong, 9), names, silent)), [
    255,
    'line 3: -w: missing argument',
  ])
  t.equal(early.changes.length, 2, 'what stands before the failure is made')
  for (const [text, message] of [
    ['-R\n', /^line 1: Try/],
    ['-A -t 1.2.3.4\n-Q\n', /^line 2: Try/],
    [`-A ${'x'.repeat(100_000)}`, /^line 1: is too long/],
  ] as const) {
    t.match((await failureOf(restore(agent(), pieces(text, 50_000), names, silent)))?.[1], message)
  }
})

t.test('a bunch of the longest changes fits a line to the agent', async (t) => {
  const address = 'fd00:1111:2222:3333:4444:5555:6666:7777'
  const service = ['--sctp-service', `[${address}]:65535`]
  const lines = [
    [...['-A', ...service, '-p', '2678400', '-M', '127', '-s', 'mh', '-b'], 'flag-1,flag-2,flag-3'],
    [...['-a', ...service, '-r', `[${address}]:65534`], '-i', '-w', '65535', '-x', '65535'],
  ]
  for (const line of lines) {
    const one = agent()
    await runRequest(one, readRequest(line, names), names, silent)
    const changes = Array.from({ length: CHANGES_MAX }, () => one.changes[0])
    const request = { id: 2 ** 52, verb: 'ipvs.change', given: { changes, restoring: true } }
    t.ok(JSON.stringify(request).length < 0.7 * CONTROL_LINE_SIZE_MAX)
  }
})

t.test('a mask is of the family of its service', async (t) => {
  const prefix = (...args: string[]): number =>
    readRequest(['-A', '-p', ...args], names).service.persistencePrefix
  const v6 = ['-t', '[fd00::5]:80']
  t.equal(prefix(...v6, '-M', '64'), 64)
  t.equal(prefix('-f', '7', '-6', '-M', '64'), 64)
  t.equal(prefix('-M', '255.255.0.0', '-t', '10.0.0.5:80'), 16)
  for (const wrong of [
    ['-M', '255.255.0.0', ...v6],
    ['-f', '7', '-M', '255.255.0.0', '-6'],
    [...v6, '-M', '255.255.0.0'],
  ]) {
    t.throws(() => prefix(...wrong), { status: 2, message: 'illegal ipv6 netmask specified' })
  }
})

t.test('rules are saved by names that lead back', async (t) => {
  const ambiguous = new Names(
    '10.0.0.5 web\n10.0.0.6 web\n10.0.0.7 db\nfd00::7 db\n',
    'http 80/tcp\nalias 81/tcp http\nhttp 82/tcp\n',
  )
  const server = (address: string, port: number): ManualServer => ({
    ...{ address, port, method: 'masq', weight: 1, upperThreshold: 0, lowerThreshold: 0 },
  })
  const options = {
    ...{ scheduler: 'rr', schedulerFlags: [], persistenceSeconds: 0 },
    onePacket: false,
  }
  const services: ManualService[] = [
    {
      ...{ mark: 0, family: 4, protocol: 'tcp', address: '10.0.0.5', port: 80 },
      ...{ ...options, persistencePrefix: 32 },
      servers: [server('10.0.0.6', 82), server('10.0.0.7', 81), server('10.0.0.8', 80)],
    },
    {
      ...{ mark: 0, family: 6, protocol: 'tcp', address: 'fd00::7', port: 80 },
      ...{ ...options, persistencePrefix: 128 },
      servers: [],
    },
  ]
  const nothing = agent()
  const call = async (verb: string, given: never): Promise<unknown> =>
    verb === 'ipvs.manual' ? { services, next: null } : nothing.call(verb as 'ipvs.manual', given)
  const save = async (...args: string[]): Promise<string> => {
    let text = ''
    const client = { call: call as Asks['call'] }
    await runRequest(client, readRequest(args, ambiguous), ambiguous, (piece) => {
      text += piece
    })
    return text
  }
  const text = await save('-S')
  t.same(text.trim().split('\n'), [
    '-A -t web:http -s rr',
    '-a -t web:http -r 10.0.0.6:82 -m -w 1',
    '-a -t web:http -r db:alias -m -w 1',
    '-a -t web:http -r 10.0.0.8:http -m -w 1',
    '-A -t [fd00::7]:http -s rr',
  ])
  const loaded = agent()
  await restore(loaded, pieces(text, 50), ambiguous, silent)
  const again = agent()
  await restore(again, pieces(await save('-S', '-n'), 50), ambiguous, silent)
  t.same(loaded.changes, again.changes, 'names and numbers mean the same')
})

t.test('listings of an agent that has nothing', async (t) => {
  const out = async (...args: string[]): Promise<string> => {
    let text = ''
    await runRequest(agent(), readRequest(args, names), names, (piece) => {
      text += piece
    })
    return text
  }
  const empty = { columns: 'plain', exact: false, unsorted: false, tableSize: 4096 } as const
  t.equal(await out('-L', '-n'), formatServices([], empty))
  t.equal(await out('-S'), '')
  t.equal(await out('-L', '--timeout'), 'Timeout (tcp tcpfin udp): 1 2 3\n')
  t.equal(await out('-L', '--daemon'), '')
  t.match(await out('-Lc'), /^IPVS connection entries\npro expire state .* destination\n$/)
  t.match(await out('-Lc', '--persistent-conn'), /pe name +pe_data\n$/)
  t.same(await gatherServices(agent()), [])
})
