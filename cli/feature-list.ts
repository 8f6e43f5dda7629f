/*
 * The features of HMM and of device-private memory that this machine sets out to have, numbered.
 *
 * Tests name a feature by `[F96]` in their title, rows of docs/deviations.md by the same mark;
 * cli/feature-table.ts brings the three together in docs/features.md. Numbers are never reused.
 *
 * Our own words, from the behaviour of Linux 6.x and 7.x and of its test device.
 */

export interface Feature {
  readonly number: number;
  /** Must be there and tested; the others may be listed as a deviation. */
  readonly isEssential: boolean;
  readonly text: string;
}

export interface FeatureSection {
  /** A letter. */
  readonly id: string;
  readonly title: string;
  readonly features: readonly Feature[];
}

/** The number of features; their numbers run from 1 to it. */
export const FEATURE_COUNT = 121;

/** One feature a line: its number, `!` if it is essential, what it is. */
function section(id: string, title: string, lines: string): FeatureSection {
  const features = lines
    .trim()
    .split(/\n\s*(?=\d+!? )/)
    .map((line) => {
      const [, number, mark, text] = /^(\d+)(!?) ([^]+)$/.exec(line.trim()) ?? [];
      if (text === undefined)
        throw new Error(`the feature list has a line without number: ${line}`);
      return {
        number: Number(number),
        isEssential: mark === '!',
        text: text.replaceAll(/\s+/g, ' '),
      };
    });
  return { id, title, features };
}

