// Simple tabulation hashing (Zobrist 1970): the exclusive or of one random word per key byte,
// looked up by position and value. Chosen for the connection index because
//   - linear probing with it takes constant expected time for every key set (Patrascu and Thorup,
//     "The Power of Simple Tabulation Hashing", 2012): no client can pick addresses that pile up;
//   - the tables are secret random numbers, drawn at start;
//   - it costs one load per byte, from 15 KB that stay in the first-level cache.
// A key is a sequence of 32-bit words; word i uses the four tables from i * 1024 on.

/** Words in the longest key: zone and protocol, ports, two IPv6 addresses. */
const KEY_WORDS = 10

/** The random words: KEY_WORDS * 4 tables of 256. `random` gives uniform 32-bit numbers. */
export function hashTables(random: () => number): Int32Array {
  const tables = new Int32Array(KEY_WORDS * 1024)
  for (let i = 0; i < tables.length; i++) tables[i] = random() | 0
  return tables
}

/** Hash of `value` as word number `word` of a key; the hash of a key is the exclusive or of its
 * words'. */
export function hashWord(tables: Int32Array, word: number, value: number): number {
  const at = word << 10
  return (
    tables[at + (value & 255)]! ^
    tables[at + 256 + ((value >>> 8) & 255)]! ^
    tables[at + 512 + ((value >>> 16) & 255)]! ^
    tables[at + 768 + (value >>> 24)]!
  )
}
