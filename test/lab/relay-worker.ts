// The thread behind relay.ts.

import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { type Prng, prng } from '../../base/prng.ts'
import { serve } from './inside.ts'
import type { Door, DoorPlan, Doors, Faults, RelayCounts, RelayMethods } from './relay.ts'

const REMEMBERED_MAX = 256
const REORDER_SPAN = 3
const RECEIVE_BUFFER_BYTES = 4 << 20
/** A held datagram leaves at the latest after this time: when nothing follows, nothing overtakes
 * it. */
const HELD_MS = 5

interface OpenDoor {
  plan: DoorPlan
  socket: Socket
  readonly heard: Buffer[]
  /** Datagrams to the agent behind this door that others are to overtake. */
  readonly held: { data: Buffer; after: number }[]
}

type Counts = { -readonly [K in keyof RelayCounts]: RelayCounts[K] }

const doors = new Map<Door, OpenDoor>()
let faults: Faults = {}
let random: Prng = prng(1)
let counts = zero()

function zero(): Counts {
  return { passed: 0, lost: 0, duplicated: 0, reordered: 0, flipped: 0, tooLong: 0 }
}

function send(door: OpenDoor, data: Buffer): void {
  door.socket.send(data, door.plan.agentPort, door.plan.address)
}

function release(door: OpenDoor, force: boolean): void {
  while (door.held.length > 0 && (force || door.held[0]!.after <= 0))
    send(door, door.held.shift()!.data)
}

function pass(door: OpenDoor, data: Buffer): void {
  send(door, data)
  counts.passed++
  for (const held of door.held) held.after--
  release(door, false)
}

function hold(door: OpenDoor, data: Buffer): void {
  counts.reordered++
  door.held.push({ data, after: faults.reorderSpan ?? REORDER_SPAN })
  setTimeout(() => release(door, true), HELD_MS)
}

function carry(door: OpenDoor, data: Buffer): void {
  if (faults.sizeMax !== undefined && data.length > faults.sizeMax) {
    counts.tooLong++
    return
  }
  const draw = random.float()
  let edge = faults.loss ?? 0
  if (draw < edge) {
    counts.lost++
    return
  }
  edge += faults.duplication ?? 0
  if (draw < edge) {
    counts.duplicated++
    send(door, data)
    return pass(door, data)
  }
  edge += faults.reordering ?? 0
  if (draw < edge) return hold(door, data)
  edge += faults.bitFlip ?? 0
  if (draw < edge) {
    counts.flipped++
    const harmed = Buffer.from(data)
    const bit = random.below(8 * data.length)
    harmed[bit >> 3]! ^= 1 << (bit & 7)
    return pass(door, harmed)
  }
  pass(door, data)
}

async function open(name: Door, plan: DoorPlan): Promise<void> {
  const socket = createSocket({ type: 'udp4', recvBufferSize: RECEIVE_BUFFER_BYTES })
  const other = name === 'a' ? 'b' : 'a'
  const heard = doors.get(name)?.heard ?? []
  socket.on('message', (data) => {
    heard.push(data)
    if (heard.length > REMEMBERED_MAX) heard.shift()
    carry(doors.get(other)!, data)
  })
  socket.bind(plan.port)
  await once(socket, 'listening')
  doors.set(name, { plan, socket, heard, held: [] })
}

async function start(plan: Doors): Promise<void> {
  await open('a', plan.a)
  await open('b', plan.b)
}

async function move(name: Door, port: number): Promise<void> {
  const door = doors.get(name)!
  release(door, true)
  await open(name, { ...door.plan, port })
  door.socket.close()
}

const methods: RelayMethods = {
  start,
  faults: (next) => {
    faults = next
    random = prng(next.seed ?? 1)
    counts = zero()
  },
  counts: () => counts,
  heard: (door) => doors.get(door)!.heard.map((data) => data.toString('hex')),
  inject: (door, datagrams) => {
    for (const text of datagrams) send(doors.get(door)!, Buffer.from(text, 'hex'))
  },
  move,
}
serve(methods)
