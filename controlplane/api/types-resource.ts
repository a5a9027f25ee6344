// network.CreateRequest, swarm.SecretSpec, swarm.ConfigSpec: tables of fields (decode.ts).

import { BOOL, BYTES, keep, LABELS, list, pointer, STRING, type Struct, struct } from './decode.ts'
import { DRIVER } from './types-swarm.ts'

export const SECRET_SPEC: Struct = struct('swarm.SecretSpec', {
  Name: STRING,
  Labels: keep(LABELS),
  Data: BYTES,
  Driver: pointer(DRIVER),
  Templating: pointer(DRIVER),
})

export const CONFIG_SPEC: Struct = struct('swarm.ConfigSpec', {
  Name: STRING,
  Labels: keep(LABELS),
  Data: BYTES,
  Templating: pointer(DRIVER),
})

export const NETWORK_CREATE: Struct = struct('network.CreateRequest', {
  Name: keep(STRING),
  CheckDuplicate: BOOL,
  Driver: keep(STRING),
  Scope: keep(STRING),
  EnableIPv4: pointer(BOOL),
  EnableIPv6: pointer(BOOL),
  IPAM: pointer(
    struct('network.IPAM', {
      Driver: keep(STRING),
      Options: LABELS,
      Config: list(
        struct('network.IPAMConfig', {
          Subnet: STRING,
          IPRange: STRING,
          Gateway: STRING,
          AuxiliaryAddresses: LABELS,
        }),
      ),
    }),
  ),
  Internal: keep(BOOL),
  Attachable: keep(BOOL),
  Ingress: keep(BOOL),
  ConfigOnly: keep(BOOL),
  ConfigFrom: pointer(struct('network.ConfigReference', { Network: keep(STRING) })),
  Options: keep(LABELS),
  Labels: keep(LABELS),
})
