// Goal: TAP and TUN devices as the kernel really gives them. Method: inside a lab (testing/lab.ts),
// a kernel TCP/IP stack on one side of each device and FrameDevice on the other.

import { closeSync, openSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { BatchSocket, pin } from 'dgram-plus'
import { EdgeError } from './errors.ts'
import { inNamespace, namespaceIdentity } from './netns.ts'
import { createPoller } from './poller.ts'
import { allocateSlab } from './slab.ts'
import { insideLab, MACHINE_NETWORK, run, until } from './testing/lab.ts'
import { openTap, openTun, setPersistent } from './tuntap.ts'
import { vnetDevice } from './vnet-device.ts'
import { closeWake, drainWake, openWake, ringWake } from './wake.ts'

const t = await insideLab(import.meta.filename)
const slab = allocateSlab(1 << 20)
const bytes = Buffer.from(slab.bytes.buffer, slab.bytes.byteOffset, slab.bytes.length)

function codeOf(work: () => unknown): string {
  try {
    work()
  } catch (error) {
    if (error instanceof EdgeError) return error.code
    throw error
  }
  return 'no error'
}

t.test('a TAP in another namespace: ARP request out, reply in, ping answered', async (t) => {
  run('ip', 'netns', 'add', 'web1')
  const home = namespaceIdentity()
  const opened = openTap({ name: 'eth0', namespace: '/run/netns/web1' })
  t.equal(namespaceIdentity(), home, 'the thread came home')
  t.not(inNamespace('/run/netns/web1', namespaceIdentity), home)
  t.equal(opened.adopted, false)
  const device = vnetDevice(opened.fd, opened.name, slab)
  t.equal(device.read(0, 2048), -11, 'nothing to read yet is EAGAIN')
  const inside = (...words: string[]) => run('ip', '-n', 'web1', ...words)
  inside('link', 'set', 'eth0', 'address', '02:42:0a:00:00:02')
  inside('addr', 'add', '10.0.0.2/24', 'dev', 'eth0')
  inside('link', 'set', 'eth0', 'up')

  // An ARP request from us: the kernel answers from its own address.
  const arp = Buffer.from(
    `${'00'.repeat(10)}ffffffffffff02420a0000010806` +
      '000108000604000102420a0000010a0000010000000000000a000002',
    'hex',
  )
  arp.copy(bytes, 4096)
  t.equal(device.write(4096, arp.length), arp.length)
  const pieces = Int32Array.of(4096, 10, 4106, 14, 4120, 28)
  t.equal(device.writeGather(pieces, 3), arp.length, 'gathered from three pieces')
  let replies = 0
  await until('two ARP replies arrived', () => {
    const size = device.read(0, 2048)
    if (size < 0) return false
    const frame = bytes.subarray(10, size)
    if (frame.readUInt16BE(12) === 0x0806 && frame.readUInt16BE(20) === 2) {
      replies++
      t.equal(frame.subarray(22, 28).toString('hex'), '02420a000002')
    }
    return replies === 2
  })
  t.equal(device.write(0, 5), -22, 'a frame without a whole header is EINVAL, not an exception')
  device.close()
  t.equal(device.read(0, 2048), -9, 'closed is EBADF')
})

t.test(
  'TSO: super-packets arrive larger than the MTU, read at once and scattered alike',
  async (t) => {
    const opened = openTun({ name: 'weft9' })
    t.ok(opened.udpSegmentation, 'this kernel knows USO')
    const device = vnetDevice(opened.fd, opened.name, slab)
    const poller = createPoller()
    poller.add(opened.fd, 77)
    run('ip', 'addr', 'add', '10.9.0.1/24', 'dev', 'weft9')
    run('ip', 'link', 'set', 'weft9', 'mtu', '1400', 'up')
    const memory = pin(1 << 16)
    const socket = new BatchSocket({ memory, receive: { at: 0, count: 1, size: 2048 } })
    for (let i = 0; i < 9500; i++) memory.bytes[4096 + i] = i % 251
    const target = socket.endpoint('10.9.0.2', 9)
    const scattered = 65536
    for (const how of ['read', 'scatter']) {
      const message = socket.sending.begin(target)
      socket.sending.segment(message, 1000)
      socket.sending.append(message, 4096, 9500)
      t.equal(socket.sending.flush(), 0)
      let size = -11
      await until('a UDP super-packet arrived', () => {
        if (poller.wait(0) === 0) return false
        t.equal(poller.token(0), 77)
        size =
          how === 'read'
            ? device.read(0, 65536)
            : device.readScatter(scattered, 10 + 28, scattered + 100, 1000, 1100, 60)
        return size > 1400 + 10
      })
      t.equal(size, 10 + 28 + 9500)
      const at = how === 'read' ? 0 : scattered
      t.equal(bytes[at + 1], 5, 'VIRTIO_NET_HDR_GSO_UDP_L4')
      t.equal(bytes.readUInt16LE(at + 4), 1000, 'gso_size')
      let equal = true
      for (let i = 0; i < 9500; i++) {
        const slot = at + 100 + Math.floor(i / 1000) * 1100 + (i % 1000)
        if (bytes[how === 'read' ? 38 + i : slot] !== i % 251) equal = false
      }
      t.ok(equal, `payload by ${how}`)
    }
    socket.close()
    t.equal(device.readScatter(0, 10, 0, 10, 10, 1024), -22, 'more slots than iovecs')
    poller.remove(opened.fd)
    poller.close()
    device.close()
  },
)

t.test('takeover: a persistent device outlives its holder and is taken over', async (t) => {
  const first = openTap({ name: 'keep0', persistent: true })
  t.equal(first.adopted, false)
  const message = codeOf(() => openTap({ name: 'keep0' }))
  t.equal(message, 'DEVICE_TAKEN', 'while it is held nobody else gets it')
  t.throws(() => openTap({ name: 'keep0' }), { message: new RegExp(`process ${process.pid} `) })
  closeSync(first.fd)
  t.match(run('ip', 'link', 'show', 'keep0'), 'keep0', 'still there')
  t.equal(
    codeOf(() => openTun({ name: 'keep0' })),
    'DEVICE_TAKEN',
    'not as the other kind',
  )
  const second = openTap({ name: 'keep0' })
  t.equal(second.adopted, true)
  setPersistent(second, false)
  closeSync(second.fd)
  t.throws(() => run('ip', 'link', 'show', 'keep0'), 'gone')
})

t.test('what cannot be had is named, with a remedy', async (t) => {
  t.equal(
    codeOf(() => openTap({ name: 'x', namespace: '/run/netns/none' })),
    'NAMESPACE_MISSING',
  )
  t.equal(
    codeOf(() => openTap({ name: 'x', namespace: 4_000_000 })),
    'NAMESPACE_MISSING',
  )
  t.equal(
    codeOf(() => openTap({ name: 'x', namespace: '/etc/hosts' })),
    'NAMESPACE_MISSING',
  )
  t.equal(
    codeOf(() => openTap({ name: 'lo' })),
    'DEVICE_TAKEN',
  )
  for (const name of ['', 'a b', 'a/b', 'tap%d', 'sixteen-bytes-xx', '..']) {
    t.equal(
      codeOf(() => openTap({ name })),
      'BAD_NAME',
      name,
    )
  }
  const home = namespaceIdentity()
  t.throws(() => inNamespace('/run/netns/web1', () => openTap({ name: 'lo' })))
  t.equal(namespaceIdentity(), home, 'an error inside brings the thread home too')
  // Another user namespace owns the machine's network.
  t.equal(
    codeOf(() => inNamespace(MACHINE_NETWORK, () => 0)),
    'NAMESPACE_FORBIDDEN',
  )
})

t.test(
  'the poller reports sockets, devices and wake-ups by token; -1 and EINTR are no errors',
  async (t) => {
    const poller = createPoller()
    const wake = openWake()
    poller.add(wake, 2 ** 31)
    t.equal(poller.wait(0), 0)
    ringWake(wake)
    ringWake(wake)
    t.equal(poller.wait(-1), 1)
    t.equal(poller.token(0), 2 ** 31)
    t.ok(drainWake(wake))
    t.notOk(drainWake(wake), 'two rings are one wake-up')
    t.equal(poller.wait(0), 0)
    const file = openSync('/etc/hosts', 'r')
    t.equal(
      codeOf(() => poller.add(file, 1)),
      'SYSTEM',
      'a plain file cannot be polled',
    )
    closeSync(file)
    poller.remove(wake)
    closeWake(wake)
    poller.close()
  },
)

t.test('memory that the kernel writes to survives the garbage collector', async (t) => {
  // A module's buffer of which only the address was used got collected; drainWake then wrote into
  // somebody else's memory, and the process died much later.
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const wake = openWake()
  const blocks: Buffer[] = []
  let rung = 0
  for (let round = 0; round < 50; round++) {
    collect()
    for (let i = 0; i < 20; i++) blocks.push(Buffer.allocUnsafeSlow(16).fill(0x5a))
    ringWake(wake)
    if (drainWake(wake)) rung++
  }
  t.equal(rung, 50)
  t.ok(
    blocks.every((block) => block.every((byte) => byte === 0x5a)),
    'nobody else was written to',
  )
  closeWake(wake)
})

t.test('no privilege over the network: said, with the remedy', async (t) => {
  // A user namespace below ours owns nothing of this network.
  const source = `
    import { openTap } from '${import.meta.dirname}/tuntap.ts'
    import { openMeshHost } from '${import.meta.dirname}/mesh-host.ts'
    try { openTap({ name: 'tap7' }) } catch (error) { console.log(error.code, error.message) }
    await openMeshHost({ runDirectory: '/run' }).catch((error) => console.log(error.code))`
  const node = [process.execPath, '--input-type=module-typescript', '-e', source]
  const output = run(
    'unshare',
    '-U',
    '--map-root-user',
    '-m',
    'sh',
    '-c',
    'mount -t tmpfs tmpfs /run && exec "$0" "$@"',
    ...node,
  )
  t.match(output, /^NO_PERMISSION no permission to make device tap7; run as root/)
  t.match(output, /\nNO_PERMISSION\n$/)
})
