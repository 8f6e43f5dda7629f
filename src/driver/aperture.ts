/**
 * The system aperture of a context's kernels: pages that stay in RAM (pinned, of a file, remote by
 * decision, no room, coherent) are lent to the device for one pass. A page is taken away from the
 * CPU, copied to a VRAM frame that no pagemap covers, mapped for the context, and after the pass
 * copied back, if it was lent for writing, and given back.
 *
 * Promises. A lent page is nobody else's: cores, other devices and system calls that reach for it
 * wait until it is given back, so a pass works on what RAM held when it began, and no store is
 * lost. What whoever pinned a page writes meanwhile is merged, byte by byte. A page that is taken
 * out of the address space while it is lent goes out of the context's page table in the same
 * breath. When the device fails, RAM is as it was before the pass.
 *
 * Progress. A stopped invocation needs one page to get on (its log has the rest), so lending any
 * page that was asked for is enough, and there may be more such pages than frames. Pages are
 * remembered for some passes all the same and lent again, as long as no one waits for them.
 *
 * Locking: from `lend` to `giveBack` the device's aperture lock, the mmap lock for read, a
 * reference and the page lock on every folio. Order: aperture lock > mmap lock > page locks
 * (trylock only; a locked page is waited for with nothing held). Source: our own.
 */
import { assert } from '../base/assert.ts';
import { errno, isErr } from '../base/errno.ts';
import { andThen } from '../base/maybe.ts';
import type { MaybePromise } from '../base/maybe.ts';
import { PAGE_SIZE } from '../base/units.ts';
import {
  ACCESS_ATOMIC,
  ACCESS_READ,
  ACCESS_WRITE,
  PTE_KILL_ATOMIC,
  PTE_KILL_READ,
  PTE_KILL_WRITE,
  USE_KINDS,
  VM_SPACE_BYTES,
} from '../engine/vm/abi.ts';
import type { DeviceSpace } from '../engine/vm/device-space.ts';
import type { System } from '../mm/mm-types.ts';
import { allocPage, putPage } from '../mm/page-alloc.ts';
import { PG_DIRTY, PG_WAITERS } from '../mm/page.ts';
import { DPT_ATOMIC, dptPfn } from './device-page-table.ts';
import type { EraseListener } from './device-page-table.ts';
import { APERTURE_PAGES, readableStrategy } from './dmirror-device.ts';
import type { Dmirror } from './dmirror.ts';
import { lendFolio } from './lend.ts';
import {
  NO_PAGE,
  allows,
  giveFolioBack,
  isWrite,
  isZeroPage,
  pageBytes,
  rightsOf,
  takeBack,
} from './lent-page.ts';
import type { LentMapping, LentPage } from './lent-page.ts';
import { RemoteUses } from './remote-uses.ts';

/** Rounds of faulting in and holding, against others who take pages away at once. */
const MAX_ROUNDS = 16;
/** Passes for which a page is lent again after it was asked for. */
const KEEP_PASSES = 4;
const KILLS = PTE_KILL_READ | PTE_KILL_WRITE | PTE_KILL_ATOMIC;
/** Every page that could be is held. */
const HELD = 0;

/** What an aperture did. */
export interface ApertureStats {
  /** Lends with at least one page, and pages lent, summed over them. */
  lends: number;
  pages: number;
  /** Pages of those that were copied back. */
  written: number;
  /** Pages that came back while somebody had them pinned. */
  merged: number;
  /** Pages that were lent again without having been asked for. */
  again: number;
}

/** A page to be lent again. */
interface Remembered {
  readonly access: number;
  passes: number;
}

/** See the file header. */
export class Aperture {
  readonly stats: ApertureStats = { lends: 0, pages: 0, written: 0, merged: 0, again: 0 };
  /** What kernels did to lent pages, where their programs count it. */
  readonly uses = new RemoteUses();
  private readonly mirror: Dmirror;
  private readonly space: DeviceSpace;
  private readonly origin: number;
  private readonly firstFrame: number;
  private isHeld = false;
  private isWired = false;
  /** The page at which `hold` gave up. */
  private stoppedAt = 0;
  private readonly lent: LentPage[] = [];
  private readonly mappings: LentMapping[] = [];
  private readonly folios = new Set<number>();
  /** What the last lend was asked for. */
  private wanted: ReadonlyMap<number, number> = new Map();
  /** Pages of the last passes, the latest first. */
  private remembered = new Map<number, Remembered>();
  private readonly onErase: EraseListener = (first, end) => this.forget(first, end);

  /**
   * @param mirror the process's open device
   * @param space the context's page table
   * @param origin virtual address that is address 0 of the context, page aligned
   * @param firstFrame pfn of the first VRAM frame of the kernels' engine
   */
  constructor(mirror: Dmirror, space: DeviceSpace, origin: number, firstFrame: number) {
    this.mirror = mirror;
    this.space = space;
    this.origin = origin;
    this.firstFrame = firstFrame;
  }

