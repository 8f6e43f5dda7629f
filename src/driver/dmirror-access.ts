/**
 * How the test device reads and writes memory through its page table (READ, WRITE and our ADD).
 *
 * The device reaches its own pages in VRAM. Pages that the table maps in RAM or in coherent memory,
 * which is reached like RAM here, go through the system aperture: they are copied to VRAM frames
 * that no pagemap covers, worked on there, and copied back if written, so that every byte the
 * device sees has really been on the device.
 *
 * Locking: a pass works on at most APERTURE_PAGES pages. For its length it holds the device's
 * aperture lock, the mmap lock for read, a reference on every page (so no frame is freed or
 * migrated under it) and the page lock of device pages (so that a CPU fault or an eviction waits
 * instead of failing on the reference) and of RAM pages that it writes. Those and the coherent ones
 * are lent meanwhile, unless the device has them for itself already: then the lock keeps the CPU
 * from taking them back. Order: aperture lock > mmap lock > page locks (trylock only).
 */
import { errno, isErr } from '../base/errno.ts';
import { PAGE_SIZE } from '../base/units.ts';
import type { CommandList } from '../engine/command-list.ts';
import { removeMigrationPtes } from '../mm/migrate.ts';
import { allocPage, putPage } from '../mm/page-alloc.ts';
import { PG_DIRTY } from '../mm/page.ts';
import type { System } from '../mm/mm-types.ts';
import { copyFromUser, copyToUser } from '../mm/uaccess.ts';
import { DPT_ATOMIC, DPT_WRITE, dptPfn } from './device-page-table.ts';
import { APERTURE_PAGES, readableStrategy } from './dmirror-device.ts';
import type { Dmirror, DmirrorCmd } from './dmirror.ts';
import { lendFolio } from './lend.ts';

/** A page has to wait for the next pass. Below every errno. */
const END_OF_PASS = -4096;

/** What a pass does with each page. */
const PASS_READ = 0;
const PASS_WRITE = 1;
const PASS_ADD = 2;

/** What it does about a page that is not mapped. */
const FAULT_NOTHING = 0;
const FAULT_LOCKED = 1;
const FAULT_UNLOCKED = 2;

/** No pfn: neither device memory nor allocated RAM has number 0. */
const NO_PAGE = 0;

/** Kernel memory that holds the range on its way between user buffer and device. */
class Bounce {
  readonly pfns: Uint32Array;
  private readonly sys: System;

  private constructor(sys: System, npages: number) {
    this.sys = sys;
    this.pfns = new Uint32Array(npages);
  }

  /** Allocates `npages` RAM pages; ENOMEM when there are not that many. */
  static alloc(sys: System, npages: number): Bounce | number {
    if (npages > sys.pageAllocator.freePages) return errno.ENOMEM;
    const bounce = new Bounce(sys, npages);
    for (let i = 0; i < npages; i++) {
      const pfn = allocPage(sys);
      if (isErr(pfn)) {
        bounce.free(i);
        return errno.ENOMEM;
      }
      bounce.pfns[i] = pfn;
    }
    return bounce;
  }

  /** The bytes of page i. */
  page(i: number): Uint8Array {
    const start = this.pfns[i]! * PAGE_SIZE;
    return this.sys.ram.subarray(start, start + PAGE_SIZE);
  }

  free(count = this.pfns.length): void {
    for (let i = 0; i < count; i++) putPage(this.sys, this.pfns[i]!);
  }
}

/** One range operation: what to do and with which kernel memory. */
interface Access {
  readonly mirror: Dmirror;
  readonly kind: number;
  readonly start: number;
  readonly npages: number;
  readonly bounce: Bounce | null;
  readonly operand: number;
}

/**
 * READ: device loads of the range into the user buffer (dmirror_read). May wait.
 *
 * @returns 0 with cpages and faults; errnos of the device fault (EFAULT, EPERM, EBUSY), ENOMEM,
 * EFAULT for the buffer, ENODEV or EIO of the copy engine. The buffer is written only when the
 * whole range was read.
 */
