/*
 * Memory that a process maps, throws away and maps again while a kernel runs over it: under every
 * policy, and without one, what is mapped when an access is served is served, and nothing else is.
 */
import { describe, expect, it } from 'vitest';
import { errno } from '../../src/base/errno.ts';
import { dptPfn } from '../../src/driver/device-page-table.ts';
import { POLICIES, policyByName } from '../../src/driver/policy/policies.ts';
import type { PolicyName } from '../../src/driver/policy/policies.ts';
import { UVM_SERVICE } from '../../src/driver/policy/policy.ts';
import type { FaultPolicy, PolicyFactory } from '../../src/driver/policy/policy.ts';
import { arg, at, GID, kernelOf, load, op, store, v } from '../../src/engine/vm/ir.ts';
import { CaseBuilder } from '../../src/engine/vm/shapes.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/index.ts';
import { doMmap } from '../../src/mm/mmap.ts';
import { openMachineRig, runOnMachine, runServed } from '../vm/machine-run.ts';
import type { MachineRig } from '../vm/machine-run.ts';

const BASE = 0x20_0000;
const PAGE = 4096;
/** A page for each workgroup, so far apart that all of them span four blocks of 2 MiB. */
const GROUPS = 32;
const STRIDE = 64;
const BYTES = GROUPS * STRIDE * PAGE;
/** Where the last two blocks begin. */
const HALF = BYTES / 2;
const RW = PROT_READ | PROT_WRITE;
const WAYS: readonly (PolicyName | 'no policy')[] = [...POLICIES, 'no policy'];

/** Each workgroup stores to a page of its own what it read there, plus 1; or in page 1. */
function caseOf(isOwn: boolean): VmCase {
  const mine = at(arg(0), op(GID, '*', STRIDE * 1024));
  const to = new CaseBuilder(BASE, 1);
  to.array(1);
  const shared = at(arg(0), 1024);
  const body = [load('x', isOwn ? mine : shared), store(mine, op(v('x'), '+', 1))];
  return to.build('late', kernelOf('late', 1, body, 1), GROUPS);
}

interface Outcome {
  readonly killed: number;
  readonly passes: number;
  /** Pages refused, from the first of the memory, with the reason. */
  readonly refused: readonly (readonly [page: number, why: number])[];
}

/**
 * Runs the case one workgroup after the other. `between` is called between passes, while nothing is
 * lent, with the number of the call.
 */
async function run(
  rig: MachineRig,
  way: PolicyName | 'no policy',
  addr: number,
  between: (call: number) => Promise<void>,
  isOwn = true,
): Promise<Outcome> {
  const one = caseOf(isOwn);
  const refused: [number, number][] = [];
  let calls = 0;
  if (way === 'no policy') {
    const { report, pager } = await runOnMachine(rig, one, addr, undefined, {
      window: 1,
      between: () => between(calls++),
    });
    expect(report.outcome).toBe('done');
    for (const { address, errno: why } of pager.refusals) {
      refused.push([Math.floor((address - addr) / PAGE), why]);
    }
    return { killed: report.killed, passes: report.passes, refused };
  }
  const { report } = await runServed(rig, one, addr, {
    policy: policyByName(way),
    between: () => between(calls++),
    onRefuse: (page, _write, why) => refused.push([page - BASE / PAGE, why]),
    request: { window: 1 },
  });
  expect(report.outcome).toBe('done');
  return { killed: report.killed, passes: report.passes, refused };
}

/** The word of each workgroup. */
async function words(rig: MachineRig, addr: number, from = 0): Promise<number[]> {
  const all: number[] = [];
  for (let i = from; i < GROUPS; i++) {
    const bytes = await rig.process.read(addr + i * STRIDE * PAGE, 4);
    all.push(new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true));
  }
  return all;
}

/** A machine with so much of the kernel's memory mapped as is asked for. */
async function rigWith(length: number): Promise<{ rig: MachineRig; addr: number }> {
  const rig = await openMachineRig('cpu', 256, 0, { ramBytes: 16 * 2 ** 20 });
  // Aligned, so that blocks of the process are blocks of the context.
  const room = await rig.process.mmap({ length: BYTES + 2 ** 21, prot: RW });
  const addr = room + 2 ** 21 - (room % 2 ** 21);
  await rig.process.munmap(room, BYTES + 2 ** 21);
  if (length > 0) await mapAt(rig, addr, length);
  return { rig, addr };
}

async function mapAt(rig: MachineRig, addr: number, length: number, prot = RW): Promise<void> {
  const flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;
  expect(await rig.process.mmap({ addr, length, prot, flags })).toBe(addr);
}

const ALL = Array.from({ length: GROUPS }, () => 1);

