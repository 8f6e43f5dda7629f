/*
 * CPUs that a policy has wait: pages stay on the device for their time, in virtual time, whatever
 * the CPU wants; and nobody waits for ever.
 */
import { describe, expect, it } from 'vitest';
import { CpuWaits } from '../../src/driver/cpu-waits.ts';
import { COST_MODEL } from '../../src/driver/policy/cost-model.ts';
import { XE_TIMESLICE_US } from '../../src/driver/policy/drivers/xe.ts';
import { policyByName } from '../../src/driver/policy/policies.ts';
import { ACCESS_ATOMIC } from '../../src/driver/policy/policy.ts';
import type { PolicyFactory } from '../../src/driver/policy/policy.ts';
import type { ServicePager } from '../../src/driver/service-pager.ts';
import { arg, at, GID, kernelOf, load, op, reduce, store, v } from '../../src/engine/vm/ir.ts';
import { CaseBuilder } from '../../src/engine/vm/shapes.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import { mapCase, openMachineRig, runServed } from '../vm/machine-run.ts';
import type { MachineRig } from '../vm/machine-run.ts';

const BASE = 0x20_0000;
const PAGE = 4096;
const GROUPS = 200;

/** Each workgroup counts in page 0, by an atomic or not, and stores to a page of its own. */
function counting(isAtomic: boolean): VmCase {
  const mine = at(arg(1), op(GID, '*', 1024));
  const plain = [load('x', at(arg(0), 0)), store(at(arg(0), 0), op(v('x'), '+', 1))];
  const body = [...(isAtomic ? [reduce('add', at(arg(0), 0), 1)] : plain), store(mine, GID)];
  const to = new CaseBuilder(BASE, 1);
  to.array(1);
  to.array(GROUPS * 1024);
  return to.build('counting', kernelOf('counting', 1, body, 1), GROUPS);
}

/** Virtual times at which page 0 was asked for by atomics, and at which the CPU had it. */
interface Times {
  readonly asked: number[];
  readonly left: number[];
}

const FIRST = BASE / PAGE;

/** A policy that notes what happens to the first page. */
function watched(factory: PolicyFactory, times: Times): PolicyFactory {
  return (setup) => {
    const policy = factory(setup);
    const onFaults = policy.onFaults.bind(policy);
    const left = policy.left?.bind(policy);
    policy.onFaults = (faults, view, answer) => {
      for (let i = 0; i < faults.count; i++) {
        const isIt = faults.pages[i] === FIRST && faults.access[i] === ACCESS_ATOMIC;
        if (isIt) times.asked.push(view.nowUs);
      }
      onFaults(faults, view, answer);
    };
    policy.left = (page, cause, view) => {
      if (page === FIRST && cause === 'cpu') times.left.push(view.nowUs);
      left?.(page, cause, view);
    };
    return policy;
  };
}

/** Runs with a CPU that reads page 0 whenever it can. */
async function runRead(
  rig: MachineRig,
  one: VmCase,
  addr: number,
  policy: PolicyFactory,
): Promise<{ pager: ServicePager; reads: number; held: number; first: number }> {
  const state = { isOver: false, reads: 0, calls: 0 };
  const readings: Promise<void>[] = [];
  const readOn = async (): Promise<void> => {
    while (!state.isOver) {
      await rig.process.read(addr, 4);
      state.reads++;
      // Not after each pass: taking back what was granted for ever would be a livelock.
      const seen = state.calls;
      while (state.calls - seen < 5 && !state.isOver) {
        await new Promise((resolve) => setImmediate(resolve));
      }
    }
  };
  const between = async (): Promise<void> => {
    if (state.calls++ === 0) readings.push(readOn());
    await new Promise((resolve) => setImmediate(resolve));
  };
  const { report, pager } = await runServed(rig, one, addr, {
    policy,
    between,
    // An attempt takes so long that a timeslice ends while the kernel runs.
    cost: { ...COST_MODEL, cpuFaultUs: 400 },
    request: { window: 1 },
  });
  state.isOver = true;
  await Promise.all(readings);
  expect(report).toMatchObject({ outcome: 'done', killed: 0 });
  const bytes = await rig.process.read(addr, 4);
  const first = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  return { pager, reads: state.reads, first, held: rig.machine.vmstat.read('device_private_held') };
}

async function smallRig(one: VmCase): Promise<{ rig: MachineRig; addr: number }> {
  const rig = await openMachineRig('cpu', 1024, 0, { ramBytes: 16 * 2 ** 20 });
  return { rig, addr: await mapCase(rig, one) };
}