export function dmirrorRead(mirror: Dmirror, cmd: DmirrorCmd): Promise<number> {
  return readRange(mirror, cmd, FAULT_LOCKED);
}

/**
 * READ_UNLOCKED: READ with faults that may drop the mmap lock, so that memory of a userfaultfd can
 * be read (dmirror_read_unlocked). May wait for its monitor; errnos as READ, EINTR when the file is
 * closed meanwhile.
 */
export function dmirrorReadUnlocked(mirror: Dmirror, cmd: DmirrorCmd): Promise<number> {
  return readRange(mirror, cmd, FAULT_UNLOCKED);
}

/** Like READ, without faulting: ENOENT when a page is not in the device page table. */
export function dmirrorReadMapped(mirror: Dmirror, cmd: DmirrorCmd): Promise<number> {
  if (cmd.ptr === 0) return Promise.resolve(countMapped(mirror, cmd));
  return readRange(mirror, cmd, FAULT_NOTHING);
}

/**
 * WRITE: device stores of the user buffer to the range (dmirror_write). May wait; errnos as READ.
 */
export async function dmirrorWrite(mirror: Dmirror, cmd: DmirrorCmd): Promise<number> {
  const { sys } = mirror.mm;
  const bounce = Bounce.alloc(sys, cmd.npages);
  if (typeof bounce === 'number') return bounce;
  try {
    for (let i = 0; i < cmd.npages; i++) {
      const left = await copyFromUser(mirror.mm, cmd.ptr + i * PAGE_SIZE, bounce.page(i));
      if (left !== 0) return errno.EFAULT;
    }
    return await accessRange(accessOf(mirror, PASS_WRITE, cmd, bounce), cmd, FAULT_LOCKED);
  } finally {
    bounce.free();
  }
}

/** ADD: the device adds `ptr` to every word of the range. May wait; errnos as WRITE. */
export function dmirrorAdd(mirror: Dmirror, cmd: DmirrorCmd): Promise<number> {
  return accessRange(accessOf(mirror, PASS_ADD, cmd, null), cmd, FAULT_LOCKED);
}

function accessOf(mirror: Dmirror, kind: number, cmd: DmirrorCmd, bounce: Bounce | null): Access {
  const { addr: start, npages, ptr } = cmd;
  return { mirror, kind, start, npages, bounce, operand: ptr >>> 0 };
}

async function readRange(mirror: Dmirror, cmd: DmirrorCmd, faulting: number): Promise<number> {
  const bounce = Bounce.alloc(mirror.mm.sys, cmd.npages);
  if (typeof bounce === 'number') return bounce;
  try {
    const access = accessOf(mirror, PASS_READ, cmd, bounce);
    const status = await accessRange(access, cmd, faulting);
    if (isErr(status)) return status;
    for (let i = 0; i < cmd.npages; i++) {
      const left = await copyToUser(mirror.mm, cmd.ptr + i * PAGE_SIZE, bounce.page(i));
      if (left !== 0) return errno.EFAULT;
    }
    return 0;
  } finally {
    bounce.free();
  }
}

function countMapped(mirror: Dmirror, cmd: DmirrorCmd): number {
  if (!mirror.pageTable.mapsAll(cmd.addr / PAGE_SIZE, cmd.npages)) return errno.ENOENT;
  cmd.cpages = cmd.npages;
  return 0;
}

/** Pass after pass over the range; a page that is not mapped faults the rest of it in. */
async function accessRange(access: Access, cmd: DmirrorCmd, faulting: number): Promise<number> {
  const { mirror, start, npages } = access;
  const end = start + npages * PAGE_SIZE;
  let at = 0;
  while (at < npages) {
    const done = await accessPass(access, at);
    if (isErr(done)) return done;
    at += done;
    if (done > 0) continue;
    if (faulting === FAULT_NOTHING) return errno.ENOENT;
    const write = access.kind !== PASS_READ;
    const unlocked = faulting === FAULT_UNLOCKED;
    const status = await mirror.fault(start + at * PAGE_SIZE, end, write, unlocked);
    if (isErr(status)) return status;
    cmd.faults++;
  }
  cmd.cpages = npages;
  return 0;
}

