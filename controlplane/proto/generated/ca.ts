import type * as grpc from '@grpc/grpc-js';
import type { MessageTypeDefinition } from '@grpc/proto-loader';

import type { CAClient as _weft_ca_CAClient, CADefinition as _weft_ca_CADefinition } from './weft/ca/CA.ts';
import type { Caller as _weft_ca_Caller, Caller__Output as _weft_ca_Caller__Output } from './weft/ca/Caller.ts';
import type { ForwardClient as _weft_ca_ForwardClient, ForwardDefinition as _weft_ca_ForwardDefinition } from './weft/ca/Forward.ts';
import type { ForwardedIssueRequest as _weft_ca_ForwardedIssueRequest, ForwardedIssueRequest__Output as _weft_ca_ForwardedIssueRequest__Output } from './weft/ca/ForwardedIssueRequest.ts';
import type { IssueAnswer as _weft_ca_IssueAnswer, IssueAnswer__Output as _weft_ca_IssueAnswer__Output } from './weft/ca/IssueAnswer.ts';
import type { IssueRequest as _weft_ca_IssueRequest, IssueRequest__Output as _weft_ca_IssueRequest__Output } from './weft/ca/IssueRequest.ts';
import type { RootAnswer as _weft_ca_RootAnswer, RootAnswer__Output as _weft_ca_RootAnswer__Output } from './weft/ca/RootAnswer.ts';
import type { RootRequest as _weft_ca_RootRequest, RootRequest__Output as _weft_ca_RootRequest__Output } from './weft/ca/RootRequest.ts';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  weft: {
    ca: {
      CA: SubtypeConstructor<typeof grpc.Client, _weft_ca_CAClient> & { service: _weft_ca_CADefinition }
      Caller: MessageTypeDefinition<_weft_ca_Caller, _weft_ca_Caller__Output>
      Forward: SubtypeConstructor<typeof grpc.Client, _weft_ca_ForwardClient> & { service: _weft_ca_ForwardDefinition }
      ForwardedIssueRequest: MessageTypeDefinition<_weft_ca_ForwardedIssueRequest, _weft_ca_ForwardedIssueRequest__Output>
      IssueAnswer: MessageTypeDefinition<_weft_ca_IssueAnswer, _weft_ca_IssueAnswer__Output>
      IssueRequest: MessageTypeDefinition<_weft_ca_IssueRequest, _weft_ca_IssueRequest__Output>
      RootAnswer: MessageTypeDefinition<_weft_ca_RootAnswer, _weft_ca_RootAnswer__Output>
      RootRequest: MessageTypeDefinition<_weft_ca_RootRequest, _weft_ca_RootRequest__Output>
    }
  }
}

