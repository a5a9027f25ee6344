// The .proto files as grpc-js wants them, read when weft starts. There is no generated code, only
// generated types (generated/, by generate.sh): the two stay together because both come from the
// same files with the same options.
//
// Numbers: 64-bit fields arrive as plain numbers. Every one of ours stays below 2^53; what a
// hostile peer sends above that is rounded, so whoever takes an id or an index from a message
// checks it.

import { fileURLToPath } from 'node:url'
import { loadPackageDefinition } from '@grpc/grpc-js'
import { loadSync, type Options } from '@grpc/proto-loader'

/** As in generate.sh. */
const OPTIONS: Options = { longs: Number, enums: String, defaults: true, oneofs: true }

/** The services and messages of `file`, a name in this folder such as `raft.proto`, in the
 * generated shape `T` (`ProtoGrpcType` of generated/NAME.ts). */
export function loadProto<T>(file: string): T {
  const path = fileURLToPath(new URL(file, import.meta.url))
  // grpc-js types what it makes of any file; the generated type is that of this one.
  return loadPackageDefinition(loadSync(path, OPTIONS)) as unknown as T
}
