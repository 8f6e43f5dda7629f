/*
 * The exhaustive checker of a machine at rest. It walks every page table from its root, every VMA,
 * anon_vma, inode and page, and compares what it counts with what mm keeps. It shares no code with
 * mm beyond decoding entries and the reverse map walk, which is itself under test.
 *
 * I ids are also asserted in src; C ids are what only this checker can see.
 */
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE, PTRS_PER_TABLE } from '../base/units.ts';
import type { MmStruct, System, Vma } from '../mm/mm-types.ts';
import {
  VM_ACCESS_FLAGS,
  VM_MIXEDMAP,
  VM_PFNMAP,
  VM_SHARED,
  VM_UFFD_FLAGS,
  VM_WRITE,
  linearPageIndex,
} from '../mm/mm-types.ts';
import {
  GUP_PIN_COUNTING_BIAS,
  MAPPING_ANON,
  PG_ANON_EXCLUSIVE,
  PG_BUDDY,
  PG_HWPOISON,
  PG_ISOLATED,
  PG_LOCKED,
  PG_LRU,
  PG_RESERVED,
  PG_SWAPCACHE,
  PG_TAIL,
  PG_WAITERS,
} from '../mm/page.ts';
import { RmapHits, rmapWalk } from '../mm/rmap.ts';
import type { ShmemInode } from '../mm/shmem.ts';
import {
  LEAF_DEVICE_EXCLUSIVE,
  LEAF_HWPOISON,
  LEAF_MARKER_GUARD,
  LEAF_MARKER_POISON,
  LEAF_MARKER_UFFD_WP,
  LEAF_SWAP,
  PTE_PFN_SHIFT,
  PTE_PROTNONE,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  isDevicePrivateEntry,
  isMigrationEntry,
  isPmdLeaf,
  isWritableLeaf,
  leafKind,
  ptePfn,
  ptePresent,
  pteWrite,
} from '../mm/swapops.ts';
import { checkFreeList } from './check-free-list.ts';
import { checkHugetlb, isHugetlb } from './check-hugetlb.ts';
import { checkSwap } from './check-swap.ts';
import { checkZeroPage } from './check-zero-page.ts';

/** What the checker can't see by itself. */
export interface Known {
  /** Pins per pfn (pinUserPage). */
  readonly pins?: ReadonlyMap<number, number>;
  /** Other references per pfn that the test holds. */
  readonly references?: ReadonlyMap<number, number>;
  /** Open handles per inode, besides its VMAs. */
  readonly inodeHandles?: ReadonlyMap<ShmemInode, number>;
  /** Device pages that their drivers have on free lists; unset = not checked. */
  readonly deviceFree?: ReadonlySet<number>;
}

interface Leaf {
  readonly mm: MmStruct;
  readonly addr: number;
  readonly at: number;
  readonly pte: number;
  /** A PMD entry, which stands for HPAGE_PMD_NR pages. */
  readonly isHuge: boolean;
}

class Census {
  readonly problems: string[] = [];
  readonly swapEntries: number[] = [];
  /** Entries that map each page, and PMD entries and all entries that map each folio. */
  readonly mapcount: Int32Array;
  readonly entireMapcount: Int32Array;
  readonly folioMapcount: Int32Array;
  /** Free RAM pages. */
  free = new Set<number>();
  readonly leaves: Leaf[][] = [];
  readonly tables = new Set<number>();
  hugeLeaves = 0;
  readonly sys: System;

  constructor(sys: System) {
    this.sys = sys;
    this.mapcount = new Int32Array(sys.mem.pageCount);
    this.entireMapcount = new Int32Array(sys.mem.pageCount);
    this.folioMapcount = new Int32Array(sys.mem.pageCount);
  }

  expect(condition: boolean, message: string): void {
    if (!condition && this.problems.length < 20) this.problems.push(message);
  }
}

/**
 * Checks every invariant of a machine in which nothing is in progress.
 *
 * @returns what is wrong, a line each; empty = all well.
 */
