// Goal: containers find services by the names that Swarm gives them, over UDP and TCP, and nothing
// that is not theirs. Method: real sockets on loopback, with dns-packet as the client; a second
// server plays the world outside.

import { createSocket } from 'node:dgram'
import { connect } from 'node:net'
import { createSocket as openSocket } from 'dgram-plus'
import packet, { type DecodedPacket, type Packet } from 'dns-packet'
import t from 'tap'
import { prng } from '../../../base/prng.ts'
import { Answerer, TTL_SECONDS } from './answerer.ts'
import { DnsServer } from './server.ts'
import { answersTo, TcpFrames, tcpFrame, Upstreams, upstreamsOf } from './upstream.ts'
import { addressBytes, type DnsTables, DnsZones, pointerAddress } from './zone.ts'

const many = Array.from({ length: 60 }, (_, n) => `10.0.1.${n + 100}`)
const TABLES: DnsTables = {
  networks: [
    {
      id: 'n1',
      name: 'front',
      subnets: ['10.0.1.0/24', 'fd00:1::/64'],
      records: [
        { name: 'web', addresses: ['10.0.1.2', 'fd00:1::2'], isCanonical: true },
        { name: 'tasks.web', addresses: ['10.0.1.3', '10.0.1.4'] },
        { name: 'web.1.abc', addresses: ['10.0.1.3'], isCanonical: true },
        { name: 'Alias', addresses: ['10.0.1.2'] },
        { name: 'many', addresses: many },
        { name: 'both', addresses: ['10.0.1.9'] },
      ],
    },
    {
      id: 'n2',
      name: 'back',
      subnets: ['10.0.2.0/24'],
      records: [
        { name: 'db', addresses: ['10.0.2.2'] },
        { name: 'both', addresses: ['10.0.2.9'] },
      ],
    },
  ],
  clients: [
    { addresses: ['127.0.0.1', '10.0.1.50'], networks: ['n1'], external: true },
    { addresses: ['10.0.1.51', '10.0.2.51'], networks: ['n1', 'n2'], external: true },
    { addresses: ['10.0.2.52'], networks: ['n2'], external: false },
  ],
}

const query = (name: string, type = 'A', more: Partial<Packet> = {}): Buffer =>
  packet.encode({
    type: 'query',
    id: 77,
    flags: packet.RECURSION_DESIRED,
    questions: [{ type: type as 'A', name }],
    ...more,
  })

const answerer = (): Answerer => new Answerer(new DnsZones(TABLES), prng(1))

function ask(name: string, from: string, type = 'A', transport: 'udp' | 'tcp' = 'udp') {
  const verdict = answerer().answer(query(name, type), from, transport)
  return typeof verdict === 'string' ? verdict : packet.decode(Buffer.from(verdict))
}

const data = (answer: unknown): unknown =>
  ((answer as DecodedPacket).answers ?? []).map((record) => (record as { data: unknown }).data)
const rcode = (answer: unknown): string => (answer as unknown as { rcode: string }).rcode

t.test('names of the networks that a container is on', async (t) => {
  t.same(data(ask('web', '10.0.1.50')), ['10.0.1.2'])
  t.same(data(ask('WEB.', '10.0.1.50')), ['10.0.1.2'], 'whatever the case')
  t.same(data(ask('web.front', '10.0.1.50')), ['10.0.1.2'], 'with the network')
  t.same(data(ask('web', '10.0.1.50', 'AAAA')), ['fd00:1::2'])
  t.same((data(ask('tasks.web', '10.0.1.50')) as string[]).sort(), ['10.0.1.3', '10.0.1.4'])
  t.same(data(ask('alias', '10.0.1.50')), ['10.0.1.2'])
  t.same(data(ask('db', '10.0.1.51')), ['10.0.2.2'])
  t.same(data(ask('both', '10.0.1.51')), ['10.0.1.9'], 'the first network wins')
  t.same(data(ask('both.back', '10.0.2.51')), ['10.0.2.9'])
  t.equal(ask('db', '10.0.1.50'), 'forward', 'a network it is not on')
  const { answers } = ask('web', '10.0.1.50') as DecodedPacket
  t.equal((answers![0] as { ttl: number }).ttl, TTL_SECONDS)
})

