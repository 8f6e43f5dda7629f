/*
 * The parts that decide what a flight carries: order of rows, planning, job groups, RAM hazards,
 * and the shader linker. None of them needs a device that answers.
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CommandList } from '../../src/engine/command-list.ts';
import * as abi from '../../src/engine/kernel-abi.ts';
import { Fifo } from '../../src/gpu/fifo.ts';
import {
  FlightPlan,
  SEGMENT_ACROSS,
  SEGMENT_ADD,
  SEGMENT_DOWNLOAD,
  SEGMENT_SUM,
  SEGMENT_UPLOAD,
  SEGMENT_WITHIN,
} from '../../src/gpu/flight-plan.ts';
import { planFlight } from '../../src/gpu/flight-planner.ts';
import { JobBuffer } from '../../src/gpu/job-buffer.ts';
import { createListShape, ListRun, measureList } from '../../src/gpu/list-run.ts';
import { RamHazards } from '../../src/gpu/ram-hazards.ts';
import { RowOrder } from '../../src/gpu/row-order.ts';
import { describeMessage, linkShader } from '../../src/gpu/shader-link.ts';
import { chooseStrategy, firstRefusedRow } from '../../src/gpu/strategies/choose.ts';
import { usualPaths } from '../../src/gpu/strategies/paths.ts';

const HOST = 1000;
const PER_ARENA = 100;
const layout = { hostFrames: HOST, framesPerArena: PER_ARENA };
const room = { uploadPages: 64, readBytes: 64 * 4096, bouncePages: 64, jobs: 1000 };

function runOf(list: CommandList): ListRun {
  const shape = createListShape();
  measureList(list, HOST, shape);
  return new ListRun(list, chooseStrategy('staging', shape, usualPaths(true)), shape, false);
}

/** Plans a list to its end; returns each flight's segments as plain objects. */
function planAll(list: CommandList, limits = room, segments = 64) {
  const run = runOf(list);
  const order = new RowOrder();
  order.build(list, HOST, false);
  const flights: Record<string, number>[][] = [];
  const plan = new FlightPlan(segments);
  while (run.cursor < run.deviceRows) {
    planFlight(run, order.rows, plan, limits, layout);
    flights.push(
      Array.from({ length: plan.length }, (_, i) => ({
        kind: plan.kind[i]!,
        row: plan.row[i]!,
        pages: plan.pages[i]!,
        arena: plan.arena[i]!,
        frame: plan.frame[i]!,
        host: plan.host[i]!,
        slot: plan.slot[i]!,
        ends: plan.ends[i]!,
      })),
    );
  }
  return flights;
}

