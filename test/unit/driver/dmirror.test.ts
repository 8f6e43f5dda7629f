/**
 * The test device on the CPU engine: what its commands do to memory, the device and the counters,
 * beyond what the kernel's selftests look at.
 */
import { afterEach, expect, test, vi } from 'vitest';
import { errno } from '../../../src/base/errno.ts';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { GUP_PIN_COUNTING_BIAS } from '../../../src/mm/page.ts';
import { ptePfn } from '../../../src/mm/swapops.ts';
import { CommandList, JOB_COPY } from '../../../src/engine/command-list.ts';
import {
  PAGE_DEVICE,
  PAGE_NONE,
  PAGE_RAM,
  PAGE_ZERO,
  PROT_READ,
  SignalError,
} from '../../../src/index.ts';
import { MIB, RW, expectBytes, makeRig, mapFilled, pattern, run } from './rig.ts';
import type { Rig } from './rig.ts';

const rigs: Rig[] = [];

async function rig(options = {}): Promise<Rig> {
  const made = await makeRig(options);
  rigs.push(made);
  return made;
}

/** Every test leaves a machine that gives everything back. */
afterEach(async () => {
  for (const { machine } of rigs.splice(0)) {
    await machine.close();
    const { devices } = machine.kernel.counters();
    for (const { calloc, cfree } of devices) expect(cfree).toBe(calloc);
    expect(machine.kernel.sys.mem.waitingPages).toBe(0);
  }
});

const map = async (r: Rig, addr: number, npages: number): Promise<number[]> => [
  ...(await r.process.pageMap(addr, npages)),
];

test('a migrated page is on the device, changed there by ADD, and comes home changed [F12] [F44]', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 3);
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 3)).toBe('0 3 0');
  expect(await map(r, addr, 3)).toEqual([PAGE_DEVICE, PAGE_DEVICE, PAGE_DEVICE]);
  expect(await run(r.device, 'ADD', addr, 3, 1000)).toBe('0 3 0');
  expect(await r.process.read(addr, 3 * PAGE_SIZE)).toEqual(pattern(3, 1000));
  expect(await map(r, addr, 3)).toEqual([PAGE_RAM, PAGE_RAM, PAGE_RAM]);
  const { vm } = await r.machine.counters();
  expect([vm['device_private_fault'], vm['pgmigrate_to_device'], vm['pgmigrate_to_ram']]).toEqual([
    3, 3, 3,
  ]);
});

test('ADD on pages that stay in RAM goes through the aperture and moves no page', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 70);
  expect(await run(r.device, 'ADD', addr, 70, 5)).toBe('0 70 1');
  expect(new Set(await map(r, addr, 70))).toEqual(new Set([PAGE_RAM]));
  expectBytes(await r.process.read(addr, 70 * PAGE_SIZE), pattern(70, 5));
  const { vm, engine } = await r.machine.counters();
  expect(vm['pgmigrate_to_device']).toBe(0);
  // Every page crossed to VRAM and back once.
  expect([engine.bytesToDevice, engine.bytesToHost]).toEqual([70 * PAGE_SIZE, 70 * PAGE_SIZE]);
});

test('WRITE to a migrated hole costs one fault round: its device entry is read-only [F46]', async () => {
  const r = await rig();
  const addr = await r.process.mmap({ length: PAGE_SIZE, prot: RW });
  const from = await mapFilled(r, 1, 9);
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 1)).toBe('0 1 0');
  expect(await run(r.device, 'WRITE', addr, 1, from)).toBe('0 1 1');
  expect(await map(r, addr, 1)).toEqual([PAGE_DEVICE]);
  expect(await r.process.read(addr, PAGE_SIZE)).toEqual(pattern(1, 9));
});

test('a hole that migrates reads as zeroes, whoever had the device page before', async () => {
  const r = await rig({ deviceBytes: PAGE_SIZE });
  const secret = await mapFilled(r, 1, 0x5ec4e7);
  expect(await run(r.device, 'MIGRATE_TO_DEV', secret, 1)).toBe('0 1 0');
  await r.process.munmap(secret, PAGE_SIZE);
  const addr = await r.process.mmap({ length: PAGE_SIZE, prot: RW });
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 1)).toBe('0 1 0');
  expect(await r.process.read(addr, PAGE_SIZE)).toEqual(new Uint8Array(PAGE_SIZE));
});

