/**
 * Opening, registering and closing a userfaultfd, and its ioctls (fs/userfaultfd.c). A VMA is
 * registered with one userfaultfd at most; registering splits VMAs and merges them again, as
 * mprotect does.
 *
 * Locking: register, unregister and release take the mmap lock for write; the others see
 * userfaultfd.ts. All may wait for it.
 *
 * Leaves out: minor faults, UFFDIO_CONTINUE, UFFDIO_MOVE.
 */
import { errno, isErr } from '../base/errno.ts';
import { andThen } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { MMAP_MIN_ADDR, TASK_SIZE, isAddress, isPageAligned } from '../base/units.ts';
import { UserfaultfdCtx, isKnownUffdFeatures, userfaultfdWp } from './fs-userfaultfd.ts';
import { VM_HUGETLB, VM_SPECIAL, VM_UFFD_FLAGS, VM_UFFD_MISSING, VM_UFFD_WP } from './mm-types.ts';
import type { MmStruct, Vma } from './mm-types.ts';
import { underWriteLock } from './mmap.ts';
import {
  MFILL_COPY,
  MFILL_POISON,
  MFILL_ZEROPAGE,
  mfillAtomic,
  mwriteprotectRange,
  uffdWpRange,
} from './userfaultfd.ts';
import { MAX_MAP_COUNT, mergeVma, splitVma } from './vma.ts';
import { findVma } from './vma-lookup.ts';

/** Modes of UFFDIO_REGISTER. */
export const UFFDIO_REGISTER_MODE_MISSING = 1 << 0;
/** Stores to pages that are write-protected. */
export const UFFDIO_REGISTER_MODE_WP = 1 << 1;
/** Mode bits of UFFDIO_COPY, UFFDIO_ZEROPAGE and UFFDIO_POISON. */
export const UFFDIO_COPY_MODE_DONTWAKE = 1 << 0;
/** The new page is write-protected. */
export const UFFDIO_COPY_MODE_WP = 1 << 1;
/** Who waits goes on waiting. */
export const UFFDIO_ZEROPAGE_MODE_DONTWAKE = 1 << 0;
/** Who waits goes on waiting. */
export const UFFDIO_POISON_MODE_DONTWAKE = 1 << 0;
/** Mode bits of UFFDIO_WRITEPROTECT. */
export const UFFDIO_WRITEPROTECT_MODE_WP = 1 << 0;
/** Who waits goes on waiting. */
export const UFFDIO_WRITEPROTECT_MODE_DONTWAKE = 1 << 1;

/** ioctl numbers, as the bits that UFFDIO_REGISTER answers with. */
export const UFFDIO_WAKE_BIT = 1 << 2;
/** UFFDIO_COPY is allowed. */
export const UFFDIO_COPY_BIT = 1 << 3;
/** UFFDIO_ZEROPAGE is allowed. */
export const UFFDIO_ZEROPAGE_BIT = 1 << 4;
/** UFFDIO_WRITEPROTECT is allowed. */
export const UFFDIO_WRITEPROTECT_BIT = 1 << 6;
/** UFFDIO_POISON is allowed. */
export const UFFDIO_POISON_BIT = 1 << 8;

/**
 * Opens a userfaultfd for an address space (userfaultfd, then UFFDIO_API).
 *
 * @param features UFFD_FEATURE_* bits. @returns the context, or EINVAL for features that we lack.
 * Context: never waits.
 */
export function userfaultfdCreate(mm: MmStruct, features: number): UserfaultfdCtx | number {
  return isKnownUffdFeatures(features) ? new UserfaultfdCtx(mm, features) : errno.EINVAL;
}

/** Page aligned, not empty, in user space (validate_range). */
function isValidRange(start: number, length: number): boolean {
  if (!isAddress(start) || !isAddress(length)) return false;
  if (!isPageAligned(start) || !isPageAligned(length) || length === 0) return false;
  return start >= MMAP_MIN_ADDR && start < TASK_SIZE && length <= TASK_SIZE - start;
}

function hasOnly(mode: number, bits: number): boolean {
  return Number.isInteger(mode) && mode >= 0 && mode <= bits && (mode & ~bits) === 0;
}

/**
 * Registers what is mapped in [start, start + length) (UFFDIO_REGISTER). A range that is registered
 * already gets the new mode.
 *
 * @param mode UFFDIO_REGISTER_MODE_* bits.
 * @returns a bit per ioctl that the range allows; EINVAL for bad arguments, nothing mapped there,
 * or a VMA that can't be served; EBUSY when part of it belongs to another userfaultfd; ENOMEM when
 * there are too many VMAs or the address space is gone. Context: takes the mmap lock for write.
 */
