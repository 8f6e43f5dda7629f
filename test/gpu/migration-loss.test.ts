/*
 * A device that is lost in the middle of a large migration: each folio is either done or where it
 * was, the command says so, and its counts are those of the page table.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { errno } from '../../src/base/errno.ts';
import { PAGE_SIZE, PMD_SIZE } from '../../src/base/units.ts';
import type { WebGpuEngine } from '../../src/gpu/engine-core.ts';
import { MADV_HUGEPAGE, PAGE_DEVICE, PAGE_RAM, SignalError } from '../../src/index.ts';
import { checkInvariants } from '../../src/sim/check-invariants.ts';
import { expectBytes, makeRig, MIB, RW } from '../unit/driver/rig.ts';
import type { Rig } from '../unit/driver/rig.ts';

const BYTES = 16 * MIB;
const PAGES = BYTES / PAGE_SIZE;

const rigs: Rig[] = [];

afterEach(async () => {
  for (const { machine, process } of rigs.splice(0)) {
    await process.exit();
    checkInvariants(machine.kernel.sys);
    await machine.close();
    for (const { calloc, cfree } of machine.kernel.counters().devices) expect(cfree).toBe(calloc);
  }
});

/**
 * Loses the device in the flight after `landed` ones, counted from this call: its commands have
 * been handed over, their answer has been asked for, and nothing has come back.
 */
function loseAfter(engine: WebGpuEngine, landed: number): void {
  const { readbacks, uploads } = engine.parts;
  let seen = 0;
  // Slots come back when their flight has landed, or just before that.
  for (const ring of [readbacks, uploads]) {
    const give = ring.give.bind(ring);
    ring.give = (slot) => {
      give(slot);
      seen += 1;
    };
  }
  const { queue } = engine.device;
  const submit = queue.submit.bind(queue);
  queue.submit = (lists) => {
    const commands = [...lists];
    submit(commands);
    // Empty ones only ask for answers.
    if (seen >= landed && commands.length > 0) queueMicrotask(() => engine.device.destroy());
  };
}

async function openRig(): Promise<Rig> {
  const rig = await makeRig({
    engine: 'webgpu',
    ramBytes: 64 * MIB,
    deviceBytes: 2 * BYTES,
    chunkBytes: BYTES,
    ringDepth: 1,
  });
  rigs.push(rig);
  return rig;
}

async function filled(rig: Rig, isHuge: boolean): Promise<{ addr: number; content: Uint8Array }> {
  const room = await rig.process.mmap({ length: BYTES + PMD_SIZE, prot: RW });
  const addr = Math.ceil(room / PMD_SIZE) * PMD_SIZE;
  if (isHuge) await rig.process.madvise(addr, BYTES, MADV_HUGEPAGE);
  const words = Uint32Array.from({ length: BYTES / 4 }, (_, i) => Math.imul(i + 1, 0x9e3779b9));
  const content = new Uint8Array(words.buffer);
  await rig.process.write(addr, content);
  return { addr, content };
}

describe.each([
  { what: 'pages', isHuge: false },
  { what: 'folios of 2 MiB', isHuge: true },
])('a device lost while $what migrate', ({ isHuge }) => {
  for (const landed of [1, 3]) {
    it.each(['MIGRATE_TO_DEV', 'MIGRATE_TO_SYS'] as const)(
      `%s, after ${landed} flights: each is done or where it was`,
      async (cmd) => {
        const rig = await openRig();
        const { process, device, machine } = rig;
        const { addr, content } = await filled(rig, isHuge);
        const isHome = cmd === 'MIGRATE_TO_SYS';
        const request = { addr, npages: PAGES, ptr: 0 };
        if (isHome) await device.ioctl('MIGRATE_TO_DEV', request);
        const engine = machine.kernel.engine as WebGpuEngine;
        loseAfter(engine, landed);
        const result = await device.tryIoctl(cmd, request);
        expect(result.errno).toBe(errno.ENODEV);
        expect(engine.isLost).toBe(true);
        const places = [...(await process.pageMap(addr, PAGES))];
        const ways = isHome ? [PAGE_DEVICE, PAGE_RAM] : [PAGE_RAM, PAGE_DEVICE];
        const [stayed, moved] = ways.map((way) => places.filter((one) => one === way).length);
        expect([stayed! > 0, moved! > 0, stayed! + moved!]).toEqual([true, true, PAGES]);
        // Windows that had begun say which pages they gave back; no other one begins.
        const { 'copy failed': failed = 0, ...others } = result.skipped;
        expect(others).toEqual({});
        expect(failed).toBeGreaterThan(0);
        expect(failed).toBeLessThanOrEqual(stayed!);
        if (isHuge) expect([moved! % 512, failed % 512]).toEqual([0, 0]);
        await expectContent(rig, addr, content, places);
      },
    );
  }
});

/** Pages in RAM hold what they held, those on the device are gone and say so. */
async function expectContent(
  { process }: Rig,
  addr: number,
  content: Uint8Array,
  places: readonly number[],
): Promise<void> {
  for (let page = 0; page < places.length; page++) {
    const at = page * PAGE_SIZE;
    if (places[page] === PAGE_RAM) {
      expectBytes(await process.read(addr + at, PAGE_SIZE), content.subarray(at, at + PAGE_SIZE));
    } else if (page % 64 === 0) {
      const lost = await process.read(addr + at, 1).catch((error: unknown) => error);
      expect(lost).toBeInstanceOf(SignalError);
      expect(lost).toMatchObject({ signal: 'SIGBUS', address: addr + at });
    }
  }
}
