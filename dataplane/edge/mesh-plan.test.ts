// Goal: the plan of the routing mesh is right and comes with its inverse, without touching a host.
// Method: a model host that carries steps out and takes them back on plain data; properties by
// fast-check.

import fc from 'fast-check'
import t from 'tap'
import {
  diffMesh,
  factsBefore,
  formatPortRanges,
  type HostFacts,
  isSatisfied,
  type MeshStep,
  type MeshWish,
  parsePortRanges,
  planMesh,
  ruleText,
} from './mesh-plan.ts'

const PRISTINE: HostFacts = {
  rules: {
    4: ['pref 0 lookup local', 'pref 32766 lookup main', 'pref 32767 lookup default'],
    6: ['pref 0 lookup local', 'pref 32766 lookup main'],
  },
  routes: [],
  sysctls: new Map([
    ['ipv4/ip_forward', '0'],
    ['ipv4/ip_local_reserved_ports', '8080,30000-30010'],
    ['ipv4/conf/all/accept_redirects', '1'],
    ['ipv4/conf/eth0/forwarding', '0'],
    ['ipv4/conf/eth1/forwarding', '1'],
    ['ipv6/conf/all/forwarding', '0'],
    ['ipv6/conf/eth0/forwarding', '0'],
    ['ipv6/conf/eth0/accept_ra', '1'],
    ['ipv6/conf/eth1/accept_ra', '0'],
    ['ipv6/conf/lo/accept_ra', '1'],
  ]),
  chains: { 4: 'DOCKER-USER' },
}

class ModelHost {
  rules: Record<4 | 6, string[]> = { 4: [...PRISTINE.rules[4]], 6: [...PRISTINE.rules[6]] }
  sysctls: Map<string, string> = new Map(PRISTINE.sysctls)
  chains: Set<string> = new Set()
  routes: Set<string> = new Set()
  made: MeshStep[] = []
  facts: HostFacts = PRISTINE

  run(step: MeshStep, forward: boolean): void {
    if (step.kind === 'rule') {
      const rules = this.rules[step.family]
      const index = rules.indexOf(step.rule)
      if (step.add === forward && index < 0) rules.push(step.rule)
      if (step.add !== forward && index >= 0) rules.splice(index, 1)
      if (!rules.some((rule) => rule.endsWith('lookup local'))) throw new Error('no local table')
    } else if (step.kind === 'route') {
      if (forward) this.routes.add(step.route)
      else this.routes.delete(step.route)
    } else if (step.kind === 'chain') {
      const text = `${step.family} ${step.chain} ${step.rule.join(' ')}`
      if (forward) this.chains.add(text)
      else this.chains.delete(text)
    } else if (step.kind === 'hold') {
      throw new Error('a hold is never planned')
    } else if (forward) {
      this.sysctls.set(step.name, step.value)
      for (const [name] of step.alongside) this.sysctls.set(name, '1')
    } else if (this.sysctls.get(step.name) === step.value) {
      this.sysctls.set(step.name, step.before)
      for (const [name, value] of step.alongside) this.sysctls.set(name, value)
    }
  }

  apply(wish: MeshWish): void {
    const { make, undo, replaced } = diffMesh(planMesh(wish, this.facts, 'weft0'), this.made)
    for (const step of make) this.run(step, true)
    for (const index of undo) this.run(this.made[index]!, false)
    this.made = [...this.made, ...make].filter((_, i) => !undo.includes(i) && !replaced.includes(i))
  }

  /** What an agent that takes over has to plan with. */
  takeOver(): void {
    const rules = { 4: [...this.rules[4]], 6: [...this.rules[6]] }
    const { chains } = PRISTINE
    const now = { rules, routes: [...this.routes], sysctls: new Map(this.sysctls), chains }
    this.facts = factsBefore(this.made, now)
  }

  undoAll(): void {
    for (const step of [...this.made].reverse()) this.run(step, false)
    this.made = []
  }

  state(): unknown {
    const sysctls = [...this.sysctls].sort()
    return {
      rules: [this.rules[4].toSorted(), this.rules[6].toSorted()],
      sysctls,
      chains: this.chains,
    }
  }
}

const WISH: MeshWish = {
  addresses: ['10.0.0.5', 'FD00:0::5'],
  ports: [
    { protocol: 'tcp', port: 80 },
    { protocol: 'udp', port: 53 },
  ],
}

