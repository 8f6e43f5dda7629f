/*
 * The coherent test devices, 2 and 3: the CPU uses their pages where they are, the device reaches
 * them through its aperture, and every copy is a job of the copy engine.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { APERTURE_PAGES } from '../../../src/driver/dmirror-device.ts';
import { CommandList } from '../../../src/engine/command-list.ts';
import type { StrategyName } from '../../../src/engine/copy-engine.ts';
import {
  HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL,
  HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE,
  HMM_DMIRROR_PROT_READ,
  HMM_DMIRROR_PROT_WRITE,
  PAGE_DEVICE,
  PAGE_RAM,
  PAGE_SIZE,
  PROT_READ,
  bootMachine,
} from '../../../src/index.ts';
import type { TestDevice } from '../../../src/index.ts';
import { pinUserPage, unpinUserPage } from '../../../src/mm/gup.ts';
import type { MmStruct } from '../../../src/mm/mm-types.ts';
import { MIB, RW, expectBytes, makeRig, mapFilled, pattern, run } from './rig.ts';
import type { Rig } from './rig.ts';

const ON_2 = PAGE_DEVICE + 2;
const ON_3 = PAGE_DEVICE + 3;

let rig: Rig;
let coherent: TestDevice;

beforeEach(async () => {
  rig = await makeRig();
  coherent = await rig.process.openDevice(2);
});

afterEach(async () => {
  await rig.machine.close();
});

/** Where pages are, as PAGE_* codes. */
async function where(addr: number, npages: number): Promise<number[]> {
  return [...(await rig.process.pageMap(addr, npages))];
}

async function mapped(npages: number): Promise<number> {
  return rig.process.mmap({ length: npages * PAGE_SIZE, prot: RW });
}

/** The address space of the rig's only process. */
function mmOf(): MmStruct {
  const [mm] = rig.machine.kernel.sys.mms;
  if (mm === undefined) throw new Error('no process');
  return mm;
}

/** What the machine has moved so far. */
async function moved(): Promise<{ host: number; up: number; aperture: number }> {
  const { engine, devices } = await rig.machine.counters();
  const aperture = devices.find(({ minor }) => minor === 2)?.apertureBytes ?? -1;
  return { host: engine.bytesInHost, up: engine.bytesToDevice, aperture };
}

describe('the machine', () => {
  test('has two coherent devices, 2 and 3, of 16 MiB or what the private ones have', async () => {
    expect(rig.machine.report).toMatchObject({ coherentDevices: 2, coherentBytes: 2 * MIB });
    const { devices } = await rig.machine.counters();
    expect(devices.map(({ minor }) => minor)).toEqual([0, 1, 2, 3]);
    const large = await bootMachine({ engine: 'cpu', ramBytes: MIB });
    expect(large.report).toMatchObject({ coherentDevices: 2, coherentBytes: 16 * MIB });
    await large.close();
  });

  test('has its frames behind RAM, in the same memory, and the first one aligned', () => {
    const { sys, engine, devices } = rig.machine.kernel;
    expect([sys.ramPages, sys.hostPages]).toEqual([2048, 2048 + 1024]);
    expect(engine.geometry.hostFrames).toBe(sys.hostPages);
    expect(devices.map(({ memory }) => memory.startPfn)).toEqual([3072, 3584, 2048, 2560]);
    expect(rig.machine.report.ramBytes).toBe(8 * MIB);
  });

  test('without them: ENXIO [F120]', async () => {
    const { machine, process } = await makeRig({ coherentDevices: 0 });
    await expect(process.openDevice(2)).rejects.toMatchObject({ code: 'ENXIO' });
    expect([machine.kernel.sys.hostPages, machine.kernel.devices.length]).toEqual([2048, 2]);
    await machine.close();
  });

  test('with one of them: device 2 and no device 3', async () => {
    const { machine, process } = await makeRig({ coherentDevices: 1, devices: 1 });
    await expect(process.openDevice(1)).rejects.toMatchObject({ code: 'ENXIO' });
    await expect(process.openDevice(3)).rejects.toMatchObject({ code: 'ENXIO' });
    await process.openDevice(2);
    await machine.close();
  });

  test('with three private devices it has none unless asked, then it is refused', async () => {
    const three = await makeRig({ devices: 3 });
    expect(three.machine.report.coherentDevices).toBe(0);
    await three.machine.close();
  });
});

