// AES-256-GCM through the OpenSSL that is linked into the node binary, in its TLS-record mode: one
// call sets the additional data, one call seals or opens the datagram in place. That is the
// cheapest way in: five EVP calls cost twice as much, node:crypto fifteen times.
//
// The mode was made for TLS 1.2 records (RFC 5288), and its layout is ours:
//
//   at        at+8                    at+8+length         at+24+length
//   | counter | plain or ciphertext   | tag               |
//
//   nonce            = salt(4) || counter(8)
//   additional data  = aad(11) || length(2, big endian)
//
// Sealing, OpenSSL writes the counter in front and raises it by one itself: a counter cannot be
// used twice by mistake. Opening, it takes the counter from the datagram. In the AAD call the two
// length bytes say what the record would hold: OpenSSL takes 8 (counter) and, when opening, 16
// (tag) off, and authenticates the rest, the payload's length.
//
// The additional data is handed over as an OSSL_PARAM, prepared once per key: EVP_CIPHER_CTX_ctrl()
// would translate to the same and ask for the tag's size besides (351 against 377 ns for 1440
// bytes, 186 against 222 ns for 100).
//
// Not done here: replay checks, key limits, choice of keys. vxlan/ holds those, and a plain twin.

import koffi from 'koffi'
import type { AeadFactory, AeadKey } from '../../base/device.ts'
import type { Slab } from '../../base/slab.ts'
import { EdgeError } from './errors.ts'
import * as libc from './libc.ts'
import { AEAD_PAYLOAD_SIZE_MAX } from './limits.ts'

const KEY_SIZE = 32
const SALT_SIZE = 4
const COUNTER_SIZE = 8
const TAG_SIZE = 16
const FIXED_AAD_SIZE = 11
const AAD_SIZE = 13
const WORD = 2 ** 32

// openssl/evp.h
const EVP_CTRL_GCM_SET_IV_FIXED = 0x12

// struct ossl_param_st, openssl/core.h: key, type (32 bits and as many of padding), data,
// data_size, return_size; an entry without a key ends the list.
const PARAMETERS_SIZE = 80
const PARAMETER_TYPE = 8
const PARAMETER_DATA = 16
const PARAMETER_DATA_SIZE = 24
const PARAMETER_RETURN_SIZE = 32
const OSSL_PARAM_OCTET_STRING = 5
/** OSSL_PARAM_UNMODIFIED, all ones. */
const UNMODIFIED = 0xffffffff
/** OSSL_CIPHER_PARAM_AEAD_TLS1_AAD, openssl/core_names.h. */
const TLS1_AAD_NAME = 'tlsaad\0'

interface Libcrypto {
  aes256gcm: number
  contextNew(): number
  contextFree(context: number): void
  encryptInit(context: number, cipher: number, engine: number, key: number, iv: number): number
  decryptInit(context: number, cipher: number, engine: number, key: number, iv: number): number
  control(context: number, type: number, argument: number, pointer: number): number
  setParameters(context: number, parameters: number): number
  cipher(context: number, out: number, source: number, size: number): number
}

function loadLibcrypto(): Libcrypto {
  const library = koffi.load(null)
  const pointer = 'int64_t'
  try {
    const aes256gcm = library.func('EVP_aes_256_gcm', pointer, [])
    const init = [pointer, pointer, pointer, pointer, pointer]
    return {
      aes256gcm: aes256gcm() as number,
      contextNew: library.func('EVP_CIPHER_CTX_new', pointer, []),
      contextFree: library.func('EVP_CIPHER_CTX_free', 'void', [pointer]),
      encryptInit: library.func('EVP_EncryptInit_ex', 'int', init),
      decryptInit: library.func('EVP_DecryptInit_ex', 'int', init),
      control: library.func('EVP_CIPHER_CTX_ctrl', 'int', [pointer, 'int', 'int', pointer]),
      setParameters: library.func('EVP_CIPHER_CTX_set_params', 'int', [pointer, pointer]),
      cipher: library.func('EVP_Cipher', 'int', [pointer, pointer, pointer, 'uint']),
    }
  } catch (cause) {
    throw new EdgeError(
      'SYSTEM',
      'libcrypto',
      'this node binary does not export OpenSSL',
      'run weft on the node that its packages carry (node_modules/.bin/node)',
      cause,
    )
  }
}

let loaded: Libcrypto | undefined

/** Calls of a hot path, as plain constants of the module once loaded. */
function libcrypto(): Libcrypto {
  loaded ??= loadLibcrypto()
  return loaded
}

class GcmKey implements AeadKey {
  private context: number
  private readonly slabAddress: number
  private readonly aad: Uint8Array
  private readonly cell: Cell
  private readonly parametersAddress: number
  private readonly setParameters: Libcrypto['setParameters']
  private readonly cipher: Libcrypto['cipher']

  constructor(context: number, slab: Slab, aad: Uint8Array) {
    const crypto = libcrypto()
    this.context = context
    this.slabAddress = slab.address
    this.cell = cells.pop() ?? newCell()
    this.parametersAddress = this.cell.address
    this.aad = this.cell.bytes.subarray(PARAMETERS_SIZE, PARAMETERS_SIZE + AAD_SIZE)
    this.aad.set(aad)
    this.setParameters = crypto.setParameters
    this.cipher = crypto.cipher
  }

