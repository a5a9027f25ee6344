// Original file: controlplane/proto/control.proto

import type { Member as _weft_control_Member, Member__Output as _weft_control_Member__Output } from '../../weft/control/Member.ts';

export interface MembersAnswer {
  'members'?: (_weft_control_Member)[];
}

export interface MembersAnswer__Output {
  'members': (_weft_control_Member__Output)[];
}