t.test('what there is nothing to say about', async (t) => {
  const empty = ask('db', '10.0.2.51', 'AAAA')
  t.same(data(empty), [], 'no address of that family')
  t.equal(rcode(empty), 'NOERROR')
  t.equal(rcode(ask('db', '10.0.2.51', 'MX')), 'NOERROR')
  t.equal(rcode(ask('example.org', '10.0.2.52')), 'NXDOMAIN', 'an internal network')
  t.equal(rcode(ask('web', '192.0.2.1')), 'REFUSED', 'nobody of ours')
  t.same(data(ask('web', '10.0.1.77')), ['10.0.1.2'], 'a container that is new')
  t.equal(ask('example.org', '10.0.1.50'), 'forward')
  const chaos = query('web', 'A', { questions: [{ type: 'TXT', class: 'CH', name: 'web' }] })
  const verdict = answerer().answer(chaos, '10.0.1.50', 'udp')
  t.equal(rcode(packet.decode(Buffer.from(verdict as Uint8Array))), 'REFUSED')
  t.equal(answerer().answer(new Uint8Array(5), '10.0.1.50', 'udp'), 'ignore')
})

t.test('addresses are turned back into names', async (t) => {
  t.same(data(ask('3.1.0.10.in-addr.arpa', '10.0.1.50', 'PTR')), ['web.1.abc.front'])
  t.same(data(ask('2.1.0.10.in-addr.arpa', '10.0.1.50', 'PTR')), ['web.front'])
  t.equal(rcode(ask('99.1.0.10.in-addr.arpa', '10.0.1.50', 'PTR')), 'NXDOMAIN', 'not told outside')
  t.equal(ask('8.8.8.8.in-addr.arpa', '10.0.1.50', 'PTR'), 'forward')
  const nibbles = `2.${'0.'.repeat(23)}1.0.0.0.0.0.d.f.ip6.arpa`
  t.same(pointerAddress(nibbles), addressBytes('fd00:1::2'))
  t.same(data(ask(nibbles, '10.0.1.50', 'PTR')), ['web.front'])
  t.equal(pointerAddress('256.1.1.1.in-addr.arpa'), null)
})

t.test('an answer is cut where it must be, and whole over TCP', async (t) => {
  const cut = ask('many', '10.0.1.50') as DecodedPacket & { flag_tc: boolean }
  t.ok(cut.flag_tc)
  t.ok((cut.answers?.length ?? 0) < many.length && (cut.answers?.length ?? 0) > 20)
  const whole = ask('many', '10.0.1.50', 'A', 'tcp') as DecodedPacket & { flag_tc: boolean }
  t.notOk(whole.flag_tc)
  t.same((data(whole) as string[]).sort(), [...many].sort())
})

t.test('an answer that is kept is that of its question, its client and its tables', async (t) => {
  const answers = answerer()
  const answerOf = (bytes: Uint8Array, from: string): DecodedPacket => {
    const verdict = answers.answer(bytes, from, 'udp')
    if (typeof verdict === 'string') throw new Error(verdict)
    return packet.decode(Buffer.from(verdict))
  }
  const asked = (id: number, name = 'both'): Buffer =>
    packet.encode({ type: 'query', id, flags: 256, questions: [{ type: 'A', name }] })
  for (const id of [1, 2, 0xffff]) {
    const got = answerOf(asked(id), '10.0.1.3')
    t.equal(got.id, id)
    t.same(data(got), ['10.0.1.9'])
    t.same(data(answerOf(asked(id), '10.0.2.3')), ['10.0.2.9'], 'of another client')
  }
  const records = [{ name: 'both', addresses: ['10.0.1.77'] }]
  answers.swap(new DnsZones({ ...TABLES, networks: [{ ...TABLES.networks[0]!, records }] }))
  t.same(data(answerOf(asked(3), '10.0.1.3')), ['10.0.1.77'], 'of other tables')
})

t.test('each address comes first now and then', async (t) => {
  const same = answerer()
  const firsts = new Set<unknown>()
  for (let n = 0; n < 50; n++) {
    const verdict = same.answer(query('tasks.web'), '10.0.1.50', 'udp') as Uint8Array
    firsts.add((data(packet.decode(Buffer.from(verdict))) as unknown[])[0])
  }
  t.equal(firsts.size, 2)
})

/** One exchange over a fresh socket. */
function overUdp(port: number, bytes: Uint8Array): Promise<Buffer> {
  return new Promise((settle, fail) => {
    const socket = createSocket('udp4')
    const timer = setTimeout(() => {
      socket.close()
      fail(new Error('no answer'))
    }, 20_000)
    socket.on('message', (answer) => {
      clearTimeout(timer)
      socket.close()
      settle(answer)
    })
    socket.send(bytes, port, '127.0.0.1')
  })
}

function overTcp(port: number, queries: readonly Uint8Array[]): Promise<Uint8Array[]> {
  return new Promise((settle, fail) => {
    const socket = connect(port, '127.0.0.1')
    const frames = new TcpFrames()
    const answers: Uint8Array[] = []
    socket.on('error', fail)
    // In pieces, as a stream may come.
    for (const bytes of queries) for (const byte of tcpFrame(bytes)) socket.write(Buffer.of(byte))
    socket.on('data', (chunk) => {
      answers.push(...frames.push(chunk))
      if (answers.length < queries.length) return
      socket.destroy()
      settle(answers)
    })
  })
}

