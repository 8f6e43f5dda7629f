/*
 * Lists in which each row copies one page, all up, all down or all inside VRAM, have a shorter way
 * through planner, job buffer and host copier. It has to come to what the long way comes to.
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CommandList } from '../../src/engine/command-list.ts';
import {
  FlightPlan,
  SEGMENT_CLEAR,
  SEGMENT_DOWNLOAD,
  SEGMENT_UPLOAD,
  SEGMENT_WITHIN,
} from '../../src/gpu/flight-plan.ts';
import { planFlight } from '../../src/gpu/flight-planner.ts';
import { HostCopier } from '../../src/gpu/host-copier.ts';
import { JobBuffer } from '../../src/gpu/job-buffer.ts';
import {
  createListShape,
  ListRun,
  measureList,
  ROUTE_DOWNLOAD,
  ROUTE_HOST,
  ROUTE_MOVE,
  ROUTE_UPLOAD,
} from '../../src/gpu/list-run.ts';
import { RowOrder } from '../../src/gpu/row-order.ts';
import { chooseStrategy } from '../../src/gpu/strategies/choose.ts';
import { usualPaths } from '../../src/gpu/strategies/paths.ts';

const HOST = 64;
const PER_ARENA = 40;
const PAGE = 4096;
const layout = { hostFrames: HOST, framesPerArena: PER_ARENA };
/** As much VRAM in one arena, which moves need to be plain. */
const oneArena = { hostFrames: HOST, framesPerArena: 3 * PER_ARENA + HOST };
const room = { uploadPages: 24, readBytes: 24 * PAGE, bouncePages: 24, jobs: 1000 };

type Way = 'up' | 'down' | 'move';

const KINDS: Readonly<Record<Way, number>> = {
  up: SEGMENT_UPLOAD,
  down: SEGMENT_DOWNLOAD,
  move: SEGMENT_WITHIN,
};

interface Spec {
  readonly way: Way;
  /** RAM frame and VRAM frame of each row; a move comes from behind the others by the first. */
  readonly ram: readonly number[];
  readonly vram: readonly number[];
  /** Whether a row that is no single page ends the list. */
  readonly mixed: boolean;
  readonly sort: boolean;
}

const specs = fc
  .record({
    way: fc.constantFrom<Way>('up', 'down', 'move'),
    rows: fc.integer({ min: 1, max: 60 }),
    ram: fc.shuffledSubarray(
      Array.from({ length: HOST }, (_, i) => i),
      { minLength: 60 },
    ),
    vram: fc.shuffledSubarray(
      Array.from({ length: 3 * PER_ARENA - 2 }, (_, i) => HOST + i),
      { minLength: 60 },
    ),
    inOrder: fc.boolean(),
    mixed: fc.boolean(),
    sort: fc.boolean(),
  })
  .map(({ way, rows, ram, vram, inOrder, mixed, sort }): Spec => {
    const hosts = ram.slice(0, rows);
    // Pages in order make runs of neighbours.
    return { way, ram: inOrder ? hosts.toSorted((a, b) => a - b) : hosts, vram, mixed, sort };
  });

const SOURCES = HOST + 3 * PER_ARENA;

function listOf({ way, ram, vram, mixed }: Spec): CommandList {
  const list = new CommandList(ram.length + 1);
  ram.forEach((host, i) => {
    if (way === 'down') list.copy(vram[i]!, host);
    else list.copy(way === 'up' ? host : SOURCES + host, vram[i]!);
  });
  if (mixed) list.clear(HOST + 3 * PER_ARENA - 2, 2);
  return list;
}

function runOf(list: CommandList, sort = false, isOneArena = true): ListRun {
  const shape = createListShape();
  measureList(list, HOST, shape);
  return new ListRun(
    list,
    chooseStrategy(sort ? 'runs' : 'staging', shape, usualPaths(true)),
    shape,
    isOneArena,
  );
}

/** Plans all flights of a list; what they hold, and the words of their jobs. */
function planAll(spec: Spec, plan: FlightPlan, theLongWay: boolean): unknown[] {
  const run = runOf(listOf(spec), spec.sort);
  if (theLongWay) Object.assign(run, { plainRoute: ROUTE_HOST });
  const order = new RowOrder();
  expect(run.isSorted).toBe(spec.sort);
  order.build(run.list, HOST, run.isSorted, run.plainRoute);
  const flights: unknown[] = [];
  while (run.cursor < run.deviceRows) {
    planFlight(run, order.rows, plan, room, spec.way === 'move' ? oneArena : layout);
    const columns = [plan.kind, plan.row, plan.pages, plan.arena, plan.frame, plan.ends];
    // The row at the end of a mixed list has neither.
    const copies = plan.length - (plan.pagesOf[SEGMENT_CLEAR] === 0 ? 0 : 1);
    flights.push({
      columns: columns.map((column) => [...column.subarray(0, plan.length)]),
      copies: [
        plan.slot,
        ...(spec.way === 'move' ? [plan.sourceArena, plan.sourceFrame] : [plan.host]),
      ].map((column) => [...column.subarray(0, copies)]),
      pagesOf: [...plan.pagesOf],
      jobs: plan.jobs,
      bouncePages: plan.bouncePages,
      left: [run.uploadPagesLeft, run.downloadPagesLeft],
      words: jobWords(plan, KINDS[spec.way]),
    });
  }
  return flights;
}

