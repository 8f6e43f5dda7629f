/*
 * Pages that a policy keeps on the device: what would take them home without a fault of theirs
 * leaves them or waits, and evictions take them. Oracle: drm_pagemap.c, where migrate_to_ram alone
 * looks at the timeslice, for the whole allocation.
 */
import { describe, expect, it } from 'vitest';
import { bringRangeHome } from '../../src/driver/bring-home.ts';
import { FaultAround } from '../../src/driver/fault-around.ts';
import { COST_MODEL } from '../../src/driver/policy/cost-model.ts';
import { XE_TIMESLICE_US } from '../../src/driver/policy/drivers/xe.ts';
import { policyByName } from '../../src/driver/policy/policies.ts';
import { NO_HINTS } from '../../src/driver/policy/policy.ts';
import type { PolicyFactory } from '../../src/driver/policy/policy.ts';
import {
  HMM_DMIRROR_MIGRATE_TO_SYS,
  HMM_DMIRROR_RELEASE,
  newDmirrorCmd,
} from '../../src/driver/dmirror.ts';
import type { PageKeeper } from '../../src/driver/kept-pages.ts';
import { arg, at, GID, kernelOf, load, op, reduce, store, v } from '../../src/engine/vm/ir.ts';
import { CaseBuilder } from '../../src/engine/vm/shapes.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import { PAGE_DEVICE } from '../../src/index.ts';
import { mapCase, openMachineRig, runServed } from '../vm/machine-run.ts';
import type { MachineRig } from '../vm/machine-run.ts';

const BASE = 0x20_0000;
const PAGE = 4096;
const GROUPS = 64;
/** Eight pages migrate together. */
const NEARBY = { ...NO_HINTS, granularity: 3 };

/** Each workgroup counts in page 0, by an atomic or not, and stores to a page of its own. */
function counting(isAtomic: boolean, groups = GROUPS): VmCase {
  const mine = at(arg(1), op(GID, '*', 1024));
  const plain = [load('x', at(arg(0), 0)), store(at(arg(0), 0), op(v('x'), '+', 1))];
  const body = [...(isAtomic ? [reduce('add', at(arg(0), 0), 1)] : plain), store(mine, GID)];
  const to = new CaseBuilder(BASE, 1);
  to.array(1);
  to.array(groups * 1024);
  return to.build('counting', kernelOf('counting', 1, body, 1), groups);
}

interface Rig extends MachineRig {
  readonly one: VmCase;
  readonly addr: number;
}

async function rigFor(isAtomic: boolean, groups = GROUPS): Promise<Rig> {
  const one = counting(isAtomic, groups);
  const rig = await openMachineRig('cpu', 1024, 0, { ramBytes: 16 * 2 ** 20 });
  const addr = await mapCase(rig, one);
  return { ...rig, one, addr };
}

/** The pages of the case, from 0 on, that are on the device. */
async function onDevice({ process, addr }: Rig, pages: number): Promise<number[]> {
  const codes = await process.pageMap(addr, pages);
  return [...codes.keys()].filter((page) => codes[page] === PAGE_DEVICE);
}

const numbers = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, i) => from + i);

const kept = ({ machine }: Rig): number => machine.vmstat.read('device_private_kept');
const held = ({ machine }: Rig): number => machine.vmstat.read('device_private_held');

/** Single pages that come and never go; `keeps` says which stay, from the case's page 0 on. */
function keeping(keeps: ((page: number) => unknown) | undefined): PolicyFactory {
  return (setup) => {
    const policy = policyByName('none')(setup);
    if (keeps === undefined) return policy;
    const first = BASE / PAGE;
    const answer = (page: number): boolean => keeps(page - first) as boolean;
    return Object.assign(policy, { keeps: answer });
  };
}

/** Has `then` happen once the kernel has all its pages on the device, and the launch still runs. */
async function whenAllThere(
  rig: Rig,
  policy: PolicyFactory,
  then: () => Promise<void> | void,
): Promise<void> {
  let isDone = false;
  const { report } = await runServed(rig, rig.one, rig.addr, {
    policy,
    request: { window: GROUPS },
    between: async () => {
      if (isDone || (await onDevice(rig, GROUPS + 1)).length <= GROUPS) return;
      isDone = true;
      await then();
    },
  });
  expect([report.outcome, isDone]).toEqual(['done', true]);
}