test('pages that find no room on the device stay in RAM: not all is mapped [F16] [F43]', async () => {
  const r = await rig({ deviceBytes: 2 * PAGE_SIZE, chunkBytes: PAGE_SIZE });
  const addr = await mapFilled(r, 3);
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 3)).toBe(`${errno.ENOENT} 0 0`);
  expect(await map(r, addr, 3)).toEqual([PAGE_DEVICE, PAGE_DEVICE, PAGE_RAM]);
  expect(await r.process.read(addr, 3 * PAGE_SIZE)).toEqual(pattern(3, 0));
});

test('MIGRATE_TO_SYS brings back and counts its own pages, others it leaves alone [F19] [F120]', async () => {
  const r = await rig();
  const other = await r.process.openDevice(1);
  const addr = await mapFilled(r, 4);
  await run(r.device, 'MIGRATE_TO_DEV', addr, 2);
  await run(other, 'MIGRATE_TO_DEV', addr + 2 * PAGE_SIZE, 1);
  expect(await run(r.device, 'MIGRATE_TO_SYS', addr, 4)).toBe('0 2 0');
  expect(await map(r, addr, 4)).toEqual([PAGE_RAM, PAGE_RAM, PAGE_DEVICE + 1, PAGE_RAM]);
  expect(await run(r.device, 'MIGRATE_TO_SYS', addr, 4)).toBe('0 0 0');
});

test('an allocation that FLAGS makes fail keeps one page back, and only once [F119]', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 2);
  await run(r.device, 'FLAGS', addr, 1);
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 2)).toBe(`${errno.ENOENT} 0 0`);
  expect(await map(r, addr, 2)).toEqual([PAGE_RAM, PAGE_DEVICE]);
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 2)).toBe('0 2 0');
  await run(r.device, 'FLAGS', addr, 1);
  expect(await run(r.device, 'MIGRATE_TO_SYS', addr, 2)).toBe(`${errno.ENOMEM} 0 0`);
  expect(await map(r, addr, 2)).toEqual([PAGE_DEVICE, PAGE_DEVICE]);
  expect(await run(r.device, 'MIGRATE_TO_SYS', addr, 2)).toBe('0 2 0');
});

test('RELEASE empties the device for every process and gives its chunks back [F16] [F61]', async () => {
  const r = await rig();
  const stranger = await r.machine.spawn();
  const theirs = await stranger.openDevice(0);
  const addr = await mapFilled(r, 300);
  const there = await mapFilled({ ...r, process: stranger }, 20, 77);
  await run(r.device, 'MIGRATE_TO_DEV', addr, 300);
  await run(theirs, 'MIGRATE_TO_DEV', there, 20);
  expect(await run(r.device, 'RELEASE', addr, 1)).toBe('0 0 0');
  const [memory] = r.machine.kernel.devices;
  expect(memory?.memory.pagesInUse).toBe(0);
  expect(memory?.memory.chunks.every((chunk) => chunk === null)).toBe(true);
  expect(new Set(await map(r, addr, 300))).toEqual(new Set([PAGE_RAM]));
  expect(await stranger.read(there, 20 * PAGE_SIZE)).toEqual(pattern(20, 77));
  // The device is usable again.
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 300)).toBe('0 300 0');
});

test('READ into a buffer that is not mapped is EFAULT, into a mapped one it fills', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 1);
  const buffer = await r.process.mmap({ length: PAGE_SIZE, prot: RW });
  expect(await run(r.device, 'READ', addr, 1, buffer + PAGE_SIZE * 1000)).toBe(
    `${errno.EFAULT} 0 0`,
  );
  expect(await run(r.device, 'READ', addr, 1, buffer)).toBe('0 1 0');
  expect(await r.process.read(buffer, PAGE_SIZE)).toEqual(pattern(1, 0));
});

