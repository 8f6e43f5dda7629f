/*
 * Failures that are put in a launch's way: reported with what and when, the launch ends or goes on
 * as it should, no page is lost, others go on.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ErrnoError,
  errno,
  LAUNCH_FAILURES,
  PAGE_RAM,
  PAGE_SIZE,
  POLICIES,
  PROT_READ,
  PROT_WRITE,
} from '../../src/index.ts';
import type { DeviceKernel, KernelReport, LaunchFailure } from '../../src/index.ts';
import { expectPlaced, launchPlaced, openRig, place } from './launch-contract.ts';
import type { LaunchRig, OpenMachine, Placed } from './launch-contract.ts';

/** Passes before the failure. */
const AFTER = 1;

/** Declares the suite; `policies` are those whose every failure is tried. */
export function describeLaunchFailures(
  engine: 'cpu' | 'webgpu',
  open: OpenMachine,
  policies: readonly (string | undefined)[] = [undefined, 'uvm', 'xe', 'none'],
): void {
  let rig: LaunchRig;
  let kernel: DeviceKernel;
  /** Another process, with an open device. */
  let other: LaunchRig;
  beforeEach(async () => {
    rig = await openRig(open, engine, 64);
    kernel = await rig.device.compileKernel({ shape: 'accumulate', window: 2 });
    const process = await rig.machine.spawn();
    other = { machine: rig.machine, process, device: await process.openDevice(0) };
  });
  afterEach(() => rig.machine.close());

  /** Runs with a failure in its way, and lets another process's kernel run meanwhile. */
  async function runFailing(
    what: LaunchFailure,
    policy: string | undefined,
    placed: Placed,
    after = AFTER,
  ): Promise<KernelReport> {
    const { workgroups, args } = placed.one;
    const options = { workgroups, args, origin: placed.origin };
    const launch = rig.device.startLaunch(kernel, {
      ...options,
      ...(policy === undefined ? {} : { policy }),
    });
    launch.fail(what, after);
    return launch.report;
  }

  /** Neither the memory of the others nor their kernels have suffered. */
  async function expectOthersGoOn(placed: Placed): Promise<void> {
    const again = await other.device.compileKernel({ shape: 'accumulate', window: 2 });
    expect(await launchPlaced(other, again, placed)).toMatchObject({ outcome: 'done' });
    await expectPlaced(other, placed);
  }

  describe.each([...policies])('under policy %s', (policy) => {
    it.each(['memory', 'ring'] as const)('%s: the launch goes on and is right', async (what) => {
      const placed = await place(rig, 'accumulate', 8);
      const bystander = await place(other, 'accumulate', 2);
      const report = await runFailing(what, policy, placed);
      expect(report).toMatchObject({ outcome: 'done', errno: 0, killed: 0, cause: '' });
      expect(report.injected).toEqual([{ what, pass: AFTER }]);
      await expectPlaced(rig, placed);
      await expectOthersGoOn(bystander);
    });

    it('copy: the launch ends with EIO and the pass, its pages are whole', async () => {
      const placed = await place(rig, 'accumulate', 8);
      const bystander = await place(other, 'accumulate', 2);
      const report = await runFailing('copy', policy, placed, 0);
      expect(report).toMatchObject({ outcome: 'failed', errno: errno.EIO });
      expect(report.injected.map((one) => one.what)).toEqual(['copy']);
      expect(report.cause).toMatch(/^EIO: .*copy.* in pass 1 \(injected\)$/);
      // Nothing has run: every byte is as it was.
      const bytes = await rig.process.read(placed.addr, placed.one.bytes.length);
      expect(placed.one.bytes.every((byte, at) => byte === bytes[at])).toBe(true);
      await expectOthersGoOn(bystander);
      // The file and its kernel are as good as before.
      expect(await launchPlaced(rig, kernel, placed)).toMatchObject({ outcome: 'done' });
      await expectPlaced(rig, placed);
    });

    it('device: the launch ends with ENODEV; RAM, and who is in it, goes on', async () => {
      const placed = await place(rig, 'accumulate', 8);
      const report = await runFailing('device', policy, placed, 3);
      expect(report).toMatchObject({ outcome: 'failed', errno: errno.ENODEV });
      expect(report.injected).toEqual([{ what: 'device', pass: 3 }]);
      expect(report.cause).toMatch(/^ENODEV: the device was lost in pass \d+ \(injected\)$/);
      const { addr, one } = placed;
      const pages = Math.ceil(one.bytes.length / PAGE_SIZE);
      const codes = await rig.process.pageMap(addr, pages);
      const got: string[] = [];
      for (let page = 0; page < pages; page++) {
        const read = rig.process.read(addr + page * PAGE_SIZE, 4);
        got.push(await read.then(() => '', String));
      }
      // What is in RAM can be read, and nothing else.
      expect(got.some((why) => why !== '')).toBe(true);
      for (const [page, why] of got.entries()) {
        expect(why === '', why).toBe(codes[page] === PAGE_RAM);
        if (why !== '') expect(why).toMatch(/SIGBUS|EIO|EFAULT/);
      }
      const mine = await other.process.mmap({ length: PAGE_SIZE, prot: PROT_READ | PROT_WRITE });
      await other.process.write(mine, Uint8Array.of(1, 2, 3));
      expect([...(await other.process.read(mine, 3))]).toEqual([1, 2, 3]);
    });

    it('policy: the launch ends with the call, or goes on without one', async () => {
      const placed = await place(rig, 'accumulate', 8);
      const bystander = await place(other, 'accumulate', 2);
      const report = await runFailing('policy', policy, placed);
      if (policy === undefined) {
        expect(report).toMatchObject({ outcome: 'done', injected: [] });
      } else {
        expect(report).toMatchObject({ outcome: 'failed', errno: errno.EINVAL });
        expect(report.cause).toBe(`policy ${policy}, onFaults: throws: this failure was injected`);
        expect(report.injected).toEqual([{ what: 'policy', pass: AFTER }]);
      }
      await expectOthersGoOn(bystander);
      expect(await launchPlaced(rig, kernel, await place(rig, 'accumulate', 2))).toMatchObject({
        outcome: 'done',
      });
    });
  });

  it('a full ring: what got lost is counted, and comes again, under every policy', async () => {
    for (const policy of POLICIES) {
      const placed = await place(rig, 'accumulate', 8);
      const report = await runFailing('ring', policy, placed);
      expect([policy, report.outcome, report.injected.length]).toEqual([policy, 'done', 1]);
      await expectPlaced(rig, placed);
      await rig.process.munmap(placed.addr, placed.one.bytes.length);
    }
  });

  it('no memory: what the faults were for is used in RAM', async () => {
    const remote: number[] = [];
    for (const what of ['memory', 'policy'] as const) {
      const placed = await place(rig, 'accumulate', 8);
      const report = await runFailing(what, undefined, placed, 0);
      remote.push(report.pages.remote);
      await expectPlaced(rig, placed);
      await rig.process.munmap(placed.addr, placed.one.bytes.length);
    }
    expect(remote[0]).toBeGreaterThan(0);
    expect(remote[1]).toBe(0);
  });

  it('one that comes after the last pass never comes; nonsense is EINVAL', async () => {
    const placed = await place(rig, 'accumulate', 2);
    expect(await runFailing('copy', 'uvm', placed, 1000)).toMatchObject({
      outcome: 'done',
      injected: [],
    });
    const { workgroups, args } = placed.one;
    const launch = rig.device.startLaunch(kernel, { workgroups, args, origin: placed.origin });
    const tries: readonly (readonly [unknown, unknown])[] = [
      ['nonsense', 0],
      [undefined, 0],
      ...[-1, 0.5, Number.NaN, Infinity, 2 ** 27 + 1, '1', null].map((n) => ['copy', n] as const),
    ];
    for (const [what, after] of tries) {
      const put = (): void => launch.fail(what as LaunchFailure, after as number);
      expect(put, `${String(what)} ${String(after)}`).toThrow(ErrnoError);
    }
    expect(await launch.report).toMatchObject({ outcome: 'done', injected: [] });
    expect(LAUNCH_FAILURES.length).toBeLessThan(8);
  });
}
