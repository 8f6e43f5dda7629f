/**
 * The reverse map (mm/rmap.c): from a page to every page table entry that maps it, in every address
 * space. A page's mapping word names its anon_vma or its shmem inode, its index says where in it;
 * the VMAs of that object (interval-tree.ts) give the addresses.
 *
 * anon_vma. An `AnonVma` lists the VMAs that may map pages hung on it. A VMA hangs new pages on its
 * own `anonVma`, and is in the list of each anon_vma of its chain: its own and, after fork, those
 * of its ancestors. So pages of the parent are found in the child, not the other way round.
 *
 * A migration entry is no mapping: whoever installs one removes the rmap and drops the mapping's
 * reference. Such an entry still counts as resident (rss), as in Linux.
 *
 * Locking: mmap lock of the VMA for preparing and linking; walks need none, code between two waits
 * plays the anon_vma lock. Leaves out: anon_vma roots and depth limits other than reuse at fork.
 */
import { assert } from '../base/assert.ts';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE, pmdAlignDown } from '../base/units.ts';
import { VmaIntervals } from './interval-tree.ts';
import { VM_ACCESS_FLAGS, VM_STICKY, linearPageIndex } from './mm-types.ts';
import type { System, Vma } from './mm-types.ts';
import {
  MAPPING_ANON,
  PG_ANON_EXCLUSIVE,
  PG_HEAD,
  PG_SWAPBACKED,
  PG_TAIL,
  PG_TAILS_DIFFER,
} from './page.ts';
import type { MemMap } from './page.ts';
import { isPmdLeaf } from './swapops.ts';
import { vmaIndexAfter } from './vma-lookup.ts';

/** Where anonymous pages hang (struct anon_vma). */
export class AnonVma {
  /** Position in `sys.anonVmas`, what mapping words hold. */
  readonly id: number;
  /** VMAs that may map its pages. */
  readonly intervals = new VmaIntervals();
  /** VMAs that hang their new pages here (num_active_vmas). */
  activeVmas = 0;

  constructor(id: number) {
    this.id = id;
  }
}

/** Result of a reverse map walk; keep one per call site and reuse it. */
export class RmapHits {
  length = 0;
  readonly vmas: Vma[] = [];
  readonly addrs: number[] = [];
  /** Word index of the page table entry. */
  readonly ptes: number[] = [];
  /** Whether it is a PMD entry, which stands for the whole large folio. */
  readonly isPmd: boolean[] = [];

  add(vma: Vma, addr: number, pte: number, isPmd: boolean): void {
    const at = this.length++;
    this.vmas[at] = vma;
    this.addrs[at] = addr;
    this.ptes[at] = pte;
    this.isPmd[at] = isPmd;
  }
}

function allocAnonVma(sys: System): AnonVma {
  const anonVma = new AnonVma(sys.freeAnonVmaIds.pop() ?? sys.anonVmas.length);
  sys.anonVmas[anonVma.id] = anonVma;
  return anonVma;
}

function chainLink(vma: Vma, anonVma: AnonVma): void {
  vma.anonVmaChain.push(anonVma);
  anonVma.intervals.insert(vma);
}

function setAnonVma(vma: Vma, anonVma: AnonVma): void {
  vma.anonVma = anonVma;
  anonVma.activeVmas++;
}

/**
 * Gives the VMA an anon_vma before its first anonymous page (anon_vma_prepare): that of a
 * neighbour that it could merge with later, else a new one.
 *
 * Context: mmap lock held, read is enough.
 */
export function anonVmaPrepare(vma: Vma): void {
  if (vma.anonVma !== null) return;
  const reusable = findMergeableAnonVma(vma);
  const anonVma = reusable ?? allocAnonVma(vma.mm.sys);
  chainLink(vma, anonVma);
  setAnonVma(vma, anonVma);
}

/** The anon_vma of a neighbour that differs in permissions at most (find_mergeable_anon_vma). */
function findMergeableAnonVma(vma: Vma): AnonVma | null {
  const at = vmaIndexAfter(vma.mm, vma.vmStart);
  const next = vma.mm.vmas[at + 1];
  if (next !== undefined && canShareAnonVma(vma, next)) return next.anonVma;
  const prev = vma.mm.vmas[at - 1];
  if (prev !== undefined && canShareAnonVma(prev, vma)) return prev.anonVma;
  return null;
}

