/**
 * An open test device (struct dmirror, lib/test_hmm.c): it mirrors the address space of the process
 * that opened it into a device page table and answers the commands of test_hmm_uapi.h. This file is
 * the command table, device faults and the notifier; access and migration have files of their own.
 *
 * Locking: the interval notifier over the whole address space erases device entries synchronously.
 * A device fault takes the mmap lock for read around `hmmRangeFault`, and programs the device page
 * table in the same breath as its sequence check, without a wait in between.
 */
import { errno, isErr } from '../base/errno.ts';
import { PAGE_SIZE, TASK_SIZE, isAddress, isPageAligned } from '../base/units.ts';
import {
  HMM_PFN_REQ_FAULT,
  HMM_PFN_REQ_WRITE,
  HMM_PFN_VALID,
  HMM_PFN_WRITE,
  hmmPfnToPage,
  hmmRangeFault,
} from '../mm/hmm.ts';
import { hmmRangeFaultUnlockedTimeout } from '../mm/hmm-unlocked.ts';
import type { HmmRange } from '../mm/hmm.ts';
import type { MmStruct } from '../mm/mm-types.ts';
import {
  MMU_NOTIFY_EXCLUSIVE,
  MMU_NOTIFY_MIGRATE,
  mmuIntervalNotifierInsert,
  mmuIntervalNotifierRemove,
  mmuIntervalReadBegin,
  mmuIntervalReadRetry,
  mmuIntervalSetSeq,
  newMmuIntervalNotifier,
} from '../mm/mmu-notifier.ts';
import type {
  MmuIntervalNotifier,
  MmuIntervalNotifierOps,
  MmuNotifierRange,
} from '../mm/mmu-notifier.ts';
import { SKIP_REASONS } from '../mm/skip-reason.ts';
import { DevicePageTable } from './device-page-table.ts';
import { dmirrorAdd, dmirrorRead, dmirrorReadUnlocked, dmirrorWrite } from './dmirror-access.ts';
import type { DmirrorDevice } from './dmirror-device.ts';
import { ExclusiveClaim, dmirrorCheckExclusive, dmirrorExclusive } from './dmirror-exclusive.ts';
import { isBatch } from './migrate-walk.ts';
import { dmirrorMigrateToDevice, dmirrorMigrateToSystem } from './dmirror-migrate.ts';
import { dmirrorSnapshot } from './dmirror-snapshot.ts';

/** Commands of the test device; values of test_hmm_uapi.h, ADD is ours. */
export const HMM_DMIRROR_READ = 0;
export const HMM_DMIRROR_WRITE = 1;
export const HMM_DMIRROR_MIGRATE_TO_DEV = 2;
export const HMM_DMIRROR_MIGRATE_TO_SYS = 3;
export const HMM_DMIRROR_SNAPSHOT = 4;
export const HMM_DMIRROR_EXCLUSIVE = 5;
export const HMM_DMIRROR_CHECK_EXCLUSIVE = 6;
export const HMM_DMIRROR_RELEASE = 7;
export const HMM_DMIRROR_FLAGS = 8;
export const HMM_DMIRROR_READ_UNLOCKED = 9;
/** Adds `ptr` to every word of the range, on the device: the smallest device kernel. */
export const WEBHMM_DMIRROR_ADD = 64;

/** FLAGS bit: the next allocation of a migration fails, once. */
export const HMM_DMIRROR_FLAG_FAIL_ALLOC = 1;

/** struct hmm_dmirror_cmd. */
export interface DmirrorCmd {
  /** Virtual address of the range. */
  addr: number;
  /** Virtual address of the user buffer; operand of ADD. */
  ptr: number;
  npages: number;
  /** Pages done, and device fault rounds; outputs. */
  cpages: number;
  faults: number;
  /** Pages that migrate together, at most MAX_WINDOW_PAGES; 0 leaves it to the driver. */
  batch: number;
  /** Milliseconds until the first pages of a migration were usable; output. */
  firstMs: number;
  /** Pages that a migration left where they were, by SKIP_* code; output, SKIP_REASONS long. */
  readonly skipped: Uint32Array;
}

/** A command without outputs yet. */
export function newDmirrorCmd(addr: number, npages: number, ptr: number, batch = 0): DmirrorCmd {
  const skipped = new Uint32Array(SKIP_REASONS);
  return { addr, npages, ptr, cpages: 0, faults: 0, batch, firstMs: 0, skipped };
}

/** Pages per hmm_range_fault window of a device fault. */
const FAULT_WINDOW_PAGES = 32;
/** HMM_RANGE_DEFAULT_TIMEOUT, milliseconds. */
const RANGE_TIMEOUT_MS = 1000;

