/* Isolation on the CPU engine; test/gpu/isolation.test.ts runs the same cases on WebGPU. */
import { expect, test } from 'vitest';
import type { CpuEngineOptions } from '../../src/engine/cpu-engine.ts';
import {
  OWN,
  PAGES,
  RANGE,
  describeIsolation,
  expectClean,
  map,
  openStage,
  touchAll,
} from './cases.ts';

describeIsolation('cpu');

/** Every second copy fails and leaves a wreck in VRAM: what an earlier owner could have left. */
test('copies that fail show nobody what lies at their targets [F42]', async () => {
  const stage = await openStage({ engine: 'cpu' });
  const { machine, process, device } = stage;
  let jobs = 0;
  const options = Reflect.get(machine.kernel.engine, 'options') as CpuEngineOptions;
  const failJob = (): boolean => jobs++ % 2 === 1;
  const addr = await map(process, RANGE, 2 * PAGES);
  await touchAll(process, addr, PAGES);
  Object.assign(options, { failJob });
  // Half pages of the process's own, half holes.
  const request = { addr, ptr: 0, npages: 2 * PAGES };
  expect((await device.tryIoctl('MIGRATE_TO_DEV', request)).errno).toBeLessThan(0);
  expect(machine.kernel.devices[0]!.memory.pagesInUse).toBe(PAGES);
  Object.assign(options, { failJob: undefined });
  await expectClean(process, addr, PAGES, [OWN]);
  await expectClean(process, addr + PAGES * 4096, PAGES);
  // And on the way home.
  await device.ioctl('MIGRATE_TO_DEV', request);
  Object.assign(options, { failJob });
  expect((await device.tryIoctl('MIGRATE_TO_SYS', request)).errno).toBeLessThan(0);
  Object.assign(options, { failJob: undefined });
  await expectClean(process, addr, PAGES, [OWN]);
  await expectClean(process, addr + PAGES * 4096, PAGES);
});