function canShareAnonVma(low: Vma, high: Vma): boolean {
  // A chain of several entries comes from fork; sharing it would make walks visit strangers.
  const chain = low.anonVma === null ? high.anonVmaChain : low.anonVmaChain;
  return (
    chain.length === 1 &&
    low.vmEnd === high.vmStart &&
    low.inode === high.inode &&
    ((low.vmFlags ^ high.vmFlags) & ~(VM_ACCESS_FLAGS | VM_STICKY)) === 0 &&
    linearPageIndex(low, low.vmEnd) === high.vmPgoff
  );
}

/**
 * Gives `target` the anon_vma and chain of `source` (anon_vma_clone): after a split, or when a VMA
 * without anonymous pages takes over one that has them.
 *
 * Context: mmap lock held for write; the bounds of `target` are set.
 */
export function anonVmaClone(target: Vma, source: Vma): void {
  for (const anonVma of source.anonVmaChain) chainLink(target, anonVma);
  if (source.anonVma !== null) setAnonVma(target, source.anonVma);
}

/**
 * Links a forked VMA to the anon_vmas of its parent and gives it one of its own for new pages
 * (anon_vma_fork). One whose own VMAs are all gone is reused, so that chains stay short however
 * many generations there are.
 *
 * Context: mmap locks of both held for write; the bounds of `child` are set.
 */
export function anonVmaFork(child: Vma, parent: Vma): void {
  if (parent.anonVma === null) return;
  let own: AnonVma | null = null;
  for (const anonVma of parent.anonVmaChain) {
    chainLink(child, anonVma);
    if (anonVma.activeVmas === 0) own ??= anonVma;
  }
  if (own === null) {
    own = allocAnonVma(child.mm.sys);
    chainLink(child, own);
  }
  setAnonVma(child, own);
}

/**
 * Takes a VMA out of the reverse map for good (unlink_anon_vmas). An anon_vma that no VMA is on any
 * more is freed.
 *
 * Context: mmap lock held for write; nothing is mapped in the VMA any more.
 */
export function unlinkAnonVmas(vma: Vma): void {
  const sys = vma.mm.sys;
  if (vma.anonVma !== null) vma.anonVma.activeVmas--;
  vma.anonVma = null;
  for (const anonVma of vma.anonVmaChain) {
    anonVma.intervals.remove(vma);
    if (anonVma.intervals.vmas.length > 0) continue;
    assert(anonVma.activeVmas === 0, 'I10: a VMA is where the reverse map looks for it');
    sys.anonVmas[anonVma.id] = null;
    sys.freeAnonVmaIds.push(anonVma.id);
  }
  vma.anonVmaChain.length = 0;
}

/**
 * Hangs a fresh page on the VMA's anon_vma as its first mapping (folio_add_new_anon_rmap): swap
 * backed. The caller has anonVmaPrepare'd the VMA, counts rss and sets PG_LRU on a RAM page.
 *
 * @param exclusive False for a page from swap space that others will map, too: it hangs on the
 * oldest anon_vma of the chain, which all of them have. Context: mmap lock held.
 */
export function folioAddNewAnonRmap(
  sys: System,
  pfn: number,
  vma: Vma,
  addr: number,
  exclusive = true,
): void {
  const mem = sys.mem;
  const anonVma = exclusive ? vma.anonVma : (vma.anonVmaChain[0] ?? null);
  assert(anonVma !== null, 'I11: an anonymous page hangs on an anon_vma of its VMA');
  assert(mem.mapcount[pfn] === 0, 'I12: a fresh page has no mapping');
  mem.mapping[pfn] = ((anonVma.id << 1) | MAPPING_ANON) >>> 0;
  mem.index[pfn] = linearPageIndex(vma, addr);
  mem.mapcount[pfn] = 1;
  mem.setFlag(pfn, exclusive ? PG_SWAPBACKED | PG_ANON_EXCLUSIVE : PG_SWAPBACKED);
}

/**
 * folioAddNewAnonRmap for a large folio that a PMD entry maps. Context: mmap lock held; `addr` is
 * where the folio starts.
 */
export function folioAddNewAnonRmapPmd(sys: System, head: number, vma: Vma, addr: number): void {
  folioAddNewAnonRmap(sys, head, vma, addr);
  sys.mem.mapcount[head] = 0;
  sys.mem.entireMapcount[head] = 1;
  sys.mem.largeMapcount[head] = 1;
}

/** The mappings of a page by PTEs change by `by`, those of its folio with them. */
function countMapping(mem: MemMap, pfn: number, by: number): number {
  const count = mem.mapcount[pfn]! + by;
  assert(count >= 0, 'I12: a mapping that is removed was counted');
  mem.mapcount[pfn] = count;
  if ((mem.flags[pfn]! & (PG_HEAD | PG_TAIL)) !== 0) mem.largeMapcount[mem.folioOf(pfn)]! += by;
  return count;
}

