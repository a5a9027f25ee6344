// Goal: VNIs, subnets, addresses and ports are given in turn, within their ranges, never twice.
// Method: each resource by itself, at its edges.

import t from 'tap'
import { formatCidr, parseCidr } from '../store/cidr.ts'
import type { NetworkAllocation } from '../store/objects.ts'
import type { IpamConfig, PortConfig } from '../store/specs.ts'
import { networkObject, serviceObject, stored } from '../store/testing/objects.ts'
import { Addresses } from './addresses.ts'
import { Taken } from './errors.ts'
import { allocateNetwork } from './networks.ts'
import { NextFit } from './next-fit.ts'
import { Ports } from './ports.ts'
import { Subnets } from './subnets.ts'
import { Vnis } from './vnis.ts'

const pools = (defaultAddressPools: readonly string[] = [], subnetSize = 24) =>
  new Subnets({ defaultAddressPools, subnetSize, id: 'abc' })

t.test('numbers in turn, and only then again', async (t) => {
  const numbers = new NextFit(5, 7)
  t.same([numbers.take(), numbers.take()], [5, 6])
  numbers.release(5)
  t.same([numbers.take(), numbers.take(), numbers.take()], [7, 5, null])
  t.equal(numbers.free, 0)
  t.ok(numbers.claim(99), 'outside the range, by name')
  t.notOk(numbers.claim(6))
  numbers.release(99)
  numbers.release(6)
  numbers.release(6)
  t.equal(numbers.free, 1)
  t.equal(
    numbers.take((n) => n === 6),
    null,
  )
})

t.test('VNIs', async (t) => {
  const vnis = new Vnis()
  const { spec } = networkObject('n')
  const named = (list: string) => ({
    ...spec,
    Options: { 'com.docker.network.driver.overlay.vxlanid_list': list },
  })
  t.same([vnis.take(spec), vnis.take(spec)], [4096, 4097])
  t.equal(vnis.take(named('4098, 4099')), 4098)
  t.equal(vnis.take(spec), 4099)
  t.equal(vnis.take(named('300')), 300)
  t.throws(() => vnis.take(named('300')), /VXLAN identifier 300 is in use/)
  for (const bad of ['0', '16777216', '-1', 'x', '1.5']) {
    t.throws(() => vnis.take(named(bad)), /is no VXLAN identifier/, bad)
  }
})

t.test('subnets from the pools', async (t) => {
  const subnets = pools()
  t.equal(formatCidr(subnets.takeNext(4)), '10.0.0.0/24')
  subnets.takeNamed('10.0.1.128/25')
  subnets.takeNamed('10.0.2.0/23')
  t.equal(formatCidr(subnets.takeNext(4)), '10.0.4.0/24')
  subnets.release(parseCidr('10.0.0.0/24')!)
  t.equal(formatCidr(subnets.takeNext(4)), '10.0.5.0/24', 'not again at once')
  t.throws(() => subnets.takeNamed('10.0.0.0/8'), /overlaps with 10.0.1.128\/25 of another network/)
  t.throws(() => subnets.takeNamed('10.0.0'), /is no subnet/)
  t.equal(formatCidr(subnets.takeNext(6)).slice(0, 2), 'fd')
})

t.test('small pools come to their end and go on when something is given back', async (t) => {
  const subnets = pools(['172.30.0.0/23', '192.168.7.0/24'])
  const taken = [subnets.takeNext(4), subnets.takeNext(4), subnets.takeNext(4)].map(formatCidr)
  t.same(taken, ['172.30.0.0/24', '172.30.1.0/24', '192.168.7.0/24'])
  t.throws(() => subnets.takeNext(4), /no IPv4 subnet is left/)
  subnets.release(parseCidr('172.30.1.0/24')!)
  t.equal(formatCidr(subnets.takeNext(4)), '172.30.1.0/24')
})

t.test('a cluster’s unique local prefix follows from its id', async (t) => {
  const of = (id: string) =>
    formatCidr(new Subnets({ defaultAddressPools: [], subnetSize: 24, id }).takeNext(6))
  t.equal(of('a1'), of('a1'))
  t.not(of('a1'), of('a2'))
  t.match(of('zzzzzzzzzzzzzzzzzzzzzzzzz'), /^fd[0-9a-f:]+::\/64$/)
})

const addressesOf = (subnets: NetworkAllocation['subnets'], configs: IpamConfig[] = []) =>
  new Addresses('front', { vni: 1, subnets }, configs)

t.test('addresses: not the network’s, gateway’s, broadcast, auxiliary', async (t) => {
  const addresses = addressesOf(
    [{ subnet: '10.0.1.0/29', gateway: '10.0.1.1' }],
    [{ Subnet: '10.0.1.0/29', AuxiliaryAddresses: { printer: '10.0.1.3' } }],
  )
  t.equal(addresses.free, 4)
  const all = Array.from({ length: 4 }, () => addresses.take()[0])
  t.same(all, ['10.0.1.2/29', '10.0.1.4/29', '10.0.1.5/29', '10.0.1.6/29'])
  t.throws(() => addresses.take(), /no IPv4 address is left on network front \(10.0.1.0\/29\)/)
  addresses.release('10.0.1.4/29')
  t.same(addresses.take(), ['10.0.1.4/29'])
})