export function findProblems(sys: System, known: Known = {}): string[] {
  const census = new Census(sys);
  for (const mm of sys.mms) checkMm(census, mm);
  checkTables(census);
  checkAnonVmas(census);
  checkInodes(census, known);
  census.free = checkFreeList(sys, (holds, message) => census.expect(holds, message));
  for (let pfn = 0; pfn < sys.mem.pageCount; pfn++) checkPage(census, pfn, known);
  checkZeroPage(sys, (holds, message) => census.expect(holds, message));
  checkSwap(sys, census.swapEntries, (holds, message) => census.expect(holds, message));
  checkHugetlb(sys, (holds, message) => census.expect(holds, message));
  census.expect(sys.mem.waitingPages === 0, `C4: ${sys.mem.waitingPages} pages have waiters`);
  return census.problems;
}

/** Throws with every problem that findProblems sees. */
export function checkInvariants(sys: System, known: Known = {}): void {
  const problems = findProblems(sys, known);
  if (problems.length > 0) throw new Error(`invariants broken:\n  ${problems.join('\n  ')}`);
}

function checkMm(census: Census, mm: MmStruct): void {
  const name = `mm ${mm.id}`;
  const { sys } = census;
  census.expect(mm.users > 0, `I18: ${name} is listed without users`);
  census.expect(!mm.mmapLock.isLocked, `C5: ${name} has its mmap lock held`);
  mm.vmas.forEach((vma, i) => checkVma(census, vma, mm.vmas[i - 1], name));
  const leaves: Leaf[] = [];
  walkTable(census, mm, mm.pgd, 3, 0, leaves);
  let anon = 0;
  let shmem = 0;
  const swapped = census.swapEntries.length;
  let hugetlb = 0;
  for (const leaf of leaves) {
    if (leaf.isHuge) census.hugeLeaves++;
    checkLeaf(census, leaf, name);
    if (leafKind(leaf.pte) === LEAF_SWAP) census.swapEntries.push(leaf.pte);
    if (!isResident(leaf.pte)) continue;
    const pages = leaf.isHuge ? HPAGE_PMD_NR : 1;
    const folio = sys.mem.folioOf(ptePfn(leaf.pte));
    if (isHugetlb(sys, folio)) hugetlb += pages;
    else if (sys.mem.isAnon(folio)) anon += pages;
    else shmem += pages;
  }
  census.expect(mm.anonRss === anon, `I19: ${name} anonRss ${mm.anonRss}, counted ${anon}`);
  const swapEnts = census.swapEntries.length - swapped;
  census.expect(mm.swapEnts === swapEnts, `I19: ${name} swapEnts ${mm.swapEnts}, not ${swapEnts}`);
  census.expect(mm.shmemRss === shmem, `I19: ${name} shmemRss ${mm.shmemRss}, counted ${shmem}`);
  census.expect(mm.hugetlbUsage === hugetlb, `I19: ${name} hugetlbUsage, counted ${hugetlb}`);
}

function isResident(pte: number): boolean {
  if (ptePresent(pte)) return (pte & PTE_SPECIAL) === 0;
  return isDevicePrivateEntry(pte) || isMigrationEntry(pte) || isExclusiveEntry(pte);
}

function isExclusiveEntry(pte: number): boolean {
  return leafKind(pte) === LEAF_DEVICE_EXCLUSIVE;
}

function checkVma(census: Census, vma: Vma, prev: Vma | undefined, name: string): void {
  const at = `${name} vma ${vma.vmStart.toString(16)}-${vma.vmEnd.toString(16)}`;
  census.expect(vma.vmStart < vma.vmEnd, `C6: ${at} is empty`);
  census.expect((vma.vmStart % PAGE_SIZE) + (vma.vmEnd % PAGE_SIZE) === 0, `C6: ${at} unaligned`);
  census.expect(prev === undefined || prev.vmEnd <= vma.vmStart, `C6: ${at} overlaps`);
  census.expect(
    new Set(vma.anonVmaChain).size === vma.anonVmaChain.length,
    `I10: ${at} chain twice`,
  );
  const isServed = (vma.vmFlags & VM_UFFD_FLAGS) !== 0;
  census.expect(isServed === (vma.uffdCtx !== null), `C6: ${at} userfaultfd and flags differ`);
  for (const anonVma of vma.anonVmaChain) {
    const times = anonVma.intervals.vmas.filter((one) => one === vma).length;
    census.expect(times === 1, `I10: ${at} is ${times} times in anon_vma ${anonVma.id}`);
    census.expect(census.sys.anonVmas[anonVma.id] === anonVma, `I10: ${at} has a dead anon_vma`);
  }
  const own = vma.anonVma;
  census.expect(own === null || vma.anonVmaChain.includes(own), `I10: ${at} anon_vma not in chain`);
  census.expect((own === null) === (vma.anonVmaChain.length === 0), `I10: ${at} chain without own`);
  if (vma.inode === null) return;
  const times = vma.inode.intervals.vmas.filter((one) => one === vma).length;
  census.expect(times === 1, `I10: ${at} is ${times} times in inode ${vma.inode.id}`);
}