describe('MIGRATE_TO_DEV to coherent memory [F13] [F120]', () => {
  test('is a copy of the engine in the shared memory; the CPU uses the pages there', async () => {
    const addr = await mapFilled(rig, 100);
    const before = await moved();
    expect(await run(coherent, 'MIGRATE_TO_DEV', addr, 100)).toBe('0 100 0');
    const after = await moved();
    expect([after.host - before.host, after.up]).toEqual([100 * PAGE_SIZE, 0]);
    const { vm } = await rig.machine.counters();
    expectBytes(await rig.process.read(addr, 100 * PAGE_SIZE), pattern(100, 0));
    await rig.process.write(addr, pattern(100, 5));
    expectBytes(await rig.process.read(addr, 100 * PAGE_SIZE), pattern(100, 5));
    const { vm: now } = await rig.machine.counters();
    expect([now['pgfault'], now['device_private_fault']]).toEqual([vm['pgfault'], 0]);
    expect(new Set(await where(addr, 100))).toEqual(new Set([ON_2]));
  });

  test('clears what was a hole or the zero page', async () => {
    const used = await mapFilled(rig, 4, 7);
    await run(coherent, 'MIGRATE_TO_DEV', used, 4);
    await rig.process.munmap(used, 4 * PAGE_SIZE);
    const addr = await mapped(4);
    await rig.process.touch(addr, 'read');
    expect(await run(coherent, 'MIGRATE_TO_DEV', addr, 4)).toBe('0 4 0');
    expect(await where(addr, 4)).toEqual([ON_2, ON_2, ON_2, ON_2]);
    expectBytes(await rig.process.read(addr, 4 * PAGE_SIZE), new Uint8Array(4 * PAGE_SIZE));
  });

  test('to another coherent device is ENOENT: it is not selected, and stays', async () => {
    const addr = await mapFilled(rig, 2);
    const other = await rig.process.openDevice(3);
    await run(coherent, 'MIGRATE_TO_DEV', addr, 2);
    expect(await run(other, 'MIGRATE_TO_DEV', addr, 2)).toBe(`${errno.ENOENT} 0 0`);
    expect(await run(rig.device, 'MIGRATE_TO_DEV', addr, 2)).toBe(`${errno.ENOENT} 0 0`);
    expect(await where(addr, 2)).toEqual([ON_2, ON_2]);
  });

  test('a private page stays on its device', async () => {
    const addr = await mapFilled(rig, 1);
    await run(rig.device, 'MIGRATE_TO_DEV', addr, 1);
    expect(await run(coherent, 'MIGRATE_TO_DEV', addr, 1)).toBe(`${errno.ENOENT} 0 0`);
    expect(await where(addr, 1)).toEqual([PAGE_DEVICE]);
  });

  test('is full when its one chunk is: the rest stays in RAM [F16]', async () => {
    const pages = (2 * MIB) / PAGE_SIZE;
    const addr = await mapFilled(rig, pages + 1);
    expect(await run(coherent, 'MIGRATE_TO_DEV', addr, pages + 1)).toBe(`${errno.ENOENT} 0 0`);
    const places = await where(addr, pages + 1);
    expect(places.filter((code) => code === ON_2)).toHaveLength(pages);
    expect(places.at(-1)).toBe(PAGE_RAM);
    await rig.process.munmap(addr, PAGE_SIZE);
    expect(await run(coherent, 'MIGRATE_TO_DEV', addr + PAGE_SIZE, pages)).toBe(`0 ${pages} 0`);
  });
});