export const FEATURE_SECTIONS: readonly FeatureSection[] = [
  section(
    'A',
    'Page tables and page state',
    `
    1! every kind of entry is told from the others: none, present, zero page, swap, three kinds of
      migration entry, two of device-private entry, device-exclusive, markers
    2! a device-private entry counts as a mapping of its page, a migration entry does not
    3! a page with more references than its mappings and caches explain is pinned and stays
    4 AnonExclusive is kept for each page; exclusive read-only pages have a migration entry of
      their own
    5! the reverse map finds each entry of a page, in all address spaces
    6! page locks can be tried and waited for; who waits for a migration entry faults again
    7! only RAM pages are taken off the LRU and put back, device pages never
    8! a migration entry carries soft-dirty; dirty, young and uffd-wp where they apply
    9! device pages are charged to the process (RSS, memory cgroup) like RAM
    10! the TLB is flushed only if an entry that went away was present
    `,
  ),
  section(
    'B',
    'Pagemaps and the life of a device page',
    `
    11! a pagemap is registered with a type, an owner and callbacks, and its range is checked
    12! device-private memory: page structures without a mapping that the CPU could use
    13! device-coherent memory: device pages that the CPU maps like RAM
    14 a free device page has no reference; making it live gives it one, its lock, and a reference
      on the pagemap
    15! the last put of a device page calls folio_free, and the driver hands it out again
    16! the device grows by chunks on demand and counts pages handed out and returned
    17! taking a pagemap away waits until the last of its pages is free; evict first
    18! folio_split tells the driver each tail of a folio, then that the head is done
    19! private pages are told apart by the owner of their pagemap
    20 memory_failure goes to the callback of the pagemap, or is refused without one
    `,
  ),
  section(
    'C',
    'migrate_vma_setup',
    `
    21! a migration is three calls, setup, pages and finalize, without callbacks
    22! every bad argument is EINVAL: VMA kinds, range, arrays, fault page
    23! start and end are rounded down to pages and have to lie in one VMA
    24! setup succeeds even if nothing can migrate
    25! what to migrate is selected: system, device-private, device-coherent memory, whole folios
    26! an entry of src holds a pfn and the flags VALID, MIGRATE, WRITE, COMPOUND
    27! the flags LOCKED and ERROR of old kernels are not used any more; destinations must be locked
    28! an empty entry of an anonymous VMA is offered without a page
    29! the zero page is offered as an empty entry
    30! an empty entry of another VMA is refused, so MIGRATE_TO_DEV finds nothing (ENOENT)
    31! pages are locked without waiting; a page that somebody has locked is left out
    32! collecting puts the migration entry in place and drops the mapping and its reference
    33! a second pass removes the other mappings of the page, in every address space
    34! a page that turns out to be pinned is restored
    35! a page that can't be taken off the LRU is left out, after one try to drain it
    36! cpages counts what may migrate, a folio or a huge hole once; end is computed anew
    37! one MIGRATE event with the owner surrounds the collection
    38 the fault page may be locked and have one more reference
    39! entries of other owners, swapped, exclusive and migrating pages are left out
    40 page-cache pages are collected, and refused when they would enter a device
    41! pages that were copied on write in a private file mapping migrate
    `,
  ),
  section(
    'D',
    'migrate_vma_pages and migrate_vma_finalize',
    `
    42! a page without destination goes back to where it was
    43! the driver may decline any page, except when the CPU has faulted on it
    44! place, index and flags move from page to page; nobody but the device copies bytes
    45! references are counted again at commit, exactly; a page with one too many stays
    46! an empty entry is filled with a new page, writable if the VMA is, if it is still empty
    47! where the CPU was faster, its page stays and the device page is freed
    48 userfaultfd and an address space that is being reaped veto the filling of empty entries
    49 a page of the swap cache enters the device only if its swap can be freed
    50 only anonymous memory enters a device
    51! success turns the migration entry into one of the new page, with the same permissions
    52! failure turns the migration entry back into one of the old page
    53! finalize unlocks, returns to the LRU and drops references in that order
    54 a driver that gives up empties dst before finalize
    55! between pages and finalize the driver updates its own page table
    `,
  ),
  section(
    'E',
    'Migration without a VMA',
    `
    56! migrate_device_range takes the pages of a range of device pfns
    57! migrate_device_pfns takes scattered pfns
    58! free and locked pages are left out of both
    59! migrate_device_pages and migrate_device_finalize commit and finish
    60! a coherent page moves to RAM before it is pinned for long
    61! RELEASE and unloading evict the device; newer kernels also when a file is closed
    `,
  ),
  section(
    'F',
    'CPU faults on device memory',
    `
    62! a CPU access to a device-private entry looks again, locks the page and calls migrate_to_ram
    63 a page that is locked is waited for; a huge one is tried again
    64 a fault under the lock of one VMA is tried again under the mmap lock
    65! data that the device lost is SIGBUS, a missing page of RAM out of memory
    66! a fault on one page of a huge device folio that is mapped only in part
    67! a write fault comes home, then goes the way of any write fault
    68! pins, system calls, ptrace and khugepaged bring pages home like the CPU
    69! a fault on a migration entry waits for the page, then is tried again
    `,
  ),
  section(
    'G',
    'hmm_range_fault',
    `
    70! it answers 0 or an errno, never a number of pages
    71! what a page needs is its own request under pfn_flags_mask, and default_flags
    72! REQ_FAULT and REQ_WRITE; forbidden is EPERM, not there is EFAULT
    73! without any request it is a snapshot
    74! a stale sequence is EBUSY, and outputs are never read as requests
    75! one layout of HMM_PFN bits for all drivers, ERROR among them
    76! a device page of the caller is valid and never faulted
    77 asking to write a read-only device page of one's own succeeds without WRITE
    78! somebody else's device page is nothing, or comes home; as a huge entry it is an ERROR
    79 a migration entry is nothing, or is waited for
    80! swapped, exclusive, marked, special pages and unreadable VMAs have their defined answers
    81! the zero page is a valid page
    82! the order of a mapping is reported: PMD, PUD, hugetlb, huge device entries
    83! ranges may span VMAs and the gaps between them
    84 one fault brings in all that follows in its page table
    85 the three DMA bits survive; the DMA helpers map and unmap by them
    86! the unlocked form takes the mmap lock itself, has a time limit and serves userfaultfd
    87 migration while faulting (proposed)
    `,
  ),
  section(
    'H',
    'Interval notifiers',
    `
    88! insert and remove during an invalidation are put off to its end
    89! read_begin waits for an invalidation of its range; read_retry and check_retry notice one
    90 the sequence is set under the driver's lock; it is odd while something is invalidated
    91 a range that must not wait may be refused (EAGAIN)
    92 every event has its kind: UNMAP, CLEAR, two of PROTECTION, SOFT_DIRTY, RELEASE, MIGRATE,
      EXCLUSIVE
    93! MIGRATE and EXCLUSIVE name an owner, which may ignore its own
    94! the retry loop of a device fault ends after a second
    95! munmap during a read of the device
    `,
  ),
  section(
    'I',
    'Device-exclusive access',
    `
    96! make_device_exclusive takes a writable anonymous page away from the CPU
    97 it sends EXCLUSIVE, looks again, and refuses what it can't do
    98! a CPU access takes exclusive access back, with CLEAR
    99! mprotect to read-only makes the next device write EPERM
    100! fork restores the entry first; copy-on-write stays right
    `,
  ),
  section(
    'J',
    'Address-space operations on device memory',
    `
    101! fork makes both entries READ, not exclusive, and counts the page twice
    102! a write by parent or child brings the page home and copies it
    103! munmap and exit free device pages
    104! MADV_DONTNEED frees device pages, MADV_FREE ignores them
    105! mprotect takes the right to write from a device entry and never gives it back
    106! mremap moves device entries, single and huge, also with DONTUNMAP
    107! shared anonymous memory and files are read and written through the device
    108! pagemap, smaps and mincore report device pages as Linux does
    `,
  ),
  section(
    'K',
    'Large folios',
    `
    109! a huge page goes to the device as one entry
    110! a huge hole and the huge zero page go as one
    111 a folio is split before it is collected, where it can't go whole
    112! a folio that is unmapped is split when its destinations are small
    113! a huge device entry is split by a partial munmap
    114! small pages of RAM serve when there is no huge one for the way back
    115! PUD and hugetlb mappings are mirrored, never migrated
    `,
  ),
  section(
    'L',
    'Test device and harness',
    `
    116! the commands READ, WRITE, MIGRATE_TO_DEV, MIGRATE_TO_SYS, SNAPSHOT, EXCLUSIVE,
      CHECK_EXCLUSIVE, RELEASE, FLAGS
    117! the command READ_UNLOCKED
    118! SNAPSHOT's byte for each kind of page
    119! one allocation can be made to fail, once
    120! two devices with owners of their own; a pair of coherent devices on request
    121! the benchmark of huge-page migration, seven sizes with and without huge pages
    `,
  ),
];