const openUdp = (address: string | null, port: number) =>
  openSocket({ port, borrow: true, ...(address === null ? {} : { address }) })

/** A free port of both transports. */
async function listening(server: DnsServer): Promise<number> {
  for (let attempt = 0; ; attempt++) {
    const port = 20_000 + ((process.pid * 7 + attempt * 131) % 20_000)
    try {
      await server.listen({ port, addresses: ['127.0.0.1'] })
      return port
    } catch (error) {
      if (attempt === 50) throw error
    }
  }
}

t.test('over real sockets, with the world outside', async (t) => {
  const outsideTables: DnsTables = {
    networks: [
      {
        id: 'o',
        name: 'o',
        subnets: [],
        records: [{ name: 'example.org', addresses: ['198.51.100.7'] }],
      },
    ],
    clients: [{ addresses: ['127.0.0.1'], networks: ['o'], external: false }],
  }
  const outside = new DnsServer(
    new Answerer(new DnsZones(outsideTables), prng(1)),
    async () => null,
    openUdp,
  )
  const outsidePort = await listening(outside)
  t.teardown(() => outside.close())
  const upstreams = new Upstreams(() => [
    { address: '127.0.0.1', port: 1 },
    { address: '127.0.0.1', port: outsidePort },
  ])
  const server = new DnsServer(
    answerer(),
    (bytes, transport) => upstreams.ask(bytes, transport),
    openUdp,
  )
  const port = await listening(server)
  t.teardown(() => server.close())

  t.same(data(packet.decode(await overUdp(port, query('web')))), ['10.0.1.2'])
  const forwarded = packet.decode(await overUdp(port, query('example.org')))
  t.same(data(forwarded), ['198.51.100.7'], 'the second server outside, as the first is dead')
  t.equal(forwarded.id, 77, "the asker's own id")
  const answers = await overTcp(port, [query('web'), query('example.org'), query('tasks.web')])
  const all = answers.flatMap((answer) => data(packet.decode(Buffer.from(answer))) as string[])
  t.same(all.sort(), ['10.0.1.2', '10.0.1.3', '10.0.1.4', '198.51.100.7'])
  t.match(server.counts, { udp: 2, tcp: 3, answered: 3, forwarded: 2, failed: 0 })
  t.equal(upstreams.pending, 0)
})

t.test('nobody outside answers: that is said', async (t) => {
  const server = new DnsServer(answerer(), async () => null, openUdp)
  const port = await listening(server)
  t.teardown(() => server.close())
  t.equal(rcode(packet.decode(await overUdp(port, query('example.org')))), 'SERVFAIL')
  t.match(server.counts, { failed: 1 })
})

t.test('servers outside that cannot be reached are nobody', async (t) => {
  // A socket may not send to this address unless it asks to: nothing leaves.
  const upstreams = new Upstreams(() => [{ address: '255.255.255.255' }])
  t.equal(await upstreams.ask(query('example.org'), 'udp'), null)
  t.equal(await upstreams.ask(query('example.org'), 'tcp'), null)
})

t.test('answers to another question are not taken', async (t) => {
  const asked = query('web')
  const answer = (name: string, id: number): Buffer =>
    packet.encode({ type: 'response', id, questions: [{ type: 'A', name }] })
  t.ok(answersTo(asked, answer('web', 77)))
  t.notOk(answersTo(asked, answer('web', 78)))
  t.notOk(answersTo(asked, answer('bew', 77)))
  t.notOk(answersTo(asked, asked))
  t.notOk(answersTo(asked, new Uint8Array(3)))
})

t.test('the name servers of the host', async (t) => {
  const text = '# x\nnameserver 10.0.0.1\n  nameserver fe80::1%eth0\nnameserver 1.1.1.1\nsearch a\n'
  t.same(upstreamsOf(text, new Set(['10.0.0.1'])), [
    { address: 'fe80::1%eth0' },
    { address: '1.1.1.1' },
  ])
  t.same(upstreamsOf('nameserver 10.0.0.2\n'.repeat(9), new Set()).length, 3)
  t.same(upstreamsOf('nameserver ns.example\n', new Set()), [], 'a name would be looked up')
})

t.test('the response has the opcode of the query', async (t) => {
  for (const opcode of [1, 2, 4, 5, 15]) {
    const asked = query('web')
    asked.writeUInt16BE(0x0100 | (opcode << 11), 2)
    const verdict = answerer().answer(asked, '10.0.1.50', 'udp') as Uint8Array
    const flags = Buffer.from(verdict).readUInt16BE(2)
    t.equal((flags >>> 11) & 15, opcode, 'RFC 1035 section 4.1.1')
    t.equal(flags & 15, 4, 'not implemented')
    t.equal(flags >>> 15, 1)
  }
})

