// Original file: controlplane/proto/dispatcher.proto


export interface DescribeResponse {
}

export interface DescribeResponse__Output {
}
