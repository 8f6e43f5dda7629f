/*
 * Lists that every engine must refuse as a whole, each beside a twin that differs in the offending
 * row only and must succeed.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { errno } from '../../src/base/errno.ts';
import { CommandList, JOB_COPY } from '../../src/engine/command-list.ts';
import type { StrategyName } from '../../src/engine/copy-engine.ts';
import type { EngineHarness } from './engine-harness.ts';
import { Bench } from './engine-harness.ts';

const PAGES = 64;
const HUGE = 0xffffffff;

/** A row as it must not be, and as it may be; both are appended to the same good rows. */
interface Refusal {
  readonly name: string;
  readonly bad: (list: CommandList, bench: Bench) => void;
  readonly good: (list: CommandList, bench: Bench) => void;
}

/** Frames of RAM and VRAM that the good rows do not use. */
const free = (bench: Bench): { host: number; vram: number; endOfRam: number; end: number } => ({
  host: bench.host.first + 40,
  vram: bench.vram.first + 40,
  endOfRam: bench.geometry.hostFrames,
  end: bench.geometry.hostFrames + bench.geometry.vramFrames,
});

const REFUSALS: readonly Refusal[] = [
  {
    name: 'a source past the end of VRAM',
    bad: (list, bench) => list.copy(free(bench).end, free(bench).host),
    good: (list, bench) => list.copy(free(bench).end - 1, free(bench).host),
  },
  {
    name: 'a target past the end of VRAM',
    bad: (list, bench) => list.copy(free(bench).host, free(bench).end),
    good: (list, bench) => list.copy(free(bench).host, free(bench).end - 1),
  },
  {
    name: 'a run that ends one frame past the end',
    bad: (list, bench) => list.copy(free(bench).host, free(bench).end - 3, 4),
    good: (list, bench) => list.copy(free(bench).host, free(bench).end - 3, 3),
  },
  {
    name: 'a source that runs from RAM into VRAM',
    bad: (list, bench) => list.copy(free(bench).endOfRam - 2, free(bench).vram, 3),
    good: (list, bench) => list.copy(free(bench).endOfRam - 2, free(bench).vram, 2),
  },
  {
    name: 'a target that runs from RAM into VRAM',
    bad: (list, bench) => list.clear(free(bench).endOfRam - 2, 3),
    good: (list, bench) => list.clear(free(bench).endOfRam - 2, 2),
  },
  {
    name: 'a job of no frames',
    bad: (list, bench) => list.copy(free(bench).host, free(bench).vram, 0),
    good: (list, bench) => list.copy(free(bench).host, free(bench).vram, 1),
  },
  {
    name: 'a job of 2^32 - 1 frames',
    bad: (list, bench) => list.clear(free(bench).vram, HUGE),
    good: (list, bench) => list.clear(free(bench).vram, 24),
  },
  {
    name: 'frame number 2^32 - 1',
    bad: (list) => list.checksum(HUGE),
    good: (list, bench) => list.checksum(free(bench).end - 1),
  },
  ...[-1, -(2 ** 32), 2 ** 32, 2 ** 32 + 40, 40.5, Number.NaN, Number.POSITIVE_INFINITY].flatMap(
    (wrong): Refusal[] => [
      {
        name: `a source ${wrong} frames behind one that may be read`,
        bad: (list, bench) => list.copy(bench.host.first + wrong, free(bench).vram),
        good: (list, bench) => list.copy(bench.host.first + 41, free(bench).vram),
      },
      {
        name: `a target ${wrong} frames behind one that may be written`,
        bad: (list, bench) => list.clear(bench.host.first + wrong),
        good: (list, bench) => list.clear(bench.host.first + 41),
      },
      {
        name: `${wrong} frames`,
        bad: (list, bench) => list.clear(free(bench).vram, wrong),
        good: (list, bench) => list.clear(free(bench).vram, 1),
      },
    ],
  ),
  {
    name: 'two writers of one frame',
    bad: (list, bench) => list.copy(free(bench).host, bench.vram.first + 3),
    good: (list, bench) => list.copy(free(bench).host, bench.vram.first + 4),
  },
  {
    name: 'two writers that overlap in one frame',
    bad: (list, bench) => list.clear(bench.vram.first + 15, 2),
    good: (list, bench) => list.clear(bench.vram.first + 14, 2),
  },
  {
    name: 'a writer of a frame that an earlier row reads',
    bad: (list, bench) => list.clear(bench.host.first),
    good: (list, bench) => list.clear(bench.host.first + 1),
  },
  {
    name: 'a reader of a frame that an earlier row writes',
    bad: (list, bench) => list.checksum(bench.vram.first + 5),
    good: (list, bench) => list.checksum(bench.vram.first + 6),
  },
  {
    name: 'a copy onto itself',
    bad: (list, bench) => list.copy(free(bench).vram, free(bench).vram),
    good: (list, bench) => list.copy(free(bench).vram, free(bench).vram + 1),
  },
  {
    name: 'a copy that overlaps itself',
    bad: (list, bench) => list.copy(free(bench).vram, free(bench).vram + 3, 4),
    good: (list, bench) => list.copy(free(bench).vram, free(bench).vram + 4, 4),
  },
  {
    name: 'an addition to RAM',
    bad: (list, bench) => list.add(free(bench).host, 1),
    good: (list, bench) => list.add(free(bench).vram, 1),
  },
  {
    name: 'an unknown operation',
    bad: (list, bench) => (list.op[list.copy(free(bench).host, free(bench).vram)] = 5),
    good: (list, bench) => (list.op[list.copy(free(bench).host, free(bench).vram)] = JOB_COPY),
  },
  {
    name: 'operation 0',
    bad: (list, bench) => (list.op[list.copy(free(bench).host, free(bench).vram)] = 0),
    good: (list, bench) => (list.op[list.copy(free(bench).host, free(bench).vram)] = JOB_COPY),
  },
];

