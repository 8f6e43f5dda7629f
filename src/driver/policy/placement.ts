/**
 * The second half of the fault service: carries out what a policy answered for a group of faults.
 * It makes room, moves, maps, keeps count and charges virtual time, by steps that the driver does.
 */
import {
  AnswerSheet,
  ANSWER_DUPLICATE,
  ANSWER_MIGRATE,
  ANSWER_PIN,
  ANSWER_REMOTE,
  ANSWER_THROTTLE,
  VictimList,
} from './answers.ts';
import { BLOCK_PAGES, BLOCK_SHIFT, PAGE_SIZE } from './block.ts';
import { linkUs } from './cost-model.ts';
import type { FaultBatch } from './fault-batch.ts';
import type { Outcome, Stage } from './fault-lives.ts';
import type { FaultService } from './fault-service.ts';
import { GroupRows, MOVED_READABLE, MOVE_FAILED, PageStep } from './placement-rows.ts';
import type { PlacementStep } from './placement-rows.ts';
import { asPolicyError, refusePromise } from './policy-error.ts';
import { ACCESS_READ, ACCESS_WRITE, IN_RAM, ON_DEVICE } from './policy.ts';
import type { Cause } from './policy.ts';

/** Carries out answers for one fault service. */
export class Placement {
  readonly group = new GroupRows();
  private readonly service: FaultService;
  private readonly batch: FaultBatch;
  private readonly sheet: AnswerSheet;
  private cpuSheet: AnswerSheet | null = null;
  private readonly victims: VictimList;
  private readonly moves = new PageStep('migrate');
  private readonly copies = new PageStep('duplicate');
  private readonly remotes = new PageStep('remote');
  private readonly evicts = new PageStep('evict');
  private readonly homes = new PageStep('home');
  /** 1 for each page of the group. */
  private readonly isFaulted: Uint8Array;
  /** Faults that wait for the next replay, as rows of the batch's lives. */
  private readonly waiting: number[] = [];
  /** Faulted pages of the group at the head of `moves`. */
  private faultedMoves = 0;
  private throttled = 0;
  private room = 0;
  private isCharged = false;
  private hasPrefetched = false;

  constructor(service: FaultService, batch: FaultBatch, sheet: AnswerSheet) {
    this.service = service;
    this.batch = batch;
    this.sheet = sheet;
    this.isFaulted = new Uint8Array(service.space.capacity);
    this.victims = new VictimList(service.space, service.policy.name);
  }

  beginBatch(): void {
    this.isCharged = false;
    this.hasPrefetched = false;
  }

  beginGroup(): void {
    const { group } = this;
    for (let i = 0; i < group.count; i++) this.isFaulted[group.pages[i]!] = 0;
    group.count = 0;
  }

  /**
   * Carries out the answers to the group.
   *
   * @returns a generator of steps; its result says whether a fault was throttled
   */
  *carryOut(): Generator<PlacementStep, boolean, void> {
    const { service, group } = this;
    const isThrottled = this.sortAnswers();
    this.mark('preprocessed');
    this.chargeFaults();
    for (let i = 0; i < group.count; i++) service.space.protect(group.pages[i]!);
    const wanted = this.roomFor(this.moves) + this.roomFor(this.copies);
    this.mark('allocated');
    if (wanted > 0) yield* this.makeRoom(wanted);
    this.mark('evicted');
    this.trim();
    this.chargeCopies();
    if (this.moves.count > 0) yield this.moves;
    this.settleMoves();
    if (this.copies.count > 0) yield this.copies;
    this.settleCopies();
    this.mark('copied');
    if (this.remotes.count > 0) yield this.remotes;
    for (let i = 0; i < this.remotes.count; i++) this.mapRemote(this.remotes.pages[i]!);
    this.mark('mapped');
    this.endLives();
    return isThrottled;
  }

  /** Sorts the policy's answers into steps, faulted pages first. */
  private sortAnswers(): boolean {
    const { group, sheet, service } = this;
    const { space, counts } = service;
    this.moves.count = this.copies.count = this.remotes.count = 0;
    this.throttled = 0;
    for (let i = 0; i < group.count; i++) {
      const page = group.pages[i]!;
      this.isFaulted[page] = 1;
      let answer = sheet.of(page);
      // Pages that can't leave RAM are mapped there, whatever the policy likes.
      const canMove = space.regionOf(page)!.isMigratable;
      if (!canMove && answer !== ANSWER_THROTTLE) answer = ANSWER_REMOTE;
      if (answer === ANSWER_DUPLICATE && group.access[i]! >= ACCESS_WRITE) answer = ANSWER_MIGRATE;
      if (answer === ANSWER_DUPLICATE) answer = this.duplicateOrMove();
      if (answer === ANSWER_MIGRATE) this.moves.add(page);
      else if (answer === ANSWER_DUPLICATE) this.copies.add(page);
      else if (answer === ANSWER_REMOTE || answer === ANSWER_PIN) this.remotes.add(page);
      else {
        this.throttled++;
        counts.throttled++;
      }
    }
    this.faultedMoves = this.moves.count;
    for (let i = 0; i < sheet.count; i++) this.addPrefetch(sheet.pages[i]!);
    return this.throttled > 0;
  }

