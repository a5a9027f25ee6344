// Goal: every mistake a tables file can hold is refused with the path and the words a person needs,
// and nothing makes the validator throw. Method: one good file; a table of single changes to it,
// each with the problem expected; arbitrary JSON and arbitrary damage to the good file by
// fast-check. Longer than 500 lines because the table is one.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import * as fc from 'fast-check'
import t from 'tap'
import { PROBLEMS_MAX } from './limits.ts'
import type { ForwardingTables } from './tables.ts'
import { problemText, validateTables } from './validate.ts'
import { ownKeyProblem, publicKeyOf } from './validate-nodes.ts'

const SCHEDULERS = ['rr', 'wrr', 'lc', 'wlc', 'sh', 'mh']
const GOOD_TEXT = readFileSync(join(import.meta.dirname, 'testdata/tables.json'), 'utf8')

/** Tables loose enough to be broken on purpose. */
// biome-ignore lint/suspicious/noExplicitAny: the point is to hold what the type forbids
type Loose = any

const good = (): Loose => JSON.parse(GOOD_TEXT)

function problemsOf(value: unknown): string[] {
  return validateTables(value, { schedulers: SCHEDULERS }).problems.map(problemText)
}

/** [what is wrong, the change, the problem as it is told]. */
type Mistake = readonly [string, (tables: Loose) => void, string]

const OWN_PUBLIC_KEY = publicKeyOf(Buffer.from(good().node.privateKey, 'base64'))
const OTHER_KEY = 'L0Z1T2pY0n8Jj2m4q5o6r7s8t9uAvBwCxDyEzF0A1HI='

