// Placement constraints: "node.role==manager", "node.labels.zone != b". One list of them must hold
// altogether. The language, its words and its errors are SwarmKit's (manager/constraint); whoever
// takes a Spec parses its constraints to refuse bad ones, the scheduler and the orchestrators ask
// whether a node meets them.
//
//   node.id  node.hostname  node.role  node.platform.os  node.platform.arch
//   node.ip             an address or a subnet, of the address the node is known by
//   node.labels.NAME    labels of the node's spec
//   engine.labels.NAME  labels that the node's engine was started with
//
// Keys and values are compared without their case, whole; label names with it. A label that is not
// there is the empty text. An unknown key is met by no node.

import { cidrHas, parseCidr, parseIp } from './cidr.ts'
import type { NodeObject } from './objects.ts'
import type { Labels } from './specs.ts'

export interface Constraint {
  readonly key: string
  readonly operator: '==' | '!='
  readonly value: string
}

/** A constraint that cannot be read. The message is for the user. */
export class ConstraintError extends Error {
  override readonly name: string = 'ConstraintError'
}

/** In the order in which they are looked for. */
const OPERATORS = ['==', '!='] as const
const KEY_FORM = /^[a-z_][a-z0-9\-_.]+$/i
const VALUE_FORM = /^[a-z0-9:\-_\s.*()?+[\]\\^$|/]+$/i
const NODE_LABEL = 'node.labels.'
const ENGINE_LABEL = 'engine.labels.'

/** Other names of the same processor architecture. */
const ARCHITECTURES: ReadonlyMap<string, string> = new Map([
  ['x86_64', 'amd64'],
  ['aarch64', 'arm64'],
])

/** "amd64" for "x86_64", and so on; lower case. */
export function normalArchitecture(name: string): string {
  const lower = name.toLowerCase()
  return ARCHITECTURES.get(lower) ?? lower
}

/** Throws ConstraintError for the first that cannot be read. */
export function parseConstraints(texts: readonly string[]): readonly Constraint[] {
  return texts.map(parseConstraint)
}

function parseConstraint(text: string): Constraint {
  const operator = OPERATORS.find((operator) => text.includes(operator))
  if (operator === undefined) {
    throw new ConstraintError(`constraint expected one operator from ${OPERATORS.join(', ')}`)
  }
  const at = text.indexOf(operator)
  const key = text.slice(0, at).trim()
  if (!KEY_FORM.test(key)) throw new ConstraintError(`key '${key}' is invalid`)
  const value = text.slice(at + operator.length).trim()
  if (!VALUE_FORM.test(value)) throw new ConstraintError(`value '${value}' is invalid`)
  return { key, operator, value }
}

/** True when the node meets all of them. */
export function meetsConstraints(node: NodeObject, constraints: readonly Constraint[]): boolean {
  return constraints.every((constraint) => meets(node, constraint))
}

const SIMPLE_KEYS: Readonly<Record<string, (node: NodeObject) => readonly string[]>> = {
  'node.id': ({ id }) => [id],
  'node.hostname': ({ description }) => [description?.hostname ?? ''],
  'node.role': ({ role }) => [role],
  'node.platform.os': ({ description }) => [description?.platform.os ?? ''],
  'node.platform.arch': ({ description }) => {
    const architecture = description?.platform.architecture ?? ''
    return [architecture, normalArchitecture(architecture)]
  },
}

function meets(node: NodeObject, { key, operator, value }: Constraint): boolean {
  const lower = key.toLowerCase()
  if (lower === 'node.ip') return meetsAddress(node.status.address, operator, value)
  const actual = valuesOf(node, key, lower)
  if (actual === null) return false
  const wanted = value.toLowerCase()
  const isMatch = actual.some((text) => text.toLowerCase() === wanted)
  return isMatch === (operator === '==')
}

function valuesOf(node: NodeObject, key: string, lower: string): readonly string[] | null {
  if (Object.hasOwn(SIMPLE_KEYS, lower)) return SIMPLE_KEYS[lower]!(node)
  if (lower.startsWith(NODE_LABEL)) return [label(node.spec.Labels, key.slice(NODE_LABEL.length))]
  if (lower.startsWith(ENGINE_LABEL)) {
    return [label(node.description?.engine.labels ?? {}, key.slice(ENGINE_LABEL.length))]
  }
  return null
}

function label(labels: Labels, name: string): string {
  return Object.hasOwn(labels, name) ? labels[name]! : ''
}

/** A value that is neither an address nor a subnet is met by no node, whatever the operator. */
function meetsAddress(text: string, operator: '==' | '!=', value: string): boolean {
  const address = parseIp(text)
  const subnet = parseCidr(value)
  const single = parseIp(value)
  if (subnet === null && single === null) return false
  const isMatch =
    address !== null &&
    (subnet !== null
      ? cidrHas(subnet, address)
      : single!.family === address.family && single!.value === address.value)
  return isMatch === (operator === '==')
}
