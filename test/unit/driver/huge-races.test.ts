/**
 * Large folios where several commands, or several address spaces, are at them.
 */
import { afterEach, describe, expect, test } from 'vitest';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import type { CommandList } from '../../../src/engine/command-list.ts';
import type { StrategyName } from '../../../src/engine/copy-engine.ts';
import { DPT_WRITE } from '../../../src/driver/device-page-table.ts';
import { MADV_DONTFORK } from '../../../src/index.ts';
import { vmaLookup } from '../../../src/mm/vma-lookup.ts';
import { zapPageRange } from '../../../src/mm/zap.ts';
import { MIB, RW, expectBytes, makeRig, pattern, run } from './rig.ts';
import type { Rig } from './rig.ts';

const rigs: Rig[] = [];

afterEach(async () => {
  for (const { machine } of rigs.splice(0)) await machine.close();
});

/** A machine of large folios, and a filled one of them. */
async function makeHuge(): Promise<Rig & { addr: number }> {
  const rig = await makeRig({
    ramBytes: 32 * MIB,
    deviceBytes: 16 * MIB,
    chunkBytes: 4 * MIB,
    thp: 'always',
  });
  rigs.push(rig);
  const hole = await rig.process.mmap({ length: 2 * PMD_SIZE, prot: RW });
  const addr = Math.ceil(hole / PMD_SIZE) * PMD_SIZE;
  await rig.process.write(addr, pattern(HPAGE_PMD_NR, 1));
  return { ...rig, addr };
}

/** The engine's next list takes a while, as on a device. */
function slowNextCopy({ machine }: Rig): void {
  const { engine } = machine.kernel;
  const submit = engine.submit.bind(engine);
  engine.submit = async (list: CommandList, strategy?: StrategyName): Promise<number> => {
    engine.submit = submit;
    await new Promise((done) => setTimeout(done, 20));
    return submit(list, strategy);
  };
}

describe('a device write to a shared large folio that is on the device', () => {
  test('waits while another command works on it', async () => {
    const r = await makeHuge();
    const { addr } = r;
    expect(await run(r.device, 'MIGRATE_TO_DEV', addr, HPAGE_PMD_NR)).toBe(`0 ${HPAGE_PMD_NR} 0`);
    const child = await r.process.fork();
    const out = await r.process.mmap({ length: PAGE_SIZE, prot: RW });
    await r.process.write(out, Uint8Array.of(1));
    expect(await run(r.device, 'READ', addr, 1, out)).toBe('0 1 1');
    const other = await r.process.openDevice(0);
    expect(await run(other, 'CHECK_EXCLUSIVE', addr, 1)).toBe('0 0 0');
    slowNextCopy(r);
    // Not its first page: a tail is never locked by itself. It faults while the other command
    // reads.
    const adding = run(other, 'ADD', addr + 3 * PAGE_SIZE, 1, 5);
    const reading = run(r.device, 'READ', addr, 1, out);
    expect([await adding, await reading]).toEqual(['0 1 1', '0 1 0']);
    const bytes = await r.process.read(addr, PMD_SIZE);
    expectBytes(bytes.slice(3 * PAGE_SIZE, 4 * PAGE_SIZE), pattern(4, 6).slice(3 * PAGE_SIZE));
    expectBytes(await child.read(addr, PMD_SIZE), pattern(HPAGE_PMD_NR, 1));
  });
});

describe('many mappings of a large folio', () => {
  test('are no pins: the device writes to the pages that fork has not shared', async () => {
    const r = await makeHuge();
    const half = r.addr + PMD_SIZE / 2;
    await r.process.madvise(half, PMD_SIZE / 2, MADV_DONTFORK);
    await r.process.fork();
    await r.process.fork();
    expect(await run(r.device, 'ADD', half, 1, 5)).toBe('0 1 1');
  });
});

describe('a large folio on its way to the device', () => {
  /** What becomes of its pages on the device: mapped, and for writing. */
  function mappedThere({ machine }: Rig, addr: number): { mapped: number[]; writable: number } {
    const [mirror] = machine.kernel.devices[0]!.mirrors;
    const first = addr / PAGE_SIZE;
    const entries = Array.from({ length: HPAGE_PMD_NR }, (_, i) =>
      mirror!.pageTable.lookup(first + i),
    );
    const mapped = entries.flatMap((entry, i) => (entry === 0 ? [] : [i]));
    return { mapped, writable: entries.filter((entry) => (entry & DPT_WRITE) !== 0).length };
  }

  /** Zaps `pages` pages of the folio, from `at` on, before the next list is copied. */
  function zapDuringNextCopy({ machine }: Rig, addr: number, at: number, pages: number): void {
    const { engine, sys } = machine.kernel;
    const submit = engine.submit.bind(engine);
    engine.submit = async (list: CommandList, strategy?: StrategyName): Promise<number> => {
      engine.submit = submit;
      const mm = [...sys.mms][0]!;
      const start = addr + at * PAGE_SIZE;
      await mm.mmapLock.readLock();
      zapPageRange(vmaLookup(mm, start)!, start, start + pages * PAGE_SIZE);
      mm.mmapLock.readUnlock();
      return submit(list, strategy);
    };
  }

  test('that nobody touches is mapped there whole, for writing', async () => {
    const r = await makeHuge();
    expect(await run(r.device, 'MIGRATE_TO_DEV', r.addr, HPAGE_PMD_NR)).toBe('0 512 0');
    const { mapped, writable } = mappedThere(r, r.addr);
    expect([mapped.length, writable]).toEqual([HPAGE_PMD_NR, HPAGE_PMD_NR]);
  });

  test.each([
    ['the first page', 0, 1],
    ['a page in the middle', 3, 1],
    ['the last page', HPAGE_PMD_NR - 1, 1],
    ['all pages', 0, HPAGE_PMD_NR],
  ])('is not mapped there where it is zapped: %s', async (_what, at, pages) => {
    const r = await makeHuge();
    zapDuringNextCopy(r, r.addr, at, pages);
    expect(await run(r.device, 'MIGRATE_TO_DEV', r.addr, HPAGE_PMD_NR)).toBe('-2 0 0');
    const gone = mappedThere(r, r.addr).mapped.filter((i) => i >= at && i < at + pages);
    expect(gone).toEqual([]);
    const bytes = await r.process.read(r.addr, PMD_SIZE);
    const wanted = pattern(HPAGE_PMD_NR, 1);
    wanted.fill(0, at * PAGE_SIZE, (at + pages) * PAGE_SIZE);
    expectBytes(bytes, wanted);
  });

  test('is not writable there where userfaultfd protects it meanwhile', async () => {
    const r = await makeHuge();
    const uffd = await r.process.userfaultfd();
    await uffd.register(r.addr, PMD_SIZE, { writeProtect: true });
    const { engine } = r.machine.kernel;
    const submit = engine.submit.bind(engine);
    engine.submit = async (list: CommandList, strategy?: StrategyName): Promise<number> => {
      engine.submit = submit;
      await uffd.writeprotect(r.addr, PMD_SIZE);
      return submit(list, strategy);
    };
    expect(await run(r.device, 'MIGRATE_TO_DEV', r.addr, HPAGE_PMD_NR)).toBe('0 512 0');
    const { mapped, writable } = mappedThere(r, r.addr);
    expect([mapped.length, writable]).toEqual([HPAGE_PMD_NR, 0]);
    await uffd.close();
  });
});