export function userfaultfdRegister(
  ctx: UserfaultfdCtx,
  start: number,
  length: number,
  mode: number,
): MaybePromise<number> {
  const known = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP;
  if (mode === 0 || !hasOnly(mode, known) || !isValidRange(start, length)) return errno.EINVAL;
  const isWp = (mode & UFFDIO_REGISTER_MODE_WP) !== 0;
  const vmFlags =
    ((mode & UFFDIO_REGISTER_MODE_MISSING) !== 0 ? VM_UFFD_MISSING : 0) | (isWp ? VM_UFFD_WP : 0);
  const change = (): number => {
    const status = checkVmas(ctx, start, start + length);
    return isErr(status) ? status : setRange(ctx, start, start + length, vmFlags);
  };
  const basic = UFFDIO_WAKE_BIT | UFFDIO_COPY_BIT | UFFDIO_ZEROPAGE_BIT | UFFDIO_POISON_BIT;
  return andThen(underWriteLock(ctx.mm, change), (status) => {
    if (status === errno.ESRCH) return errno.ENOMEM;
    return isErr(status) ? status : basic | (isWp ? UFFDIO_WRITEPROTECT_BIT : 0);
  });
}

/**
 * Ends the registration of [start, start + length) (UFFDIO_UNREGISTER): protected pages are no
 * longer, waiting faults try again.
 *
 * @returns 0; EINVAL for bad arguments, nothing mapped there, or a VMA that belongs to another
 * userfaultfd; ENOMEM as for register. Context: takes the mmap lock for write.
 */
export function userfaultfdUnregister(
  ctx: UserfaultfdCtx,
  start: number,
  length: number,
): MaybePromise<number> {
  if (!isValidRange(start, length)) return errno.EINVAL;
  const change = (): number => {
    const status = checkVmas(ctx, start, start + length);
    if (isErr(status)) return status === errno.EBUSY ? errno.EINVAL : status;
    return setRange(ctx, start, start + length, 0);
  };
  return andThen(underWriteLock(ctx.mm, change), (status) => {
    ctx.wake(start, length);
    return status === errno.ESRCH ? errno.ENOMEM : status;
  });
}

/** All VMAs of the range can be registered with `ctx`, and there are some. 0 or an errno. */
function checkVmas(ctx: UserfaultfdCtx, start: number, end: number): number {
  let vma = findVma(ctx.mm, start);
  if (vma === null || vma.vmStart >= end) return errno.EINVAL;
  while (vma !== null && vma.vmStart < end) {
    if ((vma.vmFlags & (VM_SPECIAL | VM_HUGETLB)) !== 0) return errno.EINVAL;
    if (vma.uffdCtx !== null && vma.uffdCtx !== ctx) return errno.EBUSY;
    vma = findVma(ctx.mm, vma.vmEnd);
  }
  return 0;
}

/** Gives every VMA of the range the flags, VM_UFFD_* or 0 (userfaultfd_register_range). */
function setRange(ctx: UserfaultfdCtx, start: number, end: number, flags: number): number {
  // By address: the VMA that ends the range may reach beyond it, also because it was just merged.
  for (let cursor = start; cursor < end;) {
    const vma = findVma(ctx.mm, cursor);
    if (vma === null || vma.vmStart >= end) return 0;
    const pieceEnd = Math.min(vma.vmEnd, end);
    const status = setPiece(ctx, vma, Math.max(start, vma.vmStart), pieceEnd, flags);
    if (isErr(status)) return status;
    cursor = pieceEnd;
  }
  return 0;
}

function setPiece(
  ctx: UserfaultfdCtx,
  vma: Vma,
  start: number,
  end: number,
  flags: number,
): number {
  const uffdCtx = flags === 0 ? null : ctx;
  if (vma.uffdCtx === uffdCtx && (vma.vmFlags & VM_UFFD_FLAGS) === flags) return 0;
  let piece = vma;
  for (const at of [start, end]) {
    if (at <= piece.vmStart || at >= piece.vmEnd) continue;
    if (vma.mm.vmas.length >= MAX_MAP_COUNT) return errno.ENOMEM;
    const upper = splitVma(piece, at);
    if (at === start) piece = upper;
  }
  resetProtection(piece, flags);
  piece.vmFlags = (piece.vmFlags & ~VM_UFFD_FLAGS) | flags;
  piece.uffdCtx = uffdCtx;
  mergeVma(piece);
  return 0;
}

/** No entry stays protected for a monitor that does not want to know (userfaultfd_clear_vma). */
function resetProtection(vma: Vma, flags: number): void {
  if (!userfaultfdWp(vma) || (flags & VM_UFFD_WP) !== 0) return;
  uffdWpRange(vma, vma.vmStart, vma.vmEnd, false);
}

/**
 * Takes a VMA that moves or is copied out of its registration (userfaultfd_reset_ctx).
 *
 * Context: mmap lock held for write.
 */
export function userfaultfdResetCtx(vma: Vma): void {
  vma.vmFlags &= ~VM_UFFD_FLAGS;
  vma.uffdCtx = null;
}

