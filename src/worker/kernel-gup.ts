/**
 * Pages of processes, held by frame (protocol-gup.ts): a table of what was taken, so that it can be
 * given back, and the checks of arguments that come from outside.
 */
import { errno, isErr } from '../base/errno.ts';
import { isRecord } from '../base/is-record.ts';
import { TASK_SIZE, isAddress } from '../base/units.ts';
import { accessRemoteVm } from '../mm/access-remote-vm.ts';
import {
  FOLL_FAST_ONLY,
  FOLL_LONGTERM,
  FOLL_NOFAULT,
  FOLL_WRITE,
  getUserPagesFast,
  getUserPagesUnlocked,
  pinUserPagesFast,
  pinUserPagesUnlocked,
  putUserPages,
  unpinUserPages,
} from '../mm/gup.ts';
import type { MmStruct, System } from '../mm/mm-types.ts';
import { processVmReadv, processVmWritev } from '../mm/process-vm-access.ts';
import type { GupRequest, GupResult, ProcMemResult, ProcessVmRange } from './protocol-gup.ts';

/** Pages that one call takes: more would block the machine for long. */
const MAX_PAGES = 2 ** 20;
const ALLOWED = FOLL_WRITE | FOLL_LONGTERM | FOLL_NOFAULT | FOLL_FAST_ONLY;
const NO_BYTES = new Uint8Array(0);

interface Held {
  readonly pfns: Uint32Array;
  readonly isPin: boolean;
}

export class KernelGup {
  private readonly sys: System;
  private readonly held = new Map<number, Held>();
  private nextHandle = 1;

  constructor(sys: System) {
    this.sys = sys;
  }

  /** KernelApi.gup, for the address space of the process; undefined = there is none. */
  async take(mm: MmStruct | undefined, request: GupRequest): Promise<GupResult> {
    if (mm === undefined) return refused(errno.ESRCH);
    if (!isRecord(request)) return refused(errno.EFAULT);
    const { addr, npages, flags = 0, pin: isPin = false, fast = false } = request;
    if (!isAddress(npages) || !isAddress(flags)) return refused(errno.EINVAL);
    if (flags > ALLOWED || (flags & ~ALLOWED) !== 0) return refused(errno.EINVAL);
    if (npages > MAX_PAGES) return refused(errno.ENOMEM);
    const pfns = new Uint32Array(npages);
    const slow = isPin ? pinUserPagesUnlocked : getUserPagesUnlocked;
    const quick = isPin ? pinUserPagesFast : getUserPagesFast;
    const taken = await (fast ? quick : slow)(mm, addr, npages, flags, pfns);
    if (isErr(taken)) return refused(taken);
    const handle = this.nextHandle++;
    this.held.set(handle, { pfns: pfns.subarray(0, taken), isPin });
    return { errno: 0, handle, npages: taken };
  }

  /** KernelApi.gupRelease. */
  release(handle: number): number {
    const held = this.held.get(handle);
    if (held === undefined) return errno.EBADF;
    this.held.delete(handle);
    if (held.isPin) unpinUserPages(this.sys, held.pfns);
    else putUserPages(this.sys, held.pfns);
    return 0;
  }

  /** Gives everything back, when the machine ends. */
  releaseAll(): void {
    for (const handle of this.held.keys()) this.release(handle);
  }

  /** KernelApi.processVmReadv and processVmWritev. */
  async copyBetween(
    local: MmStruct | undefined,
    remote: MmStruct | undefined,
    range: ProcessVmRange,
    isWrite: boolean,
  ): Promise<number> {
    if (local === undefined || remote === undefined) return errno.ESRCH;
    if (!isRecord(range)) return errno.EFAULT;
    const { local: localAddr, remote: remoteAddr, length } = range;
    const copy = { local, localAddr, remote, remoteAddr, length };
    return isWrite ? processVmWritev(copy) : processVmReadv(copy);
  }

  /** KernelApi.procMemRead. */
  async readMemory(mm: MmStruct | undefined, addr: number, length: number): Promise<ProcMemResult> {
    if (mm === undefined) return { errno: errno.ESRCH, bytes: NO_BYTES };
    if (!isUserRange(addr, length)) return { errno: errno.EINVAL, bytes: NO_BYTES };
    try {
      const bytes = new Uint8Array(length);
      const done = await accessRemoteVm(mm, addr, bytes, 0);
      if (done === 0 && length > 0) return { errno: errno.EIO, bytes: NO_BYTES };
      return { errno: 0, bytes: bytes.slice(0, done) };
    } catch (error) {
      // The host has no room for that many.
      if (error instanceof RangeError) return { errno: errno.ENOMEM, bytes: NO_BYTES };
      throw error;
    }
  }

  /** KernelApi.procMemWrite. */
  async writeMemory(mm: MmStruct | undefined, addr: number, bytes: Uint8Array): Promise<number> {
    if (mm === undefined) return errno.ESRCH;
    // Callers without types: something that is no bytes would be written as zeroes.
    if (!((bytes as unknown) instanceof Uint8Array)) return errno.EINVAL;
    if (!isUserRange(addr, bytes.length)) return errno.EINVAL;
    const done = await accessRemoteVm(mm, addr, bytes, FOLL_WRITE);
    return done === 0 && bytes.length > 0 ? errno.EIO : done;
  }
}

function refused(code: number): GupResult {
  return { errno: code, handle: 0, npages: 0 };
}

function isUserRange(addr: number, length: number): boolean {
  return isAddress(addr) && isAddress(length) && addr + length <= TASK_SIZE;
}