const SHAPE_MISTAKES: readonly Mistake[] = [
  [
    'unknown key',
    (x) => {
      x.netwroks = []
    },
    'netwroks: unknown key; did you mean "networks"?',
  ],
  [
    'unknown inner key',
    (x) => {
      x.networks[1].vnid = 3
    },
    'networks[1].vnid: unknown key; did you mean "vni"?',
  ],
  [
    'unknown key like nothing',
    (x) => {
      x.node.colour = 'red'
    },
    'node.colour: unknown key',
  ],
  [
    'inherited name as key',
    (x) => {
      x.node.constructor = 1
    },
    'node.constructor: unknown key',
  ],
  [
    'missing key',
    (x) => {
      delete x.node.name
    },
    'node.name: is missing',
  ],
  [
    'missing list',
    (x) => {
      delete x.peers
    },
    'peers: is missing',
  ],
  [
    'list for object',
    (x) => {
      x.node = []
    },
    'node: must be an object, not a list',
  ],
  [
    'object for list',
    (x) => {
      x.peers = {}
    },
    'peers: must be a list, not an object',
  ],
  [
    'null',
    (x) => {
      x.networks[0].mtu = null
    },
    'networks[0].mtu: must be a whole number, not null',
  ],
  [
    'version',
    (x) => {
      x.version = -1
    },
    'version: must be 0 to 9007199254740991, not -1',
  ],
  [
    'fraction',
    (x) => {
      x.networks[0].vni = 1.5
    },
    'networks[0].vni: must be a whole number, not 1.5',
  ],
  [
    'number as text',
    (x) => {
      x.networks[0].vni = '5'
    },
    'networks[0].vni: must be a whole number, not "5"',
  ],
  [
    'VNI zero',
    (x) => {
      x.networks[0].vni = 0
    },
    'networks[0].vni: must be 1 to 16777215, not 0',
  ],
  [
    'VNI of 25 bits',
    (x) => {
      x.networks[0].vni = 2 ** 24
    },
    'networks[0].vni: must be 1 to 16777215, not 16777216',
  ],
  [
    'flag',
    (x) => {
      x.networks[0].encrypted = 'no'
    },
    'networks[0].encrypted: must be true or false, not "no"',
  ],
  [
    'name with a slash',
    (x) => {
      x.services[1].name = 'a/b'
    },
    'services[1].name: ' +
      'must be letters, digits, "_", ".", ":" and "-", beginning with a letter or digit, not "a/b"',
  ],
  [
    'empty name',
    (x) => {
      x.peers[2].name = ''
    },
    'peers[2].name: ' +
      'must be letters, digits, "_", ".", ":" and "-", beginning with a letter or digit, not ""',
  ],
  [
    'long name',
    (x) => {
      x.peers[2].name = 'n'.repeat(64)
    },
    `peers[2].name: must be at most 63 characters, not "${'n'.repeat(59)}...`,
  ],
  [
    'address with leading zeros',
    (x) => {
      x.endpoints[1].addresses = ['10.1.0.04']
    },
    'endpoints[1].addresses[0]: must be an IPv4 or IPv6 address, not "10.1.0.04"',
  ],
  [
    'address with prefix',
    (x) => {
      x.services[0].vips[0] = '10.1.0.2/16'
    },
    'services[0].vips[0]: must be an IPv4 or IPv6 address, not "10.1.0.2/16"',
  ],
  [
    'address with zone',
    (x) => {
      x.node.addresses = ['fe80::1%eth0']
    },
    'node.addresses[0]: must be an IPv4 or IPv6 address, not "fe80::1%eth0"',
  ],
  [
    'mapped address',
    (x) => {
      x.node.addresses = ['::ffff:10.0.0.1']
    },
    'node.addresses[0]: must be an IPv4 or IPv6 address, not "::ffff:10.0.0.1"',
  ],
  [
    'prefix without length',
    (x) => {
      x.networks[0].subnets = ['10.1.0.0']
    },
    'networks[0].subnets[0]: must be a prefix such as 10.1.0.0/16 or fd00:1::/64, not "10.1.0.0"',
  ],
  [
    'prefix with host bits',
    (x) => {
      x.networks[0].subnets[0] = '10.1.0.1/16'
    },
    'networks[0].subnets[0]: has host bits set: write 10.1.0.0/16, not "10.1.0.1/16"',
  ],
  [
    'no subnet',
    (x) => {
      x.networks[0].subnets = []
    },
    'networks[0].subnets: needs at least 1 entry',
  ],
  [
    'too many subnets',
    (x) => {
      x.networks[0].subnets = Array(9).fill('10.9.0.0/16')
    },
    'networks[0].subnets: has 9 entries, at most 8 are supported',
  ],
  [
    'bad base64',
    (x) => {
      x.peers[0].publicKey = 'abc'
    },
    'peers[0].publicKey: must be base64 of 32 bytes (44 characters), not "abc"',
  ],
  [
    'base64 of 31 bytes',
    (x) => {
      x.peers[0].publicKey = Buffer.alloc(31, 1).toString('base64')
    },
    'peers[0].publicKey: ' +
      'must be base64 of 32 bytes (44 characters), ' +
      'not "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ=="',
  ],
  [
    'key of zeros',
    (x) => {
      x.peers[0].publicKey = Buffer.alloc(32).toString('base64')
    },
    'peers[0].publicKey: must not be all zero, not "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="',
  ],
  [
    'private key is not repeated',
    (x) => {
      x.node.privateKey = 'tell-nobody'
    },
    'node.privateKey: must be base64 of 32 bytes (44 characters)',
  ],
  [
    'preshared key is not repeated',
    (x) => {
      x.node.presharedKey = 7
    },
    'node.presharedKey: must be text',
  ],
  [
    'preshared keys given twice',
    (x) => {
      x.node.presharedKey = OTHER_KEY
      x.node.presharedKeys = [OTHER_KEY]
    },
    'node.presharedKeys: is given beside presharedKey: give one of them',
  ],
  [
    'relay that is not there',
    (x) => {
      x.peers[0].relay = 'nobody'
    },
    'peers[0].relay: there is no peer "nobody"',
  ],
  [
    'relay of itself',
    (x) => {
      x.peers[0].relay = x.peers[0].name
    },
    'peers[0].relay: is the peer itself',
  ],
  [
    'endpoint without port',
    (x) => {
      x.peers[0].endpoint = '192.168.0.2'
    },
    'peers[0].endpoint: must be "address:port" or "[IPv6 address]:port", not "192.168.0.2"',
  ],
  [
    'endpoint without brackets',
    (x) => {
      x.peers[0].endpoint = 'fd00::2:4789'
    },
    'peers[0].endpoint: must be "address:port" or "[IPv6 address]:port", not "fd00::2:4789"',
  ],
  [
    'endpoint by name',
    (x) => {
      x.peers[0].endpoint = 'host2:4789'
    },
    'peers[0].endpoint: must be "address:port" or "[IPv6 address]:port", not "host2:4789"',
  ],
  [
    'endpoint port',
    (x) => {
      x.peers[0].endpoint = '192.168.0.2:65536'
    },
    'peers[0].endpoint: must be "address:port" or "[IPv6 address]:port", not "192.168.0.2:65536"',
  ],
  [
    'keep-alive',
    (x) => {
      x.peers[1].keepaliveSeconds = 3601
    },
    'peers[1].keepaliveSeconds: must be 0 to 3600, not 3601',
  ],
  [
    'MTU above',
    (x) => {
      x.networks[0].mtu = 9001
    },
    'networks[0].mtu: must be 576 to 9000, not 9001',
  ],
  [
    'MTU below',
    (x) => {
      x.networks[1].mtu = 575
    },
    'networks[1].mtu: must be 576 to 9000, not 575',
  ],
  [
    'MAC form',
    (x) => {
      x.endpoints[2].mac = '02-42-00-00-00-05'
    },
    'endpoints[2].mac: must be six bytes such as 02:42:0a:01:00:02, not "02-42-00-00-00-05"',
  ],
  [
    'MAC multicast',
    (x) => {
      x.endpoints[2].mac = '01:00:5e:00:00:01'
    },
    'endpoints[2].mac: must be a unicast address (even first byte), not "01:00:5e:00:00:01"',
  ],
  [
    'MAC zero',
    (x) => {
      x.endpoints[2].mac = '00:00:00:00:00:00'
    },
    'endpoints[2].mac: must not be zero, not "00:00:00:00:00:00"',
  ],
  [
    'device name too long',
    (x) => {
      x.endpoints[0].interface.name = 'a234567890123456'
    },
    'endpoints[0].interface.name: must be at most 15 bytes, not "a234567890123456"',
  ],
  [
    'device name with slash',
    (x) => {
      x.endpoints[0].interface.name = 'a/b'
    },
    'endpoints[0].interface.name: ' +
      'must be printable ASCII without white space, "/", ":" and "%", not "a/b"',
  ],
  [
    'device name dots',
    (x) => {
      x.endpoints[0].interface.name = '..'
    },
    'endpoints[0].interface.name: ' +
      'must be printable ASCII without white space, "/", ":" and "%", not ".."',
  ],
  [
    'device name empty',
    (x) => {
      x.endpoints[0].interface.name = ''
    },
    'endpoints[0].interface.name: ' +
      'must be printable ASCII without white space, "/", ":" and "%", not ""',
  ],
  [
    'namespace by relative path',
    (x) => {
      x.endpoints[0].interface.netns = 'web1'
    },
    'endpoints[0].interface.netns: must be an absolute path or a process id, not "web1"',
  ],
  [
    'namespace of process 0',
    (x) => {
      x.endpoints[0].interface.netns = 0
    },
    'endpoints[0].interface.netns: must be 1 to 4194304, not 0',
  ],
  [
    'protocol',
    (x) => {
      x.publishedPorts[0].protocol = 'sctp'
    },
    'publishedPorts[0].protocol: must be "tcp" or "udp", not "sctp"',
  ],
  [
    'PROXY protocol',
    (x) => {
      x.publishedPorts[0].proxyProtocol = 'v3'
    },
    'publishedPorts[0].proxyProtocol: must be "v1" or "v2", not "v3"',
  ],
  [
    'port 0',
    (x) => {
      x.publishedPorts[0].port = 0
    },
    'publishedPorts[0].port: must be 1 to 65535, not 0',
  ],
  [
    'target port',
    (x) => {
      x.services[0].ports[0].targetPort = 65536
    },
    'services[0].ports[0].targetPort: must be 1 to 65535, not 65536',
  ],
  [
    'weight',
    (x) => {
      x.services[0].backends[1].weight = 65536
    },
    'services[0].backends[1].weight: must be 0 to 65535, not 65536',
  ],
  [
    'endpoint without address',
    (x) => {
      x.endpoints[5].addresses = []
    },
    'endpoints[5].addresses: needs at least 1 entry',
  ],
]

