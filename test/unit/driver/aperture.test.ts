/*
 * The system aperture at its edges: rights that change between two lends, RAM that is full.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { Aperture } from '../../../src/driver/aperture.ts';
import { HMM_DMIRROR_MIGRATE_TO_DEV, newDmirrorCmd } from '../../../src/driver/dmirror.ts';
import { ACCESS_READ, ACCESS_WRITE, PTE_READ } from '../../../src/engine/vm/abi.ts';
import { DeviceSpace } from '../../../src/engine/vm/device-space.ts';
import { PROT_READ, PROT_WRITE } from '../../../src/index.ts';
import { allocPage, putPage } from '../../../src/mm/page-alloc.ts';
import { checkInvariants } from '../../../src/sim/check-invariants.ts';
import { openMachineRig } from '../../vm/machine-run.ts';
import type { MachineRig } from '../../vm/machine-run.ts';

describe('pages lent for a pass', () => {
  let rig: MachineRig;
  let addr: number;
  let space: DeviceSpace;
  let aperture: Aperture;
  beforeEach(async () => {
    rig = await openMachineRig('cpu', 16);
    addr = await rig.process.mmap({ length: 2 * PAGE_SIZE, prot: PROT_READ | PROT_WRITE });
    await rig.process.write(addr, Uint8Array.of(5));
    await rig.process.write(addr + PAGE_SIZE, Uint8Array.of(6));
    space = new DeviceSpace(1);
    aperture = new Aperture(rig.mirror, space, addr, rig.firstFrame);
  });
  afterEach(async () => {
    await aperture.giveBack();
    checkInvariants(rig.machine.kernel.sys);
    await rig.machine.close();
  });

  /** Lends one page; answers what was refused. */
  async function lend(page: number, access: number): Promise<[number, number][]> {
    const number = addr / PAGE_SIZE + page;
    const refused = await aperture.lend(new Map([[number, access]]));
    return [...refused].map(([one, status]) => [one - number, status]);
  }

  it('lent for writing before, read-only since: it is lent for reading', async () => {
    expect(await lend(0, ACCESS_WRITE)).toEqual([]);
    expect(aperture.lentPages).toBe(1);
    expect(await aperture.giveBack()).toBe(0);
    await rig.process.mprotect(addr, PAGE_SIZE, PROT_READ);
    expect(await lend(0, ACCESS_READ)).toEqual([]);
    expect(aperture.lentPages).toBe(1);
    expect(space.entryOf(0) & 7).toBe(PTE_READ);
  });

  it('and for writing it is refused', async () => {
    expect(await lend(0, ACCESS_WRITE)).toEqual([]);
    expect(await aperture.giveBack()).toBe(0);
    await rig.process.mprotect(addr, PAGE_SIZE, PROT_READ);
    expect(await lend(0, ACCESS_WRITE)).toEqual([[0, errno.EPERM]]);
    expect(aperture.lentPages).toBe(0);
  });

  it('a pinned page is not lent for writing where RAM has no page to merge it from', async () => {
    const pinned = await rig.process.pinUserPages(addr, 1);
    const taken = takeAllRam(rig);
    expect(await lend(0, ACCESS_WRITE)).toEqual([[0, errno.ENOMEM]]);
    expect(aperture.lentPages).toBe(0);
    // Nothing has to be merged of what is only read.
    expect(await lend(0, ACCESS_READ)).toEqual([]);
    expect(aperture.lentPages).toBe(1);
    expect(await aperture.giveBack()).toBe(0);
    giveRamBack(rig, taken);
    expect(await lend(0, ACCESS_WRITE)).toEqual([]);
    expect(await aperture.giveBack()).toBe(0);
    expect(aperture.stats.merged).toBe(1);
    await pinned.release();
  });

  it('a page that is lent again unasked is not refused, if it has to stay away', async () => {
    const pinned = await rig.process.pinUserPages(addr, 1);
    expect(await lend(0, ACCESS_WRITE)).toEqual([]);
    expect(await aperture.giveBack()).toBe(0);
    const taken = takeAllRam(rig);
    expect(await lend(1, ACCESS_READ)).toEqual([]);
    expect(aperture.lentPages).toBe(1);
    giveRamBack(rig, taken);
    await pinned.release();
  });

  it('a page that has gone to the device is not lent again: passes wait for nobody', async () => {
    expect(await lend(0, ACCESS_WRITE)).toEqual([]);
    expect(await aperture.giveBack()).toBe(0);
    const moved = newDmirrorCmd(addr, 1, 0);
    expect(await rig.mirror.ioctl(HMM_DMIRROR_MIGRATE_TO_DEV, moved)).toBe(0);
    await aperture.beforePass();
    expect(aperture.lentPages).toBe(0);
    const { apertureLock } = rig.mirror.device;
    await apertureLock.lock();
    let isReady = false;
    const before = aperture.beforePass().then(() => (isReady = true));
    for (let turn = 0; turn < 50; turn++) await Promise.resolve();
    expect(isReady).toBe(true);
    apertureLock.unlock();
    await before;
  });
});

function takeAllRam({ machine }: MachineRig): number[] {
  const { sys } = machine.kernel;
  const taken: number[] = [];
  while (sys.pageAllocator.freePages > 0) taken.push(allocPage(sys));
  return taken;
}

function giveRamBack({ machine }: MachineRig, taken: readonly number[]): void {
  for (const pfn of taken) putPage(machine.kernel.sys, pfn);
}