  /** Whether a launch calls it around its passes: what is lent otherwise never comes back. */
  get isAround(): boolean {
    return this.isWired;
  }

  /** Pages that are lent now. */
  get lentPages(): number {
    return this.lent.length;
  }

  /**
   * Lends pages for the next pass, and with them those of the last passes as far as there is room.
   *
   * @param wanted page numbers of the process with the access (`ACCESS_*`) that each is needed for
   * @returns for pages that can't be had, why: EFAULT or EPERM, what the process may not do; EBUSY,
   * others had it all the time; ENOMEM, also where RAM has no room to merge what comes back; ENODEV
   * or EIO of the copy engine. Pages that are on the device, or beyond the size of the aperture,
   * are in neither: they are asked for again.
   *
   * Context: not while anything is lent; takes the aperture lock and the mmap lock for read and
   * keeps them until `giveBack`, unless nothing was lent; waits.
   */
  async lend(wanted: ReadonlyMap<number, number>): Promise<ReadonlyMap<number, number>> {
    assert(!this.isHeld, 'I40: a page is lent to one pass');
    const refused = new Map<number, number>();
    this.wanted = wanted;
    const asked = this.remember(wanted);
    for (let round = 0; asked.size > 0; round++) {
      await this.faultIn(asked, wanted, refused);
      let stop = await this.hold(asked);
      if (stop === HELD) {
        const copied = await this.copyIn();
        for (const page of isErr(copied) ? wanted.keys() : []) refused.set(page, copied);
        break;
      }
      if (round >= MAX_ROUNDS) stop = errno.EBUSY;
      if (isErr(stop)) {
        refused.set(this.stoppedAt, stop);
        asked.delete(this.stoppedAt);
        continue;
      }
      // Waited for with nothing held: whoever has it locked may need what we had.
      await this.mirror.mm.sys.mem.waitOnPageLocked(stop);
    }
    this.publish();
    for (const page of refused.keys()) {
      this.remembered.delete(page);
      // What was lent again unasked is missed by nobody.
      if (!wanted.has(page)) refused.delete(page);
    }
    return refused;
  }

  /** Lends what is remembered, unless pages are lent already: before a pass without faults. */
  async beforePass(): Promise<number> {
    this.isWired = true;
    if (!this.isHeld && this.remembered.size > 0) await this.lend(new Map());
    return 0;
  }

  /** `giveBack`, as launches call it after each pass and at their end. */
  afterPass(uses?: Uint32Array): MaybePromise<number> {
    return this.giveBack(uses);
  }

  /** First frame of the aperture, for passes that count the uses of its frames. */
  get usesFrame(): number {
    return this.mirror.device.apertureFrame - this.firstFrame;
  }

  /** Forgets what earlier passes had: the next launch begins anew. Nothing may be lent. */
  clear(): void {
    assert(!this.isHeld, 'I40: a page is lent to one pass');
    this.remembered.clear();
    this.isWired = false;
  }

  /**
   * Copies what was lent for writing back and gives all pages back.
   *
   * @param uses of the aperture's frames in the pass, where they were counted: what nobody wrote is
   * not copied, and what was used is lent again
   * @returns 0; ENODEV or EIO when contents did not come back: RAM has what it had before the pass.
   * Nothing is lent any more in any case.
   *
   * Context: after the pass; waits for the copy engine. Any number of times.
   */
  giveBack(uses?: Uint32Array): MaybePromise<number> {
    if (!this.isHeld) return 0;
    if (uses !== undefined) this.noteUses(uses);
    for (const mapping of this.mappings) {
      if (!mapping.isErased) this.space.unmapPage(this.inContext(mapping.page), mapping.kills);
    }
    const { device } = this.mirror;
    const list = device.passList;
    list.reset();
    for (const { isWritten, frame, bounce, pfn } of this.lent) {
      if (isWritten) list.copy(frame, bounce === NO_PAGE ? pfn : bounce);
    }
    if (list.length === 0) return this.finish(0);
    device.apertureBytes += list.pages * PAGE_SIZE;
    return andThen(device.context.engine.submit(list, readableStrategy(device.context)), (status) =>
      this.finish(status),
    );
  }

  private noteUses(uses: Uint32Array): void {
    const { apertureFrame } = this.mirror.device;
    for (const one of this.lent) {
      const at = (one.frame - apertureFrame) * USE_KINDS;
      if (uses[at + ACCESS_WRITE]! + uses[at + ACCESS_ATOMIC]! === 0) one.isWritten = false;
    }
    const counted = new Set<LentPage>();
    for (const { page, lent } of this.mappings) {
      // Of several addresses of one page the first stands for all: a frame has one counter.
      if (counted.has(lent)) continue;
      counted.add(lent);
      const at = (lent.frame - apertureFrame) * USE_KINDS;
      const used = this.uses.add(this.inContext(page) / PAGE_SIZE, uses, at) > 0;
      const kept = this.remembered.get(page);
      if (used && kept !== undefined) kept.passes = KEEP_PASSES + 1;
    }
  }