/**
 * Closes a userfaultfd (userfaultfd_release): its ranges are ordinary memory again, everybody who
 * waits goes on. A further call does nothing.
 *
 * Context: takes the mmap lock for write, may wait for it.
 */
export function userfaultfdRelease(ctx: UserfaultfdCtx): MaybePromise<void> {
  if (ctx.isClosed) return;
  ctx.isClosed = true;
  const forget = (): number => {
    // By address: clearing one VMA may merge it with the next.
    let vma = findVma(ctx.mm, 0);
    while (vma !== null) {
      const { vmStart, vmEnd } = vma;
      if (vma.uffdCtx === ctx) setPiece(ctx, vma, vmStart, vmEnd, 0);
      vma = findVma(ctx.mm, vmEnd);
    }
    return 0;
  };
  return andThen(underWriteLock(ctx.mm, forget), () => ctx.wakeAll());
}

/**
 * Fills [dst, dst + length) with the bytes at `src` (UFFDIO_COPY) and wakes who waits there.
 *
 * @param mode UFFDIO_COPY_MODE_*. @returns bytes copied, less than asked for when a later page
 * failed; EINVAL for bad arguments; ESRCH for an address space that is gone; and as mfillAtomic.
 * Context: waits for locks and faults.
 */
export async function userfaultfdCopy(
  ctx: UserfaultfdCtx,
  dst: number,
  src: number,
  length: number,
  mode: number,
): Promise<number> {
  if (!isValidRange(dst, length) || !isAddress(src) || !isAddress(src + length)) {
    return errno.EINVAL;
  }
  if (!hasOnly(mode, UFFDIO_COPY_MODE_DONTWAKE | UFFDIO_COPY_MODE_WP)) return errno.EINVAL;
  const isWp = (mode & UFFDIO_COPY_MODE_WP) !== 0;
  const dontWake = (mode & UFFDIO_COPY_MODE_DONTWAKE) !== 0;
  const filled = await mfillAtomic({ mm: ctx.mm, kind: MFILL_COPY, dst, src, length, isWp });
  if (filled > 0 && !dontWake) ctx.wake(dst, filled);
  return filled;
}

/** Fills a range with zeroes (UFFDIO_ZEROPAGE); as userfaultfdCopy. */
export function userfaultfdZeropage(
  ctx: UserfaultfdCtx,
  start: number,
  length: number,
  mode: number,
): Promise<number> {
  return fillWithout(ctx, MFILL_ZEROPAGE, start, length, mode);
}

/** Makes every access to the missing pages of a range SIGBUS (UFFDIO_POISON). */
export function userfaultfdPoison(
  ctx: UserfaultfdCtx,
  start: number,
  length: number,
  mode: number,
): Promise<number> {
  return fillWithout(ctx, MFILL_POISON, start, length, mode);
}

async function fillWithout(
  ctx: UserfaultfdCtx,
  kind: number,
  dst: number,
  length: number,
  mode: number,
): Promise<number> {
  if (!isValidRange(dst, length)) return errno.EINVAL;
  if (!hasOnly(mode, UFFDIO_ZEROPAGE_MODE_DONTWAKE)) return errno.EINVAL;
  const fill = { mm: ctx.mm, kind, dst, src: 0, length, isWp: false };
  const filled = await mfillAtomic(fill);
  if (filled > 0 && mode === 0) ctx.wake(dst, filled);
  return filled;
}

/** Lets the faults of a range try again (UFFDIO_WAKE). @returns 0 or EINVAL. */
export function userfaultfdWake(ctx: UserfaultfdCtx, start: number, length: number): number {
  if (!isValidRange(start, length)) return errno.EINVAL;
  ctx.wake(start, length);
  return 0;
}

/**
 * Write-protects a range, or takes that back and wakes who waits there (UFFDIO_WRITEPROTECT).
 *
 * @param mode UFFDIO_WRITEPROTECT_MODE_*. @returns 0; EINVAL for bad arguments; and as
 * mwriteprotectRange. Context: takes the mmap lock for read, may wait for it.
 */
export function userfaultfdWriteprotect(
  ctx: UserfaultfdCtx,
  start: number,
  length: number,
  mode: number,
): MaybePromise<number> {
  const known = UFFDIO_WRITEPROTECT_MODE_WP | UFFDIO_WRITEPROTECT_MODE_DONTWAKE;
  // Nobody is woken by protecting, so both bits together make no sense.
  if (!hasOnly(mode, known) || mode === known) return errno.EINVAL;
  if (!isValidRange(start, length)) return errno.EINVAL;
  const isProtect = (mode & UFFDIO_WRITEPROTECT_MODE_WP) !== 0;
  return andThen(mwriteprotectRange(ctx.mm, start, length, isProtect), (status) => {
    if (!isErr(status) && mode === 0) ctx.wake(start, length);
    return status;
  });
}