/** Visits a table of level 3 (pgd) to 0 (pte) and gathers the leaves. */
function walkTable(
  census: Census,
  mm: MmStruct,
  table: number,
  level: number,
  base: number,
  leaves: Leaf[],
): void {
  census.expect(table !== 0, `C7: mm ${mm.id} points to table 0`);
  census.expect(!census.tables.has(table), `C7: table ${table} has two parents`);
  census.tables.add(table);
  const { words, used } = census.sys.pageTables;
  const span = PAGE_SIZE * PTRS_PER_TABLE ** level;
  let count = 0;
  for (let i = 0; i < PTRS_PER_TABLE; i++) {
    const at = table * PTRS_PER_TABLE + i;
    const entry = words[at]!;
    if (entry === 0) continue;
    count++;
    const addr = base + i * span;
    if (level === 0) leaves.push({ mm, addr, at, pte: entry, isHuge: false });
    else if (level === 1 && isPmdLeaf(entry))
      leaves.push({ mm, addr, at, pte: entry, isHuge: true });
    else walkTable(census, mm, entry >>> PTE_PFN_SHIFT, level - 1, addr, leaves);
  }
  census.expect(used[table] === count, `I3: table ${table} used ${used[table]}, counted ${count}`);
}

/** Entries that stand for no page. */
const MARKERS = new Set([
  LEAF_HWPOISON,
  LEAF_MARKER_GUARD,
  LEAF_MARKER_POISON,
  LEAF_MARKER_UFFD_WP,
  LEAF_SWAP,
]);

function checkLeaf(census: Census, leaf: Leaf, name: string): void {
  const { sys } = census;
  const { pte, addr } = leaf;
  const at = `${name} entry ${pte.toString(16)} at ${addr.toString(16)}`;
  const vma = leaf.mm.vmas.find((one) => one.vmStart <= addr && addr < one.vmEnd);
  if (vma === undefined) {
    census.expect(false, `C8: ${at} is in no vma`);
    return;
  }
  const pfn = ptePfn(pte);
  if (ptePresent(pte)) checkPresent(census, vma, pte, at);
  else {
    const ok = isDevicePrivateEntry(pte);
    census.expect(!isMigrationEntry(pte), `C9: ${at} is a migration entry at rest`);
    const isExclusive = isExclusiveEntry(pte);
    const isKnown = ok || isMigrationEntry(pte) || isExclusive || MARKERS.has(leafKind(pte));
    census.expect(isKnown, `C8: ${at} is of no kind that anybody makes`);
    const isOwn = sys.mem.testFlag(pfn, PG_ANON_EXCLUSIVE);
    census.expect(!isExclusive || isOwn, `I13: ${at} device-exclusive, page not exclusive`);
    const mayWrite = (vma.vmFlags & VM_WRITE) !== 0;
    census.expect(mayWrite || !isWritableLeaf(pte), `C10: ${at} writable, vma is not`);
    census.expect(!ok || sys.mem.isDevicePrivate(pfn), `C8: ${at} device entry of RAM`);
  }
  const fits = !leaf.isHuge || (vma.vmStart <= addr && addr + PMD_SIZE <= vma.vmEnd);
  census.expect(fits, `C8: ${at} is a PMD entry that its vma does not cover`);
  if (!isResident(pte) || isMigrationEntry(pte)) return;
  const folio = sys.mem.folioOf(pfn);
  census.expect(
    !leaf.isHuge || (folio === pfn && sys.mem.isLarge(pfn)),
    `C15: ${at} is a PMD entry of a page that is no head`,
  );
  if (leaf.isHuge) census.entireMapcount[folio]!++;
  else census.mapcount[pfn]!++;
  census.folioMapcount[folio]!++;
  (census.leaves[folio] ??= []).push(leaf);
  checkRmapWord(census, vma, addr, pfn, at);
}

