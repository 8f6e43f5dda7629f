/* userfaultfd: faults on missing pages wait for a monitor, which fills them. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { dupMmap, mmput } from '../../../src/mm/fork.ts';
import {
  UFFD_EVENT_PAGEFAULT,
  UFFD_FEATURE_EXACT_ADDRESS,
  UFFD_FEATURE_SIGBUS,
  UFFD_PAGEFAULT_FLAG_WRITE,
} from '../../../src/mm/fs-userfaultfd.ts';
import { VM_FAULT_RETRY, VM_FAULT_SIGBUS, handleMmFault } from '../../../src/mm/memory.ts';
import { FAULT_FLAG_ALLOW_RETRY } from '../../../src/mm/memory.ts';
import { PROT_READ, VM_UFFD_MISSING } from '../../../src/mm/mm-types.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { doMunmap } from '../../../src/mm/mmap.ts';
import { PG_ANON_EXCLUSIVE, PG_LRU } from '../../../src/mm/page.ts';
import { PTE_DIRTY, PTE_SPECIAL, PTE_WRITE, ptePfn, ptePresent } from '../../../src/mm/swapops.ts';
import { shmemTruncate } from '../../../src/mm/truncate.ts';
import { FAULT_OK, FAULT_SIGBUS, FAULT_SIGSEGV } from '../../../src/mm/uaccess.ts';
import {
  UFFDIO_COPY_MODE_DONTWAKE,
  userfaultfdCopy,
  userfaultfdPoison,
  userfaultfdRegister,
  userfaultfdRelease,
  userfaultfdUnregister,
  userfaultfdWake,
  userfaultfdZeropage,
} from '../../../src/mm/userfaultfd-register.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { expectSync, load, loadOutcome, mapAnon, mapShared, pteAt, store } from './fixture.ts';
import { checkAtRest, makeBench, mapOnDevice } from './migration.ts';
import type { Bench } from './migration.ts';
import { MISSING, UffdRig, settle } from './uffd-rig.ts';

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

describe('a fault on a missing page', () => {
  test('waits with the mmap lock dropped, until the monitor has filled the page', async () => {
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1);
    const access = rig.load(addr + 5);
    await settle();
    expect(access.outcome).toBe(null);
    expect(mm.mmapLock.isLocked).toBe(false);
    expect(rig.ctx.read()).toEqual({ event: UFFD_EVENT_PAGEFAULT, flags: 0, address: addr });
    expect(await rig.copy(addr, 0xab)).toBe(PAGE_SIZE);
    await access.done;
    expect([access.outcome, access.byte]).toEqual([FAULT_OK, 0xab]);
    expect(bench.sys.vmstat.read('userfault')).toBe(1);
  });

  test('says whether it is a write, and where it is in its page if the monitor asked', async () => {
    rig = new UffdRig(mm, UFFD_FEATURE_EXACT_ADDRESS);
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1);
    const access = rig.store(addr + 5, 7);
    expect(rig.ctx.read()).toMatchObject({ flags: UFFD_PAGEFAULT_FLAG_WRITE, address: addr + 5 });
    await rig.copy(addr, 0xab);
    await access.done;
    expect([load(mm, addr + 4), load(mm, addr + 5)]).toEqual([0xab, 7]);
  });

  test('outside the registered range does not wait', () => {
    const addr = mapAnon(mm, 3);
    rig.register(addr + PAGE_SIZE, 1);
    expect(load(mm, addr)).toBe(0);
    store(mm, addr + 2 * PAGE_SIZE, 1);
    expect(rig.ctx.isReadable).toBe(false);
  });

  test('a page that is there is nobody else’s business', () => {
    const addr = mapAnon(mm, 1);
    store(mm, addr, 3);
    rig.register(addr, 1);
    expect(load(mm, addr)).toBe(3);
    store(mm, addr, 4);
    expect(rig.ctx.isReadable).toBe(false);
  });

  test('nor is one on the device: it comes home without a message', () => {
    const addr = mapOnDevice(bench, 1);
    rig.register(addr, 1);
    expect(load(mm, addr)).toBe(1);
    expect([rig.ctx.isReadable, bench.device.faults]).toEqual([false, 1]);
  });

  test('that was not read yet can be resolved, and is then never read', async () => {
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1);
    const access = rig.load(addr);
    await rig.copy(addr, 1);
    await access.done;
    expect(rig.ctx.read()).toBe(null);
  });

  test('messages come in order, each once', async () => {
    const addr = mapAnon(mm, 2);
    rig.register(addr, 2);
    const accesses = [rig.load(addr + PAGE_SIZE), rig.load(addr)];
    const first = rig.ctx.read();
    const second = rig.ctx.read();
    expect([first?.address, second?.address]).toEqual([addr + PAGE_SIZE, addr]);
    expect(rig.ctx.read()).toBe(null);
    await rig.copy(addr, 1);
    await rig.copy(addr + PAGE_SIZE, 1);
    await Promise.all(accesses.map(({ done }) => done));
  });

  test('a reader that waits is told', async () => {
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1);
    let told = false;
    const waiting = rig.ctx.waitForMessage().then(() => (told = true));
    await settle();
    expect(told).toBe(false);
    const access = rig.load(addr);
    await waiting;
    await rig.copy(addr, 1);
    await access.done;
  });

  test('woken without a page it faults again', async () => {
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1);
    const access = rig.load(addr);
    rig.ctx.read();
    expect(userfaultfdWake(rig.ctx, addr, PAGE_SIZE)).toBe(0);
    await settle();
    expect(access.outcome).toBe(null);
    expect(rig.ctx.read()?.address).toBe(addr);
    await rig.copy(addr, 1);
    await access.done;
  });

  test('of two accesses both go on after one copy', async () => {
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1);
    const accesses = [rig.load(addr), rig.load(addr + 9)];
    await rig.copy(addr, 5);
    await Promise.all(accesses.map(({ done }) => done));
    expect(accesses.map(({ byte }) => byte)).toEqual([5, 5]);
  });

  test('munmap while it waits makes the access SIGSEGV, once it is woken', async () => {
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1);
    const access = rig.load(addr);
    expectSync(doMunmap(mm, addr, PAGE_SIZE));
    expectSync(userfaultfdRelease(rig.ctx));
    await access.done;
    expect(access.outcome).toBe(FAULT_SIGSEGV);
  });

  test('with UFFD_FEATURE_SIGBUS it is SIGBUS, at once', () => {
    rig = new UffdRig(mm, UFFD_FEATURE_SIGBUS);
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1);
    expect(loadOutcome(mm, addr)).toBe(FAULT_SIGBUS);
  });

  test('without FAULT_FLAG_ALLOW_RETRY it is SIGBUS, and the lock is kept', async () => {
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1);
    const vma = vmaLookup(mm, addr)!;
    expectSync(mm.mmapLock.readLock());
    expect(expectSync(handleMmFault(vma, addr, 0))).toBe(VM_FAULT_SIGBUS);
    expect(mm.mmapLock.isLocked).toBe(true);
    const retried = handleMmFault(vma, addr, FAULT_FLAG_ALLOW_RETRY);
    expect(mm.mmapLock.isLocked).toBe(false);
    expectSync(userfaultfdRelease(rig.ctx));
    expect(await retried).toBe(VM_FAULT_RETRY);
  });

  test('of a shared object waits only while the object lacks the page', async () => {
    const addr = mapShared(mm, 2);
    const other = expectSync(dupMmap(mm)) as MmStruct;
    rig.register(addr, 2);
    store(other, addr, 9);
    expect(load(mm, addr)).toBe(9);
    const access = rig.load(addr + PAGE_SIZE);
    expect(rig.ctx.read()?.address).toBe(addr + PAGE_SIZE);
    expect(await rig.copy(addr + PAGE_SIZE, 4)).toBe(PAGE_SIZE);
    await access.done;
    expect([access.byte, load(other, addr + PAGE_SIZE)]).toEqual([4, 4]);
    expectSync(mmput(other));
  });

  test('beyond the end of an object is SIGBUS at once: there is nothing to fill', async () => {
    const addr = mapShared(mm, 2);
    const inode = vmaLookup(mm, addr)!.inode!;
    await shmemTruncate(inode, PAGE_SIZE);
    rig.register(addr, 2);
    expect(loadOutcome(mm, addr + PAGE_SIZE)).toBe(FAULT_SIGBUS);
    expect(rig.ctx.waiting).toBe(0);
    await shmemTruncate(inode, 2 * PAGE_SIZE);
    const access = rig.load(addr + PAGE_SIZE);
    expect(rig.ctx.read()?.address).toBe(addr + PAGE_SIZE);
    expect(await rig.copy(addr + PAGE_SIZE, 4)).toBe(PAGE_SIZE);
    await access.done;
    expect(access.byte).toBe(4);
  });

  test('of a child is its own: fork does not hand on the registration', () => {
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1);
    const child = expectSync(dupMmap(mm)) as MmStruct;
    expect(load(child, addr)).toBe(0);
    expect(vmaLookup(child, addr)!.uffdCtx).toBe(null);
    expectSync(mmput(child));
  });
});

describe('UFFDIO_COPY', () => {
  test('maps a page of its own: dirty, exclusive, on the LRU, writable as its VMA', async () => {
    const addr = mapAnon(mm, 2);
    rig.register(addr, 1);
    await rig.copy(addr, 1);
    const pte = pteAt(mm, addr);
    expect(pte & (PTE_WRITE | PTE_DIRTY)).toBe(PTE_WRITE | PTE_DIRTY);
    const { mem } = bench.sys;
    expect(mem.testFlag(ptePfn(pte), PG_ANON_EXCLUSIVE)).toBe(true);
    expect(mem.testFlag(ptePfn(pte), PG_LRU)).toBe(true);
  });

  test('to a read-only VMA maps it read-only', async () => {
    const addr = mapAnon(mm, 1, PROT_READ);
    rig.register(addr, 1);
    expect(await rig.copy(addr, 6)).toBe(PAGE_SIZE);
    expect(pteAt(mm, addr) & PTE_WRITE).toBe(0);
    expect(load(mm, addr)).toBe(6);
  });

  test('with DONTWAKE lets the access wait on', async () => {
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1);
    const access = rig.load(addr);
    await rig.copy(addr, 6, UFFDIO_COPY_MODE_DONTWAKE);
    await settle();
    expect(access.outcome).toBe(null);
    userfaultfdWake(rig.ctx, addr, PAGE_SIZE);
    await access.done;
    expect(access.byte).toBe(6);
  });

  test('EEXIST where something is; pages before it are copied and counted', async () => {
    const addr = mapAnon(mm, 3);
    const src = mapAnon(mm, 3);
    store(mm, src, 1);
    store(mm, addr + PAGE_SIZE, 8);
    rig.register(addr, 3);
    expect(await userfaultfdCopy(rig.ctx, addr, src, 3 * PAGE_SIZE, 0)).toBe(PAGE_SIZE);
    expect(await userfaultfdCopy(rig.ctx, addr, src, PAGE_SIZE, 0)).toBe(errno.EEXIST);
    expect([load(mm, addr), load(mm, addr + PAGE_SIZE)]).toEqual([1, 8]);
    expect(pteAt(mm, addr + 2 * PAGE_SIZE)).toBe(0);
  });

  test('EEXIST where the object has a page that this process does not map', async () => {
    const addr = mapShared(mm, 1);
    const other = expectSync(dupMmap(mm)) as MmStruct;
    store(other, addr, 9);
    rig.register(addr, 1);
    expect(await rig.copy(addr, 1)).toBe(errno.EEXIST);
    expect(load(mm, addr)).toBe(9);
    expectSync(mmput(other));
  });

  test('ENOENT: not registered, not mapped, beyond the VMA, or gone meanwhile', async () => {
    const addr = mapAnon(mm, 3);
    const src = mapAnon(mm, 3);
    rig.register(addr + PAGE_SIZE, 1);
    const copy = (at: number, pages: number) =>
      userfaultfdCopy(rig.ctx, at, src, pages * PAGE_SIZE, 0);
    expect(await copy(addr, 1)).toBe(errno.ENOENT);
    expect(await copy(addr + PAGE_SIZE, 2)).toBe(errno.ENOENT);
    expect(await copy(addr - 64 * PAGE_SIZE, 1)).toBe(errno.ENOENT);
    expect(await copy(addr + PAGE_SIZE, 1)).toBe(PAGE_SIZE);
  });

  test('EFAULT: a source that can not be read; no page is lost', async () => {
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1);
    const { freePages } = bench.sys.pageAllocator;
    const nowhere = addr - 64 * PAGE_SIZE;
    expect(await userfaultfdCopy(rig.ctx, addr, nowhere, PAGE_SIZE, 0)).toBe(errno.EFAULT);
    expect(bench.sys.pageAllocator.freePages).toBe(freePages);
  });

  test('ENOMEM: no page', async () => {
    const addr = mapAnon(mm, 1);
    const src = mapAnon(mm, 1);
    store(mm, src, 1);
    rig.register(addr, 1);
    bench.sys.pageAllocator.failAt = 1;
    expect(await userfaultfdCopy(rig.ctx, addr, src, PAGE_SIZE, 0)).toBe(errno.ENOMEM);
  });

  test('reads a source that is on the device', async () => {
    const src = mapOnDevice(bench, 1);
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1);
    expect(await userfaultfdCopy(rig.ctx, addr, src, PAGE_SIZE, 0)).toBe(PAGE_SIZE);
    expect([load(mm, addr), bench.device.faults]).toEqual([1, 1]);
  });
});

describe('UFFDIO_ZEROPAGE', () => {
  test('maps the zero page, and wakes', async () => {
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1);
    const access = rig.load(addr);
    expect(await userfaultfdZeropage(rig.ctx, addr, PAGE_SIZE, 0)).toBe(PAGE_SIZE);
    await access.done;
    expect(access.byte).toBe(0);
    expect(pteAt(mm, addr) & PTE_SPECIAL).not.toBe(0);
    store(mm, addr, 1);
    expect(await userfaultfdZeropage(rig.ctx, addr, PAGE_SIZE, 0)).toBe(errno.EEXIST);
  });

  test('of a shared object makes a page of zeroes', async () => {
    const addr = mapShared(mm, 1);
    rig.register(addr, 1);
    expect(await userfaultfdZeropage(rig.ctx, addr, PAGE_SIZE, 0)).toBe(PAGE_SIZE);
    const pte = pteAt(mm, addr);
    expect([ptePresent(pte), pte & PTE_SPECIAL]).toEqual([true, 0]);
    expect(load(mm, addr)).toBe(0);
  });
});

describe('UFFDIO_POISON', () => {
  test('makes every access SIGBUS, until the page is dropped or replaced [F1]', async () => {
    const addr = mapAnon(mm, 2);
    rig.register(addr, 2);
    const access = rig.load(addr);
    expect(await userfaultfdPoison(rig.ctx, addr, PAGE_SIZE, 0)).toBe(PAGE_SIZE);
    await access.done;
    expect(access.outcome).toBe(FAULT_SIGBUS);
    expect(loadOutcome(mm, addr)).toBe(FAULT_SIGBUS);
    expect(await rig.copy(addr, 3)).toBe(PAGE_SIZE);
    expect(load(mm, addr)).toBe(3);
    expect(await userfaultfdPoison(rig.ctx, addr, PAGE_SIZE, 0)).toBe(errno.EEXIST);
  });
});

describe('unregister and close', () => {
  test('ends where asked to, when the memory behind is not registered', () => {
    const addr = mapAnon(mm, 4);
    rig.register(addr, 2);
    const registered = (): number[] =>
      [0, 1, 2, 3].filter((page) => vmaLookup(mm, addr + page * PAGE_SIZE)?.uffdCtx === rig.ctx);
    // The second page becomes one with the memory behind it, which reaches beyond the range.
    const from = addr + PAGE_SIZE;
    expect(expectSync(userfaultfdUnregister(rig.ctx, from, PAGE_SIZE))).toBe(0);
    expect(registered()).toEqual([0]);
    // Again, where there is nothing to end.
    expect(expectSync(userfaultfdUnregister(rig.ctx, from, PAGE_SIZE))).toBe(0);
    expect(registered()).toEqual([0]);
  });

  test('make ordinary memory of a range, and let waiting accesses go on', async () => {
    const addr = mapAnon(mm, 2);
    rig.register(addr, 2);
    const accesses = [rig.load(addr), rig.load(addr + PAGE_SIZE)];
    expect(expectSync(userfaultfdUnregister(rig.ctx, addr, PAGE_SIZE))).toBe(0);
    await accesses[0]!.done;
    expect([accesses[0]!.byte, accesses[1]!.outcome]).toEqual([0, null]);
    expectSync(userfaultfdRelease(rig.ctx));
    await accesses[1]!.done;
    expect(accesses[1]!.byte).toBe(0);
    expect(mm.vmas.filter(({ uffdCtx }) => uffdCtx !== null)).toEqual([]);
  });

  test('close waits for the mmap lock, and is done once', async () => {
    const addr = mapAnon(mm, 1);
    rig.register(addr, 1);
    expectSync(mm.mmapLock.readLock());
    const closing = userfaultfdRelease(rig.ctx);
    expect(userfaultfdRelease(rig.ctx)).toBe(undefined);
    expect(vmaLookup(mm, addr)!.uffdCtx).toBe(rig.ctx);
    mm.mmapLock.readUnlock();
    await closing;
    expect(vmaLookup(mm, addr)!.uffdCtx).toBe(null);
  });
});

describe('registration', () => {
  test('splits VMAs, and merges them again when it ends', () => {
    const addr = mapAnon(mm, 3);
    rig.register(addr + PAGE_SIZE, 1);
    expect(mm.vmas.length).toBe(3);
    expect(vmaLookup(mm, addr + PAGE_SIZE)!.vmFlags & VM_UFFD_MISSING).not.toBe(0);
    expectSync(userfaultfdUnregister(rig.ctx, addr, 3 * PAGE_SIZE));
    expect(mm.vmas.length).toBe(1);
  });

  test('EBUSY for what another userfaultfd serves; EINVAL to end that', () => {
    const addr = mapAnon(mm, 2);
    rig.register(addr + PAGE_SIZE, 1);
    const other = new UffdRig(mm);
    const length = 2 * PAGE_SIZE;
    expect(expectSync(userfaultfdRegister(other.ctx, addr, length, MISSING))).toBe(errno.EBUSY);
    expect(vmaLookup(mm, addr)!.uffdCtx).toBe(null);
    expect(expectSync(userfaultfdUnregister(other.ctx, addr, length))).toBe(errno.EINVAL);
    expect(expectSync(userfaultfdRegister(rig.ctx, addr, length, MISSING))).toBeGreaterThan(0);
  });

  test.each([
    ['no mode', 0, 1, 0],
    ['an unknown mode', 0, 1, 4],
    ['no length', 0, 0, MISSING],
    ['half a page', 0, 0.5, MISSING],
    ['an address inside a page', 0.5, 1, MISSING],
    ['nothing mapped there', -4, 1, MISSING],
    ['no number', Number.NaN, 1, MISSING],
    ['an endless range', 0, Infinity, MISSING],
  ])('EINVAL: %s', (_what, from, pages, mode) => {
    const addr = mapAnon(mm, 1);
    const start = addr + from * PAGE_SIZE;
    const result = userfaultfdRegister(rig.ctx, start, pages * PAGE_SIZE, mode);
    expect(expectSync(result)).toBe(errno.EINVAL);
    expect(vmaLookup(mm, addr)!.uffdCtx).toBe(null);
  });
});