describe('CPUs that a policy has wait', { timeout: 120_000 }, () => {
  it('M6: xe: a page that an atomic moved stays for its timeslice of virtual time', async () => {
    const one = counting(true);
    const { rig, addr } = await smallRig(one);
    const times: Times = { asked: [], left: [] };
    const policy = watched(policyByName('xe'), times);
    const { held, first, reads } = await runRead(rig, one, addr, policy);
    expect(first).toBe(GROUPS);
    expect(held).toBeGreaterThan(0);
    expect(reads).toBeGreaterThan(0);
    // The CPU had it, and never before the time of the atomic before was over.
    expect(times.left.length).toBeGreaterThan(0);
    for (const left of times.left) {
      const asked = times.asked.filter((us) => us <= left).at(-1)!;
      expect(left - asked).toBeGreaterThanOrEqual(XE_TIMESLICE_US);
    }
    await rig.machine.close();
  });

  it('xe: a page that loads and stores moved goes when the CPU wants it', async () => {
    const one = counting(false);
    const { rig, addr } = await smallRig(one);
    const times: Times = { asked: [], left: [] };
    const policy = watched(policyByName('xe'), times);
    const { held, first, pager } = await runRead(rig, one, addr, policy);
    expect([first, held, times.asked.length]).toEqual([GROUPS, 0, 0]);
    expect(times.left.length).toBeGreaterThan(0);
    expect(pager.service.counts.throttled).toBe(0);
    await rig.machine.close();
  });

  it('a policy that makes the CPU wait for ever: until the launch is over', async () => {
    const one = counting(false);
    const { rig, addr } = await smallRig(one);
    const times: Times = { asked: [], left: [] };
    const stubborn: PolicyFactory = (setup) => {
      const policy = policyByName('none')(setup);
      policy.onCpuFault = (page, _access, _view, answer) => answer.throttle(page);
      return policy;
    };
    const { held, reads } = await runRead(rig, one, addr, watched(stubborn, times));
    expect(times.left).toEqual([]);
    expect(held).toBeGreaterThan(10);
    expect(reads).toBeGreaterThan(0);
    await rig.machine.close();
  });

  it('a policy that throws when a CPU asks: the CPU has its page, the launch ends', async () => {
    const one = counting(false);
    const { rig, addr } = await smallRig(one);
    const thrower: PolicyFactory = (setup) => {
      const policy = policyByName('none')(setup);
      policy.onCpuFault = () => {
        throw new Error('no idea');
      };
      return policy;
    };
    let read = 0;
    const between = async (): Promise<void> => {
      if (read++ === 4) await rig.process.read(addr, 4);
    };
    const run = runServed(rig, one, addr, { policy: thrower, between, request: { window: 1 } });
    await expect(run).rejects.toThrow(/onCpuFault: throws: no idea/);
    // The next launch has all memory, and CPUs are asked about nothing any more.
    expect(rig.mirror.device.kept.all().length).toBe(0);
    const again = await runServed(rig, one, addr, { policy: policyByName('none') });
    expect(again.report.outcome).toBe('done');
    await rig.machine.close();
  });

  it('munmap, mprotect and fork of a page that a CPU waits for', async () => {
    const one = counting(true);
    const { rig, addr } = await smallRig(one);
    let calls = 0;
    const forks: Promise<unknown>[] = [];
    const waiting: Promise<string>[] = [];
    const read = async (): Promise<string> => {
      try {
        await rig.process.read(addr, 4);
        return 'read';
      } catch (error) {
        return String(error);
      }
    };
    const between = async (): Promise<void> => {
      calls++;
      if (calls === 3) waiting.push(read());
      if (calls === 5) forks.push(rig.process.fork());
      if (calls === 8) waiting.push(read());
      if (calls === 10) await rig.process.mprotect(addr, PAGE, 1);
      if (calls === 11) await rig.process.mprotect(addr, PAGE, 3);
      if (calls === 14) waiting.push(read());
      if (calls === 16) await rig.process.munmap(addr, PAGE);
      await new Promise((resolve) => setImmediate(resolve));
    };
    const policy = policyByName('xe');
    const { report } = await runServed(rig, one, addr, {
      policy,
      between,
      request: { window: 1 },
    });
    expect(report.outcome).toBe('done');
    // What is mapped nowhere any more ends its invocations.
    expect(report.killed).toBeGreaterThan(0);
    const ends = await Promise.all(waiting);
    expect(ends.slice(0, 2)).toEqual(['read', 'read']);
    expect(ends[2]).toMatch(/^read$|SIGSEGV/);
    await Promise.all(forks);
    await rig.machine.close();
  });

  it('as many passes as there may be, and no more', async () => {
    const one = counting(false);
    const { rig, addr } = await smallRig(one);
    for (const most of [3, 4]) {
      const stubborn: PolicyFactory = (setup) => {
        const policy = policyByName('none')(setup);
        policy.onCpuFault = (page, _access, _view, answer) => answer.throttle(page);
        return policy;
      };
      const waits: boolean[] = [];
      await runServed(rig, one, addr, {
        policy: stubborn,
        request: { window: 1 },
        between: ({ pass }, pager) => {
          if (pass !== 6) return;
          const { vmas } = rig.mirror.mm;
          const vma = vmas.find(({ vmStart, vmEnd }) => vmStart <= addr && addr < vmEnd)!;
          const cpus = new CpuWaits(pager.service, pager.map, most);
          cpus.open();
          const [, keeper] = rig.mirror.device.kept.all();
          const fault = { vma, address: addr, flags: 0, page: 0, ptePresent: true };
          for (let i = 0; i < most + 1; i++) waits.push(keeper!.holdsBack(fault) !== null);
          cpus.close();
        },
      });
      expect(waits).toEqual([...Array.from({ length: most }, () => true), false]);
    }
    await rig.machine.close();
  });
});
