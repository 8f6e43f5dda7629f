/*
 * Large folios in the aperture: some of their pages are the device's own, the CPU has the others.
 */
import { expect, it } from 'vitest';
import { PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import { Aperture } from '../../../src/driver/aperture.ts';
import { Dmirror, HMM_DMIRROR_EXCLUSIVE, newDmirrorCmd } from '../../../src/driver/dmirror.ts';
import { ACCESS_ATOMIC, ACCESS_WRITE } from '../../../src/engine/vm/abi.ts';
import { DeviceSpace } from '../../../src/engine/vm/device-space.ts';
import { bootMachine, PROT_READ, PROT_WRITE } from '../../../src/index.ts';
import { checkInvariants } from '../../../src/sim/check-invariants.ts';

const MIB = 2 ** 20;

it.each([
  [0, 1],
  [1, 0],
])('a store to the CPU’s page is not lost: pages %i and %i are asked for', async (...order) => {
  const sizes = { ramBytes: 32 * MIB, deviceBytes: MIB, chunkBytes: MIB };
  const machine = await bootMachine({ engine: 'cpu', ...sizes, thp: 'always' });
  const process = await machine.spawn();
  const { kernel } = machine;
  const { mem } = kernel.sys;
  const mirror = Dmirror.open(kernel.devices[0]!, [...kernel.sys.mms].at(-1)!) as Dmirror;
  const map = await process.mmap({ length: 2 * PMD_SIZE, prot: PROT_READ | PROT_WRITE });
  const addr = Math.ceil(map / PMD_SIZE) * PMD_SIZE;
  const first = addr / PAGE_SIZE;
  await process.write(addr, Uint8Array.of(1));
  expect(await mirror.ioctl(HMM_DMIRROR_EXCLUSIVE, newDmirrorCmd(addr, 1, 0))).toBe(0);
  const second = addr + PAGE_SIZE;
  expect(await mirror.fault(second, second + PAGE_SIZE, true)).toBe(0);
  expect(mem.isLarge(mem.folioOf(mirror.pageTable.lookup(first) >>> 9))).toBe(true);

  const { hostFrames } = kernel.engine.geometry;
  const aperture = new Aperture(mirror, new DeviceSpace(1), addr, hostFrames);
  const access = [ACCESS_ATOMIC, ACCESS_WRITE];
  const wanted = new Map(order.map((page) => [first + page, access[page]!]));
  expect([...(await aperture.lend(wanted))]).toEqual([]);
  // The other one comes again.
  expect(aperture.lentPages).toBe(1);
  const stored = process.write(second, Uint8Array.of(9));
  for (let turn = 0; turn < 200; turn++) await Promise.resolve();
  expect(await aperture.giveBack()).toBe(0);
  await stored;
  expect([...(await process.read(second, 1))]).toEqual([9]);
  checkInvariants(kernel.sys);
  await machine.close();
});