  /** Pages [first, end) are gone from the mirror's page table: kernels must not see them. */
  private forget(first: number, end: number): void {
    for (const mapping of this.mappings) {
      if (mapping.isErased || mapping.page < first || mapping.page >= end) continue;
      mapping.isErased = true;
      this.space.unmapPage(this.inContext(mapping.page));
    }
  }

  /** What is to be lent, with the access: what is wanted, then what the last passes had. */
  private remember(wanted: ReadonlyMap<number, number>): Map<number, number> {
    const latest = new Map<number, Remembered>();
    for (const [page, access] of wanted) {
      const before = this.remembered.get(page)?.access ?? ACCESS_READ;
      const strongest = isWrite(before) && !isWrite(access) ? before : access;
      latest.set(page, { access: strongest, passes: KEEP_PASSES });
    }
    for (const [page, kept] of this.remembered) {
      if (!latest.has(page)) latest.set(page, kept);
    }
    const asked = new Map<number, number>();
    for (const [page, { access }] of latest) {
      if (asked.size < APERTURE_PAGES) asked.set(page, access);
      else if (!wanted.has(page)) latest.delete(page);
    }
    this.remembered = latest;
    return asked;
  }

  /** Device faults for what is wanted and not mapped; pages of earlier passes are let go. */
  private async faultIn(
    asked: Map<number, number>,
    wanted: ReadonlyMap<number, number>,
    refused: Map<number, number>,
  ): Promise<void> {
    const { pageTable } = this.mirror;
    for (const [page, access] of asked) {
      if (allows(pageTable.lookup(page), access)) continue;
      if (!wanted.has(page)) {
        asked.delete(page);
        this.remembered.delete(page);
        continue;
      }
      // What it was lent for before the process may not do any more: only what is asked for counts.
      const needed = wanted.get(page)!;
      asked.set(page, needed);
      if (allows(pageTable.lookup(page), needed)) continue;
      const address = page * PAGE_SIZE;
      const status = await this.mirror.fault(address, address + PAGE_SIZE, isWrite(needed));
      if (!isErr(status)) continue;
      refused.set(page, status);
      asked.delete(page);
    }
  }

  /**
   * Takes the locks and holds every page that is mapped.
   *
   * @returns HELD, locks kept if that is any page; a folio that somebody has locked; or EBUSY
   */
  private async hold(asked: ReadonlyMap<number, number>): Promise<number> {
    const { device, mm } = this.mirror;
    await device.apertureLock.lock();
    await mm.mmapLock.readLock();
    this.isHeld = true;
    this.mirror.pageTable.listen(this.onErase);
    for (const [page, access] of asked) {
      const stop = this.holdPage(page, access);
      if (stop === HELD) continue;
      this.stoppedAt = page;
      this.release();
      return stop;
    }
    if (this.mappings.length === 0) this.release();
    return HELD;
  }

  /** Holds one page, if it is in RAM. Returns HELD or what stands in the way, as `hold`. */
  private holdPage(page: number, access: number): number {
    const { mirror, lent } = this;
    const { sys } = mirror.mm;
    const entry = mirror.pageTable.lookup(page);
    // Taken away since it was faulted in, or on the device: it is asked for again.
    if (!allows(entry, access)) return HELD;
    const pfn = dptPfn(entry);
    if (sys.mem.isDevicePrivate(pfn)) {
      this.remembered.delete(page);
      return HELD;
    }
    const folio = sys.mem.folioOf(pfn);
    const isExclusive = (entry & DPT_ATOMIC) !== 0;
    // An earlier page of it is the device's own, so the CPU still has this one: next time.
    const isHeld = this.folios.has(folio);
    if (isHeld && !isExclusive && sys.mem.folioMapcount(folio) > 0) return HELD;
    let held = lent.find((one) => one.pfn === pfn);
    if (held === undefined) {
      if (lent.length === APERTURE_PAGES) return HELD;
      const stop = this.holdFolio(folio, isExclusive);
      if (stop !== HELD) return stop;
      const frame = mirror.device.apertureFrame + lent.length;
      held = { pfn, folio, frame, isWritten: false, bounce: NO_PAGE, before: null };
      lent.push(held);
    }
    held.isWritten ||= isWrite(access);
    if (!this.canMerge(held)) return errno.ENOMEM;
    const refusals = this.space.entryOf(this.inContext(page)) & KILLS;
    const kills = isWrite(access) ? 0 : refusals;
    const flags = rightsOf(entry, access);
    this.mappings.push({ page, lent: held, flags, kills, isErased: false });
    return HELD;
  }