const AGREEMENT_MISTAKES: readonly Mistake[] = [
  [
    'duplicate peer name',
    (x) => {
      x.peers.push({ ...x.peers[1], publicKey: OTHER_KEY })
    },
    'peers[3].name: is also that of peers[1] ("host3")',
  ],
  [
    'duplicate network name',
    (x) => {
      x.networks.push({ name: 'lab', vni: 9, subnets: ['10.9.0.0/24'] })
    },
    'networks[3].name: is also that of networks[1] ("lab")',
  ],
  [
    'duplicate endpoint name',
    (x) => {
      x.endpoints[5].name = 'web.1'
    },
    'endpoints[5].name: is also that of endpoints[0] ("web.1")',
  ],
  [
    'duplicate service name',
    (x) => {
      x.services[1].name = 'web'
    },
    'services[1].name: is also that of services[0] ("web")',
  ],
  [
    'peer with the node’s name',
    (x) => {
      x.peers[2].name = 'host1'
      x.endpoints.pop()
      x.services[1].backends = []
    },
    "peers[2].name: is this node's own name",
  ],
  [
    'duplicate VNI',
    (x) => {
      x.networks[1].vni = 4096
    },
    'networks[1].vni: is also that of networks[0]',
  ],
  [
    'overlapping networks',
    (x) => {
      x.networks[1].subnets.push('10.1.7.0/24')
    },
    'networks[1].subnets[1]: overlaps networks[0] (10.1.0.0/16)',
  ],
  [
    'overlapping networks, the later one wider',
    (x) => {
      x.networks[2].subnets.push('fd00::/16')
    },
    'networks[2].subnets[1]: overlaps networks[0] (fd00:1::/64)',
  ],
  [
    'overlapping subnets of one network',
    (x) => {
      x.networks[0].subnets.push('10.1.128.0/17')
    },
    'networks[0].subnets[2]: overlaps subnets[0] (10.1.0.0/16)',
  ],
  [
    'the same subnet twice',
    (x) => {
      x.networks[2].subnets.push('10.2.0.0/24')
    },
    'networks[2].subnets[1]: overlaps networks[1] (10.2.0.0/24)',
  ],
  [
    'loopback subnet',
    (x) => {
      x.networks[0].subnets.push('127.1.0.0/16')
    },
    'networks[0].subnets[2]: cannot be a subnet: its addresses are loopback addresses',
  ],
  [
    'multicast subnet',
    (x) => {
      x.networks[0].subnets.push('ff05::/64')
    },
    'networks[0].subnets[2]: cannot be a subnet: its addresses are multicast addresses',
  ],
  [
    'link-local subnet',
    (x) => {
      x.networks[0].subnets.push('fe80::/64')
    },
    'networks[0].subnets[2]: cannot be a subnet: its addresses are link-local addresses',
  ],
  [
    'subnet without room',
    (x) => {
      x.networks[0].subnets.push('10.3.0.0/31')
    },
    'networks[0].subnets[2]: leaves no room for hosts: at most /30',
  ],
  [
    'gateway outside',
    (x) => {
      x.networks[1].gateways = ['10.3.0.1']
    },
    "networks[1].gateways[0]: 10.3.0.1 is in none of the network's subnets",
  ],
  [
    'gateway broadcast',
    (x) => {
      x.networks[1].gateways = ['10.2.0.255']
    },
    'networks[1].gateways[0]: is the broadcast address of its subnet',
  ],
  [
    'gateway network',
    (x) => {
      x.networks[1].gateways = ['10.2.0.0']
    },
    'networks[1].gateways[0]: is the network address of its subnet',
  ],
  [
    'second gateway',
    (x) => {
      x.networks[1].gateways = ['10.2.0.1', '10.2.0.254']
    },
    'networks[1].gateways[1]: is a second gateway of 10.2.0.0/24, after gateways[0]',
  ],
  [
    'MTU for IPv6',
    (x) => {
      x.networks[0].mtu = 1279
    },
    'networks[0].mtu: must be at least 1280, as the network has IPv6',
  ],
  [
    'two ingress networks',
    (x) => {
      x.networks[0].ingress = true
      x.networks[1].ingress = false
    },
    'networks[2].ingress: networks[0] is the ingress network already',
  ],
  [
    'no private key',
    (x) => {
      delete x.node.privateKey
    },
    'node.privateKeyFile: is missing: network "front" is encrypted',
  ],
  [
    'two private keys',
    (x) => {
      x.node.privateKeyFile = 'key'
    },
    'node.privateKey: is given twice: here and as privateKeyFile',
  ],
  [
    'own key among the peers',
    (x) => {
      x.peers[0].publicKey = OWN_PUBLIC_KEY
    },
    "peers[0].publicKey: is this node's own key",
  ],
  [
    'two nodes with one key',
    (x) => {
      x.peers[1].publicKey = x.peers[0].publicKey
    },
    'peers[1].publicKey: is also that of peers[0] ("host2")',
  ],
  [
    'two nodes with one endpoint',
    (x) => {
      x.peers[1].endpoint = '[fd00:aaaa:0:0::9]:4789'
    },
    'peers[2].endpoint: is also that of peers[1]',
  ],
  [
    'peer nobody can reach',
    (x) => {
      x.peers.push({ name: 'host4' })
    },
    'peers[3]: needs a publicKey, an endpoint or both',
  ],
  [
    'multicast endpoint',
    (x) => {
      x.peers[0].endpoint = '224.0.0.1:4789'
    },
    'peers[0].endpoint: must be an address of a host; 224.0.0.1 is multicast',
  ],
  [
    'unspecified endpoint',
    (x) => {
      x.peers[0].endpoint = '0.0.0.0:4789'
    },
    'peers[0].endpoint: must be an address of a host; 0.0.0.0 is unspecified',
  ],
  [
    'node address twice',
    (x) => {
      x.node.addresses.push('fd00:aaaa:0::1')
    },
    'node.addresses[2]: is also node.addresses[1]',
  ],
  [
    'node address multicast',
    (x) => {
      x.node.addresses = ['239.0.0.1']
    },
    'node.addresses[0]: must be an address of this host; 239.0.0.1 is multicast',
  ],
  [
    'unknown network',
    (x) => {
      x.endpoints[5].network = 'frnot'
    },
    'endpoints[5].network: there is no network "frnot"; did you mean "front"?',
  ],
  [
    'unknown node',
    (x) => {
      x.endpoints[1].node = 'host22'
    },
    'endpoints[1].node: there is no node "host22"; did you mean "host2"?',
  ],
  [
    'address outside its subnet',
    (x) => {
      x.endpoints[1].addresses = ['10.2.0.4']
    },
    'endpoints[1].addresses[0]: ' +
      '10.2.0.4 is outside the subnets of network "front" (10.1.0.0/16, fd00:1::/64)',
  ],
  [
    'network address',
    (x) => {
      x.endpoints[1].addresses = ['10.1.0.0']
    },
    'endpoints[1].addresses[0]: is the network address of 10.1.0.0/16',
  ],
  [
    'broadcast address',
    (x) => {
      x.endpoints[1].addresses = ['10.1.255.255']
    },
    'endpoints[1].addresses[0]: is the broadcast address of 10.1.0.0/16',
  ],
  [
    'default gateway address',
    (x) => {
      x.endpoints[1].addresses = ['10.1.0.1']
    },
    'endpoints[1].addresses[0]: is the gateway address of 10.1.0.0/16',
  ],
  [
    'given gateway address',
    (x) => {
      x.endpoints[5].addresses = ['10.2.0.254']
    },
    'endpoints[5].addresses[0]: is the gateway address of 10.2.0.0/24',
  ],
  [
    'two addresses in a subnet',
    (x) => {
      x.endpoints[1].addresses.push('10.1.0.9')
    },
    'endpoints[1].addresses[1]: is a second address in the subnet of addresses[0]',
  ],
  [
    'duplicate address',
    (x) => {
      x.endpoints[1].addresses = ['fd00:1:0::3']
    },
    'endpoints[1].addresses[0]: is also that of endpoints[0] ("web.1")',
  ],
  [
    'duplicate MAC',
    (x) => {
      x.endpoints[2].mac = '02:42:0A:01:00:04'
    },
    'endpoints[2].mac: is also that of endpoints[1] ("web.2")',
  ],
  [
    'MAC of the gateway',
    (x) => {
      x.endpoints[2].mac = '02:42:0a:01:00:01'
    },
    'endpoints[2].mac: is also that of gateway 10.1.0.1',
  ],
  [
    'MAC of a VIP',
    (x) => {
      x.endpoints[2].mac = '02:42:0a:01:00:02'
    },
    'services[0].vips[0]: ' +
      'derives the MAC address 02:42:0a:01:00:02, which is also that of endpoints[2] ("web.3")',
  ],
  [
    'peer without key on an encrypted network',
    (x) => {
      x.endpoints[1].node = 'vtep'
    },
    'endpoints[1].node: network "front" is encrypted and peers[2] has no publicKey',
  ],
  [
    'peer without endpoint on a plain network',
    (x) => {
      x.endpoints[6].node = 'host3'
    },
    'endpoints[6].node: network "lab" is not encrypted and peers[1] has no endpoint',
  ],
  [
    'interface on another node',
    (x) => {
      x.endpoints[1].interface = { name: 'eth0' }
    },
    'endpoints[1].interface: can only be made on this node ("host1"), not on "host2"',
  ],
  [
    'device taken twice',
    (x) => {
      x.endpoints[3].interface = { netns: '/run/netns/web1', name: 'eth0' }
    },
    'endpoints[3].interface.name: is also that of endpoints[0] in /run/netns/web1',
  ],
  [
    'two default routes',
    (x) => {
      x.endpoints[3].interface = { netns: '/run/netns/web1', name: 'eth1', defaultRoute: true }
    },
    'endpoints[3].interface.defaultRoute: ' +
      'endpoints[0] has the IPv4 default route of /run/netns/web1',
  ],
  [
    'service on no network',
    (x) => {
      x.services[1].network = 'labs'
    },
    'services[1].network: there is no network "labs"; did you mean "lab"?',
  ],
  [
    'VIP outside',
    (x) => {
      x.services[1].vips = ['10.9.0.2']
    },
    'services[1].vips[0]: 10.9.0.2 is outside the subnets of network "lab" (10.2.0.0/24)',
  ],
  [
    'VIP is the gateway',
    (x) => {
      x.services[0].vips[1] = 'fd00:1::1'
    },
    'services[0].vips[1]: is the gateway address of fd00:1::/64',
  ],
  [
    'duplicate VIP',
    (x) => {
      x.services.push({ name: 'w2', network: 'front', vips: ['10.1.0.2'], backends: [] })
    },
    'services[3].vips[0]: is also that of services[0].vips[0]',
  ],
  [
    'VIP of an endpoint',
    (x) => {
      x.services[0].vips[0] = '10.1.0.4'
    },
    'services[0].vips[0]: is also that of endpoints[1] ("web.2")',
  ],
  [
    'service port twice',
    (x) => {
      x.services[0].ports.push({ protocol: 'tcp', port: 80 })
    },
    'services[0].ports[1]: tcp/80 is also ports[0]',
  ],
  [
    'a flag of another scheduler',
    (x) => {
      x.services[0].scheduler = 'sh'
      x.services[0].schedulerFlags = ['mh-port']
    },
    'services[0].schedulerFlags[0]: "sh" has no flag "mh-port": it has sh-fallback and sh-port',
  ],
  [
    'a flag for a scheduler without any',
    (x) => {
      x.services[0].schedulerFlags = ['sh-port']
    },
    'services[0].schedulerFlags[0]: "wrr" has no flag "sh-port": it has none',
  ],
  [
    'a flag twice',
    (x) => {
      x.services[0].scheduler = 'sh'
      x.services[0].schedulerFlags = ['sh-port', 'sh-port']
    },
    'services[0].schedulerFlags[1]: is given twice',
  ],
  [
    'slots for another scheduler than mh',
    (x) => {
      x.services[0].mhSlots = 251
    },
    'services[0].mhSlots: is for the scheduler "mh", not "wrr"',
  ],
  [
    'slots that are no prime of the table',
    (x) => {
      x.services[0].scheduler = 'mh'
      x.services[0].mhSlots = 252
    },
    'services[0].mhSlots: must be one of 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, ' +
      '65521, 131071',
  ],
  [
    'a client prefix without persistence',
    (x) => {
      x.services[0].persistencePrefix4 = 24
    },
    'services[0].persistencePrefix4: means nothing without persistenceSeconds',
  ],
  [
    'a preference for a zone that the node has not',
    (x) => {
      x.services[0].prefer = 'zone'
    },
    'services[0].prefer: "zone" needs to know the node\'s own zone (node.zone)',
  ],
  [
    'an unknown preference',
    (x) => {
      x.services[0].prefer = 'far'
    },
    'services[0].prefer: must be "node", "zone" or "nearest", not "far"',
  ],
  [
    'thresholds the wrong way round',
    (x) => {
      Object.assign(x.services[0].backends[0], { upperThreshold: 5, lowerThreshold: 6 })
    },
    'services[0].backends[0].lowerThreshold: must not be above the upperThreshold',
  ],
  [
    'a defence that is none',
    (x) => {
      x.node.balancer = { dropEntry: 4 }
    },
    'node.balancer.dropEntry: must be 0 to 3, not 4',
  ],
  [
    'unknown scheduler',
    (x) => {
      x.services[0].scheduler = 'wwr'
    },
    'services[0].scheduler: there is no scheduler "wwr"; did you mean "wrr"?',
  ],
  [
    'unknown scheduler like nothing',
    (x) => {
      x.services[0].scheduler = 'maglev'
    },
    'services[0].scheduler: there is no scheduler "maglev"; there are rr, wrr, lc, wlc, sh, mh',
  ],
  [
    'unknown backend',
    (x) => {
      x.services[0].backends[0].endpoint = 'web.9'
    },
    'services[0].backends[0].endpoint: there is no endpoint "web.9"; did you mean "web.1"?',
  ],
  [
    'backend on another network',
    (x) => {
      x.services[0].backends[0].endpoint = 'probe'
    },
    'services[0].backends[0].endpoint: ' +
      'endpoint "probe" is on network "lab", the service on "front"',
  ],
  [
    'backend twice',
    (x) => {
      x.services[0].backends[1].endpoint = 'web.1'
    },
    'services[0].backends[1].endpoint: is also that of backends[0]',
  ],
  [
    'unknown published service',
    (x) => {
      x.publishedPorts[0].service = 'web-publishd'
    },
    'publishedPorts[0].service: there is no service "web-publishd"; did you mean "web-published"?',
  ],
  [
    'published service elsewhere',
    (x) => {
      x.publishedPorts[0].service = 'web'
    },
    'publishedPorts[0].service: ' +
      'service "web" is on network "front", which is not the ingress network',
  ],
  [
    'published twice',
    (x) => {
      x.publishedPorts[1] = { ...x.publishedPorts[0] }
    },
    'publishedPorts[1]: tcp/8080 is published already by publishedPorts[0]',
  ],
  [
    'a PROXY header for UDP',
    (x) => {
      x.publishedPorts[1].proxyProtocol = 'v1'
      x.publishedPorts[0].proxyProtocol = 'v2'
    },
    'publishedPorts[1].proxyProtocol: is for TCP, not udp/53',
  ],
  [
    'the overlay’s own port',
    (x) => {
      x.publishedPorts[1].port = 4789
    },
    'publishedPorts[1].port: udp/4789 is the port of the overlay itself (node.listenPort)',
  ],
]

