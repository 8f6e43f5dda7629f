/* READ_UNLOCKED of the test device: reads of memory that a userfaultfd monitor provides. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { errno, PAGE_SIZE } from '../../../src/index.ts';
import type { Userfaultfd } from '../../../src/index.ts';
import { RW, expectBytes, makeRig, mapFilled, pattern, run } from './rig.ts';
import type { Rig } from './rig.ts';

const PAGES = 3;
let rig: Rig;
let uffd: Userfaultfd;
let addr: number;
let source: number;
let buffer: number;

beforeEach(async () => {
  rig = await makeRig();
  const length = PAGES * PAGE_SIZE;
  addr = await rig.process.mmap({ length, prot: RW });
  buffer = await rig.process.mmap({ length, prot: RW });
  source = await mapFilled(rig, PAGES, 7);
  uffd = await rig.process.userfaultfd();
  await uffd.register(addr, length);
});

afterEach(() => rig.machine.close());

test('waits for the monitor page by page, and reads what it put there [F117]', async () => {
  const reading = run(rig.device, 'READ_UNLOCKED', addr, PAGES, buffer);
  for (let i = 0; i < PAGES; i++) {
    const { address, flags } = await uffd.read();
    expect([address, flags]).toEqual([addr + i * PAGE_SIZE, 0]);
    await uffd.copy(address, source + i * PAGE_SIZE, PAGE_SIZE);
  }
  expect(await reading).toBe(`0 ${PAGES} 1`);
  expectBytes(await rig.process.read(buffer, PAGES * PAGE_SIZE), pattern(PAGES, 7));
});

test('READ can not wait for it: EFAULT, and nobody is asked', async () => {
  expect(await run(rig.device, 'READ', addr, PAGES, buffer)).toBe(`${errno.EFAULT} 0 0`);
  expect(await uffd.poll()).toBe(null);
});

test('of ordinary memory does what READ does [F117]', async () => {
  expect(await run(rig.device, 'READ_UNLOCKED', source, PAGES, buffer)).toBe(`0 ${PAGES} 1`);
  expectBytes(await rig.process.read(buffer, PAGES * PAGE_SIZE), pattern(PAGES, 7));
  expect(await run(rig.device, 'READ_UNLOCKED', source, PAGES, buffer)).toBe(`0 ${PAGES} 0`);
});

test('of an unreadable range is EFAULT', async () => {
  await rig.process.mprotect(source, PAGE_SIZE, 0);
  const status = await run(rig.device, 'READ_UNLOCKED', source, PAGES, buffer);
  expect(status).toBe(`${errno.EFAULT} 0 0`);
});

test('the end of the process ends it: nobody waits for ever', async () => {
  const reading = run(rig.device, 'READ_UNLOCKED', addr, PAGES, buffer);
  await uffd.read();
  await rig.process.exit();
  expect(await reading).toMatch(/^(0|-\d+) /);
});