const dmirrorMinOps: MmuIntervalNotifierOps = {
  invalidate: (sub: MmuIntervalNotifier, range: MmuNotifierRange, curSeq: number): boolean => {
    const mirror = sub.driverData as Dmirror;
    // Also for migrations of our own: a device fault in progress may have seen the page as it was.
    mmuIntervalSetSeq(sub, curSeq);
    mirror.invalidations++;
    // Those erase their device entries by themselves, page by page.
    const own = mirror.device.memory.owner;
    if (range.event === MMU_NOTIFY_MIGRATE && range.owner === own) return true;
    const claim = range.event === MMU_NOTIFY_EXCLUSIVE ? range.owner : null;
    const isOwnClaim = claim instanceof ExclusiveClaim && claim.mirror === mirror;
    if (isOwnClaim) claim.invalidations = mirror.invalidations;
    mirror.pageTable.eraseRange(range.start, range.end);
    return true;
  },
};

export class Dmirror {
  readonly device: DmirrorDevice;
  readonly mm: MmStruct;
  readonly pageTable = new DevicePageTable();
  readonly notifier: MmuIntervalNotifier;
  /** How often the notifier was called: also several times within one sequence number. */
  invalidations = 0;
  /** The next copy of this file's migrations fails (EIO), once: an injected failure. */
  failNextCopy = false;
  private isOpen = true;
  /** The notifier is known to hear of invalidations. */
  private isWatching = false;
  /** Commands in progress; `close` waits for them. */
  private active = 0;
  private idle: (() => void) | null = null;

  private constructor(device: DmirrorDevice, mm: MmStruct) {
    this.device = device;
    this.mm = mm;
    this.notifier = newMmuIntervalNotifier(this);
  }

  /** Whether `close` has begun. */
  get isClosing(): boolean {
    return !this.isOpen;
  }

  /**
   * Opens the device for an address space (dmirror_fops_open).
   *
   * @returns the mirror, or EINVAL for an address space that is gone, ENOMEM.
   */
  static open(device: DmirrorDevice, mm: MmStruct): Dmirror | number {
    const mirror = new Dmirror(device, mm);
    const status = mmuIntervalNotifierInsert(mirror.notifier, mm, 0, TASK_SIZE, dmirrorMinOps);
    if (isErr(status)) return status;
    device.mirrors.add(mirror);
    return mirror;
  }

  /**
   * Runs one command (dmirror_fops_unlocked_ioctl). May wait; on a suspended device until that is
   * resumed.
   *
   * @returns 0, with `cpages` and `faults` of `cmd` set; or an errno: EINVAL for a closed file, an
   * unknown command, an unaligned address or an empty or wrapping range, and what the command
   * answers.
   */
  async ioctl(command: number, cmd: DmirrorCmd): Promise<number> {
    cmd.cpages = 0;
    cmd.faults = 0;
    cmd.firstMs = 0;
    if (!isValidRange(cmd) || !isBatch(cmd.batch)) return errno.EINVAL;
    const { sleep } = this.device;
    if (sleep.isClosed) await sleep.whenAwake();
    if (!this.isOpen) return errno.EINVAL;
    this.active++;
    try {
      if (!this.isWatching) await this.startWatching();
      return await this.run(command, cmd);
    } finally {
      this.active--;
      if (this.active === 0) this.idle?.();
    }
  }

  /** Closes the file: no callback runs afterwards. Pages stay on the device. May wait. */
  async close(): Promise<void> {
    if (!this.isOpen) return;
    this.isOpen = false;
    if (this.active > 0) await new Promise<void>((resolve) => (this.idle = resolve));
    await mmuIntervalNotifierRemove(this.notifier);
    this.device.mirrors.delete(this);
    this.pageTable.eraseRange(0, TASK_SIZE);
  }

  /**
   * Makes [start, end) accessible to the device (dmirror_fault). May wait.
   *
   * @param unlocked Lets faults drop the mmap lock (dmirror_fault_unlocked): memory of a
   * userfaultfd can be had no other way.
   * @returns 0; EFAULT, EPERM, ENOMEM of hmm_range_fault; EBUSY after a second of invalidations;
   * EINTR when the file is closed meanwhile, if unlocked.
   */
  async fault(start: number, end: number, write: boolean, unlocked = false): Promise<number> {
    for (let addr = start; addr < end;) {
      const next = Math.min(addr + FAULT_WINDOW_PAGES * PAGE_SIZE, end);
      const status = await this.rangeFault(addr, next, write, unlocked);
      if (isErr(status)) return status;
      addr = next;
    }
    return 0;
  }

  /**
   * A file that was opened during an invalidation gets its subscription only at the end of that.
   * Until then nobody would take back what a command enters in the device page table; a device
   * fault waits for that anyway, a migration would not.
   */
  private async startWatching(): Promise<void> {
    await mmuIntervalReadBegin(this.notifier);
    this.isWatching = true;
  }