/** One pass from page `at` on. Returns pages done, 0 when the first is not mapped, or an errno. */
async function accessPass(access: Access, at: number): Promise<number> {
  const { device, mm } = access.mirror;
  const { sys } = mm;
  const held: number[] = [];
  for (;;) {
    let stoppedBy = NO_PAGE;
    await device.apertureLock.lock();
    await mm.mmapLock.readLock();
    try {
      stoppedBy = holdPages(access, at, held);
      if (held.length > 0) {
        const status = await runPass(access, at, held);
        return isErr(status) ? status : held.length;
      }
    } finally {
      releasePages(access, held);
      mm.mmapLock.readUnlock();
      device.apertureLock.unlock();
    }
    if (stoppedBy === NO_PAGE || isErr(stoppedBy)) return stoppedBy;
    // Waited for with nothing held: whoever migrates that page may need what we had.
    await sys.mem.waitOnPageLocked(stoppedBy);
  }
}

/** Whether an entry of the device page table allows a pass. Atomic access is for ADD alone. */
function allows(entry: number, kind: number): boolean {
  if (kind === PASS_READ) return entry !== 0;
  return (entry & (kind === PASS_ADD ? DPT_WRITE | DPT_ATOMIC : DPT_WRITE)) !== 0;
}

/**
 * Holds the pages from `at` on that the device page table maps, up to the aperture's size.
 *
 * @returns the page that stopped it because somebody else has it locked, EBUSY for one that can't
 * be lent because it is pinned, else NO_PAGE.
 */
function holdPages(access: Access, at: number, held: number[]): number {
  const { mirror, kind } = access;
  const first = access.start / PAGE_SIZE + at;
  const count = Math.min(APERTURE_PAGES, access.npages - at);
  for (let i = 0; i < count; i++) {
    const entry = mirror.pageTable.lookup(first + i);
    if (!allows(entry, kind)) break;
    const pfn = dptPfn(entry);
    // Two addresses of one shared page: the second waits for the next pass, a frame has one writer.
    if (kind !== PASS_READ && held.includes(pfn)) break;
    const stop = holdPage(access, entry, held);
    if (stop === END_OF_PASS) break;
    if (stop !== NO_PAGE) return stop;
    held.push(pfn);
  }
  return NO_PAGE;
}

/**
 * Takes a reference on a page's folio. Device pages are locked, and RAM pages that will be written.
 * Those and coherent ones that will be written are lent: migration entries take the place of the
 * mappings, so that no CPU store is lost when the page is copied back. A page that the device has
 * for itself needs no lending: the CPU has no mapping of it. A large folio is locked and lent once
 * for all its pages.
 *
 * @param entry What the device page table has there.
 * @returns NO_PAGE, END_OF_PASS, or what stands in the way, as holdPages.
 */
function holdPage(access: Access, entry: number, held: readonly number[]): number {
  const { mirror, kind } = access;
  const { sys } = mirror.mm;
  const { mem } = sys;
  const pfn = dptPfn(entry);
  const folio = mem.folioOf(pfn);
  const isExclusive = (entry & DPT_ATOMIC) !== 0;
  const isHeld = holdsFolio(sys, held, held.length, folio);
  const isLockedHere = mem.isZoneDevice(folio) || kind !== PASS_READ;
  const isWrittenOutside = kind !== PASS_READ && !mem.isDevicePrivate(folio);
  const isLent = isWrittenOutside && !isExclusive;
  // An earlier page of it was the device's own, so the folio was not lent: next time.
  if (isHeld && isLent && mem.folioMapcount(folio) > 0) return END_OF_PASS;
  if (isLockedHere && !isHeld && !mem.trylockPage(folio)) return folio;
  mem.getPage(folio);
  if (isHeld || !isWrittenOutside) return NO_PAGE;
  // Through a pin somebody may write at any time, with no mapping that could be taken away.
  const isPinned = mem.maybeDmaPinned(folio);
  if (!isPinned && (isExclusive || lendFolio(mirror, folio, false))) return NO_PAGE;
  removeMigrationPtes(sys, folio, folio);
  mem.unlockPage(folio);
  putPage(sys, folio);
  return errno.EBUSY;
}

