/*
 * A copy that is measured is verified: an honest engine passes in each direction, every lie that an
 * engine could get away with in a careless benchmark is caught.
 */
import { describe, expect, test } from 'vitest';
import { CopyOperation } from '../../../bench/copy-operation.ts';
import type { CopyMachine, Direction } from '../../../bench/copy-operation.ts';
import { FramePool } from '../../../bench/frames.ts';
import { sampleOperation } from '../../../bench/sampler.ts';
import { Prng } from '../../../src/base/prng.ts';
import { checksumPageRange } from '../../../src/engine/checksum.ts';
import { JOB_ADD, JOB_CHECKSUM } from '../../../src/engine/command-list.ts';
import type { CommandList } from '../../../src/engine/command-list.ts';
import type { CopyEngine, StrategyName } from '../../../src/engine/copy-engine.ts';
import { CpuEngine } from '../../../src/engine/cpu-engine.ts';

const PAGE = 4096;
const WORDS = PAGE / 4;
const FRAMES = 512;
const BOX = { minSamples: 3, maxSamples: 3, budgetMs: 1000, warmups: 1 };
const DIRECTIONS: Direction[] = ['to-device', 'to-host', 'in-device', 'in-host'];

/** How an engine lies: it is given the list and the honest engine, and answers as it likes. */
type Lie = (
  list: CommandList,
  honest: CpuEngine,
  strategy: StrategyName,
) => number | Promise<number>;

interface Bench extends CopyMachine {
  readonly ram: Uint8Array;
}

function machineWith(lie: Lie, strayErrors: () => number = () => 0): Bench {
  const ram = new Uint8Array(new SharedArrayBuffer(FRAMES * PAGE));
  const geometry = { hostFrames: FRAMES, vramFrames: FRAMES };
  const honest = new CpuEngine({ ram, geometry });
  const engine: CopyEngine = Object.create(honest, {
    submit: {
      value: (list: CommandList, strategy: StrategyName = 'auto') => lie(list, honest, strategy),
    },
  }) as CopyEngine;
  return { engine, ram, ramWords: new Uint32Array(ram.buffer), strayErrors };
}

/** Copies 24 folios of 4 pages in that direction. */
function operationOn(machine: CopyMachine, direction: Direction): CopyOperation {
  const shuffler = new Prng(5);
  const ram = new FramePool(0, FRAMES);
  const vram = new FramePool(FRAMES, FRAMES);
  const take = (pool: FramePool): Uint32Array => pool.take(24, 4, shuffler)!;
  const fromRam = direction === 'to-device' || direction === 'in-host';
  const intoRam = direction === 'to-host' || direction === 'in-host';
  return new CopyOperation(machine, {
    direction,
    strategy: 'cpu',
    folioPages: 4,
    source: take(fromRam ? ram : vram),
    target: take(intoRam ? ram : vram),
    ...(direction === 'in-device' ? { scratch: take(ram) } : {}),
    seed: 11,
  });
}

async function failureOf(machine: CopyMachine, direction: Direction): Promise<string | null> {
  const sampled = await sampleOperation(operationOn(machine, direction), BOX, 0);
  return sampled.failure;
}

/** True for a list of the copies that are measured, not of preparing or checking. */
function isMeasured(strategy: StrategyName): boolean {
  return strategy === 'cpu';
}

function markDone(list: CommandList): number {
  list.done.fill(1, 0, list.length);
  return 0;
}

describe('an honest engine', () => {
  test.each(DIRECTIONS)('is verified %s', async (direction) => {
    const machine = machineWith((list, honest) => honest.submit(list));
    expect(await failureOf(machine, direction)).toBeNull();
  });

  test('is verified as a stream of lists with several in flight', async () => {
    const machine = machineWith(async (list, honest) => {
      await Promise.resolve();
      return honest.submit(list);
    });
    const ram = new FramePool(0, FRAMES).take(100, 1, new Prng(1))!;
    const vram = new FramePool(FRAMES, FRAMES).take(100, 1, new Prng(2))!;
    const stream = new CopyOperation(machine, {
      direction: 'to-device',
      strategy: 'cpu',
      folioPages: 1,
      source: ram,
      target: vram,
      seed: 3,
      listFolios: 16,
      inFlight: 3,
    });
    const sampled = await sampleOperation(stream, BOX, 0);
    expect(sampled.failure).toBeNull();
    expect(stream.bytes).toBe(100 * PAGE);
  });
});

describe('what lies in device memory', () => {
  test.each(['to-device', 'in-device'] as const)(
    'is compared there, and brings no page home: %s',
    async (direction) => {
      const machine = machineWith((list, honest) => honest.submit(list));
      const before = machine.engine.stats.bytesToHost;
      expect(await failureOf(machine, direction)).toBeNull();
      expect(machine.engine.stats.bytesToHost - before).toBe(0);
    },
  );
});

