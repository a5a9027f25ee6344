// The live display: asks all the time, looks at the underlay, obeys the keys, redraws.

import { readFileSync } from 'node:fs'
import process from 'node:process'
import { MARKER } from '../demo-web.ts'
import { sniff } from '../lab/sniffer.ts'
import { pause } from '../lab/wait.ts'
import {
  FRAMES_PER_SECOND,
  NODES,
  PUBLISHED_PORT,
  REQUESTS_PER_SECOND,
  SHOP_PORT,
  SNIFF_MS,
} from './limits.ts'
import { ask, url } from './requests.ts'
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
  #topology: TopologyView
  #message = ''
  #over = false

  constructor(scene: Scene, options: LiveOptions) {
    this.#scene = scene
    this.#options = options
    this.#topology = { client: '', ports: '', vips: '', nodes: [] }
  }

  /** Runs until stop(). */
  async run(): Promise<void> {
    const { terminal } = this.#options
    this.#topology = await topologyView(this.#scene)
    await Promise.all([
      this.#askWeb(),
      this.#askShop(),
      this.#look(),
      this.#listen(),
      terminal ? this.#draw() : this.#print(),
    ])
  }

  stop(): void {
    this.#over = true
  }

  key(key: string): void {
    if (key === 'k') this.#powerOff()
    else if (key === 'r') this.#powerOn()
    else if (key === 'u') this.#update()
  }

  #say(message: string): void {
    this.#message = message
    if (!this.#options.terminal) this.#options.write(`${message}\n`)
  }

  #do(beginning: string, work: Promise<void>, end: string): void {
    this.#say(beginning)
    work.then(
      () => this.#say(end),
      (error: Error) => this.#say(error.message),
    )
  }

  #powerOff(): void {
    const scene = this.#scene
    const up = scene.hosts.map((_, i) => i).filter((i) => scene.isUp(i))
    // With one of three managers gone two still decide; with two gone nobody could.
    if (up.length < NODES) {
      this.#say('One of three managers is dead already; press r first.')
      return
    }
    const victim = up.at(-1)!
    const name = `node${victim + 1}`
    this.#do(`${name} loses its power …`, scene.powerOff(victim), `${name} is dead.`)
  }

  #powerOn(): void {
    const scene = this.#scene
    const dead = scene.hosts.findIndex((_, i) => !scene.isUp(i))
    if (dead < 0) {
      this.#say('Every node lives; press k.')
      return
    }
    const name = `node${dead + 1}`
    this.#do(`${name} is switched on …`, scene.powerOn(dead), `${name} is up.`)
  }

  #update(): void {
    this.#do(
      'A rolling update of web begins …',
      this.#scene.update('web').then(() => this.#scene.updated('web')),
      'Every task of web was replaced.',
    )
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
      const { replica, saw, durationMs, body } = await ask(from, target)
      const asked = [...body.matchAll(/^http:\/\/(\w+)\/ (\S+) /gm)]
      const others = asked.map(([, name, who]) => `, asked ${name}: ${who}`).join('')
      way.answered(replica, durationMs, `${replica} saw ${saw}${others}`)
    } catch (error) {
      if (this.#over) return
      way.failures++
      way.last = (error as Error).message
    }
  }

  async #askWeb(): Promise<void> {
    const scene = this.#scene
    const ways = scene.hosts.map((host) => new Way(`client → ${host.name}:${PUBLISHED_PORT}`))
    this.#ways.push(...ways)
    let turn = 0
    await this.#loop(REQUESTS_PER_SECOND, async () => {
      const i = turn++ % ways.length
      if (!scene.isUp(i)) return
      const target = url(scene.outsideAddress(i), PUBLISHED_PORT, '/marker')
      await this.#ask(ways[i]!, scene.client, target)
    })
  }

  async #askShop(): Promise<void> {
    const scene = this.#scene
    const way = new Way(`client → node1:${SHOP_PORT}`)
    this.#ways.push(way)
    const target = url(scene.outsideAddress(0), SHOP_PORT, '/marker')
    await this.#loop(REQUESTS_PER_SECOND / 2, () => this.#ask(way, scene.client, target))
  }

  /** Keeps the picture of nodes and tasks up to date. */
  async #look(): Promise<void> {
    await this.#loop(FRAMES_PER_SECOND, async () => {
      await topologyView(this.#scene).then(
        (view) => {
          this.#topology = view
        },
        // Between two leaders nobody answers.
        () => {},
      )
    })
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
      topology: this.#topology,
      ways: this.#ways.map((way) => way.view),
      underlay: this.#underlay,
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

/** The cluster as its API shows it. */
export async function topologyView(scene: Scene): Promise<TopologyView> {
  const [nodes, tasks, vips] = await Promise.all([
    scene.node.nodes(),
    scene.tasks(),
    scene.vips('web'),
  ])
  return {
    client: scene.client.address,
    ports: `${PUBLISHED_PORT} web, ${SHOP_PORT} shop`,
    vips: vips.join(', '),
    nodes: scene.hosts.map((host, i) => {
      const shown = nodes.get(host.name)
      return {
        name: host.name,
        state: shown?.Status.State ?? 'unknown',
        role: shown?.ManagerStatus?.Leader ? 'leader' : (shown?.Spec.Role ?? ''),
        outside: scene.outsideAddress(i),
        underlay: host.address,
        tasks: tasks
          .filter(({ NodeID }) => NodeID === shown?.ID)
          .map(({ service, Slot, Status }) => ({
            name: `${service}.${Slot}`,
            state: Status.State,
          })),
      }
    }),
  }
}
