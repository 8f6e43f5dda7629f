/*
 * Launches that are held between two passes, on the CPU engine: what they wait for is theirs alone,
 * and however they end, they end whole.
 */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { bootMachine } from '../../src/index.ts';
import type { DeviceKernel, RunningLaunch } from '../../src/index.ts';
import { expectPlaced, launchPlaced, openRig, place } from './launch-contract.ts';
import type { LaunchRig, Placed } from './launch-contract.ts';

let rig: LaunchRig;
let kernel: DeviceKernel;

beforeEach(async () => {
  rig = await openRig(bootMachine, 'cpu', 8);
  kernel = await rig.device.compileKernel({ shape: 'accumulate', window: 2 });
});

afterEach(() => rig.machine.close());

function start({ one, origin }: Placed, policy?: string): RunningLaunch {
  const { workgroups, args } = one;
  const options = { workgroups, args, origin, ...(policy === undefined ? {} : { policy }) };
  return rig.device.startLaunch(kernel, options);
}

/** A busy machine may take a while; what has come stays. */
const PATIENCE = { timeout: 20_000, interval: 5 };

const held = (launch: RunningLaunch, passes: number): Promise<void> =>
  vi.waitFor(() => {
    const { isHeld, progress } = launch;
    expect({ isHeld, passes: progress.passes }).toEqual({ isHeld: true, passes });
  }, PATIENCE);

it.each([undefined, 'uvm', 'none'])('it goes pass by pass, and is right: policy %s', async (by) => {
  const placed = await place(rig, 'accumulate', 8);
  const launch = start(placed, by);
  launch.pause();
  await held(launch, 0);
  expect(launch.progress).toMatchObject({ faults: 0, finished: 0 });
  for (let pass = 1; pass <= 3; pass++) {
    launch.step();
    await held(launch, pass);
  }
  expect(launch.progress.faults).toBeGreaterThan(0);
  launch.resume();
  expect(await launch.report).toMatchObject({ outcome: 'done', killed: 0, finished: 8 });
  expect(launch.isHeld).toBe(false);
  await expectPlaced(rig, placed);
});

it('its faults are raised and not served; others are served', async () => {
  const placed = await place(rig, 'accumulate', 8);
  const launch = start(placed);
  launch.pause();
  await held(launch, 0);
  launch.step();
  await held(launch, 1);
  const { faults } = launch.progress;
  expect(faults).toBeGreaterThan(0);
  const other = await place(rig, 'accumulate', 8);
  expect(await launchPlaced(rig, kernel, other)).toMatchObject({ outcome: 'done' });
  await expectPlaced(rig, other);
  await rig.machine.suspendDevice(0);
  await rig.machine.resumeDevice(0);
  expect(launch.progress).toMatchObject({ passes: 1, faults });
  launch.resume();
  expect(await launch.report).toMatchObject({ outcome: 'done' });
  await expectPlaced(rig, placed);
});

it('the time for which it is held is none of its own', async () => {
  const placed = await place(rig, 'accumulate', 8);
  const begun = performance.now();
  const launch = start(placed);
  launch.pause();
  await held(launch, 0);
  const from = performance.now();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const wait = performance.now() - from;
  launch.resume();
  const { totalMs, passMs } = await launch.report;
  expect(totalMs).toBeLessThanOrEqual(performance.now() - begun - wait);
  expect(passMs).toBeGreaterThanOrEqual(0);
});

it.each(['abort', 'close', 'exit', 'machine'])('a held one can be ended: %s', async (way) => {
  const placed = await place(rig, 'accumulate', 8);
  const launch = start(placed, 'uvm');
  launch.pause();
  await held(launch, 0);
  launch.step();
  await held(launch, 1);
  const ends: Readonly<Record<string, () => void | Promise<void>>> = {
    abort: () => launch.abort(),
    close: () => rig.device.close(),
    exit: () => rig.process.exit(),
    machine: () => rig.machine.close(),
  };
  await ends[way]!();
  expect(await launch.report).toMatchObject({ outcome: 'aborted' });
  if (way === 'abort') await rig.process.munmap(placed.addr, placed.one.bytes.length);
});

it('one that is paused at its end, or after it, just ends', async () => {
  const placed = await place(rig, 'accumulate');
  const launch = start(placed, 'none');
  launch.pause();
  for (let pass = 1; launch.progress.finished < 4; pass++) {
    launch.step();
    await vi.waitFor(() => expect(launch.progress.passes).toBe(pass), PATIENCE);
  }
  expect(await launch.report).toMatchObject({ outcome: 'done' });
  launch.pause();
  launch.step();
  expect(launch.isHeld).toBe(false);
});