  /** Whether what comes back to a page that somebody has pinned has a place to be merged from. */
  private canMerge(one: LentPage): boolean {
    const { sys } = this.mirror.mm;
    if (!one.isWritten || one.bounce !== NO_PAGE || !sys.mem.maybeDmaPinned(one.folio)) return true;
    const bounce = allocPage(sys);
    if (isErr(bounce)) return false;
    one.bounce = bounce;
    return true;
  }

  /** Locks a folio and takes it away from the CPU. The zero pages are nobody's to change. */
  private holdFolio(folio: number, isExclusive: boolean): number {
    const { mirror, folios } = this;
    const { sys } = mirror.mm;
    if (isZeroPage(sys, folio) || folios.has(folio)) return HELD;
    if (!sys.mem.trylockPage(folio)) return folio;
    sys.mem.getPage(folio);
    // What the device has for itself the CPU has no mapping of; the lock keeps it that way.
    if (isExclusive || lendFolio(mirror, folio, true)) {
      folios.add(folio);
      return HELD;
    }
    giveFolioBack(sys, folio);
    return errno.EBUSY;
  }

  /** Fills the frames of what is held; lets all of it go where the engine fails. */
  private async copyIn(): Promise<number> {
    const { device, mm } = this.mirror;
    if (!this.isHeld) return 0;
    const list = device.passList;
    list.reset();
    for (const one of this.lent) this.enter(mm.sys, one);
    device.apertureBytes += list.pages * PAGE_SIZE;
    const status = await device.context.engine.submit(list, readableStrategy(device.context));
    if (isErr(status)) this.release();
    return status;
  }

  private enter(sys: System, one: LentPage): void {
    const list = this.mirror.device.passList;
    if (isZeroPage(sys, one.folio)) {
      list.clear(one.frame);
      return;
    }
    if (one.bounce !== NO_PAGE) {
      pageBytes(sys, one.bounce).set(pageBytes(sys, one.pfn));
      one.before = pageBytes(sys, one.bounce).slice();
      list.copy(one.bounce, one.frame);
      return;
    }
    if (one.isWritten) {
      const bounce = allocPage(sys);
      one.bounce = isErr(bounce) ? NO_PAGE : bounce;
    }
    list.copy(one.pfn, one.frame);
  }

  /** Enters what was copied, and has not been taken away since, in the context's page table. */
  private publish(): void {
    if (!this.isHeld) return;
    this.stats.lends += 1;
    this.stats.pages += this.lent.length;
    for (const { page, lent, flags, kills, isErased } of this.mappings) {
      if (isErased) continue;
      if (!this.wanted.has(page)) this.stats.again += 1;
      this.space.mapPage(this.inContext(page), lent.frame - this.firstFrame, flags | kills);
    }
  }

  /** The frames have come back, or not. Returns the copy engine's answer. */
  private finish(status: number): number {
    const { sys } = this.mirror.mm;
    const list = this.mirror.device.passList;
    let row = 0;
    for (const one of this.lent) {
      if (!one.isWritten) continue;
      const isBack = list.done[row] === 1;
      row += 1;
      if (isBack && one.bounce !== NO_PAGE && takeBack(sys, one)) this.stats.merged += 1;
      if (!isBack) continue;
      this.stats.written += 1;
      sys.mem.setFlag(one.folio, PG_DIRTY);
    }
    this.forgetOld();
    this.release();
    return isErr(status) ? status : 0;
  }

  /** Pages that were not asked for long enough, or that somebody waits for, are not lent again. */
  private forgetOld(): void {
    const { mem } = this.mirror.mm.sys;
    for (const { page, lent, isErased } of this.mappings) {
      const kept = this.remembered.get(page);
      if (kept === undefined) continue;
      kept.passes -= 1;
      const isWaitedFor = mem.testFlag(lent.folio, PG_WAITERS);
      if (kept.passes === 0 || isErased || isWaitedFor) this.remembered.delete(page);
    }
  }

  /** Gives everything back, whatever became of the copies. */
  private release(): void {
    const { device, mm } = this.mirror;
    const { sys } = mm;
    for (const { bounce } of this.lent) if (bounce !== NO_PAGE) putPage(sys, bounce);
    this.lent.length = 0;
    this.mappings.length = 0;
    for (const folio of this.folios) giveFolioBack(sys, folio);
    this.folios.clear();
    this.isHeld = false;
    this.mirror.pageTable.unlisten(this.onErase);
    mm.mmapLock.readUnlock();
    device.apertureLock.unlock();
  }

  private inContext(page: number): number {
    return (page * PAGE_SIZE - this.origin) % VM_SPACE_BYTES;
  }
}