  /** What becomes of a page that the policy wants in both memories. */
  private duplicateOrMove(): number {
    const { duplicates, counts } = this.service;
    if (duplicates) return ANSWER_DUPLICATE;
    counts.duplicatesMoved++;
    return ANSWER_MIGRATE;
  }

  /** Takes an answer for a page that did not fault, if there is anything to do. */
  private addPrefetch(page: number): void {
    const { space } = this.service;
    const region = space.regionOf(page);
    let answer = this.sheet.of(page);
    if (region === undefined || !region.isMigratable) return;
    if (this.isFaulted[page] === 1) return;
    const isHere = (space.where[page]! & ON_DEVICE) !== 0;
    if (answer === ANSWER_DUPLICATE && !isHere) answer = this.duplicateOrMove();
    if (answer === ANSWER_MIGRATE && !isHere) this.moves.add(page);
    else if (answer === ANSWER_DUPLICATE && !isHere) this.copies.add(page);
    else if (answer === ANSWER_REMOTE && !isHere) this.remotes.add(page);
  }

  /** Evicts until `wanted` pages are free, as far as the policy finds victims. */
  private *makeRoom(wanted: number): Generator<PlacementStep, void, void> {
    const { service, victims, evicts } = this;
    const { space, policy } = service;
    const needed = Math.min(wanted, space.devicePages);
    while (space.freePages < needed) {
      victims.begin();
      try {
        const request = { pages: needed - space.freePages };
        const answered: unknown = policy.chooseVictims(request, space, victims);
        refusePromise(answered, policy, 'chooseVictims');
      } catch (error) {
        throw asPolicyError(error, policy, 'chooseVictims');
      }
      evicts.count = 0;
      for (let i = 0; i < victims.count; i++) {
        const page = victims.pages[i]!;
        if ((space.where[page]! & ON_DEVICE) !== 0 && !space.isProtected(page)) evicts.add(page);
      }
      if (evicts.count === 0) return;
      yield evicts;
      if (this.settleEvictions() === 0) return;
    }
  }

  /** Books evicted pages. @returns pages that went */
  private settleEvictions(): number {
    const { service, evicts } = this;
    const { counts, cost, space } = service;
    let gone = 0;
    let copied = 0;
    let block = -1;
    let us = 0;
    for (let i = 0; i < evicts.count; i++) {
      if (evicts.failed[i] === MOVE_FAILED) continue;
      const page = evicts.pages[i]!;
      if (page >>> BLOCK_SHIFT !== block) {
        us += linkUs(cost, copied * PAGE_SIZE);
        copied = 0;
        block = page >>> BLOCK_SHIFT;
        counts.evictions++;
        if (service.traits.costs === 'batch') us += cost.evictBlockUs;
      }
      if (space.prefetched[page] === 1) counts.prefetchedUnused++;
      if (space.toRam(page)) {
        copied++;
        counts.bytesOut += PAGE_SIZE;
      }
      gone++;
      this.tellLeft(page, 'eviction');
    }
    us += linkUs(cost, copied * PAGE_SIZE);
    counts.evictedPages += gone;
    service.spend('evict', us);
    return gone;
  }

  /** Pages of device memory that a step's pages will take. */
  private roomFor(step: PageStep): number {
    const { space } = this.service;
    let sum = 0;
    let block = -1;
    for (let i = 0; i < step.count; i++) {
      const page = step.pages[i]!;
      sum += space.costOf(page, page >>> BLOCK_SHIFT === block);
      block = page >>> BLOCK_SHIFT;
    }
    return sum;
  }

  /** Drops what has no room: prefetches first; faulted pages are served from RAM. */
  private trim(): void {
    const { space, traits } = this.service;
    const wanted = this.roomFor(this.moves) + this.roomFor(this.copies);
    const isShort = space.freePages < wanted;
    if (!isShort) return;
    this.room = traits.allOrNothing ? 0 : Math.max(0, space.freePages);
    this.faultedMoves = this.keepFitting(this.moves, this.faultedMoves);
    this.keepFitting(this.copies, this.copies.count);
  }

