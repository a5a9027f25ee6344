// Original file: controlplane/proto/ca.proto


export interface RootRequest {
}

export interface RootRequest__Output {
}
