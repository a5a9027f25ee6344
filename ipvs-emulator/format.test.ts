// Goal: listings are ipvsadm's, column for column. Method: golden text; the plain listing's lines
// have the widths seen in outputs of ipvsadm itself.

import t from 'tap'
import { TCP_ACK, TCP_SYN } from '../wire/tcp.ts'
import type { ServiceConfig } from './config.ts'
import { REPLY } from './director.ts'
import { TCP, UDP } from './flow.ts'
import {
  type Columns,
  formatConnections,
  formatRules,
  formatServices,
  formatTimeouts,
  type ListOptions,
  largeNumber,
} from './format.ts'
import { lab } from './lab-fixture.ts'
import { listConnections, listServices } from './listing.ts'
import { build } from './packet-fixture.ts'

const ZONE = 7

const CONFIG: ServiceConfig[] = [
  {
    key: 'six',
    zone: ZONE,
    virtuals: [{ protocol: 'tcp', address: 'fd00::2', port: 443 }],
    scheduler: 'mh',
    schedulerFlags: ['mh-fallback', 'mh-port'],
    realServers: [{ key: 'a', address: 'fd00::11', port: 8443, weight: 3 }],
  },
  {
    key: 'web',
    zone: ZONE,
    virtuals: [
      { protocol: 'udp', address: '10.0.0.2', port: 53 },
      { protocol: 'tcp', address: '10.0.0.10', port: 80 },
      { protocol: 'tcp', address: '10.0.0.2', port: 80 },
    ],
    realServers: [
      {
        key: 'b',
        address: '10.0.0.100',
        port: 8080,
        weight: 10,
        upperThreshold: 500,
        lowerThreshold: 50,
      },
      { key: 'a', address: '10.0.0.11', port: 8080 },
    ],
  },
  {
    key: 'persistent',
    zone: ZONE,
    virtuals: [{ protocol: 'tcp', address: '10.0.0.3', port: 0 }],
    scheduler: 'wlc',
    persistenceSeconds: 300,
    persistencePrefix4: 24,
    realServers: [{ key: 'a', address: '10.0.0.11', port: 0 }],
  },
  {
    key: 'marked',
    zone: ZONE,
    virtuals: [],
    mark: 5,
    onePacket: true,
    scheduler: 'wrr',
    realServers: [{ key: 'a', address: '10.0.0.11', port: 53 }],
  },
]

const options = (columns: Columns): ListOptions => ({
  columns,
  exact: false,
  unsorted: false,
  tableSize: 4096,
})

function populated(): ReturnType<typeof lab> {
  const self = lab()
  self.apply(...CONFIG)
  for (let port = 1; port <= 3; port++) {
    const fields = { source: '10.1.0.9', target: '10.0.0.2', sourcePort: 40000 + port }
    const connection = self.send(build({ ...fields, protocol: TCP, targetPort: 80 }))
    if (port === 1) continue
    const { view, ipAt, l4At, end } = build({
      ...fields,
      protocol: TCP,
      targetPort: 80,
      flags: TCP_SYN | TCP_ACK,
    })
    self.director.track(connection, REPLY, view, ipAt, l4At, end, 1, end - ipAt, self.now)
    self.send(build({ ...fields, protocol: TCP, targetPort: 80, flags: TCP_ACK }))
  }
  self.send(
    build({ protocol: UDP, source: '10.1.0.9', target: '10.0.0.2', sourcePort: 5, targetPort: 53 }),
  )
  self.send(
    build({ protocol: TCP, source: '10.1.0.9', target: '10.0.0.3', sourcePort: 5, targetPort: 22 }),
  )
  return self
}

t.test('-L -n', async (t) => {
  const text = formatServices(listServices(populated().director), options('plain'))
  t.equal(
    text,
    [
      'IP Virtual Server version 1.2.1 (size=4096)',
      'Prot LocalAddress:Port Scheduler Flags',
      '  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn',
      'TCP  10.0.0.2:80 rr',
      '  -> 10.0.0.11:8080               Masq    1      1          1         ',
      '  -> 10.0.0.100:8080              Masq    10     1          1         ',
      'TCP  10.0.0.3:0 wlc persistent 300 mask 255.255.255.0',
      '  -> 10.0.0.11:0                  Masq    1      0          1         ',
      'TCP  10.0.0.10:80 rr',
      '  -> 10.0.0.11:8080               Masq    1      1          1         ',
      '  -> 10.0.0.100:8080              Masq    10     1          1         ',
      'UDP  10.0.0.2:53 rr',
      '  -> 10.0.0.11:8080               Masq    1      1          1         ',
      '  -> 10.0.0.100:8080              Masq    10     1          1         ',
      'TCP  [fd00::2]:443 mh (mh-fallback,mh-port)',
      '  -> [fd00::11]:8443              Masq    3      0          0         ',
      'FWM  5 wrr ops',
      '  -> 10.0.0.11:53                 Masq    1      0          0         ',
      '',
    ].join('\n'),
  )
})