/** The mappings of a large folio by PMD entries change by `by`. */
function countEntireMapping(mem: MemMap, head: number, by: number): void {
  const count = mem.entireMapcount[head]! + by;
  assert(count >= 0, 'I12: a mapping that is removed was counted');
  mem.entireMapcount[head] = count;
  mem.largeMapcount[head]! += by;
}

/**
 * Adds a mapping of an anonymous page that already hangs somewhere (folio_add_anon_rmap_pte).
 *
 * @param exclusive The mapping is the only one there is, and the page becomes AnonExclusive.
 * Context: any; the caller holds a reference for the mapping.
 */
export function folioAddAnonRmap(
  sys: System,
  pfn: number,
  vma: Vma,
  addr: number,
  exclusive: boolean,
): void {
  const mem = sys.mem;
  checkAnonPlace(sys, pfn, vma, addr);
  const count = countMapping(mem, pfn, 1);
  const flags = mem.flags[pfn]! | (exclusive ? PG_ANON_EXCLUSIVE : 0);
  mem.flags[pfn] = flags;
  if ((flags & PG_TAIL) !== 0) mem.setFlag(mem.folioOf(pfn), PG_TAILS_DIFFER);
  assert(count === 1 || (flags & PG_ANON_EXCLUSIVE) === 0, 'I13: an exclusive page is mapped once');
}

/** folioAddAnonRmap for a PMD entry that maps a whole large folio (folio_add_anon_rmap_pmd). */
export function folioAddAnonRmapPmd(
  sys: System,
  head: number,
  vma: Vma,
  addr: number,
  exclusive: boolean,
): void {
  const mem = sys.mem;
  checkAnonPlace(sys, head, vma, addr);
  countEntireMapping(mem, head, 1);
  if (exclusive) mem.setFlag(head, PG_ANON_EXCLUSIVE);
  const isAlone = mem.largeMapcount[head] === 1;
  assert(
    isAlone || !mem.testFlag(head, PG_ANON_EXCLUSIVE),
    'I13: an exclusive page is mapped once',
  );
}

function checkAnonPlace(sys: System, pfn: number, vma: Vma, addr: number): void {
  const { mem } = sys;
  const folio = mem.folioOf(pfn);
  assert(mem.isAnon(folio), 'I11: an anonymous page hangs on an anon_vma of its VMA');
  assert(
    mem.index[folio]! + (pfn - folio) === linearPageIndex(vma, addr),
    'I11: an anonymous page is mapped where its index says',
  );
}

/**
 * Adds the child's mapping of an anonymous page at fork (folio_try_dup_anon_rmap): nobody owns it
 * alone any more. Device-private pages can't be pinned, so for them it never fails.
 *
 * @returns false for an exclusive page that may be pinned: it must be copied for the child, or a
 * later write of the parent would move it away from whoever pinned it.
 * Context: mmap locks of both held for write; the caller takes the reference.
 */
export function folioTryDupAnonRmap(sys: System, pfn: number): boolean {
  const mem = sys.mem;
  if (mem.testFlag(pfn, PG_ANON_EXCLUSIVE)) {
    if (!mem.isDevicePrivate(pfn) && mem.maybeDmaPinned(pfn)) return false;
    mem.clearFlag(pfn, PG_ANON_EXCLUSIVE);
  }
  countMapping(mem, pfn, 1);
  return true;
}

/** folioTryDupAnonRmap for a large folio that a PMD entry maps (folio_try_dup_anon_rmap_pmd). */
export function folioTryDupAnonRmapPmd(sys: System, head: number): boolean {
  const mem = sys.mem;
  if (mem.testFlag(head, PG_ANON_EXCLUSIVE)) {
    if (!mem.isDevicePrivate(head) && mem.maybeDmaPinned(head)) return false;
    mem.clearFlag(head, PG_ANON_EXCLUSIVE);
  }
  countEntireMapping(mem, head, 1);
  return true;
}

/**
 * Hangs a page that turned out to be ours alone on the VMA's own anon_vma (folio_move_anon_rmap),
 * and makes it exclusive: walks need not visit the VMAs of other generations any more.
 *
 * Context: page mapped once, in this VMA.
 */
export function folioMoveAnonRmap(sys: System, pfn: number, vma: Vma): void {
  const anonVma = vma.anonVma;
  assert(anonVma !== null, 'I11: an anonymous page hangs on an anon_vma of its VMA');
  assert(sys.mem.folioMapcount(pfn) === 1, 'I13: an exclusive page is mapped once');
  sys.mem.mapping[pfn] = ((anonVma.id << 1) | MAPPING_ANON) >>> 0;
  sys.mem.setFlag(pfn, PG_ANON_EXCLUSIVE);
}

