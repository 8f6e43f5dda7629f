/*
 * The time that a device fault may take: it starts anew whenever the range changed
 * under it, but not after a second.
 */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { expectBytes, makeRig, mapFilled, pattern, run } from './rig.ts';
import type { Rig } from './rig.ts';

/** HMM_RANGE_DEFAULT_TIMEOUT, milliseconds. */
const BUDGET_MS = 1000;

let rig: Rig;
let now = 0;

beforeEach(async () => {
  rig = await makeRig();
  now = 5_000_000;
  const { context } = rig.machine.kernel.devices[0]!;
  vi.spyOn(context as { nowMs: () => number }, 'nowMs').mockImplementation(() => now);
});

afterEach(async () => {
  vi.restoreAllMocks();
  await rig.machine.close();
});

/**
 * Starts a READ of two pages that has seen the first, which then goes to another device, and
 * waits for the second, which is on its way there; `ms` pass meanwhile.
 */
async function disturbedRead(ms: number): Promise<string> {
  const { machine, process, device } = rig;
  const { engine, sys } = machine.kernel;
  const other = await process.openDevice(1);
  const addr = await mapFilled(rig, 2);
  const out = await mapFilled(rig, 2, 1);
  const submit = engine.submit.bind(engine);
  let open = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const held = vi.spyOn(engine, 'submit').mockImplementationOnce(async (list, strategy) => {
    await gate;
    return submit(list, strategy);
  });
  const second = run(other, 'MIGRATE_TO_DEV', addr + PAGE_SIZE, 1);
  await vi.waitFor(() => expect(held).toHaveBeenCalledTimes(1), 10_000);
  const result = run(device, 'READ', addr, 2, out);
  await vi.waitFor(() => expect(sys.vmstat.read('hmm_restart')).toBe(1), 10_000);
  expect(await run(other, 'MIGRATE_TO_DEV', addr, 1)).toBe('0 1 0');
  now += ms;
  open();
  expect(await second).toBe('0 1 0');
  const line = await result;
  const wanted = line.startsWith('0 ') ? pattern(2, 0) : pattern(2, 1);
  expectBytes(await process.read(out, 2 * PAGE_SIZE), wanted);
  return line;
}

test('a device fault that was disturbed tries again within a second [F94]', async () => {
  expect(await disturbedRead(BUDGET_MS)).toBe('0 2 1');
});

test('after that it is EBUSY, and nothing was read [F94]', async () => {
  expect(await disturbedRead(BUDGET_MS + 1)).toBe(`${errno.EBUSY} 0 0`);
});
