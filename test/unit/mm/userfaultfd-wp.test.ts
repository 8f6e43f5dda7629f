/* userfaultfd write-protection: the bit, where it goes, and what a marker keeps. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import {
  UFFD_FEATURE_WP_ASYNC,
  UFFD_FEATURE_WP_UNPOPULATED,
  UFFD_PAGEFAULT_FLAG_WP,
  UFFD_PAGEFAULT_FLAG_WRITE,
} from '../../../src/mm/fs-userfaultfd.ts';
import { PROT_READ } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMprotect } from '../../../src/mm/mprotect.ts';
import { MMU_NOTIFY_PROTECTION_VMA } from '../../../src/mm/mmu-notifier.ts';
import {
  LEAF_DEVICE_PRIVATE_READ,
  LEAF_MARKER_UFFD_WP,
  LEAF_MIGRATION_READ_EXCLUSIVE,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_WRITE,
  leafKind,
  ptePresent,
} from '../../../src/mm/swapops.ts';
import { FAULT_SIGBUS } from '../../../src/mm/uaccess.ts';
import {
  UFFDIO_COPY_MODE_WP,
  userfaultfdRelease,
  userfaultfdUnregister,
  userfaultfdWriteprotect,
} from '../../../src/mm/userfaultfd-register.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import { RW, expectSync, load, mapAnon, mapShared, pteAt, store, watch } from './fixture.ts';
import { Migration, checkAtRest, makeBench, mapFilled, mapOnDevice } from './migration.ts';
import type { Bench } from './migration.ts';
import { MISSING, UffdRig, WP, settle } from './uffd-rig.ts';

let bench: Bench;
let mm: MmStruct;
let rig: UffdRig;

beforeEach(() => {
  bench = makeBench();
  ({ mm } = bench);
  rig = new UffdRig(mm);
});

afterEach(() => {
  expect(rig.ctx.waiting).toBe(0);
  checkAtRest(bench);
});

/** Whether the entry is protected, and whether it may be written. */
function bits(addr: number): string {
  const pte = pteAt(mm, addr);
  const wp = (pte & PTE_UFFD_WP) === 0 ? '' : 'p';
  return ptePresent(pte) ? wp + ((pte & PTE_WRITE) === 0 ? 'r' : 'w') : `${wp}${leafKind(pte)}`;
}

/** A store must wait for the monitor, which then takes the protection back. */
async function expectStoreWaits(addr: number): Promise<void> {
  const access = rig.store(addr, 0x77);
  await settle();
  expect(access.outcome).toBe(null);
  const flags = UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE;
  expect(rig.ctx.read()).toMatchObject({ flags, address: addr });
  rig.protect(addr, 1, 0);
  await access.done;
  expect(load(mm, addr)).toBe(0x77);
}

