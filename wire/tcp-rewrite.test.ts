// Goal: a rewritten header is the one that a sender would have written, its checksum too. Method:
// random headers with options at any place; the plain twin takes the options apart, changes them as
// numbers, and puts segment and checksum together anew.

import fc from 'fast-check'
import t from 'tap'
import { checksumPlain } from './checksum.ts'
import {
  blankTcpOptions,
  moveTcpSack,
  rewriteTcpAcknowledgement,
  rewriteTcpSequence,
  rewriteTcpWindow,
} from './tcp-rewrite.ts'

const AT = 6
/** Sum of the pseudo header; any will do. */
const PSEUDO = 0x1234

type Option = readonly number[]

interface Segment {
  readonly sequence: number
  readonly acknowledgement: number
  readonly window: number
  readonly options: readonly Option[]
  readonly payload: Uint8Array
}

function build(segment: Segment, partial: boolean): Uint8Array {
  const options = segment.options.flat()
  while (options.length % 4 !== 0) options.push(0)
  const bytes = new Uint8Array(AT + 20 + options.length + segment.payload.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(AT, 0x9c400050)
  view.setUint32(AT + 4, segment.sequence)
  view.setUint32(AT + 8, segment.acknowledgement)
  view.setUint16(AT + 12, ((5 + options.length / 4) << 12) | 0x10)
  view.setUint16(AT + 14, segment.window)
  bytes.set(options, AT + 20)
  bytes.set(segment.payload, AT + 20 + options.length)
  const whole = checksumPlain(view, AT, bytes.length, PSEUDO)
  view.setUint16(AT + 16, partial ? PSEUDO : whole)
  return bytes
}

const word = fc.nat(0xffff_ffff)
const edges = fc.array(fc.tuple(word, word), { minLength: 1, maxLength: 2 })
const octets = (value: number): number[] => [
  value >>> 24,
  (value >>> 16) & 255,
  (value >>> 8) & 255,
  value & 255,
]
const sack = edges.map(
  (pairs): Option => [5, 2 + 8 * pairs.length, ...pairs.flat().flatMap(octets)],
)
const option: fc.Arbitrary<Option> = fc.oneof(
  fc.constant<Option>([1]),
  sack,
  fc
    .constantFrom(2, 3, 4, 8, 30, 34, 172, 254)
    .chain((kind) =>
      fc.uint8Array({ maxLength: 6 }).map((body): Option => [kind, body.length + 2, ...body]),
    ),
)
const segments: fc.Arbitrary<Segment> = fc
  .record({
    sequence: word,
    acknowledgement: word,
    window: fc.nat(0xffff),
    options: fc.array(option, { maxLength: 5 }),
    payload: fc.uint8Array({ maxLength: 9 }),
  })
  .filter(({ options }) => options.flat().length <= 40)

/** `change` to the bytes must give what `twin` gives. */
function same(
  segment: Segment,
  change: (view: DataView, partial: boolean) => void,
  twin: Segment,
): void {
  for (const partial of [false, true]) {
    const bytes = build(segment, partial)
    change(new DataView(bytes.buffer), partial)
    const wanted = build(twin, partial)
    const field = new DataView(bytes.buffer).getUint16(AT + 16)
    const sum = new DataView(wanted.buffer).getUint16(AT + 16)
    // Zero and all ones are one number.
    if (field % 0xffff === sum % 0xffff) wanted.set(bytes.subarray(AT + 16, AT + 18), AT + 16)
    t.same(bytes, wanted)
  }
}

t.test('numbers and window', async () => {
  fc.assert(
    fc.property(segments, word, fc.nat(0xffff), (segment, value, window) => {
      same(segment, (view, partial) => rewriteTcpSequence(view, AT, value | 0, partial), {
        ...segment,
        sequence: value,
      })
      same(segment, (view, partial) => rewriteTcpAcknowledgement(view, AT, value | 0, partial), {
        ...segment,
        acknowledgement: value,
      })
      same(segment, (view, partial) => rewriteTcpWindow(view, AT, window, partial), {
        ...segment,
        window,
      })
    }),
  )
})

t.test('edges of SACK blocks', async () => {
  fc.assert(
    fc.property(segments, fc.integer(), (segment, by) => {
      const first = segment.options.findIndex(([kind]) => kind === 5)
      const moved = (one: Option): Option => {
        const view = new DataView(Uint8Array.from(one).buffer)
        for (let at = 2; at < one.length; at += 4) view.setInt32(at, (view.getInt32(at) + by) | 0)
        return [...new Uint8Array(view.buffer)]
      }
      const options = segment.options.map((one, i) => (i === first ? moved(one) : one))
      same(segment, (view, partial) => moveTcpSack(view, AT, by, partial), { ...segment, options })
    }),
  )
})

t.test('options that are not kept', async () => {
  fc.assert(
    fc.property(segments, fc.integer(), (segment, kept) => {
      const stays = ([kind]: Option): boolean =>
        kind === 1 || (kind! < 32 && (kept & (1 << kind!)) !== 0)
      const options = segment.options.map((one) => (stays(one) ? one : one.map(() => 1)))
      let changed = false
      same(
        segment,
        (view, partial) => {
          changed = blankTcpOptions(view, AT, kept, partial)
        },
        { ...segment, options },
      )
      t.equal(changed, !segment.options.every(stays))
    }),
  )
})

t.test('malformed options end the walk and stay', async () => {
  const good: Option = [30, 2]
  for (const bad of [[34, 0], [34, 1], [5, 200], [34]] as const) {
    const pad = bad.length === 1 ? [1, 1, 1] : [1, 1]
    const segment = {
      ...{ sequence: 1, acknowledgement: 2, window: 3, payload: new Uint8Array(0) },
      options: bad.length === 1 ? [good, pad.slice(1), pad, bad] : [good, pad, bad, [30, 2]],
    }
    const options = [[1, 1], ...segment.options.slice(1)]
    same(segment, (view, partial) => void blankTcpOptions(view, AT, 0, partial), {
      ...segment,
      options,
    })
    same(segment, (view, partial) => moveTcpSack(view, AT, 9, partial), segment)
  }
})