/** Adds a mapping of a page-cache page (folio_add_file_rmap_pte). Context: any. */
export function folioAddFileRmap(sys: System, pfn: number): void {
  assert(!sys.mem.isAnon(pfn), 'I11: a file mapping is of a page-cache page');
  // A large one is of hugetlb, which PMD entries alone map.
  if (sys.mem.isLarge(pfn)) countEntireMapping(sys.mem, pfn, 1);
  else sys.mem.mapcount[pfn]! += 1;
}

/** Removes one mapping (folio_remove_rmap_pte). Context: any; the entry is gone already. */
export function folioRemoveRmap(sys: System, pfn: number): void {
  countMapping(sys.mem, pfn, -1);
}

/** Removes the mapping of a large folio by a PMD entry (folio_remove_rmap_pmd). Context: any. */
export function folioRemoveRmapPmd(sys: System, head: number): void {
  countEntireMapping(sys.mem, head, -1);
}

/**
 * A PMD mapping of a large folio becomes one PTE mapping of each of its pages: counts, references
 * and AnonExclusive follow. Context: the entry is being split.
 */
export function folioSplitPmdRmap(sys: System, head: number): void {
  const { mem } = sys;
  countEntireMapping(mem, head, -1);
  mem.largeMapcount[head]! += HPAGE_PMD_NR;
  mem.refcount[head]! += HPAGE_PMD_NR - 1;
  mem.setFlag(head, PG_TAILS_DIFFER);
  const exclusive = mem.flags[head]! & PG_ANON_EXCLUSIVE;
  for (let pfn = head; pfn < head + HPAGE_PMD_NR; pfn++) {
    mem.mapcount[pfn]! += 1;
    mem.flags[pfn]! |= exclusive;
  }
}

/**
 * Finds every place where the page may be mapped by its mapping and index (rmap_walk), and that
 * has a page table. The caller looks at the entries, since it knows which kind it wants.
 *
 * Context: any. The hits are valid until the next wait.
 */
export function rmapWalk(sys: System, pfn: number, hits: RmapHits): void {
  hits.length = 0;
  const word = sys.mem.mapping[pfn]!;
  const id = word >>> 1;
  const object = (word & MAPPING_ANON) !== 0 ? sys.anonVmas[id] : sys.inodes[id];
  if (object === null || object === undefined) return;
  const index = sys.mem.index[pfn]!;
  const last = index + sys.mem.folioNrPages(pfn) - 1;
  const vmas = object.intervals.vmas;
  for (let i = object.intervals.firstCandidate(index); i < vmas.length; i++) {
    const vma = vmas[i]!;
    if (vma.vmPgoff > last) return;
    const addr = vma.vmStart + (index - vma.vmPgoff) * PAGE_SIZE;
    if (last !== index) walkLargeFolio(vma, addr, hits);
    else if (addr < vma.vmEnd) {
      const pte = sys.pageTables.pteOffset(vma.mm.pgd, addr);
      if (pte !== 0) hits.add(vma, addr, pte, false);
    }
  }
}

/** Adds the entries of one VMA that may map the large folio which would start at `addr`. */
function walkLargeFolio(vma: Vma, addr: number, hits: RmapHits): void {
  const { pageTables } = vma.mm.sys;
  const end = Math.min(vma.vmEnd, addr + PMD_SIZE);
  let at = Math.max(vma.vmStart, addr);
  while (at < end) {
    const pmd = pageTables.pmdOffset(vma.mm.pgd, at);
    const isLeaf = isPmdLeaf(pageTables.words[pmd]!);
    if (isLeaf && at === addr && pmdAlignDown(at) === at) hits.add(vma, at, pmd, true);
    const pte = isLeaf ? 0 : pageTables.pteOffset(vma.mm.pgd, at);
    const next = Math.min(end, pmdAlignDown(at) + PMD_SIZE);
    const pages = pte === 0 ? 0 : (next - at) / PAGE_SIZE;
    for (let i = 0; i < pages; i++) hits.add(vma, at + i * PAGE_SIZE, pte + i, false);
    at = next;
  }
}

/**
 * The only VMA in which pages with that mapping word can be mapped; null when there are several, or
 * the word is not of an anon_vma. Context: any; true until the next wait or fork.
 */
export function soleAnonVma(sys: System, word: number): Vma | null {
  if ((word & MAPPING_ANON) === 0) return null;
  const vmas = sys.anonVmas[word >>> 1]?.intervals.vmas;
  return vmas !== undefined && vmas.length === 1 ? vmas[0]! : null;
}
