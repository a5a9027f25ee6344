// Packets that a kernel sent, with what another dissector read in them. Each file of test/fixtures/
// says where its packets come from.

import { readdirSync, readFileSync } from 'node:fs'
import { hex } from './hex.ts'

/** Values per field, outermost header first, under the names of Wireshark's display filters. */
export type PacketFields = Readonly<Record<string, readonly (number | string)[]>>

export interface Fixture {
  readonly file: string
  readonly sentence: string
  readonly bytes: Uint8Array
  readonly fields: PacketFields
}

interface FixtureFile {
  readonly packets: readonly {
    readonly sentence: string
    readonly bytes: readonly string[]
    readonly fields: PacketFields
  }[]
}

/** Every packet of every fixture file. The bytes are fresh at each call: change them at will. */
export function loadFixtures(): Fixture[] {
  const folder = new URL('./fixtures/', import.meta.url)
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .flatMap((file) => {
      const { packets } = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as FixtureFile
      return packets.map(({ sentence, bytes, fields }) => ({
        file,
        sentence,
        bytes: hex(bytes.join('')),
        fields,
      }))
    })
}