describe('device access to coherent pages', () => {
  test('goes through the aperture, in and out, and the CPU sees it', async () => {
    const addr = await mapFilled(rig, 3);
    await run(coherent, 'MIGRATE_TO_DEV', addr, 3);
    const before = await moved();
    expect(await run(coherent, 'ADD', addr, 3, 1000)).toBe('0 3 0');
    const after = await moved();
    expect(after.aperture - before.aperture).toBe(2 * 3 * PAGE_SIZE);
    expect(after.up - before.up).toBe(3 * PAGE_SIZE);
    expectBytes(await rig.process.read(addr, 3 * PAGE_SIZE), pattern(3, 1000));
    expect(await where(addr, 3)).toEqual([ON_2, ON_2, ON_2]);
  });

  test('private pages are worked on in place: nothing goes through the aperture', async () => {
    const addr = await mapFilled(rig, 3);
    await run(rig.device, 'MIGRATE_TO_DEV', addr, 3);
    expect(await run(rig.device, 'ADD', addr, 3, 1000)).toBe('0 3 0');
    const { devices } = await rig.machine.counters();
    expect(devices.map(({ apertureBytes }) => apertureBytes)).toEqual([0, 0, 0, 0]);
  });

  test('of another device works after one fault, without moving them', async () => {
    const addr = await mapFilled(rig, 2);
    await run(coherent, 'MIGRATE_TO_DEV', addr, 2);
    const buffer = await mapped(2);
    expect(await run(rig.device, 'READ', addr, 2, buffer)).toBe('0 2 1');
    expect(await run(rig.device, 'WRITE', addr, 2, buffer)).toBe('0 2 0');
    expect(await where(addr, 2)).toEqual([ON_2, ON_2]);
    expectBytes(await rig.process.read(addr, 2 * PAGE_SIZE), pattern(2, 0));
  });

  test('of a page that fork shares copies it to RAM first: the child keeps its bytes', async () => {
    const addr = await mapFilled(rig, 1);
    await run(coherent, 'MIGRATE_TO_DEV', addr, 1);
    const child = await rig.process.fork();
    expect(await run(coherent, 'ADD', addr, 1, 5)).toBe('0 1 1');
    expectBytes(await rig.process.read(addr, PAGE_SIZE), pattern(1, 5));
    expectBytes(await child.read(addr, PAGE_SIZE), pattern(1, 0));
    expect([...(await child.pageMap(addr, 1))]).toEqual([ON_2]);
  });

  test('lends them: a CPU store during a pass waits and is not lost', async () => {
    const npages = APERTURE_PAGES;
    const addr = await mapFilled(rig, npages);
    await run(coherent, 'MIGRATE_TO_DEV', addr, npages);
    const { engine } = rig.machine.kernel;
    const submit = engine.submit.bind(engine);
    const stores: Promise<void>[] = [];
    engine.submit = (list: CommandList, strategy?: StrategyName) => {
      // In the middle of the pass: between the copy in and the copy out.
      if (stores.length === 0) stores.push(rig.process.write(addr, Uint8Array.of(0xab)));
      return submit(list, strategy);
    };
    expect(await run(coherent, 'ADD', addr, npages, 1)).toBe(`0 ${npages} 0`);
    await Promise.all(stores);
    const bytes = await rig.process.read(addr, npages * PAGE_SIZE);
    const expected = pattern(npages, 1);
    expected[0] = 0xab;
    expectBytes(bytes, expected);
  });

  test('snapshots tell own from other coherent pages [F118]', async () => {
    const addr = await mapFilled(rig, 2);
    const other = await rig.process.openDevice(3);
    await run(coherent, 'MIGRATE_TO_DEV', addr, 1);
    await run(other, 'MIGRATE_TO_DEV', addr + PAGE_SIZE, 1);
    const bytes = await mapped(1);
    const look = async (): Promise<number[]> => {
      expect(await run(coherent, 'SNAPSHOT', addr, 2, bytes)).toBe('0 2 0');
      return [...(await rig.process.read(bytes, 2))];
    };
    const local = HMM_DMIRROR_PROT_DEV_COHERENT_LOCAL;
    const remote = HMM_DMIRROR_PROT_DEV_COHERENT_REMOTE;
    const write = HMM_DMIRROR_PROT_WRITE;
    expect(await look()).toEqual([local + write, remote + write]);
    expect([local + write, remote + write]).toEqual([0x42, 0x52]);
    await rig.process.mprotect(addr, 2 * PAGE_SIZE, PROT_READ);
    expect(await look()).toEqual([local + HMM_DMIRROR_PROT_READ, remote + HMM_DMIRROR_PROT_READ]);
  });
});