  /** Keeps what fits in `room`. @returns how many of the first `faulted` pages are left */
  private keepFitting(step: PageStep, faulted: number): number {
    const { space, counts } = this.service;
    let kept = 0;
    let keptFaults = 0;
    let block = -1;
    for (let i = 0; i < step.count; i++) {
      const page = step.pages[i]!;
      const cost = space.costOf(page, page >>> BLOCK_SHIFT === block);
      if (cost <= this.room) {
        this.room -= cost;
        block = page >>> BLOCK_SHIFT;
        step.pages[kept++] = page;
        if (i < faulted) keptFaults++;
      } else if (i < faulted) {
        this.remotes.add(page);
        counts.fallbacks++;
      }
    }
    step.count = kept;
    return keptFaults;
  }

  private settleMoves(): void {
    const { service, moves } = this;
    const { space, counts } = service;
    for (let i = 0; i < moves.count; i++) {
      const page = moves.pages[i]!;
      const isPrefetch = i >= this.faultedMoves;
      if (moves.failed[i] === MOVE_FAILED) {
        if (!isPrefetch) this.fallBack(page);
        continue;
      }
      const was = space.where[page]!;
      if (was === (IN_RAM | ON_DEVICE)) counts.duplicatesDropped++;
      this.arrive(page, false, isPrefetch, was);
      if (moves.failed[i] === MOVED_READABLE) space.setMapped(page, ACCESS_READ);
    }
  }

  private settleCopies(): void {
    const { space, counts } = this.service;
    for (let i = 0; i < this.copies.count; i++) {
      const page = this.copies.pages[i]!;
      if (this.copies.failed[i] === MOVE_FAILED) {
        this.fallBack(page);
        continue;
      }
      const was = space.where[page]!;
      counts.duplicated++;
      // A page that nobody has touched has nothing in RAM to be kept.
      this.arrive(page, was !== 0 && was !== ON_DEVICE, this.isFaulted[page] === 0, was);
    }
  }

  private arrive(page: number, keepsRam: boolean, isPrefetch: boolean, was: number): void {
    const { space, counts, policy } = this.service;
    space.toDevice(page, keepsRam, isPrefetch);
    if ((was & ON_DEVICE) !== 0) return;
    counts.movedPages++;
    if (isPrefetch) counts.prefetchedPages++;
    if (was !== 0) counts.bytesIn += PAGE_SIZE;
    try {
      policy.arrived?.(page, isPrefetch ? 'prefetch' : 'fault', space);
    } catch (error) {
      throw asPolicyError(error, policy, 'arrived');
    }
  }

  private fallBack(page: number): void {
    this.remotes.add(page);
    this.service.counts.fallbacks++;
  }

  private mapRemote(page: number): void {
    const { space, counts } = this.service;
    if ((space.where[page]! & ON_DEVICE) !== 0) {
      // Pinned where it already is: on the device.
      space.toDevice(page, (space.where[page]! & IN_RAM) !== 0, false);
      return;
    }
    space.mapRemote(page);
    counts.remoteMapped++;
  }

  private tellLeft(page: number, cause: Cause): void {
    const { space, policy } = this.service;
    try {
      policy.left?.(page, cause, space);
    } catch (error) {
      throw asPolicyError(error, policy, 'left');
    }
  }

  /** The fixed part of a batch, or that of each far fault. */
  private chargeFaults(): void {
    const { service, group } = this;
    const { cost, traits } = service;
    if (traits.costs === 'fault') {
      const moved = this.faultedMoves + this.copies.count;
      const far = traits.mapsAhead ? Math.min(moved, group.count) : group.count - this.throttled;
      service.spend('service', cost.farFaultUs * far);
      return;
    }
    if (!this.isCharged) service.spend('service', cost.batchUs);
    this.isCharged = true;
    const prefetches = this.moves.count > this.faultedMoves;
    if (prefetches && !this.hasPrefetched) {
      service.spend('service', cost.prefetchBatchUs - cost.batchUs);
      this.hasPrefetched = true;
    }
  }

  /** The transfers of the group, and what its pages cost more that come for the first time. */
  private chargeCopies(): void {
    const { service, group, moves, copies } = this;
    const { cost, space, traits } = service;
    let pages = 0;
    let fresh = 0;
    for (const step of [moves, copies]) {
      for (let i = 0; i < step.count; i++) {
        if (space.where[step.pages[i]!] === IN_RAM) pages++;
        if (space.firstTouch(step.pages[i]!)) fresh++;
      }
    }
    const bytes = pages * PAGE_SIZE;
    const share = fresh / Math.max(1, moves.count + copies.count);
    if (traits.costs === 'fault') {
      const faults = Math.max(1, group.count);
      service.spend('copy', faults * linkUs(cost, bytes / faults));
      return;
    }
    const perKib = this.hasPrefetched ? cost.prefetchPerKibUs : cost.batchPerKibUs;
    const copyUs = (perKib * bytes) / 1024;
    service.spend('firstTouch', cost.firstTouch * share * (copyUs + this.groupShareUs()));
    service.spend('copy', copyUs);
  }

