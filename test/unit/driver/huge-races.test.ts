/**
 * Large folios where several commands, or several address spaces, are at them.
 */
import { afterEach, describe, expect, test } from 'vitest';
import { HPAGE_PMD_NR, PAGE_SIZE, PMD_SIZE } from '../../../src/base/units.ts';
import type { CommandList } from '../../../src/engine/command-list.ts';
import type { StrategyName } from '../../../src/engine/copy-engine.ts';
import { MADV_DONTFORK } from '../../../src/index.ts';
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
