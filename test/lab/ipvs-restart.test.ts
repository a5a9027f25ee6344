// Flows through a virtual address and a published port go on when the agent is restarted; a file
// that is damaged is a warning; a killed agent's flows are reset, not left hanging.

import './enter.ts'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { sumOf } from '../../cli/lab/metrics.ts'
import { quiet, type Scene, SERVICE_PORT, sceneTest } from './scene.ts'

/** A sender that lost packets while the agent was away tries again after some seconds. */
const PATIENCE_MS = 30_000

async function restart(scene: Scene, node: string, between: () => void = () => {}): Promise<void> {
  const agent = scene.agent(node)
  t.equal(await agent.stop(), 0)
  between()
  await agent.start(scene.plan.tables(node))
}

async function allTests(scene: Scene): Promise<void> {
  const ports = [{ protocol: 'tcp', port: 80, targetPort: SERVICE_PORT }] as const
  const web = scene.service('web', { ports })
  scene.plan.publish({ protocol: 'tcp', port: 8000, service: 'web', targetPort: SERVICE_PORT })
  await scene.startAgents()
  const file = join(scene.agent('node1').runDirectory, 'flows.state')
  keepTests(scene, web, file)
  lossTests(scene, web, file)
}

function keepTests(scene: Scene, web: [string, string], file: string): void {
  t.test('connections through a virtual address and a published port go on', async (t) => {
    const calls = []
    for (const vip of web) {
      for (let i = 0; i < 3; i++) calls.push(await scene.at('c1').connect(vip, 80))
    }
    const host = scene.host('node1')
    for (const address of [host.address, host.address6]) {
      calls.push(await scene.at('out').connect(address, 8000))
    }
    for (const call of calls) t.equal(await call.say('before'), 'before')
    await quiet(scene)
    await restart(scene, 'node1', () => {
      t.equal(statSync(file).mode & 0o777, 0o600, 'for the agent alone')
    })
    t.notOk(existsSync(file), 'read once')
    for (const call of calls) t.equal(await call.say('after', PATIENCE_MS), 'after')
    const samples = await scene.agent('node1').metrics()
    const result = (name: string): number =>
      sumOf(samples, 'weft_flows_restored_total', { result: name })
    t.ok(result('restored') >= calls.length, `${result('restored')} flows restored`)
    for (const call of calls) await call.close()
  })

  t.test('a flow whose backend has gone meanwhile is dropped', async (t) => {
    const call = await scene.at('c1').connect(web[0], 80)
    const { name } = call.greeting
    await scene.agent('node1').stop()
    scene.plan.backend('web', name, false)
    await scene.agent('node1').start(scene.plan.tables('node1'))
    t.ok(
      sumOf(await scene.agent('node1').metrics(), 'weft_flows_restored_total', {
        result: 'dropped',
      }) >= 1,
    )
    await t.rejects(call.say('lost', PATIENCE_MS), /ECONNRESET/)
    scene.plan.backend('web', name, true)
    await scene.reload()
    await call.close()
  })
}

function lossTests(scene: Scene, web: [string, string], file: string): void {
  t.test('a damaged file is a warning', async (t) => {
    const call = await scene.at('c1').connect(web[0], 80)
    await restart(scene, 'node1', () => {
      const bytes = readFileSync(file)
      bytes[bytes.length >> 1]! ^= 1
      writeFileSync(file, bytes)
    })
    t.match(scene.agent('node1').process?.stderr, /warn.*the saved flows are lost/)
    await t.rejects(call.say('lost', PATIENCE_MS), /ECONNRESET/)
    t.match(await scene.at('c1').who(web[0], 80), { name: String }, 'new ones are balanced')
    await call.close()
  })

  t.test('a killed agent saves nothing, and its flows learn of it', async (t) => {
    const call = await scene.at('c1').connect(web[0], 80)
    const agent = scene.agent('node1')
    await agent.crash()
    t.notOk(existsSync(file))
    await agent.start(scene.plan.tables('node1'))
    await t.rejects(call.say('lost', PATIENCE_MS), /ECONNRESET/)
    await call.close()
  })
}

await sceneTest('restart', allTests)