describe('planning', () => {
  it('cuts a row where an arena ends', () => {
    const list = new CommandList(1);
    list.copy(3, HOST + 95, 10);
    expect(planAll(list)).toEqual([
      [
        { kind: SEGMENT_UPLOAD, row: 0, pages: 5, arena: 0, frame: 95, host: 3, slot: 0, ends: 0 },
        { kind: SEGMENT_UPLOAD, row: 0, pages: 5, arena: 1, frame: 0, host: 8, slot: 5, ends: 1 },
      ],
    ]);
  });

  it('cuts a move where either side changes arenas, and names which moves stay inside', () => {
    const list = new CommandList(1);
    list.copy(HOST + 90, HOST + 195, 20);
    const [flight] = planAll(list);
    expect(flight!.map(({ kind, pages, arena, frame }) => [kind, pages, arena, frame])).toEqual([
      [SEGMENT_ACROSS, 5, 1, 95],
      [SEGMENT_ACROSS, 5, 2, 0],
      [SEGMENT_ACROSS, 10, 2, 5],
    ]);
    const inside = new CommandList(1);
    inside.copy(HOST + 10, HOST + 40, 20);
    expect(planAll(inside)[0]![0]!['kind']).toBe(SEGMENT_WITHIN);
  });

  it('a row larger than a slot fills up each flight, a row that fits is not cut', () => {
    const list = new CommandList(3);
    list.copy(0, HOST, 40);
    list.copy(100, HOST + 200, 40);
    list.copy(200, HOST + 300, 90);
    const pages = planAll(list).map((flight) => flight.map((segment) => segment['pages']));
    expect(pages).toEqual([[40], [40, 24], [64], [2]]);
  });

  it('a flight that is full of segments goes on in the next', () => {
    const list = new CommandList(10);
    for (let i = 0; i < 10; i++) list.copy(HOST + i * 3, i);
    const flights = planAll(list, room, 4);
    expect(flights.map((flight) => flight.length)).toEqual([4, 4, 2]);
    expect(flights[1]!.map((segment) => segment['slot'])).toEqual([0, 1, 2, 3]);
    expect(flights.flat().every((segment) => segment['kind'] === SEGMENT_DOWNLOAD)).toBe(true);
  });

  it('checksums share the readback slot with pages, four bytes each', () => {
    const list = new CommandList(2);
    list.copy(HOST, 0, 63);
    list.checksum(HOST + 100, 600);
    expect(planAll(list, room).map((flight) => flight.length)).toEqual([7]);
    list.count[0] = 64;
    const flights = planAll(list, room);
    expect(flights.map((flight) => flight.length)).toEqual([1, 6]);
    expect(flights[1]!.map((segment) => segment['kind'])).toEqual(Array(6).fill(SEGMENT_SUM));
  });

  it('every page of every row is planned once, in order, whatever the limits', () => {
    const rows = fc.array(
      fc.record({ up: fc.boolean(), count: fc.integer({ min: 1, max: 150 }) }),
      { minLength: 1, maxLength: 20 },
    );
    const limits = fc.record({
      uploadPages: fc.integer({ min: 1, max: 70 }),
      readBytes: fc.integer({ min: 1, max: 70 }).map((pages) => pages * 4096),
      bouncePages: fc.constant(8),
      jobs: fc.integer({ min: 2, max: 90 }),
    });
    fc.assert(
      fc.property(rows, limits, (specs, limit) => {
        const list = new CommandList(specs.length);
        specs.forEach(({ up, count }, i) => {
          if (up) list.copy(i, HOST + i * 150, count);
          else list.copy(HOST + i * 150, i, count);
        });
        const planned = specs.map(() => 0);
        for (const flight of planAll(list, limit)) {
          const used = { up: 0, down: 0 };
          for (const segment of flight) {
            const row = segment['row']!;
            const { up, count } = specs[row]!;
            const place = segment['arena']! * PER_ARENA + segment['frame']!;
            expect(place).toBe(row * 150 + planned[row]!);
            expect(segment['host']).toBe(row + planned[row]!);
            const way = up ? 'up' : 'down';
            expect(segment['slot']).toBe(used[way]);
            used[way] += segment['pages']!;
            planned[row]! += segment['pages']!;
            expect(segment['ends'] === 1).toBe(planned[row] === count);
          }
          expect(used.up).toBeLessThanOrEqual(limit.uploadPages);
          expect(used.down * 4096).toBeLessThanOrEqual(limit.readBytes);
          expect(used.up + used.down).toBeLessThanOrEqual(limit.jobs);
        }
        expect(planned).toEqual(specs.map(({ count }) => count));
      }),
      { numRuns: 60 },
    );
  });
});

describe('row order', () => {
  const keyOf = (list: CommandList, row: number): number =>
    list.target[row]! < HOST ? list.source[row]! : list.target[row]!;

  it('sorts by VRAM frame, few rows and many, keeping each row once', () => {
    const frames = fc.uniqueArray(fc.nat(2 ** 22), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(frames, fc.boolean(), (picked, down) => {
        const list = new CommandList(picked.length);
        picked.forEach((frame, i) => {
          if (down) list.copy(HOST + frame, i);
          else list.copy(i, HOST + frame);
        });
        const order = new RowOrder();
        order.build(list, HOST, true);
        const rows = [...order.rows.subarray(0, order.length)];
        const keys = rows.map((row) => keyOf(list, row));
        expect(keys).toEqual([...keys].sort((a, b) => a - b));
        expect([...rows].sort((a, b) => a - b)).toEqual(picked.map((_, i) => i));
      }),
    );
  });

  it('keeps the order of the list when it is not to sort, and leaves RAM rows out', () => {
    const list = new CommandList(4);
    list.copy(0, HOST + 9);
    list.copy(1, 2);
    list.copy(3, HOST + 4);
    list.clear(7);
    const order = new RowOrder();
    order.build(list, HOST, false);
    expect([...order.rows.subarray(0, order.length)]).toEqual([0, 2]);
    order.build(list, HOST, true);
    expect([...order.rows.subarray(0, order.length)]).toEqual([2, 0]);
  });
});