describe('memory of a kernel that runs', { timeout: 120_000 }, () => {
  it.each(WAYS)('%s: mapped above all that was there before it is needed: served', async (way) => {
    const { rig, addr } = await rigWith(HALF);
    const outcome = await run(rig, way, addr, async (call) => {
      if (call === 1) await mapAt(rig, addr + HALF, HALF);
    });
    expect(outcome).toMatchObject({ killed: 0, refused: [] });
    expect(await words(rig, addr)).toEqual(ALL);
    await rig.machine.close();
  });

  it.each(WAYS)('%s: never mapped: each access is fatal, with page and reason', async (way) => {
    const { rig, addr } = await rigWith(HALF);
    const { killed, refused } = await run(rig, way, addr, async () => {});
    expect(killed).toBe(GROUPS / 2);
    const expected = Array.from({ length: GROUPS / 2 }, (_, i) => [
      (GROUPS / 2 + i) * STRIDE,
      errno.EFAULT,
    ]);
    expect(refused).toEqual(expected);
    await rig.machine.close();
  });

  it.each(WAYS)('%s: mapped after it was refused: from then on it is served', async (way) => {
    const { rig, addr } = await rigWith(BYTES);
    await rig.process.munmap(addr + PAGE, PAGE);
    const { killed, refused } = await run(
      rig,
      way,
      addr,
      async (call) => {
        if (call === 5) await mapAt(rig, addr + PAGE, PAGE);
      },
      false,
    );
    expect(killed).toBeGreaterThan(0);
    expect(killed).toBeLessThan(8);
    expect(refused).toContainEqual([1, errno.EFAULT]);
    expect(await words(rig, addr, 8)).toEqual(ALL.slice(8));
    await rig.machine.close();
  });

  it.each(WAYS)('%s: not mapped after it was refused: refused for good', async (way) => {
    const { rig, addr } = await rigWith(BYTES);
    await rig.process.munmap(addr + PAGE, PAGE);
    const { killed } = await run(rig, way, addr, async () => {}, false);
    expect(killed).toBe(GROUPS);
    await rig.machine.close();
  });

  it('mapped while the faults before it are served: later accesses are served', async () => {
    const { rig, addr } = await rigWith(BYTES);
    await rig.process.munmap(addr + PAGE, PAGE);
    // Even workgroups fault on their own pages, odd ones on page 1, in the same batch.
    const odd = op(GID, '%', 2);
    const own = op(op(op(GID, '+', 1), '%', 2), '*', op(GID, '*', STRIDE * 1024));
    const from = at(arg(0), op(own, '+', op(odd, '*', 1024)));
    const to = new CaseBuilder(BASE, 1);
    to.array(1);
    const mine = at(arg(0), op(GID, '*', STRIDE * 1024));
    const body = [load('x', from), store(mine, op(v('x'), '+', 1))];
    const one = to.build('late', kernelOf('late', 1, body, 1), GROUPS);
    let isMapped = false;
    const policy: PolicyFactory = (setup) => {
      const inner = policyByName('none')(setup);
      const onFaults: FaultPolicy['onFaults'] = (group, view, decisions) => {
        // By now the service has found that page 1 is no memory.
        if (!isMapped) {
          const flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;
          const wanted = { addr: addr + PAGE, length: PAGE, prot: RW, flags, pgoff: 0 };
          expect(doMmap(rig.mirror.mm, wanted)).toBe(addr + PAGE);
          isMapped = true;
        }
        inner.onFaults(group, view, decisions);
      };
      return Object.assign(Object.create(inner) as FaultPolicy, { onFaults, service: UVM_SERVICE });
    };
    const refused: number[] = [];
    const onRefuse = (page: number): void => void refused.push(page - BASE / PAGE);
    const { report } = await runServed(rig, one, addr, { policy, onRefuse });
    expect([report.outcome, isMapped]).toEqual(['done', true]);
    expect(new Set(refused)).toEqual(new Set([1]));
    // Those of the batch: two of the four workgroups in flight.
    expect(report.killed).toBe(2);
    expect(await words(rig, addr, 4)).toEqual(ALL.slice(4));
    await rig.machine.close();
  });

  it.each(WAYS)('%s: thrown away and mapped again: the new memory is what counts', async (way) => {
    const { rig, addr } = await rigWith(BYTES);
    for (let i = 0; i < GROUPS; i++)
      await rig.process.write(addr + i * STRIDE * PAGE, Uint8Array.of(7));
    let remapped = 0;
    const { killed } = await run(rig, way, addr, async (call) => {
      if (call !== 1 && call !== 6 && call !== 7) return;
      remapped++;
      await rig.process.munmap(addr, BYTES);
      await mapAt(rig, addr, BYTES);
    });
    expect([killed, remapped]).toEqual([0, 3]);
    const last = (await words(rig, addr)).slice(10);
    expect(last).toEqual(ALL.slice(10));
    await rig.machine.close();
  });

  it.each(WAYS)('%s: brought home while nobody may reach for it', async (way) => {
    const { rig, addr } = await rigWith(BYTES);
    const length = 4 * STRIDE * PAGE;
    let moved = 0;
    const { killed } = await run(rig, way, addr, async (call) => {
      if (call !== 14) return;
      const { device, pageTable } = rig.mirror;
      const pfns = [0, 1, 2, 3].map((i) => dptPfn(pageTable.lookup(addr / PAGE + i * STRIDE)));
      await rig.process.mprotect(addr, length, PROT_NONE);
      for (const pfn of pfns.filter((one) => device.memory.has(one))) {
        await device.evictPage(pfn);
        moved++;
      }
    });
    expect(killed).toBe(0);
    // Others use what they use over the link; for xe's ranges the device is too small.
    const stays = ['nouveau', 'adaptive', 'xe'].includes(way);
    if (!stays) expect(moved).toBeGreaterThan(0);
    await rig.process.mprotect(addr, length, RW);
    expect(await words(rig, addr)).toEqual(ALL);
    await rig.machine.close();
  });

  it.each(WAYS)('%s: out of reach for a while, and used by the CPU afterwards', async (way) => {
    const { rig, addr } = await rigWith(BYTES);
    const { killed } = await run(rig, way, addr, async (call) => {
      // What the device has stays there.
      if (call === 14) await rig.process.mprotect(addr, 4 * STRIDE * PAGE, PROT_NONE);
      if (call !== 16) return;
      await rig.process.mprotect(addr, 4 * STRIDE * PAGE, RW);
      for (let i = 0; i < 4; i++) await rig.process.read(addr + i * STRIDE * PAGE, 4);
    });
    expect(killed).toBe(0);
    expect(await words(rig, addr)).toEqual(ALL);
    await rig.machine.close();
  });
});
