// Original file: controlplane/proto/control.proto


export interface MembersRequest {
}

export interface MembersRequest__Output {
}