function checkPresent(census: Census, vma: Vma, pte: number, at: string): void {
  const { sys } = census;
  const pfn = ptePfn(pte);
  const hasAccess = (vma.vmFlags & VM_ACCESS_FLAGS) !== 0;
  const isShared = (vma.vmFlags & VM_SHARED) !== 0;
  census.expect(((pte & PTE_PROTNONE) === 0) === hasAccess, `C10: ${at} protnone, vma differs`);
  if ((pte & PTE_SPECIAL) !== 0) {
    if ((vma.vmFlags & (VM_PFNMAP | VM_MIXEDMAP)) !== 0) return;
    const isZero = pfn === sys.zeroPfn || (pfn === sys.hugeZeroPfn && pfn !== 0);
    census.expect(isZero, `C8: ${at} special but not the zero page`);
    census.expect(!pteWrite(pte), `C10: ${at} zero page writable`);
    return;
  }
  census.expect(!sys.mem.isDevicePrivate(pfn), `C8: ${at} present device-private page`);
  if (!pteWrite(pte)) return;
  census.expect((pte & PTE_UFFD_WP) === 0, `C10: ${at} writable, userfaultfd protects it`);
  census.expect((vma.vmFlags & VM_WRITE) !== 0, `C10: ${at} writable, vma is not`);
  const isAnon = sys.mem.isAnon(sys.mem.folioOf(pfn));
  const exclusive = isAnon && sys.mem.testFlag(pfn, PG_ANON_EXCLUSIVE);
  census.expect(isShared || exclusive, `I13: ${at} private, writable, not exclusive`);
}

function checkRmapWord(census: Census, vma: Vma, addr: number, pfn: number, at: string): void {
  const { mem } = census.sys;
  const folio = mem.folioOf(pfn);
  if (mem.mapping[folio] === 0) {
    const isDrivers = (vma.vmFlags & VM_MIXEDMAP) !== 0;
    census.expect(isDrivers, `I11: ${at} belongs to nobody`);
    return;
  }
  const index = mem.index[folio]! + pfn - folio;
  census.expect(index === linearPageIndex(vma, addr), `I11: ${at} index ${index}`);
  const id = mem.mapping[folio]! >>> 1;
  if ((mem.mapping[folio]! & MAPPING_ANON) !== 0) {
    const found = vma.anonVmaChain.some((anonVma) => anonVma.id === id);
    census.expect(found, `I11: ${at} hangs on anon_vma ${id}, not of its vma`);
  } else {
    census.expect(vma.inode?.id === id, `I11: ${at} is of inode ${id}, not of its vma`);
  }
}

function checkTables(census: Census): void {
  const { pageTables } = census.sys;
  const { size } = census.tables;
  const inUse = pageTables.tablesInUse - pageTables.depositedTables;
  census.expect(inUse === size, `C7: ${inUse} tables in use, ${size} reachable`);
  const huge = census.hugeLeaves;
  const deposited = pageTables.depositedTables;
  census.expect(deposited === huge, `I34: ${deposited} tables in deposit, ${huge} PMD leaves`);
}

function checkAnonVmas(census: Census): void {
  const { sys } = census;
  const free = new Set(sys.freeAnonVmaIds);
  census.expect(free.size === sys.freeAnonVmaIds.length, 'I10: an anon_vma number is free twice');
  sys.anonVmas.forEach((anonVma, id) => {
    if (anonVma === null) {
      census.expect(id === 0 || free.has(id), `I10: anon_vma number ${id} leaked`);
      return;
    }
    const { vmas } = anonVma.intervals;
    census.expect(vmas.length > 0, `I10: anon_vma ${id} is empty`);
    checkIntervals(census, vmas, `anon_vma ${id}`);
    const active = vmas.filter((vma) => vma.anonVma === anonVma).length;
    census.expect(anonVma.activeVmas === active, `I10: anon_vma ${id} active count`);
  });
}

