// The live display: asks all the time, looks at the underlay, obeys the keys, redraws.

import { readFileSync } from 'node:fs'
import process from 'node:process'
import { MARKER } from '../demo-web.ts'
import { sniff } from '../lab/sniffer.ts'
import { pause } from '../lab/wait.ts'
import {
  FRAMES_PER_SECOND,
  LOADS_MAX,
  PUBLISHED_PORT,
  REQUESTS_PER_SECOND,
  SNIFF_MS,
} from './limits.ts'
import { ask, download, url } from './requests.ts'
import type { Scene } from './scene.ts'
import {
  drawLive,
  drawTopology,
  type LiveView,
  type Paint,
  type TopologyView,
  type WayView,
} from './screen.ts'

/** Latencies kept per way, for the median. */
const SAMPLES = 50
/** Without a terminal, a line of figures that often. */
const LINE_EVERY_MS = 5000

class Way {
  readonly name: string
  readonly answers: Map<string, number> = new Map()
  failures = 0
  last = ''
  readonly #durations: number[] = []

  constructor(name: string) {
    this.name = name
  }

  answered(replica: string, durationMs: number, last: string): void {
    this.answers.set(replica, (this.answers.get(replica) ?? 0) + 1)
    this.#durations.push(durationMs)
    if (this.#durations.length > SAMPLES) this.#durations.shift()
    this.last = last
  }

  get view(): WayView {
    const sorted = [...this.#durations].sort((a, b) => a - b)
    const medianMs = sorted[sorted.length >> 1] ?? Number.NaN
    const { name, answers, failures, last } = this
    return { name, answers, failures, last, medianMs }
  }
}

export interface LiveOptions {
  readonly metricsUrl: string
  readonly terminal: boolean
  readonly paint: Paint
  readonly write: (text: string) => void
}

export class Live {
  readonly #scene: Scene
  readonly #options: LiveOptions
  readonly #ways: Way[] = []
  readonly #underlay = {
    packetsPerSecond: 0,
    megabitsPerSecond: 0,
    looked: 0,
    readable: 0,
    control: 0,
  }
  #message = ''
  #loads = 0
  #loadRates: number[] = []
  #over = false

  constructor(scene: Scene, options: LiveOptions) {
    this.#scene = scene
    this.#options = options
  }

  /** Runs until stop(). */
  async run(): Promise<void> {
    const { terminal } = this.#options
    await Promise.all([
      this.#askPublished(),
      this.#askVip(),
      this.#listen(),
      terminal ? this.#draw() : this.#print(),
    ])
  }

  stop(): void {
    this.#over = true
  }

  key(key: string): void {
    if (key === 'k') this.#kill()
    else if (key === 'r') this.#revive()
    else if (key === 'l') this.#addLoad()
  }

  #say(message: string): void {
    this.#message = message
    if (!this.#options.terminal) this.#options.write(`${message}\n`)
  }

  #kill(): void {
    const scene = this.#scene
    const victim = scene.replicas.find((replica) => scene.isUp(replica))
    if (!victim) {
      this.#say('Every replica is dead already; press r.')
      return
    }
    this.#say(`${victim} is killed …`)
    scene.kill(victim).then(
      () => this.#say(`${victim} is dead and out of the tables.`),
      (error: Error) => this.#say(`${victim}: ${error.message}`),
    )
  }