  /** The group's share in the fixed part of its batch. */
  private groupShareUs(): number {
    const { cost } = this.service;
    const fixed = this.hasPrefetched ? cost.prefetchBatchUs : cost.batchUs;
    return (fixed * this.group.count) / Math.max(1, this.batch.count);
  }

  /**
   * A CPU access to a page on the device. Context: at any time, also between two steps.
   *
   * @returns pages that the policy sends home; null where the CPU is to wait
   */
  askCpu(page: number, access: number): Int32Array | null {
    const { service } = this;
    const { policy, space, counts } = service;
    // A sheet of its own: the answers to a group of faults may be half carried out.
    const sheet = (this.cpuSheet ??= new AnswerSheet(space, policy.name));
    sheet.begin('onCpuFault');
    try {
      if (policy.onCpuFault === undefined) sheet.migrate(page);
      else {
        const answered: unknown = policy.onCpuFault(page, access, space, sheet);
        refusePromise(answered, policy, 'onCpuFault');
      }
    } catch (error) {
      throw asPolicyError(error, policy, 'onCpuFault');
    }
    if (sheet.of(page) === ANSWER_THROTTLE) {
      counts.throttled++;
      return null;
    }
    const named = sheet.pages.subarray(0, sheet.count);
    return named.filter((one) => sheet.of(one) === ANSWER_MIGRATE);
  }

  /** Sends pages home because a CPU wants one of them. */
  *goHome(pages: Int32Array): Generator<PlacementStep, void, void> {
    const { homes, service } = this;
    const { space, cost, counts } = service;
    homes.count = 0;
    for (const one of pages) if ((space.where[one]! & ON_DEVICE) !== 0) homes.add(one);
    if (homes.count > 0) yield homes;
    let copied = 0;
    for (let i = 0; i < homes.count; i++) {
      if (homes.failed[i] === MOVE_FAILED) continue;
      const one = homes.pages[i]!;
      if (space.prefetched[one] === 1) counts.prefetchedUnused++;
      if (space.toRam(one)) copied++;
      this.tellLeft(one, 'cpu');
    }
    counts.bytesOut += copied * PAGE_SIZE;
    service.spend('copy', linkUs(cost, copied * PAGE_SIZE));
  }

  /** Moves a range because the user says so. */
  *prefetch(first: number, outer: number): Generator<PlacementStep, void, void> {
    const { sheet, service } = this;
    this.beginGroup();
    for (
      let from = first;
      from < outer;
      from = (Math.floor(from / BLOCK_PAGES) + 1) * BLOCK_PAGES
    ) {
      const to = Math.min(outer, (Math.floor(from / BLOCK_PAGES) + 1) * BLOCK_PAGES);
      sheet.begin('prefetch');
      for (let page = from; page < to; page++) sheet.migrate(page);
      this.group.pages[0] = from;
      yield* this.carryOut();
      for (let page = from; page < to; page++) service.space.prefetched[page] = 0;
    }
  }

  /** A page is no longer on the device, nor mapped: now it is at `where`, IN_RAM or 0. */
  leave(page: number, where: number, cause: Cause): void {
    const { space } = this.service;
    if ((space.where[page]! & ON_DEVICE) !== 0) {
      space.toRam(page);
      this.tellLeft(page, cause);
    }
    space.setWhere(page, where);
    space.unmap(page);
  }

  /** A page is on the device without having been asked for. */
  adopt(page: number): void {
    const { space, policy } = this.service;
    if ((space.where[page]! & ON_DEVICE) !== 0) return;
    space.firstTouch(page);
    space.toDevice(page, false, false, true);
    try {
      policy.arrived?.(page, 'user', space);
    } catch (error) {
      throw asPolicyError(error, policy, 'arrived');
    }
  }

  private mark(stage: Stage): void {
    const { lives, space } = this.service;
    if (lives === undefined) return;
    for (let i = 0; i < this.group.count; i++) {
      lives.mark(this.batch.life[this.group.rows[i]!]!, stage, space.nowUs);
    }
  }

  private endLives(): void {
    const { lives, space } = this.service;
    if (lives === undefined) return;
    for (let i = 0; i < this.group.count; i++) {
      const life = this.batch.life[this.group.rows[i]!]!;
      const page = this.group.pages[i]!;
      const isThrottled = this.sheet.of(page) === ANSWER_THROTTLE;
      const place: Outcome = space.remote[page] === 1 ? 'remote' : 'moved';
      lives.end(life, isThrottled ? 'throttled' : place);
      this.waiting.push(life);
    }
  }

  /** A replay was sent: all faults that were serviced for it end their lives. */
  markReplayed(): void {
    const { lives, space } = this.service;
    if (lives === undefined) return;
    for (const life of this.waiting) lives.mark(life, 'replayed', space.nowUs);
    this.waiting.length = 0;
  }
}