test('a snapshot faults nothing in [F73] [F118]', async () => {
  const r = await rig();
  const addr = await r.process.mmap({ length: 2 * PAGE_SIZE, prot: RW });
  const out = await mapFilled(r, 1);
  await r.process.touch(addr, 'read');
  expect(await run(r.device, 'SNAPSHOT', addr, 2, out)).toBe('0 2 0');
  expect([...(await r.process.read(out, 2))]).toEqual([0x11, 0x00]);
  expect(await map(r, addr, 2)).toEqual([PAGE_ZERO, PAGE_NONE]);
});

test('bad ranges are EINVAL for every command and change nothing [F116]', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 1);
  const before = await r.machine.counters();
  const ranges: [number, number][] = [
    [addr + 1, 1],
    [addr, 0],
    [addr, -1],
    [addr, Number.NaN],
    [Number.NaN, 1],
    [-PAGE_SIZE, 1],
    [addr, 2 ** 52],
    [addr, 0.5],
  ];
  const commands = ['READ', 'WRITE', 'MIGRATE_TO_DEV', 'SNAPSHOT', 'RELEASE', 'FLAGS'] as const;
  for (const command of [...commands, 'EXCLUSIVE', 'CHECK_EXCLUSIVE'] as const) {
    for (const [at, npages] of ranges) {
      expect(await run(r.device, command, at, npages, addr)).toBe(`${errno.EINVAL} 0 0`);
    }
  }
  expect(await r.machine.counters()).toEqual(before);
});

test('ranges without memory behind them: EFAULT to read, EINVAL to migrate', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 1);
  const hole = addr - 64 * PAGE_SIZE;
  expect(await run(r.device, 'READ', hole, 1, addr)).toBe(`${errno.EFAULT} 0 0`);
  expect(await run(r.device, 'MIGRATE_TO_DEV', hole, 1)).toBe(`${errno.EINVAL} 0 0`);
});

test('a range larger than RAM can hold is ENOMEM for READ, without allocating', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 1);
  const free = (await r.machine.counters()).ramFreePages;
  expect(await run(r.device, 'READ', addr, 2 ** 30, addr)).toBe(`${errno.ENOMEM} 0 0`);
  expect((await r.machine.counters()).ramFreePages).toBe(free);
});

test('a closed device answers EBADF, and its pages still fault home', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 2);
  await run(r.device, 'MIGRATE_TO_DEV', addr, 2);
  await r.device.close();
  expect(await run(r.device, 'READ', addr, 1, addr)).toBe(`${errno.EBADF} 0 0`);
  expect(await r.process.read(addr, 2 * PAGE_SIZE)).toEqual(pattern(2, 0));
});

test('device loss: device pages are SIGBUS, RAM pages intact, nothing half moved [F65]', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 4);
  await run(r.device, 'MIGRATE_TO_DEV', addr, 2);
  await r.machine.loseDevice();
  const home = addr + 2 * PAGE_SIZE;
  expect(await r.process.read(home, 2 * PAGE_SIZE)).toEqual(pattern(4, 0).slice(2 * PAGE_SIZE));
  const lost = await r.process.read(addr + 5, 1).catch((error: unknown) => error);
  expect(lost).toBeInstanceOf(SignalError);
  expect(lost).toMatchObject({ signal: 'SIGBUS', address: addr + 5 });
  expect(await run(r.device, 'MIGRATE_TO_DEV', home, 2)).toBe(`${errno.ENODEV} 0 0`);
  expect(await map(r, addr, 4)).toEqual([PAGE_DEVICE, PAGE_DEVICE, PAGE_RAM, PAGE_RAM]);
  await r.process.munmap(addr, 2 * PAGE_SIZE);
});

test('a device write on a page shared by fork copies it: the child keeps its bytes [F77] [F102]', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 1);
  await run(r.device, 'MIGRATE_TO_DEV', addr, 1);
  const child = await r.process.fork();
  expect((await run(r.device, 'ADD', addr, 1, 3)).split(' ').slice(0, 2)).toEqual(['0', '1']);
  expect(await child.read(addr, PAGE_SIZE)).toEqual(pattern(1, 0));
  expect(await r.process.read(addr, PAGE_SIZE)).toEqual(pattern(1, 3));
});

