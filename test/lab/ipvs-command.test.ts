// `weft ipvs` on running agents, with real packets: a service added by hand balances and survives
// table swaps, a killed agent and a saved file; what the tables own is theirs.

import './enter.ts'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { ExecResult } from '../../cli/lab/process.ts'
import { waitFor } from '../../cli/lab/wait.ts'
import { BACKENDS, type Scene, SERVICE_PORT, sceneTest } from './scene.ts'

const WEFT = [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  fileURLToPath(new URL('../../cli/weft.ts', import.meta.url)),
  'ipvs',
]

class Command {
  readonly scene: Scene
  readonly node: string

  constructor(scene: Scene, node: string) {
    this.scene = scene
    this.node = node
  }

  run(line: string, input = ''): Promise<ExecResult> {
    const { runDirectory } = this.scene.agent(this.node)
    const args = line.split(' ').filter((word) => word !== '')
    return this.scene.host(this.node).exec([...WEFT, '--run-dir', runDirectory, ...args], { input })
  }

  /** Runs what must succeed; its output. */
  async must(line: string, input = ''): Promise<string> {
    const { status, stdout, stderr } = await this.run(line, input)
    if (status !== 0) throw new Error(`ipvs ${line}: status ${status}: ${stderr}`)
    return stdout
  }

  /** Runs what must fail: status and words. */
  async refused(line: string, input = ''): Promise<[number, string]> {
    const { status, stderr } = await this.run(line, input)
    return [status, stderr.trim()]
  }
}

const VIPS = ['10.7.0.200', 'fd00:7::200'] as const