describe('coherent pages go home', () => {
  test('by MIGRATE_TO_SYS of their own device, by a copy of the engine', async () => {
    const addr = await mapFilled(rig, 4);
    const other = await rig.process.openDevice(3);
    await run(coherent, 'MIGRATE_TO_DEV', addr, 2);
    await run(other, 'MIGRATE_TO_DEV', addr + 2 * PAGE_SIZE, 2);
    const before = await moved();
    expect(await run(coherent, 'MIGRATE_TO_SYS', addr, 4)).toBe('0 2 0');
    expect((await moved()).host - before.host).toBe(2 * PAGE_SIZE);
    expect(await where(addr, 4)).toEqual([PAGE_RAM, PAGE_RAM, ON_3, ON_3]);
    expectBytes(await rig.process.read(addr, 4 * PAGE_SIZE), pattern(4, 0));
  });

  test('by RELEASE, for every process; the device can be used again to the last page [F61]', async () => {
    const { memory } = rig.machine.kernel.devices[2]!;
    const pages = memory.capacityPages;
    const addr = await mapFilled(rig, pages);
    for (let round = 0; round < 2; round++) {
      expect(await run(coherent, 'MIGRATE_TO_DEV', addr, pages)).toBe(`0 ${pages} 0`);
      expect(await run(coherent, 'RELEASE', addr, 1)).toBe('0 0 0');
      expect([memory.pagesInUse, memory.chunks]).toEqual([0, [null]]);
      expect(new Set(await where(addr, pages))).toEqual(new Set([PAGE_RAM]));
    }
    expectBytes(await rig.process.read(addr, pages * PAGE_SIZE), pattern(pages, 0));
  });

  test('RELEASE with a pinned one is EBUSY, and works when it is unpinned', async () => {
    const { sys } = rig.machine.kernel;
    const addr = await mapFilled(rig, 3);
    await run(coherent, 'MIGRATE_TO_DEV', addr, 3);
    const pfn = await pinUserPage(mmOf(), addr + PAGE_SIZE);
    expect(sys.mem.isDeviceCoherent(pfn)).toBe(true);
    expect(await run(coherent, 'RELEASE', addr, 1)).toBe(`${errno.EBUSY} 0 0`);
    expect((await where(addr, 3))[1]).toBe(ON_2);
    unpinUserPage(sys, pfn);
    // The device was not left half released: it takes pages, and can be released.
    expect(await run(coherent, 'MIGRATE_TO_DEV', addr, 3)).toBe('0 3 0');
    expect(await run(coherent, 'RELEASE', addr, 1)).toBe('0 0 0');
    expectBytes(await rig.process.read(addr, 3 * PAGE_SIZE), pattern(3, 0));
  });

  test('munmap and exit free them without a copy', async () => {
    const addr = await mapFilled(rig, 4);
    await run(coherent, 'MIGRATE_TO_DEV', addr, 4);
    const before = await moved();
    await rig.process.munmap(addr, 2 * PAGE_SIZE);
    const { devices } = rig.machine.kernel;
    expect(devices[2]!.memory.pagesInUse).toBe(2);
    await rig.process.exit();
    expect([devices[2]!.memory.pagesInUse, (await moved()).host]).toEqual([0, before.host]);
  });

  test('FLAGS makes an allocation for them fail, once [F119]', async () => {
    const addr = await mapFilled(rig, 2);
    await run(coherent, 'FLAGS', addr, 1);
    expect(await run(coherent, 'MIGRATE_TO_DEV', addr, 2)).toBe(`${errno.ENOENT} 0 0`);
    expect(await where(addr, 2)).toEqual([PAGE_RAM, ON_2]);
    await run(coherent, 'FLAGS', addr, 1);
    expect(await run(coherent, 'MIGRATE_TO_SYS', addr, 2)).toBe(`${errno.ENOMEM} 0 0`);
    expect(await run(coherent, 'MIGRATE_TO_SYS', addr, 2)).toBe('0 1 0');
  });
});

test('when the device is lost the CPU still has them, and nothing moves any more', async () => {
  const addr = await mapFilled(rig, 2);
  await run(coherent, 'MIGRATE_TO_DEV', addr, 2);
  await rig.machine.loseDevice();
  expectBytes(await rig.process.read(addr, 2 * PAGE_SIZE), pattern(2, 0));
  expect(await run(coherent, 'MIGRATE_TO_SYS', addr, 2)).toBe(`${errno.ENODEV} 0 0`);
  expect(await run(coherent, 'RELEASE', addr, 1)).toBe(`${errno.ENODEV} 0 0`);
  await rig.process.write(addr, pattern(2, 3));
  expect(await where(addr, 2)).toEqual([ON_2, ON_2]);
  expectBytes(await rig.process.read(addr, 2 * PAGE_SIZE), pattern(2, 3));
});

test('the engine moves the last coherent frame to VRAM and back like any page of RAM', async () => {
  const { engine, sys } = rig.machine.kernel;
  const last = sys.hostPages - 1;
  const vram = engine.geometry.hostFrames;
  sys.ram.fill(0x5a, last * PAGE_SIZE, (last + 1) * PAGE_SIZE);
  for (const [source, target] of [
    [last, vram],
    [vram, last - 1],
  ] as const) {
    const list = new CommandList(1);
    list.copy(source, target);
    expect(await engine.submit(list)).toBe(0);
  }
  expect(sys.ram[last * PAGE_SIZE - 1]).toBe(0x5a);
  const across = new CommandList(1);
  across.copy(0, last, 2);
  expect(await engine.submit(across)).toBe(errno.EINVAL);
});