t.test('the plan, in words', (t) => {
  const words = planMesh(WISH, PRISTINE, 'weft0').map((step) => {
    if (step.kind === 'rule') return `${step.family} ${step.add ? '+' : '-'} ${step.rule}`
    if (step.kind === 'route') return step.route
    if (step.kind === 'chain') return `${step.family} ${step.chain} ${step.rule.join(' ')}`
    if (step.kind === 'hold') return step.device
    return `${step.name} ${step.before} -> ${step.value}`
  })
  t.strictSame(words, [
    'ipv4/ip_forward 0 -> 1',
    'ipv6/conf/eth0/accept_ra 1 -> 2',
    'ipv6/conf/all/forwarding 0 -> 1',
    'ipv4/ip_local_reserved_ports 8080,30000-30010 -> 53,80,8080,30000-30010',
    '4 DOCKER-USER -i weft0 -j ACCEPT',
    '4 DOCKER-USER -o weft0 -j ACCEPT',
    '127.0.0.1 dev weft0 src 10.0.0.5 table 4789',
    '10.0.0.5 dev weft0 src 10.0.0.5 table 4789',
    '4 + pref 200 lookup local',
    '4 - pref 0 lookup local',
    '6 + pref 200 lookup local',
    '6 - pref 0 lookup local',
    '4 + pref 100 to 127.0.0.1 ipproto tcp dport 80 lookup 4789',
    '4 + pref 100 to 127.0.0.1 ipproto udp dport 53 lookup 4789',
    '4 + pref 100 to 10.0.0.5 ipproto tcp dport 80 lookup 4789',
    '4 + pref 100 to 10.0.0.5 ipproto udp dport 53 lookup 4789',
    '6 + pref 100 to fd00::5 ipproto tcp dport 80 lookup 4789',
    '6 + pref 100 to fd00::5 ipproto udp dport 53 lookup 4789',
  ])
  t.end()
})

t.test('no published port, no change; no IPv6 address, no change of IPv6', (t) => {
  t.strictSame(planMesh({ ...WISH, ports: [] }, PRISTINE, 'weft0'), [])
  const four = planMesh({ ...WISH, addresses: ['::1'] }, PRISTINE, 'weft0')
  t.notOk(four.some((step) => 'family' in step && step.family === 6))
  t.notOk(four.some((step) => step.kind === 'sysctl' && step.name.startsWith('ipv6')))
  t.end()
})

t.test('a way outside for processes, alone and where FORWARD drops', (t) => {
  const words = (facts: HostFacts): string[] =>
    planMesh({ addresses: [], ports: [], egress: true }, facts, 'weft0').map((step) => {
      if (step.kind === 'chain') return `${step.table ?? ''} ${step.chain} ${step.rule.join(' ')}`
      return step.kind === 'sysctl' ? `${step.name} ${step.value}` : step.kind
    })
  const drop = '-o weftx+ -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP'
  const masquerade = 'nat POSTROUTING -s 169.254.48.0/20 ! -o weftx+ -j MASQUERADE'
  t.strictSame(words({ ...PRISTINE, chains: {} }), [
    'ipv4/ip_forward 1',
    ` FORWARD ${drop}`,
    masquerade,
  ])
  t.strictSame(words(PRISTINE), [
    'ipv4/ip_forward 1',
    ' DOCKER-USER -o weftx+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    ' DOCKER-USER -i weftx+ -j ACCEPT',
    ` DOCKER-USER ${drop}`,
    masquerade,
  ])
  t.end()
})

t.test('a host that is already so is left alone', (t) => {
  const moved: HostFacts = {
    rules: { 4: ['pref 250 lookup local'], 6: [] },
    routes: [],
    sysctls: new Map([['ipv4/ip_forward', '1']]),
    chains: {},
  }
  const steps = planMesh({ addresses: [], ports: [{ protocol: 'tcp', port: 1 }] }, moved, 'weft0')
  t.equal(steps.length, 1, 'only the rule for the port')
  t.notOk(isSatisfied(steps[0]!, moved, new Set()))
  const rules = { 4: ['pref 100 to 127.0.0.1 ipproto tcp dport 1 lookup 4789'], 6: [] }
  t.ok(isSatisfied(steps[0]!, { ...moved, rules }, new Set()))
  t.end()
})