/** Declares the refusal tests. */
export function describeRefusals(harness: EngineHarness): void {
  let opened: Bench | undefined;
  beforeAll(async () => {
    opened = await Bench.open(harness, PAGES, 11);
  });
  afterAll(async () => {
    await opened?.engine.close();
  });
  const bench = (): Bench => {
    if (opened === undefined) throw new Error('the engine did not open');
    return opened;
  };

  for (const { name, bad, good } of REFUSALS) {
    it(`refuses ${name}, and only that`, async () => {
      const list = goodRows(bench());
      bad(list, bench());
      const row = list.length - 1;
      // A second offender behind it must not be the one that is named.
      list.copy(HUGE, HUGE, HUGE);
      await expectRefusal(bench(), list, row);

      const twin = goodRows(bench());
      good(twin, bench());
      await bench().run(twin);
      expect(twin.firstBad).toBe(-1);
      await bench().compare();
    });
  }

  for (const name of ['', 'Auto', 'toString', 'copy', null, 3]) {
    it(`refuses the strategy ${JSON.stringify(name)}`, async () => {
      const list = goodRows(bench());
      const strategy = name as StrategyName;
      expect(await bench().engine.submit(list, strategy)).toBe(errno.EINVAL);
      expect(list.firstBad).toBe(0);
      expect(await bench().engine.submit(new CommandList(0), strategy)).toBe(errno.EINVAL);
      await bench().compare();
    });
  }

  for (const strategy of harness.strategies) {
    for (const direction of ['up', 'down', 'within'] as const) {
      if (harness.can(strategy, direction)) continue;
      it(`${strategy} refuses to copy ${direction}`, async () => {
        const { host, vram } = free(bench());
        const list = new CommandList(2);
        list.copy(host, host + 1);
        const source = direction === 'up' ? host + 2 : vram;
        list.copy(source, direction === 'down' ? host + 3 : vram + 1);
        expect(await bench().engine.submit(list, strategy)).toBe(errno.EINVAL);
        expect(list.firstBad).toBe(1);
        await bench().compare();
        await bench().run(list, 'auto');
        await bench().compare();
      });
    }
  }
}

/**
 * Rows that are good in every combination. They use RAM frame 0 and VRAM frames 3, 5 and 16 to 19,
 * and not VRAM frame 0: a run that leaves RAM must be refused for that, not for a clash.
 */
function goodRows(bench: Bench): CommandList {
  const { host, vram } = bench;
  const list = new CommandList(8);
  list.copy(host.first, vram.first + 5);
  list.copy(host.first, vram.first + 3);
  list.clear(vram.first + 16, 4);
  return list;
}

async function expectRefusal(bench: Bench, list: CommandList, row: number): Promise<void> {
  const { engine } = bench;
  const before = { ...engine.stats };
  expect(await engine.submit(list)).toBe(errno.EINVAL);
  expect(list.firstBad).toBe(row);
  expect(Array.from(list.done)).toEqual(Array.from(list.done, () => 0));
  expect(engine.stats.submissions).toBe(before.submissions);
  expect(engine.stats.jobs).toBe(before.jobs);
  await bench.compare();
}
