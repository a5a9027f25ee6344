// The inner half of the demo: owns the lab, runs the checks or the live display, ends in order.

import process from 'node:process'
import { mergeMetrics } from '../lab/metrics.ts'
import { CHECKS } from './checks.ts'
import { METRICS_PORT, SCRAPE_TIMEOUT_MS } from './limits.ts'
import { Live, topologyView } from './live.ts'
import type { ToInner, ToOuter } from './messages.ts'
import { Scene } from './scene.ts'
import { ansiPaint, drawTopology, noPaint, type Paint } from './screen.ts'

type Hello = Extract<ToInner, { kind: 'hello' }>

function tell(message: ToOuter): void {
  if (process.connected) process.send?.(message)
}

function write(text: string): void {
  process.stdout.write(text)
}

/** Metrics of every agent that answers, merged into one text with the label "node". */
async function scrape(scene: Scene): Promise<string> {
  const texts = new Map<string, string>()
  const target = `http://127.0.0.1:${METRICS_PORT}/metrics`
  const asked = scene.nodes.map(async ({ name, host }) => {
    texts.set(name, await host.probe.get(target, SCRAPE_TIMEOUT_MS).catch(() => ''))
  })
  await Promise.all(asked)
  return mergeMetrics(texts)
}

class Inner {
  readonly #scene = new Scene()
  readonly #once: boolean
  #greeted: (hello: Hello) => void = () => {}
  #fetched: (text: string) => void = () => {}
  #fetchFailed: (error: Error) => void = () => {}
  #live: Live | undefined
  #stop: () => void = () => {}
  readonly #stopped: Promise<'stopped'>

  constructor(once: boolean) {
    this.#once = once
    this.#stopped = new Promise((resolve) => {
      this.#stop = () => resolve('stopped')
    })
  }

  async run(): Promise<number> {
    const greeted = new Promise<Hello>((resolve) => {
      this.#greeted = resolve
    })
    process.on('message', (message: ToInner) => this.#heard(message))
    process.on('disconnect', () => this.#stop())
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(signal, () => this.#stop())
    }
    tell({ kind: 'ready' })
    try {
      const hello = await Promise.race([greeted, this.#stopped])
      if (hello === 'stopped') return 130
      const work = this.#work(hello)
      // Whoever loses the race may still fail while the lab is closed under it.
      work.catch(() => {})
      const status = await Promise.race([work, this.#stopped])
      return status === 'stopped' ? (this.#once ? 130 : 0) : status
    } catch (error) {
      tell({ kind: 'failed', sentence: (error as Error).message })
      return 1
    } finally {
      this.#live?.stop()
      await this.#scene.stopAgents().catch(() => {})
      await this.#scene.close()
    }
  }

  #heard(message: ToInner): void {
    switch (message.kind) {
      case 'hello':
        this.#greeted(message)
        break
      case 'key':
        this.#live?.key(message.key)
        break
      case 'scrape':
        scrape(this.#scene).then((text) => tell({ kind: 'scraped', id: message.id, text }))
        break
      case 'fetched':
        if (message.error === undefined) this.#fetched(message.text)
        else this.#fetchFailed(new Error(message.error))
        break
      case 'stop':
        this.#stop()
        break
    }
  }

  #fetchMetrics(): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#fetched = resolve
      this.#fetchFailed = reject
      tell({ kind: 'fetch' })
    })
  }

  async #work(hello: Hello): Promise<number> {
    const colour = hello.terminal && !process.env.NO_COLOR
    const paint: Paint = colour ? ansiPaint : noPaint
    const scene = this.#scene
    let before: string[] = []
    await scene.build(
      (line) => write(`${line}\n`),
      async () => {
        before = await scene.hostState(0)
      },
    )
    if (this.#once) return this.#check(before, paint)
    const { metricsUrl, terminal } = hello
    this.#live = new Live(scene, { metricsUrl, terminal, paint, write })
    await this.#live.run()
    return 0
  }

  async #check(before: readonly string[], paint: Paint): Promise<number> {
    const scene = this.#scene
    write(`\n${drawTopology(await topologyView(scene), paint).join('\n')}\n\n`)
    let failed = 0
    for (const check of CHECKS) {
      try {
        const fetchMetrics = (): Promise<string> => this.#fetchMetrics()
        const saw = await check.run({ scene, before, fetchMetrics })
        write(`${paint('green', 'ok')}   ${check.name}: ${saw}\n`)
      } catch (error) {
        failed++
        write(`${paint('red', 'FAIL')} ${check.name}: ${(error as Error).message}\n`)
      }
    }
    return failed === 0 ? 0 : 1
  }
}

/** Runs the inner half; returns the exit status. */
export function runInner(once: boolean): Promise<number> {
  return new Inner(once).run()
}