test('the mirror in another file of the device forgets pages that were brought home', async () => {
  const r = await rig();
  const second = await r.process.openDevice(0);
  const addr = await mapFilled(r, 1);
  const out = await mapFilled(r, 1, 1);
  await run(r.device, 'MIGRATE_TO_DEV', addr, 1);
  expect(await run(second, 'READ', addr, 1, out)).toBe('0 1 1');
  await run(r.device, 'MIGRATE_TO_SYS', addr, 1);
  await r.process.write(addr, pattern(1, 50));
  expect(await run(second, 'READ', addr, 1, out)).toBe('0 1 1');
  expect(await r.process.read(out, PAGE_SIZE)).toEqual(pattern(1, 50));
});

test('mprotect to read-only makes a device write EPERM, back to writable it works [F72]', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 2);
  expect(await run(r.device, 'ADD', addr, 2, 1)).toBe('0 2 1');
  await r.process.mprotect(addr, 2 * PAGE_SIZE, PROT_READ);
  expect(await run(r.device, 'ADD', addr, 2, 1)).toBe(`${errno.EPERM} 0 0`);
  await r.process.mprotect(addr, 2 * PAGE_SIZE, RW);
  expect(await run(r.device, 'ADD', addr, 2, 1)).toBe('0 2 1');
});

test('commands of several files at once on one range end with the sum of their work', async () => {
  const r = await rig({ ramBytes: 16 * MIB });
  const addr = await mapFilled(r, 200);
  const files = [r.device, await r.process.openDevice(0), await r.process.openDevice(1)];
  const adds = files.map((file, i) => run(file, 'ADD', addr, 200, 10 ** i));
  const moves = files.map((file) => run(file, 'MIGRATE_TO_DEV', addr, 200));
  for (const line of await Promise.all(adds)) expect(line.startsWith('0 200')).toBe(true);
  await Promise.all(moves);
  expectBytes(await r.process.read(addr, 200 * PAGE_SIZE), pattern(200, 111));
});

/** Makes the engine fail one row of the next list, as a device would; the others are done. */
function failRow(r: Rig, bad: number): void {
  const { engine } = r.machine.kernel;
  const submit = engine.submit.bind(engine);
  vi.spyOn(engine, 'submit').mockImplementationOnce(async (list) => {
    const rest = new CommandList(list.length);
    for (let row = 0; row < list.length; row++) {
      expect([list.op[row], list.count[row]]).toEqual([JOB_COPY, 1]);
      if (row !== bad) rest.copy(list.source[row]!, list.target[row]!);
    }
    expect(await submit(rest)).toBe(0);
    list.done.fill(1, 0, list.length);
    list.done[bad] = 0;
    return errno.EIO;
  });
}

/** Makes the engine's next list wait, before anything of it is done, until `open` is called. */
function holdNextCopy(r: Rig): { reached: () => Promise<void>; open: () => void } {
  const { engine } = r.machine.kernel;
  const submit = engine.submit.bind(engine);
  let open = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    open = resolve;
  });
  const held = vi.spyOn(engine, 'submit').mockImplementationOnce(async (list, strategy) => {
    await gate;
    return submit(list, strategy);
  });
  const reached = (): Promise<void> =>
    vi.waitFor(() => expect(held).toHaveBeenCalledTimes(1), 10_000);
  return { reached, open };
}

test('a page whose copy fails stays in RAM, those that were copied migrate [F42]', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 3);
  failRow(r, 1);
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 3)).toBe(`${errno.EIO} 0 0`);
  expect(await map(r, addr, 3)).toEqual([PAGE_DEVICE, PAGE_RAM, PAGE_DEVICE]);
  expect(r.machine.kernel.devices[0]?.memory.pagesInUse).toBe(2);
  expect(await r.process.read(addr, 3 * PAGE_SIZE)).toEqual(pattern(3, 0));
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 3)).toBe('0 3 0');
});

test('a page whose copy fails stays on the device, those that were copied come home', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 3);
  await run(r.device, 'MIGRATE_TO_DEV', addr, 3);
  await run(r.device, 'ADD', addr, 3, 9);
  failRow(r, 1);
  expect(await run(r.device, 'MIGRATE_TO_SYS', addr, 3)).toBe(`${errno.EIO} 0 0`);
  expect(await map(r, addr, 3)).toEqual([PAGE_RAM, PAGE_DEVICE, PAGE_RAM]);
  expect(await r.process.read(addr, 3 * PAGE_SIZE)).toEqual(pattern(3, 9));
});