  private run(command: number, cmd: DmirrorCmd): Promise<number> | number {
    switch (command) {
      case HMM_DMIRROR_READ:
        return dmirrorRead(this, cmd);
      case HMM_DMIRROR_READ_UNLOCKED:
        return dmirrorReadUnlocked(this, cmd);
      case HMM_DMIRROR_WRITE:
        return dmirrorWrite(this, cmd);
      case WEBHMM_DMIRROR_ADD:
        return dmirrorAdd(this, cmd);
      case HMM_DMIRROR_MIGRATE_TO_DEV:
        return dmirrorMigrateToDevice(this, cmd);
      case HMM_DMIRROR_MIGRATE_TO_SYS:
        return this.migrateToSystem(cmd);
      case HMM_DMIRROR_SNAPSHOT:
        return dmirrorSnapshot(this, cmd);
      case HMM_DMIRROR_EXCLUSIVE:
        return dmirrorExclusive(this, cmd);
      case HMM_DMIRROR_CHECK_EXCLUSIVE:
        return dmirrorCheckExclusive(this, cmd);
      case HMM_DMIRROR_RELEASE:
        return this.device.releaseChunks();
      case HMM_DMIRROR_FLAGS:
        this.device.failNextAllocation = (cmd.npages & HMM_DMIRROR_FLAG_FAIL_ALLOC) !== 0;
        return 0;
      default:
        return errno.EINVAL;
    }
  }

  /** What a policy keeps on the device is waited for, as by xe's move of a range to RAM. */
  private async migrateToSystem(cmd: DmirrorCmd): Promise<number> {
    await this.device.kept.untilFree(this, cmd.addr, cmd.addr + cmd.npages * PAGE_SIZE);
    return dmirrorMigrateToSystem(this, cmd);
  }

  /** One window of a device fault: the canonical retry loop (dmirror_range_fault). */
  private async rangeFault(
    start: number,
    end: number,
    write: boolean,
    unlocked: boolean,
  ): Promise<number> {
    const { nowMs } = this.device.context;
    const deadline = nowMs() + RANGE_TIMEOUT_MS;
    const range = this.newRange(start, end, write);
    for (;;) {
      if (this.mm.users === 0) return errno.EFAULT;
      if (nowMs() > deadline) return errno.EBUSY;
      const status = await (unlocked ? this.lookUnlocked(range) : this.look(range));
      if (status === errno.EBUSY) continue;
      if (isErr(status)) return status;
      // From here to the end of `program` nothing waits: this is the driver lock.
      if (mmuIntervalReadRetry(this.notifier, range.notifierSeq)) continue;
      const stuckAt = this.program(range, write);
      if (stuckAt < 0) return 0;
      const pfn = hmmPfnToPage(range.hmmPfns[stuckAt]!);
      const broken = await this.breakReadOnly(start + stuckAt * PAGE_SIZE, pfn);
      if (isErr(broken)) return broken;
    }
  }

  /** One look at the CPU's page tables under the mmap lock. */
  private async look(range: HmmRange): Promise<number> {
    range.notifierSeq = await mmuIntervalReadBegin(this.notifier);
    await this.mm.mmapLock.readLock();
    try {
      return await hmmRangeFault(range);
    } finally {
      this.mm.mmapLock.readUnlock();
    }
  }

  /** The same without it, for as long as it takes. */
  private lookUnlocked(range: HmmRange): Promise<number> {
    const isKilled = (): boolean => !this.isOpen;
    const { nowMs } = this.device.context;
    return hmmRangeFaultUnlockedTimeout(range, { timeoutMs: 0, nowMs, isKilled });
  }

  private newRange(start: number, end: number, write: boolean): HmmRange {
    return {
      notifier: this.notifier,
      notifierSeq: 0,
      start,
      end,
      hmmPfns: new Uint32Array((end - start) / PAGE_SIZE),
      defaultFlags: HMM_PFN_REQ_FAULT | (write ? HMM_PFN_REQ_WRITE : 0),
      pfnFlagsMask: 0,
      devPrivateOwner: this.device.memory.owner,
    };
  }

  /**
   * Enters the results in the device page table (dmirror_do_fault).
   *
   * @returns -1, or the slot of a page that was wanted for write and is not writable: a page of our
   * own that copy-on-write shares, which hmm_range_fault reports as it is.
   */
  private program(range: HmmRange, write: boolean): number {
    for (let i = 0; i < range.hmmPfns.length; i++) {
      const entry = range.hmmPfns[i]!;
      if ((entry & HMM_PFN_VALID) === 0) continue;
      const writable = (entry & HMM_PFN_WRITE) !== 0;
      if (write && !writable) return i;
      this.pageTable.store(range.start / PAGE_SIZE + i, hmmPfnToPage(entry), writable);
    }
    return -1;
  }

  /**
   * Brings a shared page of our own home, so that the next round breaks copy-on-write on it: HMM
   * does not do that for pages of the asking device. Migration skips a page that somebody has
   * locked (another command that works on it), so that is waited for first: trying again at once
   * would spin.
   */
  private async breakReadOnly(address: number, pfn: number): Promise<number> {
    const { mem } = this.mm.sys;
    // The lock of a large folio is that of its head.
    await mem.waitOnPageLocked(mem.folioOf(pfn));
    return dmirrorMigrateToSystem(this, newDmirrorCmd(address, 1, 0));
  }
}

/** The range checks of the ioctl, which every command gets. */
function isValidRange(cmd: DmirrorCmd): boolean {
  const { addr, ptr, npages } = cmd;
  if (!isAddress(addr) || !isAddress(ptr) || !isAddress(npages)) return false;
  if (!isPageAligned(addr)) return false;
  const end = addr + npages * PAGE_SIZE;
  return addr < end && end <= Number.MAX_SAFE_INTEGER;
}