function bracketed(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

function rulesFor(scene: Scene): string {
  const lines: string[] = []
  for (const [family, vip] of VIPS.entries()) {
    const service = bracketed(vip, 80)
    lines.push(`-A -t ${service} -s rr`)
    for (const name of BACKENDS) {
      const server = bracketed(scene.plan.addressOf(name, 'front', family), SERVICE_PORT)
      lines.push(`-a -t ${service} -r ${server} -m -w 1`)
    }
    lines.push(
      `-A -u ${bracketed(vip, 53)} -s wrr -p 600 -M ${family === 0 ? '255.255.255.0' : 64}`,
    )
  }
  return `${lines.join('\n')}\n`
}

async function allTests(scene: Scene): Promise<void> {
  const web = scene.service('web', { ports: [{ protocol: 'tcp', port: 80, targetPort: 8080 }] })
  await scene.startAgents()
  const ipvs = new Command(scene, 'node1')
  balanceTests(scene, ipvs)
  changeTests(scene, ipvs)
  tableTests(scene, ipvs, web)
  restoreTests(scene, ipvs, web)
  lifeTests(scene, ipvs)
}

function balanceTests(scene: Scene, ipvs: Command): void {
  t.test('a rules file gives services that balance', async (t) => {
    await ipvs.must('-R', rulesFor(scene))
    for (const vip of VIPS) {
      t.same(await scene.at('c1').tally(vip, 80, 6), { b1: 2, b2: 2, b3: 2 }, vip)
      const own = await scene.at('b1').who(vip, 80)
      t.notMatch(own, { error: String }, 'a real server may be a client, even of itself')
    }
    const listed = await ipvs.must('-L -n')
    t.match(listed, /^IP Virtual Server version 1\.2\.1 \(size=\d+\)\n/)
    t.match(listed, /\nTCP {2}10\.7\.0\.200:80 rr\n/)
    t.match(listed, /\nTCP {2}\[fd00:7::200\]:80 rr\n/)
    const stats = await ipvs.must('-L -n --stats -t 10.7.0.200:80')
    t.match(stats.split('\n')[2], /^TCP {2}10\.7\.0\.200:80 +[6-9] /)
    const connections = await ipvs.must('-L -n -c')
    t.match(connections, /^IPVS connection entries\npro expire state/)
    t.match(connections, /\nTCP \d\d:\d\d +\w+ +10\.7\.0\.\d+:\d+ +10\.7\.0\.200:80 +10\.7\.0\./)
  })

  t.test('persistence keeps a client at its server, one-packet does not', async (t) => {
    const [vip] = VIPS
    const at = scene.at('c1')
    for (const name of BACKENDS) {
      const server = `${scene.plan.addressOf(name, 'front')}:${SERVICE_PORT}`
      await ipvs.must(`-a -u ${vip}:53 -r ${server} -m`)
    }
    const kept = await at.tallyUdp(vip, 53, 4)
    t.equal(Object.values(kept)[0], 4, JSON.stringify(kept))
    t.match(await ipvs.must(`-L -n --persistent-conn -t ${vip}:80`), /Weight +PersistConn/)
    t.match(await ipvs.must(`-L -n --persistent-conn -u ${vip}:53`), /:8080 +1 +1 +0 +4 +\n/)
    await ipvs.must(`-E -u ${vip}:53 -s rr -o`)
    const talk = await at.talk(vip, 53)
    const seen = new Set<string>()
    for (let i = 0; i < 6; i++) {
      const answer = await talk.ask()
      if (!('error' in answer)) seen.add(answer.name)
    }
    t.equal(seen.size, 3, 'each datagram of one flow by itself')
    await talk.close()
    await ipvs.must(`-E -u ${vip}:53 -s wrr -p 600 -M 255.255.255.0`)
  })

  t.test('rates rise with traffic and fall without', async (_t) => {
    const [vip] = VIPS
    const rate = async (): Promise<string> => {
      const text = await ipvs.must(`-L -n --rate -t ${vip}:80`)
      return text.split('\n')[2]!.trim().split(/ +/)[3]!
    }
    await waitFor(
      async () => {
        await scene.at('c1').tally(vip, 80, 20)
        return Number(await rate()) > 0
      },
      { what: 'a rate of packets', timeoutMs: 20_000 },
    )
    await waitFor(async () => (await rate()) === '0', {
      what: 'the rate to come to rest',
      timeoutMs: 60_000,
      stepMs: 1000,
    })
  })

  t.test('the nodes are apart: the other one has none of it', async (t) => {
    const other = new Command(scene, 'node2')
    t.notMatch(await other.must('-L -n'), /10\.7\.0\.200/)
    t.same(await other.refused('-D -t 10.7.0.200:80'), [255, 'No such service'])
  })
}

function changeTests(scene: Scene, ipvs: Command): void {
  const [vip] = VIPS
  const server = (name: string): string => `${scene.plan.addressOf(name, 'front')}:${SERVICE_PORT}`

  t.test('weights, real servers and schedulers change under open flows', async (t) => {
    const at = scene.at('c1')
    const call = await at.connect(vip, 80)
    const { name } = call.greeting
    await ipvs.must(`-e -t ${vip}:80 -r ${server(name)} -m -w 0`)
    t.notOk(name in (await at.tally(vip, 80, 6)), 'no new flows at weight 0')
    t.equal(await call.say('still'), 'still', 'the open one goes on')
    await ipvs.must(`-e -t ${vip}:80 -r ${server(name)} -m -w 3`)
    await ipvs.must(`-E -t ${vip}:80 -s wrr`)
    t.equal((await at.tally(vip, 80, 5))[name], 3)
    const ending = call.ended(10_000)
    await ipvs.must(`-d -t ${vip}:80 -r ${server(name)}`)
    t.equal(await ending, 'ECONNRESET', 'its server goes, so the client is told')
    t.notOk(name in (await at.tally(vip, 80, 4)))
    await ipvs.must(`-a -t ${vip}:80 -r ${server(name)} -m`)
    await ipvs.must(`-E -t ${vip}:80 -s rr`)
    t.same(await at.tally(vip, 80, 6), { b1: 2, b2: 2, b3: 2 })
  })

  t.test('a real server that is no endpoint is listed and gets nothing', async (t) => {
    await ipvs.must(`-a -t ${vip}:80 -r 10.7.0.250:80 -m -w 9`)
    t.match(await ipvs.must('-L -n'), /-> 10\.7\.0\.250:80 +Masq +9 +0 +0 +\n/)
    t.same(await scene.at('c1').tally(vip, 80, 3), { b1: 1, b2: 1, b3: 1 })
    await ipvs.must(`-d -t ${vip}:80 -r 10.7.0.250:80`)
  })

  t.test('timeouts and counters', async (t) => {
    await ipvs.must('--set 1000 0 77')
    t.equal(await ipvs.must('-L --timeout'), 'Timeout (tcp tcpfin udp): 1000 120 77\n')
    await ipvs.must(`-Z -t ${vip}:80`)
    t.match(await ipvs.must(`-L -n --stats -t ${vip}:80`), /:80 +0 +0 +0 +0 +0\n/)
    t.same(await ipvs.refused('-Z -t 10.7.0.201:80'), [255, 'No such service'])
    await ipvs.must('-Z')
  })

  t.test('refusals, with the words and statuses of ipvsadm', async (t) => {
    const real = server('b1')
    for (const [line, status, words] of [
      [`-A -t ${vip}:80`, 255, 'Service already exists'],
      [`-A -t ${vip}:81 -s none`, 255, 'Scheduler or persistence engine not found'],
      [`-E -t ${vip}:81`, 255, 'No such service'],
      [`-a -t ${vip}:81 -r ${real} -m`, 255, 'Service not defined'],
      [`-a -t ${vip}:80 -r ${real} -m`, 255, 'Destination already exists'],
      [`-e -t ${vip}:80 -r 10.7.0.251:80 -m`, 255, 'No such destination'],
      [`-d -t ${vip}:80 -r 10.7.0.251:80`, 255, 'No such destination'],
      [`-L -t ${vip}:81`, 1, 'No such service'],
      [`-A -t ${vip}`, 2, 'Zero port specified for non-persistent service'],
      ['-A', 2, "You need to supply the 'service-address' option for the 'add-service' command"],
    ] as const) {
      t.same(await ipvs.refused(line), [status, words], line)
    }
    t.match(await ipvs.refused(`-A -t ${real}`), [255, /endpoint or gateway/])
    t.match(await ipvs.refused('--start-daemon master'), [255, /no sync daemon/])
  })
}

function tableTests(scene: Scene, ipvs: Command, web: [string, string]): void {
  t.test('services of the tables are shown, and are not to be changed', async (t) => {
    t.match(await ipvs.must('-L -n'), new RegExp(`\\nTCP {2}${web[0]}:80 rr\\n`))
    t.match(await ipvs.refused(`-A -t ${web[0]}:80`), [255, 'Service already exists'])
    for (const line of [
      `-E -t ${web[0]}:80 -s lc`,
      `-D -t ${web[0]}:80`,
      `-a -t ${web[0]}:80 -r 10.7.0.99:80 -m`,
    ]) {
      t.match(await ipvs.refused(line), [255, /is one of the tables'/], line)
    }
    await ipvs.must(`-Z -t ${web[0]}:80`)
  })

  t.test('another port of an address that the tables have', async (t) => {
    const real = `${scene.plan.addressOf('b2', 'front')}:${SERVICE_PORT}`
    await ipvs.must(`-A -t ${web[0]}:81 -s rr`)
    await ipvs.must(`-a -t ${web[0]}:81 -r ${real} -m`)
    t.same(await scene.at('c1').tally(web[0], 81, 2), { b2: 2 })
    t.same(await scene.at('c1').tally(web[0], 80, 3), { b1: 1, b2: 1, b3: 1 })
    await ipvs.must(`-D -t ${web[0]}:81`)
    t.same(await scene.at('c1').tally(web[0], 81, 1), { ECONNREFUSED: 1 })
  })

  t.test('services added by hand survive a swap of the tables, and their flows too', async (t) => {
    const at = scene.at('c1')
    const call = await at.connect(VIPS[0], 80)
    scene.weights('web', { b1: 5 })
    await scene.reload()
    t.equal(await call.say('on'), 'on')
    t.same(await at.tally(VIPS[0], 80, 6), { b1: 2, b2: 2, b3: 2 })
    await call.close()
  })
}

function restoreTests(scene: Scene, ipvs: Command, web: [string, string]): void {
  t.test('what is saved loads again and is the same', async (t) => {
    const saved = await ipvs.must('-S -n')
    t.match(saved, /^-A -t 10\.7\.0\.200:80 -s rr$/m)
    t.match(saved, /^-A -u 10\.7\.0\.200:53 -s wrr -p 600 -M 255\.255\.255\.0$/m)
    t.match(saved, new RegExp(`^-A -t ${web[0]}:80 -s rr$`, 'm'), 'the tables are in it')
    await ipvs.must('-C')
    t.notMatch(await ipvs.must('-L -n'), /10\.7\.0\.200/)
    await ipvs.must('-R', saved)
    t.equal(await ipvs.must('-S -n'), saved)
    t.same(await scene.at('c1').tally(VIPS[0], 80, 3), { b1: 1, b2: 1, b3: 1 })
  })

  t.test('a restore ends at the first line that fails, and says which', async (t) => {
    const rules = [
      '# a comment',
      '-A -t 10.7.0.210:80 -s rr',
      '',
      'ipvsadm -A -t 10.7.0.211:80 -s rr',
      '-A -t 10.7.0.211:80 -s rr',
      '-A -t 10.7.0.212:80 -s rr',
    ]
    t.same(await ipvs.refused('-R', rules.join('\n')), [255, 'line 5: Service already exists'])
    const listed = await ipvs.must('-L -n')
    t.match(listed, /10\.7\.0\.210:80/)
    t.match(listed, /10\.7\.0\.211:80/)
    t.notMatch(listed, /10\.7\.0\.212:80/)
    const wrong = '-D -t 10.7.0.210:80\n-D -t 10.7.0.211:80\n-A -t 10.7.0.213:80 -q\n'
    t.same(await ipvs.refused('-R', wrong), [255, 'line 3: -q: unknown option'])
    t.notMatch(await ipvs.must('-L -n'), /10\.7\.0\.21/)
  })

  t.test('methods, marks and addresses of no network are kept', async (t) => {
    const rules = [
      '-A -t 203.0.113.9:80 -s wlc',
      '-a -t 203.0.113.9:80 -r 203.0.113.10:80 -g -w 2',
      '-a -t 203.0.113.9:80 -r 203.0.113.11:80 -i -w 3 --tun-type ipip',
      '-a -t 203.0.113.9:80 -r 203.0.113.12:8080 -m -w 4 -x 9 -y 5',
      '-A -f 7 -s rr',
      '-a -f 7 -r 203.0.113.10:0 -m -w 1',
      '-A -f 7 -6 -s sh -b sh-fallback,sh-port',
    ]
    await ipvs.must('-R', rules.join('\n'))
    const saved = (await ipvs.must('-S -n')).split('\n')
    t.same(
      saved.filter((line) => /203\.0\.113|-f 7/.test(line)),
      rules,
    )
    for (const service of ['-t 203.0.113.9:80', '-f 7', '-f 7 -6']) await ipvs.must(`-D ${service}`)
  })
}

function lifeTests(scene: Scene, ipvs: Command): void {
  t.test('a killed agent comes back with them; its socket is replaced', async (t) => {
    const before = await ipvs.must('-S -n')
    const agent = scene.agent('node1')
    await agent.crash()
    t.match(await ipvs.refused('-L'), [2, /no agent runs/])
    await agent.start(scene.plan.tables('node1'))
    t.equal(await ipvs.must('-S -n'), before)
    await waitFor(
      async () => (await scene.at('c1').tally(VIPS[0], 80, 1)).ECONNRESET === undefined,
      {
        what: 'the service to answer again',
      },
    )
    const second = scene.host('node1').spawn(agent.command)
    t.equal(await second.ended, 1)
    t.match(second.stderr, /another agent runs with this run directory/)
    t.equal(await ipvs.must('-S -n'), before, 'and the first one still answers')
  })
}

await sceneTest('ipvs', allTests)
