// The names in certificates, Swarm's: what a root is called, how a role is written, and the object
// identifiers around them (RFC 5280, X.520).

export const ROOT_NAME = 'swarm-ca'

/** Organizational unit of a certificate: its holder's role. */
export const ROLE_UNITS = { manager: 'swarm-manager', worker: 'swarm-worker' } as const

export type Role = keyof typeof ROLE_UNITS

/** Name in the certificates of those who answer CA calls: every manager's. */
export const CA_UNIT = 'swarm-ca'

export const OID = {
  commonName: '2.5.4.3',
  organization: '2.5.4.10',
  organizationalUnit: '2.5.4.11',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
} as const

/** Who a node certificate says its holder is. */
export interface NodeSubject {
  readonly nodeId: string
  readonly role: Role
  readonly clusterId: string
}
