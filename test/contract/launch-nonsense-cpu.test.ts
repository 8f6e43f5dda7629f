/*
 * Users' policies that answer nonsense in the middle of a launch, on the CPU engine: each ends its
 * launch with the call and the cause, and the machine goes on.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootMachine, errno } from '../../src/index.ts';
import type { DeviceKernel, RunningLaunch } from '../../src/index.ts';
import { expectPlaced, launchPlaced, openRig, place } from './launch-contract.ts';
import type { LaunchRig } from './launch-contract.ts';

/** Parts of a policy that does what `none` does. */
const GOOD: Readonly<Record<string, string>> = {
  onFaults: `onFaults(faults, view, answer) {
    for (let i = 0; i < faults.count; i++) answer.migrate(faults.pages[i]);
  }`,
  chooseVictims: `chooseVictims(request, view, victims) {
    for (let page = 0; page < view.pageCount; page++) if (view.where[page] & 2) victims.evict(page);
  }`,
};

/** What replaces a part or is added, what the cause has to say. */
const BAD: readonly (readonly [call: string, source: string, cause: RegExp])[] = [
  ['onFaults', 'onFaults() { throw Object.create(null); }', /onFaults: throws: something without/],
  ['onFaults', 'onFaults() { const e = new Error(); e.message = Symbol(); throw e; }', /onFaults/],
  ['onFaults', 'onFaults() {}', /leaves the fault on page \d+ without an answer/],
  ['onFaults', 'onFaults(f, v, answer) { answer.migrate(NaN); }', /names page NaN/],
  ['onFaults', 'onFaults(f, v, answer) { answer.migrate({ toString: 3 }); }', /onFaults/],
  ['onFaults', 'async onFaults() {}', /onFaults: answers with a promise/],
  ['chooseVictims', 'async chooseVictims() {}', /chooseVictims: answers with a promise/],
  ['chooseVictims', 'chooseVictims(r, view, victims) { victims.evict(-1); }', /names page -1/],
  ['chooseVictims', 'chooseVictims(r, v, w) { w.evict(v.where.length); }', /names page \d+/],
  ['arrived', 'arrived() { throw 7; }', /arrived: throws: 7/],
  ['left', 'left() { throw null; }', /left: throws: null/],
];