test.each(DIRECTIONS)('a result may be looked at twice: %s', async (direction) => {
  const operation = operationOn(
    machineWith((list, honest) => honest.submit(list)),
    direction,
  );
  await operation.prepare();
  expect(await operation.run()).toBe(0);
  expect([await operation.verify(), await operation.verify()]).toEqual([null, null]);
  await operation.prepare();
  expect(await operation.run()).toBe(0);
  expect(await operation.verify()).toBeNull();
});

describe('a lying engine', () => {
  test.each(DIRECTIONS)('that does nothing is caught %s', async (direction) => {
    const machine = machineWith((list, honest, strategy) =>
      isMeasured(strategy) ? markDone(list) : honest.submit(list),
    );
    expect(await failureOf(machine, direction)).toMatch(/is wrong from word 0/);
  });

  test.each(DIRECTIONS)('that stops after the warm-up is caught %s', async (direction) => {
    let measured = 0;
    const machine = machineWith((list, honest, strategy) => {
      if (isMeasured(strategy) && ++measured > 1) return markDone(list);
      return honest.submit(list);
    });
    expect(await failureOf(machine, direction)).toMatch(/is wrong/);
  });

  test.each(DIRECTIONS)('that skips the last page is caught %s', async (direction) => {
    const machine = machineWith((list, honest, strategy) => {
      if (!isMeasured(strategy)) return honest.submit(list);
      const last = list.length - 1;
      const pages = list.count[last]!;
      list.count[last] = pages - 1;
      const status = honest.submit(list);
      list.count[last] = pages;
      return status;
    });
    expect(await failureOf(machine, direction)).toMatch(/page 95 of 96/);
  });

  test.each(DIRECTIONS)('that swaps two targets is caught %s', async (direction) => {
    const machine = machineWith((list, honest, strategy) => {
      if (!isMeasured(strategy)) return honest.submit(list);
      const swap = (): void => {
        const held = list.target[0]!;
        list.target[0] = list.target[1]!;
        list.target[1] = held;
      };
      swap();
      const status = honest.submit(list);
      swap();
      return status;
    });
    expect(await failureOf(machine, direction)).toMatch(/page 0 of 96/);
  });

  test('that keeps uploads as references to RAM is caught', async () => {
    // It remembers where pages came from and serves readbacks straight from there.
    const origin = new Map<number, number>();
    const machine = machineWith((list, honest) => {
      for (let row = 0; row < list.length; row++) {
        const [source, target, count] = [list.source[row]!, list.target[row]!, list.count[row]!];
        if (list.op[row] === JOB_ADD) continue;
        if (list.op[row] === JOB_CHECKSUM) {
          list.result[row] = checksumPageRange(machine.ramWords, origin.get(source) ?? 0, 1);
          continue;
        }
        for (let page = 0; page < count; page++) {
          if (target >= FRAMES) origin.set(target + page, source + page);
          else copyInRam(machine.ram, origin.get(source + page) ?? 0, target + page);
        }
      }
      void honest;
      return markDone(list);
    });
    expect(await failureOf(machine, 'to-device')).toMatch(/is wrong/);
    expect(await failureOf(machine, 'to-host')).toMatch(/is wrong/);
  });

  test.each(['to-device', 'in-device'] as const)(
    'that is right only when looked at in RAM is caught %s',
    async (direction) => {
      const machine = machineWith((list, honest) => {
        const status = honest.submit(list);
        if (list.op[0] === JOB_CHECKSUM) list.result[5]! ^= 1;
        return status;
      });
      expect(await failureOf(machine, direction)).toBe(
        'page 5 of 96 is wrong, but right when it is copied back',
      );
    },
  );

  test('that claims success without done bits is caught', async () => {
    const machine = machineWith((list, honest, strategy) => {
      const status = honest.submit(list);
      if (isMeasured(strategy)) list.done[list.length - 1] = 0;
      return status;
    });
    expect(await failureOf(machine, 'to-device')).toBe('row 23 was never done');
  });

  test('whose device reported errors on the side is not verified', async () => {
    let errors = 0;
    const machine = machineWith(
      (list, honest) => honest.submit(list),
      () => errors++,
    );
    expect(await failureOf(machine, 'to-host')).toMatch(/uncaptured GPU errors/);
  });

  test('that fails while the content is prepared fails the cell', async () => {
    const machine = machineWith((list, honest, strategy) =>
      isMeasured(strategy) ? honest.submit(list) : -5,
    );
    expect(await failureOf(machine, 'to-host')).toBe('preparing or checking the copy failed: EIO');
  });
});

function copyInRam(ram: Uint8Array, from: number, to: number): void {
  ram.copyWithin(to * PAGE, from * PAGE, (from + 1) * PAGE);
}

test('words of the machine are those of its pages', () => {
  const machine = machineWith(() => 0);
  expect(machine.ramWords.length).toBe(FRAMES * WORDS);
});