describe('job groups', () => {
  const device = { createBuffer: () => ({}) } as unknown as GPUDevice;
  const written = (jobs: JobBuffer): Uint32Array => {
    let words = new Uint32Array();
    const queue = {
      writeBuffer(_b: unknown, _o: number, data: Uint32Array, from: number, size: number) {
        words = data.slice(from, from + size);
      },
    };
    jobs.write(queue as unknown as GPUQueue);
    return words;
  };

  it('one group an arena, each where a dynamic offset may point', () => {
    const jobs = new JobBuffer(device, 3, 100, 4);
    const plan = new FlightPlan(8);
    plan.append(SEGMENT_ADD, 0, 3, 2, 10);
    plan.append(SEGMENT_ADD, 1, 2, 0, 20);
    plan.append(SEGMENT_ADD, 2, 4, 2, 30);
    plan.argument.set([7, 8, 9]);
    jobs.reset();
    expect(jobs.addGroups(plan, SEGMENT_ADD, plan.arena, plan.frame, plan.argument, 0)).toBe(0);
    expect(jobs.groups).toBe(2);
    expect([...jobs.groupArena.subarray(0, 2)]).toEqual([0, 2]);
    expect([...jobs.groupJobs.subarray(0, 2)]).toEqual([2, 7]);
    expect(jobs.groupOffset[1]! % 256).toBe(0);
    // Seven jobs in a grid of at most four workgroups a row.
    expect([jobs.gridWidth(1), jobs.gridRows(1)]).toEqual([4, 2]);
    const words = written(jobs);
    const group = (index: number): number[] => {
      const start = jobs.groupOffset[index]! / 4;
      const end = start + abi.BATCH_HEADER_WORDS + jobs.groupJobs[index]! * abi.JOB_WORDS;
      return [...words.subarray(start, end)];
    };
    expect(group(0)).toEqual([2, 2, 0, 0, 20, 8, 21, 8]);
    expect(group(1)).toEqual([7, 4, 0, 0, 10, 7, 11, 7, 12, 7, 30, 9, 31, 9, 32, 9, 33, 9]);
  });

  it('a workgroup takes several jobs where the kernels do', () => {
    const jobs = new JobBuffer(device, 1, 100, 2, 4);
    const plan = new FlightPlan(8);
    for (const [pages, grid] of [
      [4, [1, 1]],
      [5, [2, 1]],
      [8, [2, 1]],
      [9, [2, 2]],
    ] as const) {
      plan.reset();
      plan.append(SEGMENT_ADD, 0, pages, 0, 10);
      jobs.reset();
      jobs.addGroups(plan, SEGMENT_ADD, plan.arena, plan.frame, plan.argument, 0);
      expect([jobs.gridWidth(0), jobs.gridRows(0)]).toEqual(grid);
    }
  });

  it('numbers results group by group', () => {
    const jobs = new JobBuffer(device, 2, 100, 65535);
    const plan = new FlightPlan(8);
    plan.append(SEGMENT_SUM, 0, 3, 1, 0);
    plan.append(SEGMENT_SUM, 1, 2, 0, 0);
    plan.append(SEGMENT_SUM, 2, 4, 1, 50);
    jobs.reset();
    const first = jobs.addGroups(plan, SEGMENT_SUM, plan.arena, plan.frame, plan.argument, 1);
    jobs.numberResults(plan, SEGMENT_SUM, first, plan.result);
    expect([...plan.result.subarray(0, 3)]).toEqual([2, 0, 5]);
    expect(jobs.results).toBe(9);
    const words = written(jobs);
    const firstResult = (group: number): number =>
      words[jobs.groupOffset[group]! / 4 + abi.BATCH_FIRST_RESULT]!;
    expect([firstResult(0), firstResult(1)]).toEqual([0, 2]);
  });
});