  seal(at: number, length: number): number {
    return this.run(at, length, length + COUNTER_SIZE)
  }

  open(at: number, length: number): number {
    return this.run(at, length, length + COUNTER_SIZE + TAG_SIZE)
  }

  private run(at: number, length: number, recordLength: number): number {
    if (this.context === 0 || length < 0 || length > AEAD_PAYLOAD_SIZE_MAX) return -1
    this.aad[FIXED_AAD_SIZE] = recordLength >> 8
    this.aad[FIXED_AAD_SIZE + 1] = recordLength
    if (this.setParameters(this.context, this.parametersAddress) !== 1) return -1
    const address = this.slabAddress + at
    const done = this.cipher(this.context, address, address, length + COUNTER_SIZE + TAG_SIZE)
    return done < 0 ? -1 : 0
  }

  free(): void {
    // OpenSSL wipes the key schedule as it frees the context.
    if (this.context !== 0) libcrypto().contextFree(this.context)
    if (this.context !== 0) cells.push(this.cell)
    this.context = 0
  }
}

/** One key's parameter list and additional data, in low memory (libc.ts). Cells are used again. */
interface Cell {
  readonly address: number
  readonly bytes: Uint8Array
}

const CELL_SIZE = 128
const CELL_BLOCK_SIZE = 65536
const cells: Cell[] = []

/** Makes a block of cells and takes one. The first cell of a block holds the parameter's name. */
function newCell(): Cell {
  const base = libc.mmapAnonymous(CELL_BLOCK_SIZE)
  if (base < 0) throw new EdgeError('SYSTEM', 'libcrypto', 'no memory for keys')
  const block = Buffer.from(libc.memoryAt(base, CELL_BLOCK_SIZE))
  block.write(TLS1_AAD_NAME, 'latin1')
  for (let at = CELL_SIZE; at < CELL_BLOCK_SIZE; at += CELL_SIZE) {
    const putWord = (offset: number, value: number): void => {
      block.writeUInt32LE(value % WORD, at + offset)
      block.writeUInt32LE(Math.floor(value / WORD), at + offset + 4)
    }
    putWord(0, base)
    block.writeUInt32LE(OSSL_PARAM_OCTET_STRING, at + PARAMETER_TYPE)
    putWord(PARAMETER_DATA, base + at + PARAMETERS_SIZE)
    putWord(PARAMETER_DATA_SIZE, AAD_SIZE)
    block.writeUInt32LE(UNMODIFIED, at + PARAMETER_RETURN_SIZE)
    block.writeUInt32LE(UNMODIFIED, at + PARAMETER_RETURN_SIZE + 4)
    cells.push({ address: base + at, bytes: block.subarray(at, at + CELL_SIZE) })
  }
  return cells.pop()!
}

function checkSize(what: string, bytes: Uint8Array, size: number): void {
  if (bytes.length !== size) throw new RangeError(`${what} has ${size} bytes, not ${bytes.length}`)
}

function createKey(
  slab: Slab,
  sealing: boolean,
  key: Uint8Array,
  salt: Uint8Array,
  aad: Uint8Array,
  firstCounter: number,
): AeadKey {
  checkSize('a key', key, KEY_SIZE)
  checkSize('a salt', salt, SALT_SIZE)
  checkSize('aad', aad, FIXED_AAD_SIZE)
  if (!Number.isSafeInteger(firstCounter) || firstCounter < 0) {
    throw new RangeError(`firstCounter is an integer from 0 to 2^53 - 1, not ${firstCounter}`)
  }
  const crypto = libcrypto()
  const secret = libc.allocatePinned(KEY_SIZE + SALT_SIZE + COUNTER_SIZE)
  secret.set(key)
  secret.set(salt, KEY_SIZE)
  secret.writeUInt32BE(Math.floor(firstCounter / WORD), KEY_SIZE + SALT_SIZE)
  secret.writeUInt32BE(firstCounter % WORD, KEY_SIZE + SALT_SIZE + 4)
  const secretAddress = libc.addressOf(secret)
  const context = crypto.contextNew()
  const init = sealing ? crypto.encryptInit : crypto.decryptInit
  // An opener needs the fixed IV too: it is where the salt comes from.
  const ready =
    context !== 0 &&
    init(context, crypto.aes256gcm, 0, secretAddress, 0) === 1 &&
    crypto.control(context, EVP_CTRL_GCM_SET_IV_FIXED, -1, secretAddress + KEY_SIZE) === 1
  secret.fill(0)
  if (!ready) {
    if (context !== 0) crypto.contextFree(context)
    throw new EdgeError('SYSTEM', 'libcrypto', 'OpenSSL refused an AES-256-GCM key')
  }
  return new GcmKey(context, slab, aad)
}

/** AES-256-GCM keys that work on `slab` in place. `sealer` and `opener` copy what they are given
 * and wipe their copy. Throw RangeError on a wrong size, EdgeError SYSTEM when OpenSSL is not to be
 * had. */
export function createAeadFactory(slab: Slab): AeadFactory {
  return {
    sealer(key, salt, aad, firstCounter) {
      return createKey(slab, true, key, salt, aad, firstCounter)
    },
    opener(key, salt, aad) {
      return createKey(slab, false, key, salt, aad, 0)
    },
  }
}