t.test('the good file passes and is returned as it is', async (t) => {
  const tables = good()
  const result = validateTables(tables, { schedulers: SCHEDULERS })
  t.strictSame(result.problems, [])
  t.equal(result.tables, tables)
})

t.test('values that are no tables', async (t) => {
  for (const value of [null, undefined, 1, 'x', [], true]) {
    t.equal(problemsOf(value).length, 1)
    t.match(problemsOf(value)[0], /^: ?must be an object|^must be an object/)
  }
  t.strictSame(problemsOf({}).length, 7)
})

for (const [title, mistakes] of [
  ['mistakes of shape', SHAPE_MISTAKES],
  ['mistakes of agreement', AGREEMENT_MISTAKES],
] as const) {
  t.test(title, async (t) => {
    for (const [name, change, problem] of mistakes) {
      const tables = good()
      change(tables)
      t.strictSame(problemsOf(tables), [problem], name)
    }
  })
}

t.test('what is allowed on purpose', async (t) => {
  const allowed: readonly (readonly [string, (tables: Loose) => void])[] = [
    [
      'a TCP port with the number of the overlay’s UDP port',
      (x) => {
        x.publishedPorts[0].port = 4789
      },
    ],
    [
      'the overlay moved away from a published port',
      (x) => {
        x.node.listenPort = 5000
        x.publishedPorts[1].port = 4789
      },
    ],
    [
      'no private key where nothing is encrypted',
      (x) => {
        delete x.node.privateKey
        for (const network of x.networks) network.encrypted = false
        x.peers[1].endpoint = '192.168.0.3:4789'
      },
    ],
    [
      'a service without backends',
      (x) => {
        x.services[1].backends = []
      },
    ],
    [
      'agents that meet over loopback',
      (x) => {
        x.peers[0].endpoint = '127.0.0.1:5001'
      },
    ],
    [
      'one MAC address on two networks',
      (x) => {
        x.endpoints[5].mac = '02:42:0a:01:00:03'
      },
    ],
    [
      'nothing but a node',
      (x) => {
        for (const list of ['peers', 'networks', 'endpoints', 'services', 'publishedPorts'])
          x[list] = []
      },
    ],
    [
      'a /30 and a /126',
      (x) => {
        x.networks[1].subnets.push('10.3.0.0/30', 'fd00:3::/126')
      },
    ],
  ]
  for (const [name, change] of allowed) {
    const tables = good()
    change(tables)
    t.strictSame(problemsOf(tables), [], name)
  }
})

