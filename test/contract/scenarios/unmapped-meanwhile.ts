/*
 * M4: what happens to an address space while one of its ranges moves between RAM and device.
 *
 * Oracle, for each operation at each moment: both end; every page that is still mapped somewhere
 * holds what was last stored to it, once; a page that is gone answers SIGSEGV to the CPU and ends
 * the device's invocations that want it, no others; all invariants hold, and when the processes are
 * gone the device and RAM are as empty as before.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PAGE_SIZE } from '../../../src/base/units.ts';
import { HMM_DMIRROR_MIGRATE_TO_DEV, HMM_DMIRROR_RELEASE } from '../../../src/driver/dmirror.ts';
import { arg, at, kernelOf, LID, load, op, store, v, WG, when } from '../../../src/engine/vm/ir.ts';
import type { VmProgram } from '../../../src/engine/vm/vm-engine.ts';
import {
  MREMAP_DONTUNMAP,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_NONE,
  PROT_READ,
} from '../../../src/index.ts';
import type { Process } from '../../../src/index.ts';
import { MMU_NOTIFY_MIGRATE } from '../../../src/mm/mmu-notifier.ts';
import { Aside, ELSEWHERE, RANGE, RW, Stage, wordAt } from './stage.ts';
import type { Actor, StageEngine } from './stage.ts';

const PAGES = 8;
const FIRST = 1000;
/** Nobody has stored to this one. */
const HOLE = 5;
const wordOf = (page: number): number => (page === HOLE ? 0 : FIRST + page);
const isHole = (page: number): boolean => page === HOLE;

/** What an operation leaves behind, page by page; null is nothing. */
interface After {
  readonly here: (page: number) => number | null;
  readonly there?: (page: number) => number;
  readonly isReadOnly?: boolean;
}

interface Operation {
  readonly before?: (actor: Actor) => Promise<void>;
  readonly run: (actor: Actor, children: Process[]) => Promise<unknown>;
  readonly after: After;
}

function unmapping(first: number, end: number): Operation {
  const length = (end - first) * PAGE_SIZE;
  return {
    run: ({ process }) => process.munmap(RANGE + first * PAGE_SIZE, length),
    after: { here: (page) => (page >= first && page < end ? null : wordOf(page)) },
  };
}

const asReadOnly = ({ process }: Actor): Promise<void> =>
  process.mprotect(RANGE, PAGES * PAGE_SIZE, PROT_READ);

function remapping(extra: number, before?: typeof asReadOnly): Operation {
  const length = PAGES * PAGE_SIZE;
  const flags = MREMAP_MAYMOVE | MREMAP_FIXED | extra;
  const isReadOnly = before !== undefined;
  return {
    ...(before === undefined ? {} : { before }),
    run: ({ process }) => process.mremap(RANGE, length, length, flags, ELSEWHERE),
    after: { here: () => (extra === 0 ? null : 0), there: wordOf, isReadOnly },
  };
}

function protecting(prot: number): Operation {
  return {
    run: ({ process }) => process.mprotect(RANGE, PAGES * PAGE_SIZE, prot),
    after: { here: (page) => (prot === PROT_NONE ? null : wordOf(page)), isReadOnly: true },
  };
}

const OPERATIONS: Readonly<Record<string, Operation>> = {
  munmap: unmapping(0, PAGES),
  'munmap of the start': unmapping(0, 2),
  'munmap of the middle': unmapping(3, 5),
  'munmap of the end': unmapping(6, PAGES),
  mremap: remapping(0),
  'mremap with DONTUNMAP': remapping(MREMAP_DONTUNMAP),
  'mremap of read-only memory': remapping(0, asReadOnly),
  'mremap of read-only memory with DONTUNMAP': remapping(MREMAP_DONTUNMAP, asReadOnly),
  'mprotect to read-only': protecting(PROT_READ),
  'mprotect to nothing': protecting(PROT_NONE),
  fork: {
    run: async ({ process }, children) => children.push(await process.fork()),
    after: { here: wordOf },
  },
  exit: {
    run: ({ process }) => process.machine.api.exit(process.pid),
    after: { here: () => null },
  },
};
const NAMES = Object.keys(OPERATIONS);