const wishes = fc.record({
  addresses: fc.uniqueArray(fc.constantFrom('10.0.0.1', '10.0.0.2', 'fd00::1', 'fd00::2', '::1')),
  ports: fc.array(
    fc.record({
      protocol: fc.constantFrom('tcp' as const, 'udp' as const),
      port: fc.constantFrom(1, 80, 81, 8080, 65535),
    }),
    { maxLength: 5 },
  ),
  egress: fc.boolean(),
})

t.test('whatever was wished in between, the last wish decides, and undo restores the host', (t) => {
  fc.assert(
    fc.property(fc.array(wishes, { minLength: 1, maxLength: 6 }), (sequence) => {
      const host = new ModelHost()
      const pristine = JSON.stringify(host.state())
      for (const wish of sequence) host.apply(wish)
      const direct = new ModelHost()
      direct.apply(sequence.at(-1)!)
      if (JSON.stringify(host.state()) !== JSON.stringify(direct.state())) return false
      host.undoAll()
      return JSON.stringify(host.state()) === pristine
    }),
    { numRuns: 500 },
  )
  t.pass('500 sequences')
  t.end()
})

t.test('an agent that takes over plans as the one before it would have', (t) => {
  fc.assert(
    fc.property(fc.array(wishes, { minLength: 2, maxLength: 6 }), (sequence) => {
      const host = new ModelHost()
      const pristine = JSON.stringify(host.state())
      const one = new ModelHost()
      for (const wish of sequence) {
        host.apply(wish)
        host.takeOver()
        one.apply(wish)
        if (JSON.stringify(host.state()) !== JSON.stringify(one.state())) return false
      }
      host.undoAll()
      return JSON.stringify(host.state()) === pristine
    }),
    { numRuns: 500 },
  )
  t.pass('500 sequences')
  t.end()
})

t.test('what somebody has changed since stays as he wants it when it is taken over', (t) => {
  const host = new ModelHost()
  host.apply(WISH)
  host.sysctls.set('ipv6/conf/eth0/accept_ra', '0')
  host.rules[4].push('pref 7 lookup main')
  host.takeOver()
  t.equal(host.facts.sysctls.get('ipv6/conf/eth0/accept_ra'), '0')
  t.equal(host.facts.sysctls.get('ipv4/ip_forward'), '0')
  t.strictSame(host.facts.rules[4].toSorted(), [...PRISTINE.rules[4], 'pref 7 lookup main'].sort())
  t.strictSame(host.facts.routes, [])
  t.end()
})

t.test('death at any step: everything was written down, and undoing it restores the host', (t) => {
  fc.assert(
    fc.property(wishes, wishes, fc.nat(40), (first, second, stepCount) => {
      const host = new ModelHost()
      const pristine = JSON.stringify(host.state())
      host.apply(first)
      const { make } = diffMesh(planMesh(second, PRISTINE, 'weft0'), host.made)
      for (const step of make.slice(0, stepCount)) host.run(step, true)
      // The journal holds what was made, and all that was about to be.
      host.made = [...host.made, ...make]
      host.undoAll()
      return JSON.stringify(host.state()) === pristine
    }),
    { numRuns: 500 },
  )
  t.pass('500 deaths')
  t.end()
})

t.test('port ranges read and written as the kernel does', (t) => {
  t.equal(formatPortRanges(parsePortRanges('')), '')
  t.equal(formatPortRanges(parsePortRanges('3,1-2,9,65535')), '1-3,9,65535')
  fc.assert(
    fc.property(fc.uniqueArray(fc.integer({ min: 1, max: 65535 })), (ports) => {
      const back = parsePortRanges(formatPortRanges(new Set(ports)))
      return back.size === ports.length && ports.every((port) => back.has(port))
    }),
  )
  t.end()
})

t.test('rules as ip prints them', (t) => {
  t.equal(ruleText({ priority: 0, src: 'all', table: 'local' }), 'pref 0 lookup local')
  t.equal(
    ruleText({
      priority: 100,
      src: 'all',
      dst: '1.2.3.4',
      ipproto: 'tcp',
      dport: 80,
      table: '4789',
    }),
    'pref 100 to 1.2.3.4 ipproto tcp dport 80 lookup 4789',
  )
  t.not(ruleText({ priority: 0, src: 'all', fwmark: '0x1', table: 'local' }), 'pref 0 lookup local')
  t.not(ruleText({ priority: 0, src: '10.0.0.0', table: 'local' }), 'pref 0 lookup local')
  t.end()
})
