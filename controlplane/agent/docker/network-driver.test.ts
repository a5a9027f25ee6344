// Goal: the engine's questions are answered as libnetwork's remote driver protocol says, and what
// is no question does no harm. Method: HTTP over the driver's socket, as the engine does it.

import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { silentLogger } from '../../../base/log.ts'
import { PLUGIN_BODY_BYTES_MAX } from './limits.ts'
import { type DriverParts, NetworkDriver } from './network-driver.ts'

const DEVICE = 'wft0123456789'
const MAC = '02:42:0a:00:01:03'

async function started(t: Test, changes: Partial<DriverParts> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'weft-driver-'))
  const socket = join(folder, 'plugins', 'weft.sock')
  const driver = new NetworkDriver({
    log: silentLogger,
    attach: async () => '10.0.1.9/24',
    detach: async () => {},
    hasEgress: () => true,
    made: async () => true,
    ...changes,
  })
  await driver.listen(socket)
  t.teardown(async () => {
    await driver.close()
    rmSync(folder, { recursive: true })
  })
  const call = (path: string, body: unknown = {}): Promise<{ status: number; json: unknown }> =>
    new Promise((resolve, reject) => {
      const text = typeof body === 'string' ? body : JSON.stringify(body)
      const outgoing = request({ socketPath: socket, method: 'POST', path }, (response) => {
        let answer = ''
        response.setEncoding('utf8').on('data', (chunk: string) => {
          answer += chunk
        })
        response.on('end', () => {
          resolve({ status: response.statusCode!, json: JSON.parse(answer) })
        })
      })
      outgoing.on('error', reject)
      outgoing.end(text)
    })
  const answer = async (path: string, body?: unknown) => (await call(path, body)).json
  return { driver, socket, call, answer }
}

t.test('an endpoint from its creation to its interface', async (t) => {
  const asked: string[] = []
  let isMade = true
  const { driver, answer, socket } = await started(t, {
    made: async (device) => {
      asked.push(device)
      return isMade
    },
  })
  t.equal(statSync(socket).mode & 0o777, 0o600, 'for the engine alone')
  t.same(await answer('/Plugin.Activate'), { Implements: ['NetworkDriver', 'IpamDriver'] })
  t.match(await answer('/NetworkDriver.GetCapabilities'), { Scope: 'local' })
  driver.expect('10.0.1.3', { device: DEVICE, mac: MAC, internal: false })
  const endpoint = { EndpointID: 'e1', Interface: { Address: '10.0.1.3/24', MacAddress: '' } }
  t.same(await answer('/NetworkDriver.CreateEndpoint', endpoint), {
    Interface: { MacAddress: MAC },
  })
  t.same(await answer('/NetworkDriver.Join', { EndpointID: 'e1' }), {
    InterfaceName: { SrcName: DEVICE, DstPrefix: 'eth' },
    DisableGatewayService: false,
  })
  t.same(asked, [DEVICE], 'Join waits for the interface')
  isMade = false
  t.match(await answer('/NetworkDriver.Join', { EndpointID: 'e1' }), { Err: /did not appear/ })
  t.same(await answer('/NetworkDriver.DeleteEndpoint', { EndpointID: 'e1' }), {})
  t.match(await answer('/NetworkDriver.Join', { EndpointID: 'e1' }), { Err: /not known/ })
})

t.test('an address that nobody has, or has no more', async (t) => {
  const { driver, answer } = await started(t)
  const endpoint = { EndpointID: 'e1', Interface: { Address: '10.0.1.3/24' } }
  const refused = { Err: 'no task or container has the address 10.0.1.3' }
  t.same(await answer('/NetworkDriver.CreateEndpoint', endpoint), refused)
  driver.expect('10.0.1.3', { device: 'wft1', mac: MAC, internal: true })
  driver.expect('10.0.1.3', { device: 'wft2', mac: MAC, internal: true })
  driver.forget('10.0.1.3', 'wft1')
  t.match(await answer('/NetworkDriver.CreateEndpoint', endpoint), { Interface: {} }, 'given anew')
  driver.forget('10.0.1.3', 'wft2')
  t.same(await answer('/NetworkDriver.CreateEndpoint', endpoint), refused)
})

t.test('no way outside from an internal network, or where the engine has none', async (t) => {
  for (const [internal, egress, disabled] of [
    [true, true, true],
    [false, false, true],
    [false, true, false],
  ] as const) {
    const { driver, answer } = await started(t, { hasEgress: () => egress })
    driver.expect('10.0.1.3', { device: DEVICE, mac: MAC, internal })
    const endpoint = { EndpointID: 'e', Interface: { Address: '10.0.1.3/24' } }
    await answer('/NetworkDriver.CreateEndpoint', endpoint)
    const joined = await answer('/NetworkDriver.Join', { EndpointID: 'e' })
    t.match(joined, { DisableGatewayService: disabled })
  }
})

t.test('addresses', async (t) => {
  const released: string[] = []
  const { answer } = await started(t, {
    detach: async (networkId, address) => void released.push(`${networkId} ${address}`),
  })
  const pool = await answer('/IpamDriver.RequestPool', {
    Pool: '10.0.1.0/24',
    Options: { 'io.weft.network': 'n1' },
  })
  t.match(pool, { Pool: '10.0.1.0/24' })
  const { PoolID } = pool as { PoolID: string }
  const ask = (more: object) => answer('/IpamDriver.RequestAddress', { PoolID, ...more })
  t.match(await ask({ Address: '10.0.1.3' }), { Address: '10.0.1.3/24' }, "a task's")
  t.match(await ask({}), { Address: '10.0.1.9/24' }, "the cluster's choice")
  const gateway = { Options: { RequestAddressType: 'com.docker.network.gateway' } }
  t.match(await ask(gateway), { Address: '10.0.1.1/24' })
  await answer('/IpamDriver.ReleaseAddress', { PoolID, Address: '10.0.1.9' })
  t.same(released, ['n1 10.0.1.9'])
  const foreign = await answer('/IpamDriver.RequestPool', { Pool: '10.0.1.0/24', Options: {} })
  t.match(foreign, { Error: /are made by the cluster/ })
})

t.test('what is no question', async (t) => {
  const { call } = await started(t)
  t.equal((await call('/NetworkDriver.Nothing')).status, 404)
  t.equal((await call('/constructor')).status, 404)
  t.match((await call('/NetworkDriver.Join', '{')).json, { Err: /JSON/ })
  t.match((await call('/NetworkDriver.CreateEndpoint', 'null')).json, { Err: /no task/ })
  t.match((await call('/IpamDriver.RequestPool', '[]')).json, { Error: /made by the cluster/ })
  const long = JSON.stringify({ EndpointID: 'x'.repeat(PLUGIN_BODY_BYTES_MAX) })
  const refused = await call('/NetworkDriver.Join', long).catch(() => null)
  t.match(refused?.json ?? { Err: 'too large' }, { Err: /too large/ })
})

t.test('a socket that an earlier agent left', async (t) => {
  const { driver, socket } = await started(t)
  await driver.close()
  writeFileSync(socket, '')
  await driver.listen(socket)
  t.equal(statSync(socket).isSocket(), true)
})