t.test('--thresholds, --persistent-conn, --stats, --rate', async (t) => {
  const self = populated()
  const lines = (columns: Columns): string[] =>
    formatServices(listServices(self.director), options(columns)).split('\n')
  t.same(lines('thresholds').slice(1, 6), [
    'Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn ',
    '  -> RemoteAddress:Port',
    'TCP  10.0.0.2:80 rr',
    '  -> 10.0.0.11:8080               0          0          1          1         ',
    '  -> 10.0.0.100:8080              500        50         1          1         ',
  ])
  t.same(lines('persistent-conn').slice(1, 3), [
    'Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn ',
    '  -> RemoteAddress:Port',
  ])
  t.equal(
    lines('persistent-conn')[7],
    '  -> 10.0.0.11:0                  1         1           0          1         ',
  )
  t.same(lines('stats').slice(1, 6), [
    'Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes',
    '  -> RemoteAddress:Port',
    'TCP  10.0.0.2:80                         4        6        2      228       80',
    '  -> 10.0.0.11:8080                      2        3        1      108       40',
    '  -> 10.0.0.100:8080                     2        3        1      120       40',
  ])
  self.wait(2000)
  t.same(lines('rate').slice(1, 6), [
    'Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS',
    '  -> RemoteAddress:Port',
    'TCP  10.0.0.2:80                         0        1        0       28       10',
    '  -> 10.0.0.11:8080                      0        0        0       13        5',
    '  -> 10.0.0.100:8080                     0        0        0       15        5',
  ])
})

t.test('-S -n', async (t) => {
  t.equal(
    formatRules(listServices(populated().director)),
    [
      '-A -t 10.0.0.2:80 -s rr',
      '-a -t 10.0.0.2:80 -r 10.0.0.11:8080 -m -w 1',
      '-a -t 10.0.0.2:80 -r 10.0.0.100:8080 -m -w 10 -x 500 -y 50',
      '-A -t 10.0.0.3:0 -s wlc -p 300 -M 255.255.255.0',
      '-a -t 10.0.0.3:0 -r 10.0.0.11:0 -m -w 1',
      '-A -t 10.0.0.10:80 -s rr',
      '-a -t 10.0.0.10:80 -r 10.0.0.11:8080 -m -w 1',
      '-a -t 10.0.0.10:80 -r 10.0.0.100:8080 -m -w 10 -x 500 -y 50',
      '-A -u 10.0.0.2:53 -s rr',
      '-a -u 10.0.0.2:53 -r 10.0.0.11:8080 -m -w 1',
      '-a -u 10.0.0.2:53 -r 10.0.0.100:8080 -m -w 10 -x 500 -y 50',
      '-A -t [fd00::2]:443 -s mh -b mh-fallback,mh-port',
      '-a -t [fd00::2]:443 -r [fd00::11]:8443 -m -w 3',
      '-A -f 5 -s wrr -o',
      '-a -f 5 -r 10.0.0.11:53 -m -w 1',
      '',
    ].join('\n'),
  )
})

t.test('-L -n -c', async (t) => {
  const self = populated()
  self.wait(5000)
  const lines = formatConnections(listConnections(self.director, 100)).split('\n')
  t.same(lines.slice(0, 2), [
    'IPVS connection entries',
    'pro expire state       source             virtual            destination',
  ])
  t.same(lines.slice(2, -1).sort(), [
    'TCP 00:55  SYN_RECV    10.1.0.9:40001     10.0.0.2:80        10.0.0.100:8080',
    'TCP 00:55  SYN_RECV    10.1.0.9:5         10.0.0.3:22        10.0.0.11:22',
    'TCP 04:55  NONE        10.1.0.0:0         10.0.0.3:0         10.0.0.11:0',
    'TCP 14:55  ESTABLISHED 10.1.0.9:40002     10.0.0.2:80        10.0.0.11:8080',
    'TCP 14:55  ESTABLISHED 10.1.0.9:40003     10.0.0.2:80        10.0.0.100:8080',
    'UDP 04:55  UDP         10.1.0.9:5         10.0.0.2:53        10.0.0.11:8080',
  ])
  t.equal(listConnections(self.director, 2).length, 2)
})

t.test('numbers and timeouts', async (t) => {
  for (const [value, text, exact] of [
    [0, '        0', '        0'],
    [99_999_999, ' 99999999', ' 99999999'],
    [100_000_000, '  100000K', ' 100000000'],
    [1_000_000_000, '    1000M', ' 1000000000'],
    [100_000_000_000, '     100G', ' 100000000000'],
    [100_000_000_000_000, '     100T', ' 100000000000000'],
  ] as const) {
    t.equal(largeNumber(value, false), text)
    t.equal(largeNumber(value, true), exact)
  }
  const self = lab()
  t.equal(formatTimeouts(self.director.timeouts.get()), 'Timeout (tcp tcpfin udp): 900 120 300\n')
  self.director.timeouts.set(100, 0, 20)
  t.equal(formatTimeouts(self.director.timeouts.get()), 'Timeout (tcp tcpfin udp): 100 120 20\n')
})
