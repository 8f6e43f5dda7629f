/*
 * Lists in which each row copies one page, all up or all down, have a shorter way through planner,
 * job buffer and host copier. It has to come to what the long way comes to.
 */
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CommandList } from '../../src/engine/command-list.ts';
import {
  FlightPlan,
  SEGMENT_CLEAR,
  SEGMENT_DOWNLOAD,
  SEGMENT_UPLOAD,
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
  ROUTE_UPLOAD,
} from '../../src/gpu/list-run.ts';
import { RowOrder } from '../../src/gpu/row-order.ts';
import { chooseStrategy } from '../../src/gpu/strategies/choose.ts';
import { usualPaths } from '../../src/gpu/strategies/paths.ts';

const HOST = 64;
const PER_ARENA = 40;
const PAGE = 4096;
const layout = { hostFrames: HOST, framesPerArena: PER_ARENA };
const room = { uploadPages: 24, readBytes: 24 * PAGE, bouncePages: 24, jobs: 1000 };

interface Spec {
  readonly up: boolean;
  /** RAM frame and VRAM frame of each row. */
  readonly ram: readonly number[];
  readonly vram: readonly number[];
  /** Whether a row that is no single page ends the list. */
  readonly mixed: boolean;
  readonly sort: boolean;
}

const specs = fc
  .record({
    up: fc.boolean(),
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
  .map(({ up, rows, ram, vram, inOrder, mixed, sort }): Spec => {
    const hosts = ram.slice(0, rows);
    // Pages in order make runs of neighbours.
    return { up, ram: inOrder ? hosts.toSorted((a, b) => a - b) : hosts, vram, mixed, sort };
  });

function listOf({ up, ram, vram, mixed }: Spec): CommandList {
  const list = new CommandList(ram.length + 1);
  ram.forEach((host, i) => list.copy(up ? host : vram[i]!, up ? vram[i]! : host));
  if (mixed) list.clear(HOST + 3 * PER_ARENA - 2, 2);
  return list;
}

function runOf(list: CommandList, sort = false): ListRun {
  const shape = createListShape();
  measureList(list, HOST, shape);
  return new ListRun(
    list,
    chooseStrategy(sort ? 'runs' : 'staging', shape, usualPaths(true)),
    shape,
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
    planFlight(run, order.rows, plan, room, layout);
    const columns = [plan.kind, plan.row, plan.pages, plan.arena, plan.frame, plan.ends];
    // The row at the end of a mixed list has neither.
    const copies = plan.length - (plan.pagesOf[SEGMENT_CLEAR] === 0 ? 0 : 1);
    flights.push({
      columns: columns.map((column) => [...column.subarray(0, plan.length)]),
      copies: [plan.host, plan.slot].map((column) => [...column.subarray(0, copies)]),
      pagesOf: [...plan.pagesOf],
      jobs: plan.jobs,
      left: [run.uploadPagesLeft, run.downloadPagesLeft],
      words: jobWords(plan, spec.up ? SEGMENT_UPLOAD : SEGMENT_DOWNLOAD),
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
  const jobs = new JobBuffer(device, 3, 1000, 65_535);
  jobs.addGroups(plan, kind, plan.arena, plan.frame, plan.slot, 1);
  jobs.write(queue);
  return written;
}

describe('lists of single pages', () => {
  it('have a route where all rows go the same way, and none where one row does not', () => {
    const up = runOf(listOf({ up: true, ram: [1, 2], vram: [70, 80], mixed: false, sort: true }));
    const down = runOf(listOf({ up: false, ram: [1], vram: [70], mixed: false, sort: true }));
    const mixed = runOf(listOf({ up: true, ram: [1, 2], vram: [70, 80], mixed: true, sort: true }));
    const long = new CommandList(1);
    long.copy(1, 70, 2);
    const routes = [up, down, mixed, runOf(long)].map((run) => run.plainRoute);
    expect(routes).toEqual([ROUTE_UPLOAD, ROUTE_DOWNLOAD, ROUTE_HOST, ROUTE_HOST]);
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
        const run = runOf(listOf({ ...spec, mixed: false }), false);
        const plan = new FlightPlan(64);
        const order = new RowOrder();
        order.build(run.list, HOST, run.isSorted, run.plainRoute);
        planFlight(run, order.rows, plan, { ...room, uploadPages: 64, readBytes: 2 ** 20 }, layout);
        const slot = new Uint8Array(64 * PAGE);
        if (spec.up) {
          mark(ram);
          copier.fill(slot.buffer, plan, SEGMENT_UPLOAD);
        } else {
          mark(slot);
          copier.empty(slot.buffer, plan, SEGMENT_DOWNLOAD);
        }
        const wrong = spec.ram.findIndex((host, i) => !isSame(ram, host, slot, i));
        expect(wrong).toBe(-1);
        const touched = spec.up ? countMarked(slot) : countMarked(ram);
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