function checkIntervals(census: Census, vmas: readonly Vma[], name: string): void {
  vmas.forEach((vma, i) => {
    const prev = vmas[i - 1];
    census.expect(prev === undefined || prev.vmPgoff <= vma.vmPgoff, `I10: ${name} unsorted`);
    const isLive = census.sys.mms.has(vma.mm) && vma.mm.vmas.includes(vma);
    census.expect(isLive, `I10: ${name} lists a dead vma`);
  });
}

function checkInodes(census: Census, known: Known): void {
  const { sys } = census;
  sys.inodes.forEach((inode, id) => {
    if (inode === null) {
      census.expect(id === 0 || sys.freeInodeIds.includes(id), `I15: inode number ${id} leaked`);
      return;
    }
    const { vmas } = inode.intervals;
    checkIntervals(census, vmas, `inode ${id}`);
    const users = vmas.length + (known.inodeHandles?.get(inode) ?? 0);
    census.expect(inode.users === users, `I15: inode ${id} users ${inode.users}, not ${users}`);
    let pages = 0;
    const { cache } = inode;
    for (let at = cache.next(0, Infinity); at < Infinity; at = cache.next(at + 1, Infinity)) {
      const [index, pfn] = [at, cache.get(at)];
      pages++;
      const isIts = sys.mem.mapping[pfn] === id << 1 && sys.mem.index[pfn] === index;
      census.expect(isIts, `I15: inode ${id} page ${index} does not know its place`);
    }
    census.expect(inode.nrPages === pages, `I15: inode ${id} nrPages ${inode.nrPages}`);
  });
}

function checkPage(census: Census, pfn: number, known: Known): void {
  const { sys } = census;
  const { mem } = sys;
  const flags = mem.flags[pfn]!;
  const at = `page ${pfn}`;
  census.expect(
    mem.mapcount[pfn] === census.mapcount[pfn],
    `I12: ${at} mapcount ${mem.mapcount[pfn]}, ${census.mapcount[pfn]}`,
  );
  const mapped = census.folioMapcount[pfn]!;
  if ((flags & PG_TAIL) !== 0) return checkTail(census, pfn, flags);
  const isLarge = mem.isLarge(pfn);
  const isEntire = mem.entireMapcount[pfn] === census.entireMapcount[pfn];
  census.expect(isEntire, `I12: ${at} entireMapcount ${mem.entireMapcount[pfn]}`);
  const large = isLarge ? mapped : 0;
  census.expect(mem.largeMapcount[pfn] === large, `I12: ${at} largeMapcount, counted ${large}`);
  census.expect((flags & (PG_LOCKED | PG_WAITERS)) === 0, `C4: ${at} locked or awaited at rest`);
  census.expect((flags & PG_ISOLATED) === 0, `C12: ${at} isolated at rest`);
  const isReserved = (flags & PG_RESERVED) !== 0;
  const word = mem.mapping[pfn]!;
  const inode = (word & MAPPING_ANON) === 0 ? sys.inodes[word >>> 1] : null;
  const cached = inode !== null && inode !== undefined && inode.cache.get(mem.index[pfn]!) === pfn;
  const pinned = known.pins?.get(pfn) ?? 0;
  const pins = pinned * (isLarge ? 1 : GUP_PIN_COUNTING_BIAS);
  const counted = mem.pincount[pfn]!;
  census.expect(counted === (isLarge ? pinned : 0), `C1: ${at} pincount ${counted}`);
  const others = known.references?.get(pfn) ?? 0;
  const swapCached = (flags & PG_SWAPCACHE) !== 0;
  const isSlots = !swapCached || sys.swap?.cache[mem.zoneDeviceData[pfn]!] === pfn;
  census.expect(isSlots, `I38: ${at} does not know its slot`);
  const caches = (cached ? 1 : 0) + (swapCached ? 1 : 0);
  const poison = (flags & PG_HWPOISON) !== 0 ? 1 : 0;
  const owed = mapped + caches + pins + others + poison + (isReserved ? 1 : 0);
  census.expect(
    mem.refcount[pfn] === owed,
    `C1: ${at} refcount ${mem.refcount[pfn]}, owed ${owed}`,
  );
  // A driver's page in a mapping of its own is on no LRU and in no reverse map.
  const isFound = mapped > 0 && word !== 0;
  if (pfn < sys.ramPages) checkRamPage(census, pfn, flags, isFound || cached);
  else checkDevicePage(census, pfn, flags, known);
  if (isFound) checkRmap(census, pfn, flags);
}