describe('fault-around', () => {
  /** What is left of an aligned 64 KiB on the device after a CPU has read page 8 of it. */
  async function afterRead(stay: ReadonlySet<number> | null): Promise<[number[], number]> {
    const rig = await rigFor(false);
    rig.mirror.device.faultAround = new FaultAround(16);
    // Windows are aligned by virtual address.
    const begin = 16 - ((rig.addr / PAGE) % 16);
    const keeps = stay === null ? undefined : (page: number) => stay.has(page - begin);
    let left: number[] = [];
    await whenAllThere(rig, keeping(keeps), async () => {
      await rig.process.read(rig.addr + (begin + 8) * PAGE, 4);
      left = (await onDevice(rig, begin + 16)).map((page) => page - begin);
    });
    const counts = [kept(rig), held(rig)];
    await rig.machine.close();
    expect(counts[1]).toBe(0);
    return [left.filter((page) => page >= 0), counts[0]!];
  }

  it('takes the whole window where nobody keeps a page', async () => {
    expect(await afterRead(null)).toEqual([[], 0]);
    expect(await afterRead(new Set([-1, 16]))).toEqual([[], 0]);
  });

  it('takes what lies between two pages that are kept', async () => {
    const stays = [...numbers(0, 4), ...numbers(12, 16)];
    expect(await afterRead(new Set([3, 12]))).toEqual([stays, 2]);
    expect(await afterRead(new Set([7]))).toEqual([numbers(0, 8), 1]);
    expect(await afterRead(new Set([0, 15]))).toEqual([[0, 15], 2]);
  });
});

describe('prefetch hints', () => {
  it.each([
    ['leave what is kept', new Set([0, 5, 6, 63]), 4],
    ['bring everything where nothing is', new Set<number>(), 0],
  ])('%s', async (_, stay, count) => {
    const rig = await rigFor(false);
    let left: number[] = [];
    await whenAllThere(
      rig,
      keeping((page) => stay.has(page)),
      async () => {
        const { device, mm } = rig.mirror;
        await bringRangeHome(device, mm, rig.addr, rig.addr + GROUPS * PAGE);
        left = await onDevice(rig, GROUPS);
      },
    );
    expect([left, kept(rig)]).toEqual([[...stay], count]);
    await rig.machine.close();
  });
});

describe('MIGRATE_TO_SYS', () => {
  /** Virtual times at which page 0 was asked for, and left; what the command answered. */
  async function sentHome(isAtomic: boolean): Promise<[number, number, number, number]> {
    const rig = await rigFor(isAtomic, 200);
    const answers: Promise<number>[] = [];
    let asked = 0;
    let left = 0;
    const policy: PolicyFactory = (setup) => {
      const xe = policyByName('xe')(setup);
      const onFaults = xe.onFaults.bind(xe);
      const leaves = xe.left?.bind(xe);
      xe.onFaults = (faults, view, answer) => {
        if (faults.pages[0] === BASE / PAGE && left === 0) asked = view.nowUs;
        onFaults(faults, view, answer);
      };
      xe.left = (page, cause, view) => {
        if (page === BASE / PAGE) left ||= view.nowUs;
        leaves?.(page, cause, view);
      };
      return xe;
    };
    const cmd = newDmirrorCmd(rig.addr, 1, 0);
    const { report } = await runServed(rig, rig.one, rig.addr, {
      policy,
      cost: { ...COST_MODEL, cpuFaultUs: 400 },
      request: { window: 1 },
      between: async () => {
        const isThere = (await onDevice(rig, 1)).length === 1;
        if (isThere && answers.length === 0) {
          answers.push(rig.mirror.ioctl(HMM_DMIRROR_MIGRATE_TO_SYS, cmd));
        }
        await new Promise((resolve) => setImmediate(resolve));
      },
    });
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    const [answer] = await Promise.all(answers);
    const waited = held(rig);
    await rig.machine.close();
    expect(cmd.cpages).toBe(1);
    return [answer!, asked, left, waited];
  }

  it('M6: waits for the timeslice of a range that an atomic moved, without a lock', async () => {
    const [answer, asked, left, waited] = await sentHome(true);
    expect([answer, left - asked >= XE_TIMESLICE_US]).toEqual([0, true]);
    expect(waited).toBeGreaterThan(5);
  });

  it('does not wait for one that loads and stores moved', async () => {
    const [answer, asked, left, waited] = await sentHome(false);
    expect([answer, waited]).toEqual([0, 0]);
    expect(left - asked).toBeLessThan(XE_TIMESLICE_US);
  });

  it('goes on when the launch ends, and when the file is closed', async () => {
    for (const isClosed of [false, true]) {
      const rig = await rigFor(false);
      const answers: Promise<unknown>[] = [];
      const cmd = newDmirrorCmd(rig.addr, 1, 0);
      await whenAllThere(
        rig,
        keeping(() => true),
        () => {
          answers.push(rig.mirror.ioctl(HMM_DMIRROR_MIGRATE_TO_SYS, cmd));
          if (isClosed) answers.push(rig.mirror.close());
        },
      );
      const [answer] = await Promise.all(answers);
      expect([answer, cmd.cpages]).toEqual([0, 1]);
      await rig.machine.close();
    }
  });
});