test('a CPU fault whose copy fails is SIGBUS and leaves the page; the next one works [F65]', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 1);
  await run(r.device, 'MIGRATE_TO_DEV', addr, 1);
  failRow(r, 0);
  const failure = await r.process.read(addr, 1).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(SignalError);
  expect(await map(r, addr, 1)).toEqual([PAGE_DEVICE]);
  expect(await r.process.read(addr, PAGE_SIZE)).toEqual(pattern(1, 0));
});

test('a page that migrates to another device is forgotten here [F93]', async () => {
  const r = await rig();
  const other = await r.process.openDevice(1);
  const addr = await mapFilled(r, 1);
  expect(await run(r.device, 'ADD', addr, 1, 5)).toBe('0 1 1');
  expect(await run(other, 'MIGRATE_TO_DEV', addr, 1)).toBe('0 1 0');
  expect(await run(other, 'ADD', addr, 1, 20)).toBe('0 1 0');
  expect(await run(r.device, 'ADD', addr, 1, 300)).toBe('0 1 1');
  expect(await r.process.read(addr, PAGE_SIZE)).toEqual(pattern(1, 325));
});

test('a device fault looks again at what was invalidated while it waited [F74]', async () => {
  const r = await rig();
  const other = await r.process.openDevice(1);
  const addr = await mapFilled(r, 2);
  const { sys } = r.machine.kernel;
  const gate = holdNextCopy(r);
  // The second page is on its way to the other device; the fault has seen the first and waits.
  const migration = run(other, 'MIGRATE_TO_DEV', addr + PAGE_SIZE, 1);
  await gate.reached();
  const adding = run(r.device, 'ADD', addr, 2, 7);
  await vi.waitFor(() => expect(sys.vmstat.read('hmm_restart')).toBe(1), 10_000);
  // What it has seen goes away meanwhile.
  expect(await run(other, 'MIGRATE_TO_DEV', addr, 1)).toBe('0 1 0');
  gate.open();
  expect(await migration).toBe('0 1 0');
  expect(await adding).toBe('0 2 1');
  expect(await r.process.read(addr, 2 * PAGE_SIZE)).toEqual(pattern(2, 7));
});

test('a CPU store beside a device write is never lost: the page is lent', async () => {
  const r = await rig();
  const npages = 40;
  const addr = await mapFilled(r, npages);
  await run(r.device, 'ADD', addr, npages, 0);
  const word = Uint8Array.of(0x11, 0x22, 0x33, 0x44);
  const add = run(r.device, 'ADD', addr, npages, 0x1000_0000);
  const stores = Array.from({ length: npages }, async (_, page) => {
    for (let turn = 0; turn < page % 7; turn++) await Promise.resolve();
    await r.process.write(addr + page * PAGE_SIZE + 8, word);
  });
  await Promise.all([add, ...stores]);
  const words = new Uint32Array((await r.process.read(addr, npages * PAGE_SIZE)).buffer);
  const seen = new Set(Array.from({ length: npages }, (_, page) => words[page * 1024 + 2]!));
  expect([0x4433_2211, 0x5433_2211]).toEqual(expect.arrayContaining([...seen]));
  expect(words[0]).toBe(0x1000_0000);
  const { vm } = await r.machine.counters();
  expect(vm['migration_entry_wait']).toBeGreaterThan(0);
});

test('a lent page keeps its place in the device page table: no second fault', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 3);
  expect(await run(r.device, 'ADD', addr, 3, 1)).toBe('0 3 1');
  expect(await run(r.device, 'ADD', addr, 3, 1)).toBe('0 3 0');
});

test('FLAGS belong to the device: the failure hits whichever file comes next', async () => {
  const r = await rig();
  const second = await r.process.openDevice(0);
  const addr = await mapFilled(r, 1);
  await run(r.device, 'FLAGS', addr, 1);
  expect(await run(second, 'MIGRATE_TO_DEV', addr, 1)).toBe(`${errno.ENOENT} 0 0`);
  expect(await run(r.device, 'MIGRATE_TO_DEV', addr, 1)).toBe('0 1 0');
});

