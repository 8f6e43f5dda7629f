/*
 * Hints of a launch, through the facade: as many as there may be, and more.
 */
import { afterEach, beforeEach, expect, it } from 'vitest';
import { bootMachine, errno, PAGE_SIZE } from '../../src/index.ts';
import type { DeviceKernel } from '../../src/index.ts';
import { MAX_HINT_RANGES } from '../../src/driver/range-hints.ts';
import { expectPlaced, launchPlaced, openRig, place } from './launch-contract.ts';
import type { LaunchRig } from './launch-contract.ts';

let rig: LaunchRig;
let kernel: DeviceKernel;
beforeEach(async () => {
  rig = await openRig(bootMachine, 'cpu', 64);
  kernel = await rig.device.compileKernel({ shape: 'accumulate', window: 4 });
});
afterEach(() => rig.machine.close());

/** Hints for every other page behind an address. */
function apart(addr: number, count: number): { addr: number; length: number; preferred: 'ram' }[] {
  return Array.from({ length: count }, (_, i) => ({
    addr: addr + i * 2 * PAGE_SIZE,
    length: PAGE_SIZE,
    preferred: 'ram',
  }));
}

it('as many ranges as there may be; one more is ENOMEM, with the limit', async () => {
  const placed = await place(rig, 'accumulate');
  const hints = apart(placed.addr, MAX_HINT_RANGES);
  const full = await launchPlaced(rig, kernel, placed, { policy: 'uvm', service: { hints } });
  expect(full).toMatchObject({ outcome: 'done', killed: 0 });
  await expectPlaced(rig, placed);
  const more = { hints: apart(placed.addr, MAX_HINT_RANGES + 1) };
  const refused = launchPlaced(rig, kernel, placed, { policy: 'uvm', service: more });
  await expect(refused).rejects.toMatchObject({
    errno: errno.ENOMEM,
    message: expect.stringContaining(`more than ${MAX_HINT_RANGES} ranges`) as string,
  });
});

it('the same hint 100,000 times is one, and one about nothing in reach is none', async () => {
  const placed = await place(rig, 'accumulate');
  const [one] = apart(placed.addr, 1);
  const far = apart(2 ** 40, MAX_HINT_RANGES + 5);
  const hints = [...Array.from({ length: 100_000 }, () => one!), ...far];
  const report = await launchPlaced(rig, kernel, placed, { policy: 'uvm', service: { hints } });
  expect(report).toMatchObject({ outcome: 'done', killed: 0 });
  expect(report.pages.remote).toBeGreaterThan(0);
  await expectPlaced(rig, placed);
});
