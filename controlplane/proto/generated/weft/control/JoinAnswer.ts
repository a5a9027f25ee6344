// Original file: controlplane/proto/control.proto


export interface JoinAnswer {
}

export interface JoinAnswer__Output {
}
