/*
 * Launches at the edges of what callers may say, on the CPU engine: nothing of it may end more than
 * the launch.
 */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  bootMachine,
  errno,
  PAGE_SIZE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/index.ts';
import type { DeviceKernel } from '../../src/index.ts';
import { expectPlaced, launchPlaced, openRig, place } from './launch-contract.ts';
import type { LaunchRig } from './launch-contract.ts';

/** A user's policy that does what `none` does. */
const POLICY = `
  onFaults(faults, view, answer) {
    for (let i = 0; i < faults.count; i++) answer.migrate(faults.pages[i]);
  },
  chooseVictims(request, view, victims) {
    for (let page = 0; page < view.pageCount; page++) if (view.where[page] & 2) victims.evict(page);
  }`;

/** A module by its source. */
function moduleOf(source: string): string {
  return `data:text/javascript,${encodeURIComponent(source)}`;
}

/** Moves pages to the device by a command. */
async function toDevice({ device }: LaunchRig, addr: number, npages: number): Promise<void> {
  await device.ioctl('MIGRATE_TO_DEV', { addr, npages, ptr: 0 });
}

describe('what callers may say of a launch', () => {
  let rig: LaunchRig;
  let kernel: DeviceKernel;
  beforeEach(async () => {
    rig = await openRig(bootMachine, 'cpu', 64);
    kernel = await rig.device.compileKernel({ shape: 'accumulate', window: 4 });
  });
  afterEach(() => rig.machine.close());

  /** The machine still does what it should. */
  async function expectUsable(): Promise<void> {
    const placed = await place(rig, 'accumulate');
    expect(await launchPlaced(rig, kernel, placed)).toMatchObject({ outcome: 'done', killed: 0 });
    await expectPlaced(rig, placed);
  }

  it('far too many arguments are EINVAL', async () => {
    const args = Array.from({ length: 200_000 }, () => 2 ** 33);
    const launch = rig.device.launch(kernel, { workgroups: 1, args });
    await expect(launch).rejects.toMatchObject({ errno: errno.EINVAL });
    await expectUsable();
  });

  it.each([
    'batchLimit: -1',
    'batchLimit: NaN',
    'batchesPerPass: 0',
    'throttledPerPass: 1e9',
    'replay: "soon"',
    'costs: 3',
    'coalesce: 1',
    'speed: 2',
    'get batchLimit() { throw new Error() }',
  ])('a policy whose traits are nonsense is EINVAL: %s', async (trait) => {
    const placed = await place(rig, 'accumulate');
    const policy = moduleOf(`export const policy = { service: { ${trait} }, ${POLICY} };`);
    const launch = launchPlaced(rig, kernel, placed, { policy });
    await expect(launch).rejects.toMatchObject({ errno: errno.EINVAL });
    await expectUsable();
  });

  it('what a policy throws is said with the line of its module', async () => {
    const placed = await place(rig, 'accumulate');
    const broken = POLICY.replace('{\n    for', '{\n    nothing();\n    for');
    const policy = moduleOf(`export const policy = {${broken} };`);
    const report = await launchPlaced(rig, kernel, placed, { policy });
    expect(report).toMatchObject({ outcome: 'failed', errno: errno.EINVAL });
    const what = 'throws: nothing is not defined (line 3, column 5)';
    expect(report.cause).toBe(`policy yours, onFaults: ${what}`);
    const maker = moduleOf('export const policy = () => {\n  throw new Error("not today");\n};');
    await expect(launchPlaced(rig, kernel, placed, { policy: maker })).rejects.toThrow(
      'policy yours, policy(): throws: not today (line 2, column 9)',
    );
    await expectUsable();
  });

  it('and with sensible ones it runs', async () => {
    const placed = await place(rig, 'accumulate');
    const service = '{ batchLimit: 1, batchesPerPass: 1, replay: "block", coalesce: false }';
    const policy = moduleOf(`export const policy = { service: ${service}, ${POLICY} };`);
    const report = await launchPlaced(rig, kernel, placed, { policy });
    expect(report).toMatchObject({ outcome: 'done', killed: 0 });
    await expectPlaced(rig, placed);
  });

  it('a file that is closed while its policy is loaded runs no kernel', async () => {
    const placed = await place(rig, 'accumulate');
    const other = await rig.process.openDevice(0);
    // Modules of the page's thread share its globals.
    const gate = globalThis as { letPolicyLoad?: () => void };
    const loads = 'await new Promise((done) => (globalThis.letPolicyLoad = done));';
    const policy = moduleOf(`${loads} export const policy = { ${POLICY} };`);
    const launch = launchPlaced({ ...rig, device: other }, kernel, placed, { policy });
    const refused = expect(launch).rejects.toMatchObject({ errno: errno.EBADF });
    await vi.waitFor(() => expect(gate.letPolicyLoad).toBeDefined(), { timeout: 20_000 });
    await other.close();
    gate.letPolicyLoad!();
    await refused;
    await expectUsable();
  });

  it('a policy that is never loaded: an abort ends the launch, and so does the close', async () => {
    const policy = moduleOf(`await new Promise(() => {}); export const policy = { ${POLICY} };`);
    const placed = await place(rig, 'accumulate');
    const { workgroups, args } = placed.one;
    const options = { workgroups, args, origin: placed.origin, policy };
    const aborted = rig.device.startLaunch(kernel, options);
    aborted.abort();
    await expect(aborted.report).rejects.toMatchObject({ errno: errno.EINTR });
    const other = await rig.process.openDevice(0);
    const closed = other.startLaunch(kernel, options);
    await other.close();
    await expect(closed.report).rejects.toMatchObject({ errno: errno.EBADF });
    await expectUsable();
  });

  it('a file that is closed while it compiles has no kernel', async () => {
    const other = await rig.process.openDevice(0);
    const compiling = other.compileKernel({ shape: 'swap' });
    const refused = expect(compiling).rejects.toMatchObject({ errno: errno.EBADF });
    await other.close();
    await refused;
  });

  it('fewer device pages than the device has of the process already', async () => {
    for (const policy of ['uvm', 'none', 'kfd', 'xe', 'tbn'] as const) {
      const placed = await place(rig, 'accumulate');
      const pages = placed.one.bytes.length / PAGE_SIZE;
      // All but the last: that one comes, and for it others go.
      await toDevice(rig, placed.addr, pages - 1);
      const report = await launchPlaced(rig, kernel, placed, {
        policy,
        service: { devicePages: 2 },
      });
      expect(report, policy).toMatchObject({ outcome: 'done', killed: 0 });
      await expectPlaced(rig, placed);
      await rig.process.munmap(placed.addr, placed.one.bytes.length);
    }
  });
});