describe('other contexts', () => {
  /** Another context that keeps the case's page 5. */
  const other = ({ addr }: Rig): PageKeeper => ({
    range: { first: addr / PAGE, outer: addr / PAGE + GROUPS },
    holdsBack: () => null,
    keeps: (_, page) => page === addr / PAGE + 5,
    detains: () => null,
  });

  /** Pages 0 to 7 that are left when a CPU has read page 2 of a context under kfd. */
  async function afterRead(isKept: boolean): Promise<[number[], number]> {
    const rig = await rigFor(false);
    const keeper = other(rig);
    if (isKept) rig.mirror.device.kept.add(keeper);
    let left: number[] = [];
    let passes = -1;
    const { report } = await runServed(rig, rig.one, rig.addr, {
      policy: policyByName('kfd'),
      hints: [{ first: BASE / PAGE, outer: BASE / PAGE + GROUPS + 1, hints: NEARBY }],
      request: { window: 1 },
      between: async () => {
        if (passes < 0) {
          if ((await onDevice(rig, 8)).length < 8) return;
          await rig.process.read(rig.addr + 2 * PAGE, 4);
          passes = 0;
        } else if (passes++ === 0) left = await onDevice(rig, 8);
      },
    });
    expect(report.outcome).toBe('done');
    const count = kept(rig);
    rig.mirror.device.kept.delete(keeper);
    await rig.machine.close();
    return [left, count];
  }

  it('send neighbours home with a page, but not one that is kept', async () => {
    const [left, count] = await afterRead(true);
    expect(left).toContain(5);
    expect(left.length).toBeLessThan(8);
    expect(count).toBeGreaterThan(0);
    const [all, none] = await afterRead(false);
    expect(all).not.toContain(5);
    expect(none).toBe(0);
  });

  it('evict what is kept: an eviction is about frames', async () => {
    const rig = await rigFor(false);
    const keeper = { ...other(rig), keeps: () => true };
    await whenAllThere(rig, policyByName('none'), async () => {
      rig.mirror.device.kept.add(keeper);
      const released = await rig.mirror.ioctl(HMM_DMIRROR_RELEASE, newDmirrorCmd(0, 1, 0));
      expect([released, await onDevice(rig, GROUPS)]).toEqual([0, []]);
      rig.mirror.device.kept.delete(keeper);
    });
    expect(kept(rig)).toBe(0);
    await rig.machine.close();
  });
});

describe('a policy that does not say what it keeps', () => {
  it.each([
    ['throws', () => 'x'.repeat(-1), /keeps: throws: Invalid count value/],
    ['a number', () => 1, /keeps: answers neither true nor false/],
    ['a promise', () => Promise.reject(new Error('late')), /keeps: answers with a promise/],
  ])('%s: its launch ends with the cause, and the page goes', async (_, keeps, why) => {
    const rig = await rigFor(false);
    let status = -1;
    const between = async (): Promise<void> => {
      if (status >= 0 || (await onDevice(rig, 1)).length === 0) return;
      const cmd = newDmirrorCmd(rig.addr, 1, 0);
      status = await rig.mirror.ioctl(HMM_DMIRROR_MIGRATE_TO_SYS, cmd);
      expect(cmd.cpages).toBe(1);
    };
    const policy = keeping(keeps);
    const run = runServed(rig, rig.one, rig.addr, { policy, between, request: { window: 1 } });
    await expect(run).rejects.toThrow(why);
    expect([status, rig.mirror.device.kept.all().length]).toEqual([0, 0]);
    const again = await runServed(rig, rig.one, rig.addr, { policy: policyByName('none') });
    expect(again.report.outcome).toBe('done');
    await rig.machine.close();
  });
});