/** Moments of a migration to the device that hold the mmap lock: the operation has to wait. */
const MOMENTS = ['setup', 'copy', 'finalize'] as const;

/** Declares the suite. */
export function describeUnmappedMeanwhile(engine: StageEngine): void {
  describe('M4: an address space that changes while its pages move', () => {
    let stage: Stage;
    let increment: VmProgram;
    beforeAll(async () => {
      stage = await Stage.open(engine, 64);
      // One invocation for each page: adds 1 to its first word.
      const place = at(arg(0), op(WG, '*', PAGE_SIZE / 4));
      const body = [load('x', place), store(place, op(v('x'), '+', 1))];
      const ir = kernelOf('increment', 64, [when(op(LID, '==', 0), body)]);
      increment = await stage.compile(ir, { slots: 2 });
    });
    afterEach(() => stage.clear());
    afterAll(() => stage.close());

    for (const reads of [true, false]) {
      const end = reads ? 'then the CPU touches all of it' : 'and nobody touches it again';
      for (const moment of MOMENTS) {
        it.each(NAMES)(`%s in ${moment}, ${end}`, async (name) => {
          await whileMovingIn(stage, OPERATIONS[name]!, moment, reads);
        });
      }
      it.each(NAMES)(`%s during eviction, ${end}`, async (name) => {
        await duringEviction(stage, OPERATIONS[name]!, reads);
      });
      it.each(NAMES)(`%s before a replay, ${end}`, async (name) => {
        await beforeReplay(stage, increment, name, reads);
      });
    }
  });
}

async function begin(stage: Stage, operation: Operation): Promise<Actor> {
  const actor = await stage.actor();
  await actor.map(PAGES, FIRST, RANGE, (page) => !isHole(page));
  await operation.before?.(actor);
  return actor;
}

/** The operation is called at a moment of MIGRATE_TO_DEV, and has its turn when that is over. */
async function whileMovingIn(
  stage: Stage,
  operation: Operation,
  moment: (typeof MOMENTS)[number],
  reads: boolean,
): Promise<void> {
  const actor = await begin(stage, operation);
  const children: Process[] = [];
  let aside: Aside | null = null;
  const call = (): void => {
    aside ??= new Aside(() => operation.run(actor, children));
  };
  let events = 0;
  // Setup sends one; mapping what was a hole sends another, when all copies are done.
  const wanted = { setup: 1, copy: -1, finalize: 2 }[moment];
  const stop = actor.onEvent(MMU_NOTIFY_MIGRATE, () => {
    if (++events === wanted) call();
  });
  let wasOver = false;
  stage.beforeCopy = async () => {
    if (moment === 'copy') call();
    await aside?.asFarAsItGoes();
    wasOver = aside?.isOver ?? false;
  };
  const [status, moved] = await actor.command(HMM_DMIRROR_MIGRATE_TO_DEV, PAGES);
  stage.beforeCopy = null;
  expect(aside, `nothing happened in ${moment}`).not.toBeNull();
  // It had the lock, so all of it was on the device before the operation began.
  expect([wasOver, moved]).toEqual([false, status === 0 ? PAGES : moved]);
  await aside!.end;
  await stop();
  await finish(stage, actor, operation.after, children, reads);
}

/** RELEASE takes no mmap lock: the operation comes between, and the eviction must find out. */
async function duringEviction(stage: Stage, operation: Operation, reads: boolean): Promise<void> {
  const actor = await begin(stage, operation);
  expect(await actor.command(HMM_DMIRROR_MIGRATE_TO_DEV, PAGES)).toEqual([0, PAGES]);
  const children: Process[] = [];
  let aside: Aside | null = null;
  stage.beforeCopy = async () => {
    aside ??= new Aside(() => operation.run(actor, children));
    await aside.asFarAsItGoes();
    expect(aside.isOver, 'the operation waits for the eviction').toBe(true);
  };
  expect(await actor.command(HMM_DMIRROR_RELEASE, PAGES)).toEqual([0, 0]);
  stage.beforeCopy = null;
  expect(aside).not.toBeNull();
  expect(stage.device.memory.pagesInUse).toBe(0);
  await finish(stage, actor, operation.after, children, reads);
}

