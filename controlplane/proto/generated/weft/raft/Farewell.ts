// Original file: controlplane/proto/raft.proto


export interface Farewell {
}

export interface Farewell__Output {
}