t.test('all problems of a file are told, up to a bound', async (t) => {
  const tables = good()
  tables.networks[0].vni = 0
  tables.peers[0].endpoint = 'x'
  tables.node.nmae = 'y'
  t.equal(problemsOf(tables).length, 3)
  tables.endpoints = Array.from({ length: 300 }, () => ({}))
  const many = problemsOf(tables)
  t.equal(many.length, PROBLEMS_MAX + 1)
  t.match(many.at(-1), /^and \d+ more problems$/)
})

t.test('products of small lists are bounded', async (t) => {
  const tables = good()
  tables.services[0].ports = Array.from({ length: 256 }, (_, i) => ({
    protocol: 'tcp',
    port: i + 1,
  }))
  t.strictSame(problemsOf(tables), [])
  for (let s = 0; s < 300; s++) {
    const { name: _, ...rest } = structuredClone(tables.services[0])
    tables.services.push({
      ...rest,
      name: `s${s}`,
      vips: [`10.1.9.${s % 250}`.replace('.0', '.1')],
    })
  }
  t.ok(
    problemsOf(tables).some((p) =>
      /^services: hold \d+ combinations of VIP and port, at most/.test(p),
    ),
  )
})

t.test('the own key in a file is found by ownKeyProblem', async (t) => {
  const tables: ForwardingTables = good()
  const privateKey = Buffer.from(tables.node.privateKey!, 'base64')
  t.equal(ownKeyProblem(tables, privateKey), null)
  const same = structuredClone(tables) as Loose
  same.peers[1].publicKey = OWN_PUBLIC_KEY
  t.strictSame(ownKeyProblem(same, privateKey), {
    path: 'peers[1].publicKey',
    message: "is this node's own key",
  })
})

t.test('nothing makes it throw', async (t) => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6 }), (value) => {
      t.type(problemsOf(value).length, 'number')
    }),
    { numRuns: 500 },
  )
  // Damage at an arbitrary place of the good file: it passes, or the problem names that place or
  // one that refers to it; it never throws.
  const places: (string | number)[][] = []
  const visit = (value: Loose, path: (string | number)[]): void => {
    places.push(path)
    if (typeof value !== 'object' || value === null) return
    for (const key of Object.keys(value)) {
      visit(value[key], [...path, Array.isArray(value) ? Number(key) : key])
    }
  }
  visit(good(), [])
  fc.assert(
    fc.property(
      fc.constantFrom(...places.slice(1)),
      fc.oneof(
        fc.jsonValue({ maxDepth: 2 }),
        fc.constantFrom('10.1.0.3', 'front', 'web', 'host2', 80),
      ),
      (path, value) => {
        const tables = good()
        let holder = tables
        for (const key of path.slice(0, -1)) holder = holder[key]
        holder[path.at(-1)!] = value
        t.type(problemsOf(tables).length, 'number')
      },
    ),
    { numRuns: 1000 },
  )
})