describe('a protected page', () => {
  test('can be read; a write waits until the protection is taken back', async () => {
    const addr = mapFilled(mm, 2);
    rig.register(addr, 2, WP);
    rig.protect(addr, 1);
    expect([bits(addr), bits(addr + PAGE_SIZE)]).toEqual(['pr', 'w']);
    expect([load(mm, addr), mm.tlbFlushedPages]).toEqual([1, 1]);
    store(mm, addr + PAGE_SIZE, 9);
    await expectStoreWaits(addr);
    expect(bits(addr)).toBe('w');
  });

  test('taking the protection back gives the write permission of an exclusive page', () => {
    const addr = mapFilled(mm, 1);
    rig.register(addr, 1, WP);
    rig.protect(addr, 1);
    rig.protect(addr, 1, 0);
    expect(bits(addr)).toBe('w');
    expect(bench.sys.vmstat.read('wp_fault')).toBe(0);
  });

  test('of a child is not protected, the parent’s stays; both copy on write', async () => {
    const addr = mapFilled(mm, 1);
    rig.register(addr, 1, WP);
    rig.protect(addr, 1);
    const child = expectSync(dupMmap(mm)) as MmStruct;
    expect([bits(addr), pteAt(child, addr) & PTE_UFFD_WP]).toEqual(['pr', 0]);
    store(child, addr, 5);
    await expectStoreWaits(addr);
    expect(load(child, addr)).toBe(5);
    expectSync(mmput(child));
  });

  test('stays protected over mprotect, there and back', async () => {
    const addr = mapFilled(mm, 1);
    rig.register(addr, 1, WP);
    rig.protect(addr, 1);
    expectSync(doMprotect(mm, addr, PAGE_SIZE, PROT_READ));
    expectSync(doMprotect(mm, addr, PAGE_SIZE, RW));
    expect(bits(addr)).toBe('pr');
    await expectStoreWaits(addr);
  });

  test('that is not protected becomes writable by the same mprotect', () => {
    const addr = mapFilled(mm, 1);
    rig.register(addr, 1, WP);
    expectSync(doMprotect(mm, addr, PAGE_SIZE, PROT_READ));
    expectSync(doMprotect(mm, addr, PAGE_SIZE, RW));
    expect(bits(addr)).toBe('w');
  });

  test('stays protected on its way to the device and back [F8]', async () => {
    const addr = mapFilled(mm, 1);
    rig.register(addr, 1, WP);
    rig.protect(addr, 1);
    const migration = new Migration(bench, addr, 1).setup();
    expect(bits(addr)).toBe(`p${LEAF_MIGRATION_READ_EXCLUSIVE}`);
    migration.supply().pages().finalize();
    expect(bits(addr)).toBe(`p${LEAF_DEVICE_PRIVATE_READ}`);
    expect(load(mm, addr)).toBe(1);
    expect(bits(addr)).toBe('pr');
    await expectStoreWaits(addr);
  });

  test('on the device loses its WRITE, and comes home protected [F8]', async () => {
    const addr = mapOnDevice(bench, 2);
    rig.register(addr, 2, WP);
    rig.protect(addr, 1);
    expect(bits(addr)).toBe(`p${LEAF_DEVICE_PRIVATE_READ}`);
    store(mm, addr + PAGE_SIZE, 3);
    await expectStoreWaits(addr);
  });

  test('in motion is protected when it arrives [F8]', async () => {
    const addr = mapFilled(mm, 1);
    rig.register(addr, 1, WP);
    const migration = new Migration(bench, addr, 1).setup();
    // The migration holds the lock that protecting takes for read, too.
    rig.protect(addr, 1);
    expect(bits(addr)).toBe(`p${LEAF_MIGRATION_READ_EXCLUSIVE}`);
    migration.supply().pages().finalize();
    expect(load(mm, addr)).toBe(1);
    await expectStoreWaits(addr);
  });

  test('of a shared object waits as well; one that is not protected does not', async () => {
    const addr = mapShared(mm, 2);
    store(mm, addr, 1);
    rig.register(addr, 2, WP);
    store(mm, addr + PAGE_SIZE, 1);
    rig.protect(addr, 1);
    await expectStoreWaits(addr);
    expect(bits(addr + PAGE_SIZE)).toBe('w');
  });

  test('the zero page can be protected', async () => {
    const addr = mapAnon(mm, 1);
    load(mm, addr);
    rig.register(addr, 1, WP);
    rig.protect(addr, 1);
    expect(pteAt(mm, addr) & (PTE_SPECIAL | PTE_UFFD_WP)).toBe(PTE_SPECIAL | PTE_UFFD_WP);
    await expectStoreWaits(addr);
  });

  test('starts out protected when it is copied so', async () => {
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1, WP | MISSING);
    expect(await rig.copy(addr, 4, UFFDIO_COPY_MODE_WP)).toBe(PAGE_SIZE);
    expect([bits(addr), load(mm, addr)]).toEqual(['pr', 4]);
    await expectStoreWaits(addr);
  });

  test('EINVAL: copied so where write-protection is not registered', async () => {
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1, MISSING);
    expect(await rig.copy(addr, 4, UFFDIO_COPY_MODE_WP)).toBe(errno.EINVAL);
    expect(pteAt(mm, addr)).toBe(0);
  });

  test('is ordinary again after unregister and after close', () => {
    const addr = mapFilled(mm, 2);
    rig.register(addr, 2, WP);
    rig.protect(addr, 2);
    expectSync(userfaultfdUnregister(rig.ctx, addr, PAGE_SIZE));
    expect([bits(addr), bits(addr + PAGE_SIZE)]).toEqual(['w', 'pr']);
    expectSync(userfaultfdRelease(rig.ctx));
    expect(bits(addr + PAGE_SIZE)).toBe('w');
  });

  test('with WP_ASYNC a write takes the protection away by itself', () => {
    rig = new UffdRig(mm, UFFD_FEATURE_WP_ASYNC);
    const addr = mapFilled(mm, 2);
    rig.register(addr, 2, WP);
    rig.protect(addr, 2);
    store(mm, addr, 9);
    expect([bits(addr), bits(addr + PAGE_SIZE)]).toEqual(['w', 'pr']);
    expect(rig.ctx.isReadable).toBe(false);
  });
});