/** After a batch was served, before the next pass: some invocations are done, others are not. */
async function beforeReplay(
  stage: Stage,
  increment: VmProgram,
  name: string,
  reads: boolean,
): Promise<void> {
  const operation = OPERATIONS[name]!;
  const actor = await begin(stage, operation);
  const children: Process[] = [];
  let batches = 0;
  const after = async (): Promise<void> => {
    // Two a pass: when the second batch was served the first two are done or were told that they
    // may not store, and the others have not begun or have just got their pages.
    if (++batches === 2) await operation.run(actor, children);
  };
  const { report } = await actor.launch(increment, PAGES, { after });
  expect(batches).toBeGreaterThanOrEqual(2);
  expect(report).toMatchObject({ outcome: 'done', finished: PAGES, diverged: 0 });
  if (reads) await checkIncrements(actor, name, report.killed, children);
  await finish(stage, actor, null, children, false);
}

/** Each invocation has either added 1 where its page was at that time, or was ended. */
async function checkIncrements(
  actor: Actor,
  name: string,
  killed: number,
  children: readonly Process[],
): Promise<void> {
  const { after } = OPERATIONS[name]!;
  if (name === 'mprotect to nothing') {
    await actor.process.mprotect(RANGE, PAGES * PAGE_SIZE, RW);
  }
  const here = await actor.words(PAGES);
  const there = after.there === undefined ? [] : await actor.words(PAGES, ELSEWHERE);
  let ended = 0;
  for (let page = 0; page < PAGES; page++) {
    const values = [here[page], there[page]].filter((one) => typeof one === 'number');
    const sum = values.reduce((total, one) => total + one, 0);
    // The first two came before the operation, if they might store at all.
    const isLate = page >= 2 || OPERATIONS[name]!.before !== undefined;
    const isEnded = isLate && (after.here(page) === null || after.isReadOnly === true);
    if (isEnded) ended++;
    const wanted = values.length === 0 ? 0 : wordOf(page) + (isEnded ? 0 : 1);
    expect(sum, `page ${page}: ${values.join()}`).toBe(wanted);
  }
  expect(killed).toBe(ended);
  for (const child of children) {
    for (let page = 0; page < PAGES; page++) {
      const word = await wordAt(child, RANGE + page * PAGE_SIZE);
      expect([wordOf(page), wordOf(page) + 1]).toContain(word);
    }
  }
}

async function finish(
  stage: Stage,
  actor: Actor,
  after: After | null,
  children: readonly Process[],
  reads: boolean,
): Promise<void> {
  stage.check();
  if (after !== null && reads) await checkWords(actor, after, children);
  stage.check();
  await actor.end();
  for (const child of children) await child.exit();
  stage.checkEmpty();
}

async function checkWords(actor: Actor, after: After, children: readonly Process[]): Promise<void> {
  const pages = Array.from({ length: PAGES }, (_, page) => page);
  expect(await actor.words(PAGES)).toEqual(pages.map(after.here));
  const { there } = after;
  if (there !== undefined) {
    expect(await actor.words(PAGES, ELSEWHERE)).toEqual(pages.map(there));
  }
  const base = there === undefined ? RANGE : ELSEWHERE;
  const isThere = (there ?? after.here)(1) !== null;
  expect(await actor.store(base + PAGE_SIZE, 5)).toBe(isThere && after.isReadOnly !== true);
  for (const child of children) {
    for (const page of pages) {
      expect(await wordAt(child, RANGE + page * PAGE_SIZE)).toBe(wordOf(page));
    }
  }
}