describe('fifo', () => {
  it('gives back what was pushed, in order, over wraps and growth', () => {
    const steps = fc.array(fc.boolean(), { maxLength: 200 });
    fc.assert(
      fc.property(steps, (pushes) => {
        const fifo = new Fifo<number>(2);
        const wanted: number[] = [];
        pushes.forEach((push, i) => {
          if (push) {
            fifo.push(i);
            wanted.push(i);
          } else {
            expect(fifo.first()).toBe(wanted[0]);
            expect(fifo.shift()).toBe(wanted.shift());
          }
          expect(fifo.length).toBe(wanted.length);
        });
      }),
    );
  });
});

describe('RAM hazards', () => {
  const pending = (): RamHazards => {
    const hazards = new RamHazards(HOST);
    const plan = new FlightPlan(4);
    plan.host[plan.append(SEGMENT_DOWNLOAD, 0, 4, 0, 0)] = 10;
    hazards.launch(plan, 1);
    return hazards;
  };
  const listOf = (fill: (list: CommandList) => void): CommandList => {
    const list = new CommandList(4);
    fill(list);
    return list;
  };

  it.each<[string, boolean, (list: CommandList) => void]>([
    ['an upload from the frame', true, (list) => list.copy(13, HOST)],
    ['an upload from beside it', false, (list) => list.copy(14, HOST)],
    ['an upload that ends before it', false, (list) => list.copy(8, HOST, 2)],
    ['a copy inside RAM onto it', true, (list) => list.copy(20, 13)],
    ['a fill of it', true, (list) => list.clear(5, 6)],
    ['a checksum of it', true, (list) => list.checksum(13, 4)],
    ['another readback into it', false, (list) => list.copy(HOST, 10, 4)],
    ['work inside VRAM', false, (list) => list.copy(HOST, HOST + 10, 4)],
  ])('%s: waits %s', (_name, waits, fill) => {
    const hazards = pending();
    const list = listOf((made) => fill(made));
    expect(hazards.blocks(list)).toBe(waits);
    hazards.land(1);
    expect(hazards.blocks(list)).toBe(false);
  });
});

describe('strategy choice', () => {
  const shapeOf = (list: CommandList) => {
    const shape = createListShape();
    measureList(list, HOST, shape);
    return shape;
  };

  it('auto: small uploads are written, larger ones staged, GPUs take kernels for many rows', () => {
    const names = (rows: number, isSoftware: boolean): string[] => {
      const list = new CommandList(2 * rows);
      for (let i = 0; i < rows; i++) {
        list.copy(i, HOST + i);
        list.copy(HOST + 500 + i, 500 + i);
      }
      const { upload, download } = chooseStrategy('auto', shapeOf(list), usualPaths(isSoftware));
      return [upload.name, download.name];
    };
    expect(names(8, true)).toEqual(['writeBuffer', 'runs']);
    expect(names(9, true)).toEqual(['runs', 'runs']);
    expect(names(64, false)).toEqual(['runs', 'runs']);
    expect(names(65, false)).toEqual(['compute', 'compute']);
    expect(names(65, true)).toEqual(['runs', 'runs']);
  });

  it('names the first row that a strategy has no way for', () => {
    const list = new CommandList(3);
    list.copy(0, HOST);
    list.clear(HOST + 1);
    list.copy(HOST + 2, 1);
    const first = (name: 'cpu' | 'writeBuffer' | 'commands' | 'auto'): number =>
      firstRefusedRow(list, chooseStrategy(name, shapeOf(list), usualPaths(true)), HOST);
    expect(first('cpu')).toBe(0);
    expect(first('writeBuffer')).toBe(2);
    expect(first('commands')).toBe(-1);
    expect(first('auto')).toBe(-1);
  });
});

describe('shader linker', () => {
  const parts = { a: '#import b\nconst A = B;', b: 'const B = 1u;' };

  it('includes each part once, before who needs it, and maps lines back', () => {
    const linked = linkShader('main', '#import a\n#import b\nfn main() {}', parts);
    expect(linked.code).toBe('const B = 1u;\nconst A = B;\nfn main() {}');
    expect(linked.lineMap).toEqual(['shared/b.wgsl:1', 'shared/a.wgsl:2', 'main.wgsl:3']);
    const message = { lineNum: 2, type: 'error', message: 'no' } as GPUCompilationMessage;
    expect(describeMessage(message, linked)).toBe('shared/a.wgsl:2: error: no');
  });

  it('refuses a part that does not exist', () => {
    expect(() => linkShader('main', '#import nothing', parts)).toThrow('nothing');
  });
});