describe('a page that is not there', () => {
  test('of private memory is not protected', () => {
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1, WP);
    rig.protect(addr, 1);
    expect(pteAt(mm, addr)).toBe(0);
    store(mm, addr, 1);
  });

  test('is, with WP_UNPOPULATED: a marker makes its first page a protected one [F1]', async () => {
    rig = new UffdRig(mm, UFFD_FEATURE_WP_UNPOPULATED);
    const addr = mapAnon(mm, 2);
    rig.register(addr, 2, WP);
    rig.protect(addr, 2);
    expect(leafKind(pteAt(mm, addr))).toBe(LEAF_MARKER_UFFD_WP);
    expect(load(mm, addr)).toBe(0);
    expect(bits(addr)).toBe('pr');
    await expectStoreWaits(addr);
    await expectStoreWaits(addr + PAGE_SIZE);
  });

  test('the marker goes with the protection', () => {
    rig = new UffdRig(mm, UFFD_FEATURE_WP_UNPOPULATED);
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1, WP);
    rig.protect(addr, 1);
    rig.protect(addr, 1, 0);
    expect(pteAt(mm, addr)).toBe(0);
  });

  test('a child gets no marker', () => {
    rig = new UffdRig(mm, UFFD_FEATURE_WP_UNPOPULATED);
    const addr = mapFilled(mm, 1);
    const vma = vmaLookup(mm, addr)!;
    zapPageRange(vma, addr, addr + PAGE_SIZE);
    rig.register(addr, 1, WP);
    rig.protect(addr, 1);
    const child = expectSync(dupMmap(mm)) as MmStruct;
    expect(pteAt(child, addr)).toBe(0);
    store(child, addr, 1);
    expectSync(mmput(child));
  });

  test('a monitor fills in a marker as if nothing were there', async () => {
    rig = new UffdRig(mm, UFFD_FEATURE_WP_UNPOPULATED);
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1, WP | MISSING);
    rig.protect(addr, 1);
    const access = rig.load(addr);
    expect(rig.ctx.read()).toMatchObject({ flags: 0, address: addr });
    expect(await rig.copy(addr, 4)).toBe(PAGE_SIZE);
    await access.done;
    expect([access.byte, bits(addr)]).toEqual([4, 'w']);
  });

  test('of an object stays protected when its page is dropped from the process [F1]', async () => {
    const addr = mapShared(mm, 2);
    store(mm, addr, 1);
    store(mm, addr + PAGE_SIZE, 1);
    rig.register(addr, 2, WP);
    rig.protect(addr, 1);
    zapPageRange(vmaLookup(mm, addr)!, addr, addr + 2 * PAGE_SIZE);
    expect(leafKind(pteAt(mm, addr))).toBe(LEAF_MARKER_UFFD_WP);
    expect(pteAt(mm, addr + PAGE_SIZE)).toBe(0);
    await expectStoreWaits(addr);
  });

  test('of private memory does not', () => {
    const addr = mapFilled(mm, 1);
    rig.register(addr, 1, WP);
    rig.protect(addr, 1);
    zapPageRange(vmaLookup(mm, addr)!, addr, addr + PAGE_SIZE);
    expect(pteAt(mm, addr)).toBe(0);
  });

  test('ENOMEM: no page table for a marker', () => {
    rig = new UffdRig(mm, UFFD_FEATURE_WP_UNPOPULATED);
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1, WP);
    bench.sys.pageTables.failAllocations = 1;
    const result = userfaultfdWriteprotect(rig.ctx, addr, PAGE_SIZE, 1);
    expect(expectSync(result)).toBe(errno.ENOMEM);
  });
});

describe('UFFDIO_WRITEPROTECT', () => {
  test('tells devices, over what is there [F92]', () => {
    const addr = mapFilled(mm, 1);
    rig.register(addr, 1, WP);
    const events = watch(mm, addr);
    rig.protect(addr, 1);
    expect(events).toMatchObject([{ event: MMU_NOTIFY_PROTECTION_VMA, from: 0 }]);
  });

  test('ENOENT where it is not registered; what lies before has changed', () => {
    const addr = mapFilled(mm, 2);
    rig.register(addr, 1, WP);
    const result = userfaultfdWriteprotect(rig.ctx, addr, 2 * PAGE_SIZE, 1);
    expect(expectSync(result)).toBe(errno.ENOENT);
    expect([bits(addr), bits(addr + PAGE_SIZE)]).toEqual(['pr', 'w']);
    const missing = mapAnon(mm, 1);
    const none = userfaultfdWriteprotect(rig.ctx, missing - 64 * PAGE_SIZE, PAGE_SIZE, 1);
    expect(expectSync(none)).toBe(errno.ENOENT);
  });

  test.each([
    ['both modes', 0, 1, 3],
    ['an unknown mode', 0, 1, 4],
    ['no length', 0, 0, 1],
    ['an address inside a page', 0.5, 1, 1],
  ])('EINVAL: %s', (_what, from, pages, mode) => {
    const addr = mapFilled(mm, 1);
    rig.register(addr, 1, WP);
    const start = addr + from * PAGE_SIZE;
    const result = userfaultfdWriteprotect(rig.ctx, start, pages * PAGE_SIZE, mode);
    expect(expectSync(result)).toBe(errno.EINVAL);
    expect(bits(addr)).toBe('w');
  });

  test('a write without anybody who could be asked is SIGBUS', () => {
    const addr = mapFilled(mm, 1);
    rig = new UffdRig(mm, 1 << 7);
    rig.register(addr, 1, WP);
    rig.protect(addr, 1);
    const access = rig.store(addr);
    return access.done.then(() => expect(access.outcome).toBe(FAULT_SIGBUS));
  });
});