describe('policies that answer nonsense', () => {
  let rig: LaunchRig;
  let kernel: DeviceKernel;
  beforeAll(async () => {
    rig = await openRig(bootMachine, 'cpu', 16);
    kernel = await rig.device.compileKernel({ shape: 'accumulate', window: 4 });
  });
  afterAll(() => rig.machine.close());

  function policyOf(replaced: string, source: string): string {
    const kept = Object.entries(GOOD).filter(([name]) => name !== replaced);
    const body = [...kept.map(([, part]) => part), source].join(',\n');
    const text = `export const policy = { ${body} };`;
    return `data:text/javascript,${encodeURIComponent(text)}`;
  }

  it.each(BAD)('%s: %s', async (call, source, cause) => {
    const placed = await place(rig, 'accumulate');
    const policy = policyOf(call, source);
    const service = { devicePages: 1 };
    const report = await launchPlaced(rig, kernel, placed, { policy, service });
    expect(report).toMatchObject({ outcome: 'failed', errno: errno.EINVAL });
    expect(report.cause).toMatch(cause);
    // Its memory is whole, and another launch over it does what the first did not.
    await rig.process.write(placed.addr, placed.one.bytes);
    expect((await launchPlaced(rig, kernel, placed, { policy: 'none' })).outcome).toBe('done');
    await expectPlaced(rig, placed);
    await rig.process.munmap(placed.addr, placed.one.bytes.length);
  });

  it('one that writes what it is given spoils nothing but what it sees', async () => {
    const spoil = `for (const one of ['where', 'mapped', 'remote']) view[one].fill(3);`;
    const source = `onFaults(faults, view, answer) {
      for (let i = 0; i < faults.count; i++) answer.migrate(faults.pages[i]);
      ${spoil} faults.pages.fill(-1); faults.access.fill(9); faults.count = 0;
    },
    chooseVictims(request, view, victims) {
      ${spoil} for (let page = 0; page < view.pageCount; page++) victims.evict(page);
    },
    arrived(page, cause, view) { ${spoil} },
    left(page, cause, view) { ${spoil} }`;
    const text = `export const policy = { ${source} };`;
    const placed = await place(rig, 'accumulate');
    const policy = `data:text/javascript,${encodeURIComponent(text)}`;
    const report = await launchPlaced(rig, kernel, placed, { policy, service: { devicePages: 1 } });
    expect(report).toMatchObject({ outcome: 'done', killed: 0, cause: '' });
    expect(report.service!.counts.evictedPages).toBeGreaterThan(0);
    await expectPlaced(rig, placed);
  });

  it('what is no copy can not be written', async () => {
    const placed = await place(rig, 'accumulate');
    const policy = policyOf('', 'arrived(page, cause, view) { view.freePages = 7; }');
    const report = await launchPlaced(rig, kernel, placed, { policy });
    expect(report).toMatchObject({ outcome: 'failed', errno: errno.EINVAL });
    expect(report.cause).toMatch(/arrived: throws: .*freePages.* \(line 7, column 45\)/);
  });

  it('a limit of uses over the link that is no number', async () => {
    const remote = `onFaults(faults, view, answer) {
      for (let i = 0; i < faults.count; i++) answer.remote(faults.pages[i]);
    }`;
    for (const [limit, cause] of [
      ['NaN', /remoteLimit: answers NaN/],
      ['{}', /remoteLimit: answers object/],
      ['Promise.resolve(1)', /remoteLimit: answers object/],
    ] as const) {
      const placed = await place(rig, 'accumulate');
      const source = `${remote}, remoteLimit() { return ${limit}; }`;
      const policy = policyOf('onFaults', source);
      const report = await launchPlaced(rig, kernel, placed, { policy });
      expect(report.outcome).toBe('failed');
      expect(report.cause).toMatch(cause);
    }
    const placed = await place(rig, 'accumulate');
    const policy = policyOf('onFaults', `${remote}, remoteLimit() { return Infinity; }`);
    const report = await launchPlaced(rig, kernel, placed, { policy });
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    await expectPlaced(rig, placed);
  });

  it('constants that are no plain data are left out of the report', async () => {
    const constants = 'constants: { a: 1, b: "two", c: true, d() {}, e: Symbol(), f: [1] }';
    const placed = await place(rig, 'accumulate');
    const report = await launchPlaced(rig, kernel, placed, { policy: policyOf('', constants) });
    expect(report.outcome).toBe('done');
    expect(report.service!.constants).toEqual({ a: 1, b: 'two', c: true });
    const getter = 'get constants() { throw new Error("no"); }';
    const other = await launchPlaced(rig, kernel, placed, { policy: policyOf('', getter) });
    expect(other.service!.constants).toEqual({});
  });
});

describe('a policy that makes CPUs wait for ever', () => {
  /** A launch of many passes whose first page a CPU waits for. */
  async function waiting(rig: LaunchRig): Promise<{
    readonly running: RunningLaunch;
    readonly read: Promise<string>;
  }> {
    const kernel = await rig.device.compileKernel({ shape: 'accumulate', window: 1 });
    const placed = await place(rig, 'accumulate', 64);
    const stubborn = `${Object.values(GOOD).join(',')},
      onCpuFault(page, access, view, answer) { answer.throttle(page); }`;
    const text = `export const policy = { ${stubborn} };`;
    const policy = `data:text/javascript,${encodeURIComponent(text)}`;
    const { args } = placed.one;
    const request = { workgroups: 2 ** 15, args, origin: placed.origin, policy };
    const running = rig.device.startLaunch(kernel, request);
    while (running.progress.passes < 10) await new Promise((resolve) => setTimeout(resolve, 1));
    const read = rig.process.read(placed.addr, 4).then(() => 'read', String);
    while (rig.machine.vmstat.read('device_private_held') < 3) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return { running, read };
  }

  it('an abort of its launch lets them go on', async () => {
    const rig = await openRig(bootMachine, 'cpu', 64);
    const { running, read } = await waiting(rig);
    running.abort();
    expect(await read).toBe('read');
    expect((await running.report).outcome).toBe('aborted');
    await rig.machine.close();
  });

  it('so does a device that is suspended, and its close', async () => {
    const rig = await openRig(bootMachine, 'cpu', 64);
    const { running, read } = await waiting(rig);
    await rig.machine.suspendDevice(0);
    expect(await read).toBe('read');
    await rig.machine.resumeDevice(0);
    await rig.device.close();
    expect((await running.report).outcome).toBe('aborted');
    await rig.machine.close();
  });

  it('so does the exit of their process', async () => {
    const rig = await openRig(bootMachine, 'cpu', 64);
    const { running, read } = await waiting(rig);
    await rig.process.exit();
    expect(await read).toMatch(/^read$|ESRCH|SIGSEGV/);
    expect((await running.report).outcome).toBe('aborted');
    await rig.machine.close();
  });
});