/** Whether one of the first `count` pages of `held` belongs to the folio. */
function holdsFolio(sys: System, held: readonly number[], count: number, folio: number): boolean {
  for (let i = 0; i < count; i++) if (sys.mem.folioOf(held[i]!) === folio) return true;
  return false;
}

/** Undoes holdPages: what was lent gets its mappings back, wherever there still are any. */
function releasePages(access: Access, held: number[]): void {
  const { mirror, kind } = access;
  const { sys } = mirror.mm;
  held.forEach((pfn, i) => {
    const folio = sys.mem.folioOf(pfn);
    const isFirst = !holdsFolio(sys, held, i, folio);
    if (kind !== PASS_READ && !sys.mem.isDevicePrivate(folio)) {
      sys.mem.setFlag(folio, PG_DIRTY);
      if (isFirst) removeMigrationPtes(sys, folio, folio);
    }
    if (isFirst && (kind !== PASS_READ || sys.mem.isZoneDevice(folio))) sys.mem.unlockPage(folio);
    putPage(sys, folio);
  });
}

/** Into the aperture and on the device; then, where needed, out of the aperture. */
async function runPass(access: Access, at: number, held: number[]): Promise<number> {
  const { device } = access.mirror;
  const { sys } = access.mirror.mm;
  const list = device.passList;
  list.reset();
  for (let i = 0; i < held.length; i++) enterPage(access, list, at, i, held[i]!);
  let status = await submitPass(access, list);
  if (isErr(status)) return status;
  if (access.kind === PASS_ADD) {
    list.reset();
    for (let i = 0; i < held.length; i++) {
      const inRam = !sys.mem.isDevicePrivate(held[i]!);
      list.add(inRam ? device.apertureFrame + i : held[i]!, access.operand);
    }
    status = await submitPass(access, list);
    if (isErr(status)) return status;
  }
  list.reset();
  for (let i = 0; i < held.length; i++) {
    if (!sys.mem.isDevicePrivate(held[i]!)) leavePage(access, list, at, i, held[i]!);
  }
  // Each of these pages went in by the first list, and comes out by this one.
  device.apertureBytes += 2 * list.pages * PAGE_SIZE;
  return submitPass(access, list);
}

/**
 * First step of a page: RAM pages go to the aperture, device pages are read or written in place.
 */
function enterPage(access: Access, list: CommandList, at: number, i: number, pfn: number): void {
  const { device } = access.mirror;
  const isOnDevice = access.mirror.mm.sys.mem.isDevicePrivate(pfn);
  const bounce = access.bounce?.pfns[at + i] ?? NO_PAGE;
  if (access.kind === PASS_WRITE) list.copy(bounce, isOnDevice ? pfn : device.apertureFrame + i);
  else if (!isOnDevice) list.copy(pfn, device.apertureFrame + i);
  else if (access.kind === PASS_READ) list.copy(pfn, bounce);
}

/** Last step of a RAM page: from the aperture to where its bytes belong. */
function leavePage(access: Access, list: CommandList, at: number, i: number, pfn: number): void {
  const frame = access.mirror.device.apertureFrame + i;
  const bounce = access.bounce?.pfns[at + i] ?? NO_PAGE;
  list.copy(frame, access.kind === PASS_READ ? bounce : pfn);
}

function submitPass(access: Access, list: CommandList): Promise<number> | number {
  if (list.length === 0) return 0;
  const { context } = access.mirror.device;
  return context.engine.submit(list, readableStrategy(context));
}