/** A tail lives in its head: nothing refers to it. */
function checkTail(census: Census, pfn: number, flags: number): void {
  const { mem } = census.sys;
  const head = mem.folioOf(pfn);
  census.expect(mem.isLarge(head), `I33: tail ${pfn} has no head`);
  census.expect(mem.refcount[pfn] === 0, `I33: tail ${pfn} has references of its own`);
  // One that is free has nothing of its last life.
  const known = PG_TAIL | (mem.refcount[head]! > 0 ? PG_ANON_EXCLUSIVE : 0);
  census.expect((flags & ~known) === 0, `I33: tail ${pfn} has flags ${flags}`);
  const exclusive = (flags & PG_ANON_EXCLUSIVE) !== 0;
  const mapped = census.mapcount[pfn]!;
  // The flag stays after the page was unmapped, until the folio goes.
  census.expect(!exclusive || mapped <= 1, `I13: exclusive tail ${pfn} is mapped ${mapped} times`);
}

/** Each RAM frame is in exactly one of free, in use, reserved. */
function checkRamPage(census: Census, pfn: number, flags: number, onLru: boolean): void {
  const isFree = census.free.has(pfn);
  const isUsed = census.sys.mem.refcount[pfn]! > 0;
  census.expect(isFree !== isUsed, `C2: page ${pfn} is free and used, or neither (a leaked frame)`);
  // What can't be used any more needs no place on the LRU.
  const isApart = (flags & PG_HWPOISON) !== 0 || isHugetlb(census.sys, pfn);
  if (onLru && !isApart)
    census.expect((flags & PG_LRU) !== 0, `C12: page ${pfn} in use is not on the LRU`);
  if (isFree)
    census.expect(census.sys.mem.mapping[pfn] === 0, `C2: free page ${pfn} has a mapping`);
}

function checkDevicePage(census: Census, pfn: number, flags: number, known: Known): void {
  const { mem, pagemaps } = census.sys;
  census.expect((flags & (PG_LRU | PG_BUDDY)) === 0, `C12: device page ${pfn} on LRU or free list`);
  const isUsed = mem.refcount[pfn]! > 0;
  const pgmap = pagemaps[mem.pgmap[pfn]!];
  census.expect(
    !isUsed || (pgmap !== null && pgmap !== undefined),
    `I17: page ${pfn} has no pagemap`,
  );
  if (known.deviceFree === undefined || mem.pgmap[pfn] === 0) return;
  const isFree = known.deviceFree.has(pfn);
  census.expect(isFree !== isUsed, `C3: device page ${pfn} is free and used, or neither`);
}

/** The reverse map finds exactly the entries that exist. */
function checkRmap(census: Census, pfn: number, flags: number): void {
  const hits = new RmapHits();
  rmapWalk(census.sys, pfn, hits);
  const found = new Set<number>();
  for (let i = 0; i < hits.length; i++) {
    const pte = census.sys.pageTables.words[hits.ptes[i]!]!;
    const folio = census.sys.mem.folioOf(ptePfn(pte));
    if (folio === pfn && isResident(pte) && !isMigrationEntry(pte)) found.add(hits.ptes[i]!);
  }
  const leaves = census.leaves[pfn] ?? [];
  const isExact = found.size === leaves.length && leaves.every((leaf) => found.has(leaf.at));
  census.expect(isExact, `C13: rmap of page ${pfn} finds ${found.size} of ${leaves.length}`);
  const exclusive = (flags & PG_ANON_EXCLUSIVE) !== 0;
  const own = census.mapcount[pfn]! + census.entireMapcount[pfn]!;
  census.expect(!exclusive || own <= 1, `I13: exclusive page ${pfn} is mapped ${own} times`);
  census.expect(
    !exclusive || census.sys.mem.isAnon(pfn),
    `I13: exclusive page ${pfn} is no anon page`,
  );
}