it('blocks that take whole chunks, a page of each on the device already', async () => {
  const rig = await openRig(bootMachine, 'cpu', 2048);
  const kernel = await rig.device.compileKernel({ shape: 'accumulate', window: 4 });
  const placed = await place(rig, 'accumulate');
  const length = 12 * 2 ** 20;
  const addr = await rig.process.mmap({ length, prot: PROT_READ | PROT_WRITE });
  for (let at = 0; at < length; at += 2 ** 20) {
    await rig.process.write(addr + at, Uint8Array.of(1));
    await toDevice(rig, addr + at, 1);
  }
  // Address 0 lies so that both ranges are in reach.
  const origin = Math.min(addr, placed.origin) - (Math.min(addr, placed.origin) % 2 ** 21);
  const args = placed.one.args.map((arg) => arg + placed.origin);
  const { workgroups } = placed.one;
  const report = await rig.device.launch(kernel, { workgroups, args, origin, policy: 'uvm' });
  expect(report).toMatchObject({ outcome: 'done', killed: 0 });
  await expectPlaced(rig, placed);
  await rig.machine.close();
});

it('a refusal under a policy has the reason that it has without one', async () => {
  const rig = await openRig(bootMachine, 'cpu', 64);
  const kernel = await rig.device.compileKernel({ shape: 'accumulate', window: 4 });
  for (const policy of [{}, { policy: 'uvm' }, { policy: 'nouveau' }] as const) {
    for (const [prot, reason] of [
      [PROT_READ, 'EPERM'],
      [PROT_NONE, 'EFAULT'],
    ] as const) {
      const placed = await place(rig, 'accumulate');
      await rig.process.mprotect(placed.addr, placed.one.bytes.length, prot);
      const { outcome, refusals } = await launchPlaced(rig, kernel, placed, policy);
      expect(outcome).toBe('done');
      expect(refusals.length).toBeGreaterThan(0);
      const reasons = new Set(refusals.map((one) => one.reason));
      expect([...reasons], JSON.stringify([policy, refusals[0]])).toEqual([reason]);
    }
  }
  await rig.machine.close();
});