test('RELEASE waits for a page that is on its way to the device, and brings it home', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 2);
  const gate = holdNextCopy(r);
  const migration = run(r.device, 'MIGRATE_TO_DEV', addr, 2);
  await gate.reached();
  const releasing = run(r.device, 'RELEASE', addr, 1);
  const pause = (ms: number): Promise<string> =>
    new Promise((resolve) => setTimeout(() => resolve('still waiting'), ms));
  expect(await Promise.race([releasing, pause(20)])).toBe('still waiting');
  gate.open();
  await migration;
  const released = await Promise.race([releasing, pause(5000)]);
  const places = await map(r, addr, 2);
  expect(await r.process.read(addr, 2 * PAGE_SIZE)).toEqual(pattern(2, 0));
  expect([released, ...places]).toEqual(['0 0 0', PAGE_RAM, PAGE_RAM]);
});

test('RAM that is full in the middle of a window: no page comes home, none is lost', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 3);
  await run(r.device, 'MIGRATE_TO_DEV', addr, 3);
  const { pageAllocator } = r.machine.kernel.sys;
  const before = pageAllocator.freePages;
  pageAllocator.failAt = 3;
  expect(await run(r.device, 'MIGRATE_TO_SYS', addr, 3)).toBe(`${errno.ENOMEM} 0 0`);
  expect(pageAllocator.freePages).toBe(before);
  expect(await map(r, addr, 3)).toEqual([PAGE_DEVICE, PAGE_DEVICE, PAGE_DEVICE]);
  expect(await run(r.device, 'MIGRATE_TO_SYS', addr, 3)).toBe('0 3 0');
  expect(await r.process.read(addr, 3 * PAGE_SIZE)).toEqual(pattern(3, 0));
});

test('a page that the device has mapped for reading is not writable for it [F72]', async () => {
  const r = await rig();
  const out = await mapFilled(r, 1, 1);
  const addr = await mapFilled(r, 1);
  await r.process.mprotect(addr, PAGE_SIZE, PROT_READ);
  expect(await run(r.device, 'READ', addr, 1, out)).toBe('0 1 1');
  expect(await run(r.device, 'ADD', addr, 1, 1)).toBe(`${errno.EPERM} 0 0`);
  expect(await r.process.read(addr, PAGE_SIZE)).toEqual(pattern(1, 0));
});

test('a device write after a device read of the zero page gets a page of its own', async () => {
  const r = await rig();
  const out = await mapFilled(r, 1, 1);
  const addr = await r.process.mmap({ length: 2 * PAGE_SIZE, prot: RW });
  expect(await run(r.device, 'READ', addr, 1, out)).toBe('0 1 1');
  expect(await map(r, addr, 1)).toEqual([PAGE_ZERO]);
  expect(await run(r.device, 'ADD', addr, 1, 7)).toBe('0 1 1');
  expect(await map(r, addr, 1)).toEqual([PAGE_RAM]);
  expect(await r.process.read(addr + PAGE_SIZE, PAGE_SIZE)).toEqual(new Uint8Array(PAGE_SIZE));
});

test('commands that do not exist here are EINVAL', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 1);
  for (const command of ['EXCLUSIVES', 'toString'] as const) {
    expect(await run(r.device, command as 'READ', addr, 1, addr)).toBe(`${errno.EINVAL} 0 0`);
  }
});

test('a pinned RAM page can not be lent: a device write is EBUSY and changes nothing', async () => {
  const r = await rig();
  const addr = await mapFilled(r, 2);
  const { sys } = r.machine.kernel;
  const [mm] = sys.mms;
  const pinned = ptePfn(sys.pageTables.words[sys.pageTables.pteOffset(mm!.pgd, addr)]!);
  sys.mem.refcount[pinned]! += GUP_PIN_COUNTING_BIAS;
  expect(await run(r.device, 'ADD', addr, 1, 7)).toBe(`${errno.EBUSY} 0 0`);
  expect(sys.mem.isLocked(pinned)).toBe(false);
  expect(await r.process.read(addr, 2 * PAGE_SIZE)).toEqual(pattern(2, 0));
  sys.mem.refcount[pinned]! -= GUP_PIN_COUNTING_BIAS;
  expect(await run(r.device, 'ADD', addr, 1, 7)).toBe('0 1 0');
});
