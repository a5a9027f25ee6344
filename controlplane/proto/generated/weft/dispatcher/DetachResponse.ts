// Original file: controlplane/proto/dispatcher.proto


export interface DetachResponse {
}

export interface DetachResponse__Output {
}
