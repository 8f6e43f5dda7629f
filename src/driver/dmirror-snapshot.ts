/**
 * SNAPSHOT of the test device (dmirror_snapshot, lib/test_hmm.c): one protection byte a page, from
 * hmm_range_fault without any request, in windows of 32 pages with an interval notifier of their
 * own.
 */
import { errno, isErr } from '../base/errno.ts';
import { HPAGE_PMD_ORDER, PAGE_SIZE } from '../base/units.ts';
import { HMM_PFN_ERROR, HMM_PFN_VALID, HMM_PFN_WRITE } from '../mm/hmm.ts';
import { hmmPfnToMapOrder, hmmPfnToPage, hmmRangeFault } from '../mm/hmm.ts';
import type { HmmRange } from '../mm/hmm.ts';
import {
  mmuIntervalNotifierInsert,
  mmuIntervalNotifierRemove,
  mmuIntervalReadBegin,
  mmuIntervalReadRetry,
  mmuIntervalSetSeq,
  newMmuIntervalNotifier,
} from '../mm/mmu-notifier.ts';
import type { MmuIntervalNotifierOps } from '../mm/mmu-notifier.ts';
import { copyToUser } from '../mm/uaccess.ts';
import type { Dmirror, DmirrorCmd } from './dmirror.ts';

/** Protection bytes (test_hmm_uapi.h). READ or WRITE is added to one of the bases. */
export const HMM_DMIRROR_PROT_ERROR = 0xff;
/** Nothing there that could be read. */
export const HMM_DMIRROR_PROT_NONE = 0x00;
/** Readable. */
export const HMM_DMIRROR_PROT_READ = 0x01;
/** Readable and writable. */
export const HMM_DMIRROR_PROT_WRITE = 0x02;
/** Added for a page that a PMD entry maps. */
export const HMM_DMIRROR_PROT_PMD = 0x04;
/** The page of zeroes. */
export const HMM_DMIRROR_PROT_ZERO = 0x10;
/** In private memory of the device that is asked. */
export const HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL = 0x20;
/** In private memory of another device. */
export const HMM_DMIRROR_PROT_DEV_PRIVATE_REMOTE = 0x30;
/** In coherent memory of the device that is asked. */
export const HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL = 0x40;
/** In coherent memory of another device. */
export const HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE = 0x50;

const SNAPSHOT_WINDOW_PAGES = 32;
const RANGE_TIMEOUT_MS = 1000;

/** The snapshot keeps no state that an invalidation could make stale, only its sequence. */
const snapshotOps: MmuIntervalNotifierOps = {
  invalidate: (sub, _range, curSeq) => {
    mmuIntervalSetSeq(sub, curSeq);
    return true;
  },
};

/**
 * Writes the protection byte of each page of the range to the user buffer. May wait.
 *
 * @returns 0 with `cpages`; EFAULT when the buffer can't be written; EBUSY after a second of
 * invalidations of one window.
 */
export async function dmirrorSnapshot(mirror: Dmirror, cmd: DmirrorCmd): Promise<number> {
  const bytes = new Uint8Array(SNAPSHOT_WINDOW_PAGES);
  for (let at = 0; at < cmd.npages;) {
    const count = Math.min(SNAPSHOT_WINDOW_PAGES, cmd.npages - at);
    const start = cmd.addr + at * PAGE_SIZE;
    const status = await snapshotWindow(mirror, start, bytes.subarray(0, count));
    if (isErr(status)) return status;
    const left = await copyToUser(mirror.mm, cmd.ptr + at, bytes.subarray(0, count));
    if (left !== 0) return errno.EFAULT;
    at += count;
  }
  cmd.cpages = cmd.npages;
  return 0;
}

async function snapshotWindow(mirror: Dmirror, start: number, out: Uint8Array): Promise<number> {
  const { mm } = mirror;
  const length = out.length * PAGE_SIZE;
  const notifier = newMmuIntervalNotifier(null);
  const inserted = mmuIntervalNotifierInsert(notifier, mm, start, length, snapshotOps);
  if (isErr(inserted)) return inserted;
  try {
    const range: HmmRange = {
      notifier,
      notifierSeq: 0,
      start,
      end: start + length,
      hmmPfns: new Uint32Array(out.length),
      defaultFlags: 0,
      pfnFlagsMask: 0,
      devPrivateOwner: mirror.device.memory.owner,
    };
    const status = await settleRange(mirror, range);
    if (isErr(status)) return status;
    for (let i = 0; i < out.length; i++) out[i] = protectionByte(mirror, range.hmmPfns[i]!);
    return 0;
  } finally {
    await mmuIntervalNotifierRemove(notifier);
  }
}

async function settleRange(mirror: Dmirror, range: HmmRange): Promise<number> {
  const { nowMs } = mirror.device.context;
  const deadline = nowMs() + RANGE_TIMEOUT_MS;
  for (;;) {
    if (nowMs() > deadline) return errno.EBUSY;
    range.notifierSeq = await mmuIntervalReadBegin(range.notifier);
    await mirror.mm.mmapLock.readLock();
    let status: number;
    try {
      status = await hmmRangeFault(range);
    } finally {
      mirror.mm.mmapLock.readUnlock();
    }
    if (status === errno.EBUSY) continue;
    if (isErr(status)) return status;
    if (!mmuIntervalReadRetry(range.notifier, range.notifierSeq)) return 0;
  }
}

/** dmirror_mkentry. */
function protectionByte(mirror: Dmirror, entry: number): number {
  if ((entry & HMM_PFN_ERROR) !== 0) return HMM_DMIRROR_PROT_ERROR;
  if ((entry & HMM_PFN_VALID) === 0) return HMM_DMIRROR_PROT_NONE;
  const access = (entry & HMM_PFN_WRITE) !== 0 ? HMM_DMIRROR_PROT_WRITE : HMM_DMIRROR_PROT_READ;
  const size = hmmPfnToMapOrder(entry) === HPAGE_PMD_ORDER ? HMM_DMIRROR_PROT_PMD : 0;
  return baseByte(mirror, hmmPfnToPage(entry)) + access + size;
}

function baseByte(mirror: Dmirror, pfn: number): number {
  const { sys } = mirror.mm;
  if (pfn === sys.zeroPfn) return HMM_DMIRROR_PROT_ZERO;
  if (!sys.mem.isZoneDevice(pfn)) return HMM_DMIRROR_PROT_NONE;
  const isLocal = mirror.device.memory.has(pfn);
  if (sys.mem.isDeviceCoherent(pfn)) {
    return isLocal ? HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL : HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE;
  }
  return isLocal ? HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL : HMM_DMIRROR_PROT_DEV_PRIVATE_REMOTE;
}