t.test('addresses: a range, several subnets, both families', async (t) => {
  const range = addressesOf([
    { subnet: '10.5.0.0/16', gateway: '10.5.0.1', ipRange: '10.5.7.0/30' },
  ])
  t.same(
    Array.from({ length: 4 }, () => range.take()[0]),
    ['10.5.7.0/16', '10.5.7.1/16', '10.5.7.2/16', '10.5.7.3/16'],
  )
  t.equal(range.free, 0)
  const dual = addressesOf([
    { subnet: '10.0.1.0/30', gateway: '10.0.1.1' },
    { subnet: '10.0.2.0/30', gateway: '10.0.2.1' },
    { subnet: 'fd00:1::/64', gateway: 'fd00:1::1' },
  ])
  t.same(dual.families, [4, 6])
  t.same(dual.take(), ['10.0.1.2/30', 'fd00:1::2/64'])
  t.same(dual.take(), ['10.0.2.2/30', 'fd00:1::3/64'])
  t.throws(() => dual.take(), /IPv4/)
  const six = addressesOf([{ subnet: 'fd00:1::/126', gateway: 'fd00:1::1' }])
  t.same([six.take(), six.take()], [['fd00:1::2/126'], ['fd00:1::3/126']])
  t.same(addressesOf([{ subnet: '10.9.0.0/31', gateway: '10.9.0.0' }]).take(), ['10.9.0.1/31'])
})

t.test('addresses that somebody has are not given', async (t) => {
  const addresses = addressesOf([{ subnet: '10.0.1.0/24', gateway: '10.0.1.1' }])
  t.ok(addresses.claim('10.0.1.9/24'))
  t.notOk(addresses.claim('10.0.1.9/24'))
  t.notOk(addresses.claim('10.0.2.9/24'))
  t.notOk(addresses.claim('10.0.1.1/24'), 'the gateway’s')
  t.same(addresses.take(), ['10.0.1.10/24'], 'behind the latest')
})

t.test('networks: what the user names, what is missing, what is wrong', async (t) => {
  const make = (spec: Parameters<typeof networkObject>[1]) =>
    allocateNetwork(stored(networkObject('n', spec)), new Vnis(), pools()).subnets
  const config = (...Config: IpamConfig[]) => ({ IPAM: { Config } })
  t.same(make({}), [{ subnet: '10.0.0.0/24', gateway: '10.0.0.1' }])
  t.match(make({ EnableIPv6: true }), [{ gateway: '10.0.0.1' }, { gateway: /^fd.*::1$/ }])
  t.match(make({ EnableIPv4: false, EnableIPv6: true }), [{ gateway: /^fd/ }])
  t.same(make(config({ Subnet: '10.9.0.0/16', Gateway: '10.9.0.254', IPRange: '10.9.4.0/24' })), [
    { subnet: '10.9.0.0/16', gateway: '10.9.0.254', ipRange: '10.9.4.0/24' },
  ])
  t.same(
    make({ ...config({ Subnet: 'fd00:7::/64' }), EnableIPv6: true }).map(({ subnet }) => subnet),
    ['10.0.0.0/24', 'fd00:7::/64'],
  )
  t.throws(() => make(config({ Subnet: '10.9.0.0/16', Gateway: '10.8.0.1' })), /not within/)
  t.throws(() => make(config({ Subnet: '10.9.0.0/16', IPRange: '10.8.0.0/24' })), /not within/)
  t.throws(() => make({ EnableIPv4: false }), /without IPv4 and IPv6/)
  const vnis = new Vnis()
  const overlapping = stored(networkObject('n', config({ Subnet: '10.0.0.0/8' })))
  const subnets = pools()
  subnets.takeNext(4)
  t.throws(() => allocateNetwork(overlapping, vnis, subnets))
  t.equal(vnis.take(networkObject('m').spec), 4097, 'a VNI is passed over, not lost')
})

t.test('ports', async (t) => {
  const ports = new Ports()
  const port = (changes: Partial<PortConfig>): PortConfig => ({
    Protocol: 'tcp',
    TargetPort: 80,
    PublishMode: 'ingress',
    ...changes,
  })
  const service = (id: string, Ports: PortConfig[], given: PortConfig[] = []) =>
    stored(
      serviceObject(
        id,
        { EndpointSpec: { Ports } },
        { endpoint: { spec: {}, ports: given, virtualIps: [] } },
      ),
    )
  const take = (...of: Parameters<typeof service>) => ports.take(service(...of), new Taken())
  const numbers = (given: readonly PortConfig[]) => given.map(({ PublishedPort }) => PublishedPort)
  const web = take('web', [port({}), port({ TargetPort: 443 }), port({ PublishedPort: 8080 })])
  t.same(numbers(web), [30000, 30001, 8080])
  t.same(
    numbers(take('web', [port({ TargetPort: 443 }), port({ TargetPort: 9 })], web)),
    [30001, 30002],
  )
  t.throws(
    () => take('db', [port({ PublishedPort: 8080 })]),
    /^port '8080' is already in use by service 'web' \(web\) as an ingress port$/,
  )
  t.same(numbers(take('db', [port({ PublishedPort: 8080, Protocol: 'udp' })])), [8080])
  const host = port({ PublishMode: 'host', PublishedPort: 8080 })
  t.same(take('host', [host]), [host])
  const taken = new Taken()
  ports.take(service('x', [port({ PublishedPort: 7000 })]), taken)
  taken.release()
  t.same(numbers(take('y', [port({ PublishedPort: 7000 })])), [7000])
})