function jobWords(plan: FlightPlan, kind: number): number[] {
  let written: number[] = [];
  const device = { createBuffer: () => ({}) } as unknown as GPUDevice;
  const queue = {
    writeBuffer: (_: unknown, __: number, words: Uint32Array, from: number, count: number) => {
      written = [...words.subarray(from, from + count)];
    },
  } as unknown as GPUQueue;
  const arenas = kind === SEGMENT_WITHIN ? 1 : 3;
  const jobs = new JobBuffer(device, arenas, 1000, 65_535);
  const other = kind === SEGMENT_WITHIN ? plan.sourceFrame : plan.slot;
  jobs.addGroups(plan, kind, plan.arena, plan.frame, other, 1);
  jobs.write(queue);
  return written;
}

describe('lists of single pages', () => {
  it('have a route where all rows go the same way, and none where one row does not', () => {
    const spec = { ram: [1, 2], vram: [70, 80], mixed: false, sort: true };
    const [up, down, move] = (['up', 'down', 'move'] as const).map((way) => ({ ...spec, way }));
    const mixed = (['up', 'move'] as const).map((way) => ({ ...spec, way, mixed: true }));
    const long = new CommandList(1);
    long.copy(1, 70, 2);
    const longMove = new CommandList(1);
    longMove.copy(90, 70, 2);
    const lists = [...[up!, down!, move!, ...mixed].map(listOf), long, longMove];
    const routes = lists.map((list) => runOf(list).plainRoute);
    const none = [ROUTE_HOST, ROUTE_HOST, ROUTE_HOST, ROUTE_HOST];
    expect(routes).toEqual([ROUTE_UPLOAD, ROUTE_DOWNLOAD, ROUTE_MOVE, ...none]);
  });

  it('have a route in any number of arenas, but for moves: those only in one', () => {
    const spec = { ram: [1, 2], vram: [70, 80], mixed: false, sort: true };
    const routes = (['up', 'down', 'move'] as const).map(
      (way) => runOf(listOf({ ...spec, way }), true, false).plainRoute,
    );
    expect(routes).toEqual([ROUTE_UPLOAD, ROUTE_DOWNLOAD, ROUTE_HOST]);
  });

  it('are planned as by the long way, whatever the plan held before', () => {
    const plan = new FlightPlan(24);
    fc.assert(
      fc.property(specs, (spec) => {
        const flights = planAll(spec, plan, false);
        expect(flights).toEqual(planAll(spec, new FlightPlan(24), true));
        expect(plan.isPlain).toBe(!spec.mixed);
      }),
      { numRuns: 200 },
    );
  });

  it('are copied page by page into the slot and out of it, single pages and runs', () => {
    fc.assert(
      fc.property(specs, (spec) => {
        const ram = new Uint8Array(new SharedArrayBuffer(HOST * PAGE));
        const copier = new HostCopier(ram, false);
        fc.pre(spec.way !== 'move');
        const run = runOf(listOf({ ...spec, mixed: false }), false);
        const plan = new FlightPlan(64);
        const order = new RowOrder();
        order.build(run.list, HOST, run.isSorted, run.plainRoute);
        planFlight(run, order.rows, plan, { ...room, uploadPages: 64, readBytes: 2 ** 20 }, layout);
        const slot = new Uint8Array(64 * PAGE);
        if (spec.way === 'up') {
          mark(ram);
          copier.fill(slot.buffer, plan, SEGMENT_UPLOAD);
        } else {
          mark(slot);
          copier.empty(slot.buffer, plan, SEGMENT_DOWNLOAD);
        }
        const wrong = spec.ram.findIndex((host, i) => !isSame(ram, host, slot, i));
        expect(wrong).toBe(-1);
        const touched = spec.way === 'up' ? countMarked(slot) : countMarked(ram);
        expect(touched).toBe(spec.ram.length);
      }),
      { numRuns: 25 },
    );
  }, 120_000);
});

/** Gives each 32-bit word a number of its own, none of them 0. */
function mark(bytes: Uint8Array): void {
  const words = new Uint32Array(bytes.buffer);
  for (let i = 0; i < words.length; i++) words[i] = i + 1;
}

/** Pages that are not all zero. */
function countMarked(bytes: Uint8Array): number {
  const words = new Uint32Array(bytes.buffer);
  let pages = 0;
  for (let at = 0; at < words.length; at += PAGE / 4) if (words[at] !== 0) pages += 1;
  return pages;
}

function isSame(a: Uint8Array, pageA: number, b: Uint8Array, pageB: number): boolean {
  const from = a.subarray(pageA * PAGE, (pageA + 1) * PAGE);
  const to = b.subarray(pageB * PAGE, (pageB + 1) * PAGE);
  return Buffer.compare(from, to) === 0;
}
