// VNIs: one number per network, on every node the same. Given in turn from 4096, as Swarm does; the
// network option vxlanid_list names one instead.

import { VNI_MAX, VNI_MIN } from '../../base/limits.ts'
import type { NetworkSpec } from '../store/specs.ts'
import { AllocationError } from './errors.ts'
import { VNI_FIRST, VNI_LAST } from './limits.ts'
import { NextFit } from './next-fit.ts'

const LIST_OPTION = 'com.docker.network.driver.overlay.vxlanid_list'

export class Vnis {
  private readonly numbers = new NextFit(VNI_FIRST, VNI_LAST)

  /** Takes over what a network has; false when another has it. */
  claim(vni: number): boolean {
    return this.numbers.claim(vni, true)
  }

  /** Throws AllocationError. */
  take(spec: NetworkSpec): number {
    const wanted = wantedVni(spec)
    if (wanted === null) {
      const vni = this.numbers.take()
      if (vni === null) throw new AllocationError('no VXLAN identifier is left')
      return vni
    }
    if (!this.numbers.claim(wanted)) {
      throw new AllocationError(`VXLAN identifier ${wanted} is in use by another network`)
    }
    return wanted
  }

  release(vni: number): void {
    this.numbers.release(vni)
  }
}

/** The first of the list: a network has one VNI, whatever its number of subnets. */
function wantedVni({ Options }: NetworkSpec): number | null {
  const list = Options?.[LIST_OPTION]
  if (list === undefined || list.trim() === '') return null
  const text = list.split(',')[0]!.trim()
  const vni = Number(text)
  if (!/^\d+$/.test(text) || vni < VNI_MIN || vni > VNI_MAX) {
    throw new AllocationError(`"${text}" in ${LIST_OPTION} is no VXLAN identifier`)
  }
  return vni
}