/** An OPT record (RFC 6891 section 6.1.2) behind the question. */
const optQuery = (payload: number, version: number, name = 'many'): Buffer => {
  const opt = Buffer.of(0, 0, 41, payload >>> 8, payload & 255, 0, version, 0, 0, 0, 0)
  const asked = Buffer.concat([query(name), opt])
  asked.writeUInt16BE(1, 10)
  return asked
}

t.test('EDNS: sizes below 512 are 512, and a version that is not ours is told', async (t) => {
  const answered = (asked: Buffer): { flags: number; opt: Buffer; size: number } => {
    const verdict = Buffer.from(answerer().answer(asked, '10.0.1.50', 'udp') as Uint8Array)
    t.equal(verdict.readUInt16BE(10), 1, 'with an OPT record, as the query')
    const opt = verdict.subarray(verdict.length - 11)
    t.equal(opt.readUInt16BE(1), 41)
    return { flags: verdict.readUInt16BE(2), opt, size: verdict.length }
  }
  for (const payload of [0, 1, 511, 512]) {
    const { size, flags } = answered(optQuery(payload, 0))
    t.ok(size <= 512 && size > 480, `${payload} bytes`)
    t.ok(flags & 0x0200, 'cut')
  }
  t.ok(answered(optQuery(4096, 0)).size > 512)
  const { flags, opt } = answered(optQuery(1232, 1, 'web'))
  t.equal(flags & 15, 0)
  t.equal(opt[5], 1, 'BADVERS is 16: its upper bits stand in the OPT record')
  t.equal(opt[6], 0, 'the version that is ours')
})

t.test('a server outside that fails is not the last word', async (t) => {
  const outside = async (code: number, address: string): Promise<number> => {
    const socket = createSocket('udp4')
    await new Promise<void>((bound) => socket.bind(0, '127.0.0.1', bound))
    t.teardown(() => socket.close())
    socket.on('message', (asked, from) => {
      const { id, questions } = packet.decode(asked)
      const answers = code === 0 ? [{ type: 'A' as const, name: 'example.org', data: address }] : []
      const flags = code | 0x0180
      const encoded = packet.encode({ type: 'response', id, flags, questions, answers } as Packet)
      socket.send(encoded, from.port, from.address)
    })
    return socket.address().port
  }
  const servers = async (...codes: number[]): Promise<Upstreams> => {
    const ports = await Promise.all(codes.map((code, i) => outside(code, `192.0.2.${i}`)))
    return new Upstreams(() => ports.map((port) => ({ address: '127.0.0.1', port })))
  }
  const asked = query('example.org')
  for (const code of [2, 4, 5]) {
    const answer = await (await servers(code, 0)).ask(asked, 'udp')
    t.same(data(packet.decode(Buffer.from(answer!))), ['192.0.2.1'], `code ${code}`)
  }
  const no = await (await servers(3, 0)).ask(asked, 'udp')
  t.equal(no![3]! & 15, 3, 'that there is no such name is an answer')
  const all = await (await servers(5, 2)).ask(asked, 'udp')
  t.equal(all![3]! & 15, 5, 'all fail: what the first said')
})

t.test('a client that reads no answers is read no further', async (t) => {
  const server = new DnsServer(answerer(), async () => null, openUdp)
  const port = await listening(server)
  t.teardown(() => server.close())
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  socket.pause()
  const frames = Buffer.concat(Array.from({ length: 1000 }, () => tcpFrame(query('many'))))
  // Until the server takes no more, and the buffers of both sockets neither: some megabytes.
  let isFull = false
  while (!isFull && server.counts.tcp < 100_000) {
    isFull = await new Promise<boolean>((settle) => {
      const timer = setTimeout(() => settle(true), 2000)
      socket.write(frames, () => {
        clearTimeout(timer)
        settle(false)
      })
    })
  }
  t.ok(server.counts.tcp < 100_000, `${server.counts.tcp} questions answered for nobody`)
})

t.test('a client that has said all still gets its answer', async (t) => {
  const late = async (bytes: Uint8Array): Promise<Uint8Array> => {
    await new Promise((done) => setTimeout(done, 50))
    const answer = Uint8Array.from(bytes)
    answer[2]! |= 0x80
    return answer
  }
  const server = new DnsServer(answerer(), late, openUdp)
  const port = await listening(server)
  t.teardown(() => server.close())
  const got = await new Promise<Buffer>((settle, fail) => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    const chunks: Buffer[] = []
    socket.on('error', fail)
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.on('end', () => {
      socket.destroy()
      settle(Buffer.concat(chunks))
    })
    socket.end(tcpFrame(query('example.org')))
  })
  t.equal(got.length, 2 + query('example.org').length, 'RFC 7766 section 6.2.3')
})
