import { describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { mmput } from '../../../src/mm/fork.ts';
import { pinUserPage, unpinUserPage } from '../../../src/mm/gup.ts';
import { shmemCreate, shmemGet, shmemPut } from '../../../src/mm/shmem.ts';
import { checkInvariants, findProblems } from '../../model/check-invariants.ts';
import { expectSync, makeMm, makeSystem, mapShared, store } from './fixture.ts';

describe('shared memory objects', () => {
  test.each([
    ['a negative length', -1],
    ['NaN', Number.NaN],
    ['half a byte', 0.5],
  ])('%s is EINVAL', (_name, length) => {
    expect(shmemCreate(makeSystem(), length)).toBe(errno.EINVAL);
  });

  test.each([0, 1, PAGE_SIZE + 1, 2 ** 50])('may be %d bytes long and begin empty', (length) => {
    const inode = shmemCreate(makeSystem(), length);
    if (typeof inode === 'number') throw new Error('refused');
    expect([inode.size, inode.nrPages]).toEqual([length, 0]);
  });

  test('numbers are reused, and the checker knows a leaked object', () => {
    const sys = makeSystem();
    const first = shmemCreate(sys, PAGE_SIZE);
    if (typeof first === 'number') throw new Error('refused');
    expect(findProblems(sys).join()).toContain('I15');
    expect(findProblems(sys, { inodeHandles: new Map([[first, 1]]) })).toEqual([]);
    shmemPut(first);
    const second = shmemCreate(sys, PAGE_SIZE);
    expect(typeof second === 'number' ? second : second.id).toBe(first.id);
  });

  test('a pinned page survives its object, belonging to nobody', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const pfn = expectSync(pinUserPage(mm, mapShared(mm, 1)));
    expectSync(mmput(mm));
    expect(sys.mem.mapping[pfn]).toBe(0);
    checkInvariants(sys, { pins: new Map([[pfn, 1]]) });
    unpinUserPage(sys, pfn);
    checkInvariants(sys);
  });

  test('the last user frees every page', () => {
    const sys = makeSystem();
    const mm = makeMm(sys);
    const free = sys.pageAllocator.freePages;
    const base = mapShared(mm, 5);
    for (const i of [0, 2, 4]) store(mm, base + i * PAGE_SIZE, 1);
    expect(mm.vmas[0]!.inode!.nrPages).toBe(3);
    expectSync(mmput(mm));
    expect(sys.pageAllocator.freePages).toBe(free);
    checkInvariants(sys);
  });

  test('I15: users come and go in pairs', () => {
    const inode = shmemCreate(makeSystem(), PAGE_SIZE);
    if (typeof inode === 'number') throw new Error('refused');
    shmemPut(inode);
    expect(() => shmemPut(inode)).toThrow('I15');
    expect(() => shmemGet(inode)).toThrow('I15');
  });
});