  #revive(): void {
    const scene = this.#scene
    const dead = scene.replicas.find((replica) => !scene.isUp(replica))
    if (!dead) {
      this.#say('Every replica lives; press k.')
      return
    }
    this.#say(`${dead} is started …`)
    scene.revive(dead).then(
      () => this.#say(`${dead} is back in the tables.`),
      (error: Error) => this.#say(`${dead}: ${error.message}`),
    )
  }

  #addLoad(): void {
    if (this.#loads >= LOADS_MAX) {
      this.#loads = 0
      this.#say('Load is taken away.')
      return
    }
    const number = this.#loads++
    this.#say(`A download from shop through the VIP is added (${this.#loads}).`)
    this.#download(number)
  }

  async #download(number: number): Promise<void> {
    while (!this.#over && number < this.#loads) {
      try {
        this.#loadRates[number] = await download(this.#scene.shop, this.#scene.vip, 64)
      } catch (error) {
        this.#loadRates[number] = 0
        if (!this.#over) this.#say((error as Error).message)
        await pause(500)
      }
    }
    this.#loadRates[number] = 0
  }

  async #loop(ratePerSecond: number, body: () => Promise<void>): Promise<void> {
    while (!this.#over) {
      const start = performance.now()
      await body()
      await pause(Math.max(0, 1000 / ratePerSecond - (performance.now() - start)))
    }
  }

  async #ask(way: Way, ...[from, target]: Parameters<typeof ask>): Promise<void> {
    try {
      const { replica, saw, durationMs } = await ask(from, target)
      way.answered(replica, durationMs, `${target}: ${replica} answers and sees ${saw}`)
    } catch (error) {
      if (this.#over) return
      way.failures++
      way.last = (error as Error).message
    }
  }

  async #askPublished(): Promise<void> {
    const scene = this.#scene
    const ways = scene.nodes.map((node) => new Way(`client → ${node.name}:${PUBLISHED_PORT}`))
    this.#ways.push(...ways)
    let turn = 0
    await this.#loop(REQUESTS_PER_SECOND, async () => {
      const i = turn++ % ways.length
      const target = url(scene.outsideAddress(i), PUBLISHED_PORT, '/marker')
      await this.#ask(ways[i]!, scene.client, target)
    })
  }

  async #askVip(): Promise<void> {
    const scene = this.#scene
    const way = new Way('shop → VIP')
    this.#ways.push(way)
    const target = url(scene.vip, undefined, '/marker')
    await this.#loop(REQUESTS_PER_SECOND, () => this.#ask(way, scene.shop, target))
  }

  /** Alternates between looking into packets for a while and counting them by the kernel's own
   * counters. */
  async #listen(): Promise<void> {
    const device = this.#scene.underlayDevice(0)
    let before = deviceCounters(device)
    let beforeMs = performance.now()
    await this.#loop(1, async () => {
      const [inside, outside] = await Promise.all([
        sniff(device, MARKER, SNIFF_MS),
        sniff(this.#scene.outsideDevice(0), MARKER, SNIFF_MS),
      ])
      const seconds = (performance.now() - beforeMs) / 1000
      const now = deviceCounters(device)
      this.#underlay.packetsPerSecond = (now.packets - before.packets) / seconds
      this.#underlay.megabitsPerSecond = ((now.bytes - before.bytes) * 8) / 1e6 / seconds
      this.#underlay.looked += inside.packets
      this.#underlay.readable += inside.readable
      this.#underlay.control += outside.readable
      before = now
      beforeMs = performance.now()
    }).catch((error: Error) => this.#say(`the underlay cannot be watched: ${error.message}`))
  }

  get view(): LiveView {
    return {
      topology: topologyView(this.#scene),
      replicas: this.#scene.replicas,
      ways: this.#ways.map((way) => way.view),
      underlay: this.#underlay,
      loads: this.#loads,
      loadGigabits: this.#loadRates.reduce((sum, rate) => sum + (rate ?? 0), 0),
      metricsUrl: this.#options.metricsUrl,
      message: this.#message,
    }
  }

  async #draw(): Promise<void> {
    await this.#loop(FRAMES_PER_SECOND, async () => {
      const rows = process.stdout.rows ?? Number.POSITIVE_INFINITY
      const lines = drawLive(this.view, this.#options.paint).slice(0, rows)
      // Home, each line to its end cleared, the rest of the screen cleared: no flicker.
      this.#options.write(`\x1b[H${lines.map((line) => `${line}\x1b[K`).join('\n')}\x1b[J`)
    })
  }

  async #print(): Promise<void> {
    const { paint, write } = this.#options
    write(`\n${drawTopology(this.view.topology, paint).join('\n')}\n\n`)
    write(`Metrics: ${this.#options.metricsUrl}\nCtrl-C ends the demo.\n\n`)
    let lastMs = performance.now()
    await this.#loop(FRAMES_PER_SECOND, async () => {
      if (performance.now() - lastMs < LINE_EVERY_MS) return
      lastMs = performance.now()
      const { ways, underlay } = this.view
      const counts = ways.map((way) => {
        const answers = [...way.answers].sort().map(([name, count]) => `${name} ${count}`)
        return `${way.name}: ${answers.join(', ')}, ${way.failures} failed`
      })
      const sight = `underlay: ${underlay.readable} of ${underlay.looked} packets readable`
      write(`${counts.join('; ')}; ${sight}\n`)
    })
  }
}

/** Packets and bytes of a device of the lab's own namespace, both directions (proc_pid_net(5)). */
function deviceCounters(device: string): { packets: number; bytes: number } {
  const text = readFileSync('/proc/self/net/dev', 'utf8')
  const fields = new RegExp(`^\\s*${device}:(.*)$`, 'm').exec(text)?.[1]?.trim().split(/\s+/) ?? []
  const at = (i: number): number => Number(fields[i] ?? 0)
  return { packets: at(1) + at(9), bytes: at(0) + at(8) }
}

export function topologyView(scene: Scene): TopologyView {
  return {
    client: scene.client.address,
    port: PUBLISHED_PORT,
    vip: `${scene.vip}, ${scene.vip6}`,
    nodes: scene.nodes.map((node, i) => ({
      name: node.name,
      outside: scene.outsideAddress(i),
      underlay: node.address,
      tasks: [...scene.replicas, 'shop']
        .filter((task) => scene.plan.endpoints.get(`${task}.front`)?.node === node.name)
        .map((task) => ({
          name: task,
          address: scene.plan.addressOf(task, 'front'),
          up: task === 'shop' || scene.isUp(task),
        })),
    })),
  }
}
