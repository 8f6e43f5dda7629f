/**
 * Whole migrations through mm, driver and engine: MIGRATE_TO_DEV and MIGRATE_TO_SYS of the test
 * device by batch size. Between the two directions of every cycle a device kernel adds a
 * constant, drawn only then, to every word of every page; after the last cycle all bytes are read
 * by the CPU and have to show all constants. Where the pages are is looked at after each half.
 */
import {
  MADV_HUGEPAGE,
  PAGE_DEVICE,
  PAGE_RAM,
  PAGE_SIZE,
  PMD_SIZE,
  PROT_READ,
  PROT_WRITE,
  Prng,
} from '../src/index.ts';
import type { Process, TestDevice } from '../src/index.ts';
import { checkPage, fillPage, seedFor } from './content.ts';
import { addFirstPages } from './first-page.ts';
import { scatterFreePages } from './mm-suite.ts';
import type { RunContext } from './run-context.ts';
import { OperationFailure, failureText, sampleOperation } from './sampler.ts';
import type { Operation, SampleBox, Sampled } from './sampler.ts';

const WORDS_PER_PAGE = PAGE_SIZE / 4;

/** A process with seeded content that a device works on. */
export class MigratingProcess {
  readonly process: Process;
  readonly addr: number;
  readonly pages: number;
  private readonly device: TestDevice;
  private readonly seed: number;
  private readonly random: Prng;
  private added = 0;

  private constructor(
    process: Process,
    device: TestDevice,
    addr: number,
    pages: number,
    seed: number,
  ) {
    this.process = process;
    this.device = device;
    this.addr = addr;
    this.pages = pages;
    this.seed = seed;
    this.random = new Prng(seedFor(seed, 'constants'));
  }

  /**
   * Starts a process, maps `pages` pages and writes their content.
   *
   * @param huge Asks for large folios; `pages` is then a number of whole ones.
   */
  static async start(
    ctx: Pick<RunContext, 'plan' | 'machine'>,
    pages: number,
    name: string,
    huge = false,
  ): Promise<MigratingProcess> {
    const seed = seedFor(ctx.plan.seed, name);
    const process = await ctx.machine.spawn();
    const length = pages * PAGE_SIZE;
    const room = huge ? length + PMD_SIZE : length;
    const mapped = await process.mmap({ length: room, prot: PROT_READ | PROT_WRITE });
    const addr = huge ? Math.ceil(mapped / PMD_SIZE) * PMD_SIZE : mapped;
    if (huge) await process.madvise(addr, length, MADV_HUGEPAGE);
    const device = await process.openDevice(0);
    const subject = new MigratingProcess(process, device, addr, pages, seed);
    await subject.write();
    return subject;
  }

  /** Writes the content of all pages, which the device has then added nothing to. */
  async write(): Promise<void> {
    const { pages, seed, addr } = this;
    const words = new Uint32Array(pages * WORDS_PER_PAGE);
    for (let page = 0; page < pages; page++) {
      fillPage(words, page * WORDS_PER_PAGE, seed, 0, page);
    }
    await this.process.write(addr, new Uint8Array(words.buffer));
    this.added = 0;
  }

  /** Migrates everything one way. Answers an errno. */
  async migrate(command: 'MIGRATE_TO_DEV' | 'MIGRATE_TO_SYS'): Promise<number> {
    const { addr, pages: npages } = this;
    return (await this.device.tryIoctl(command, { addr, ptr: 0, npages })).errno;
  }

  /** Migrates the first pages to the device, that many together (0: as the driver likes). */
  async toDevice(npages: number, batch: number): Promise<{ errno: number; firstMs: number }> {
    const request = { addr: this.addr, ptr: 0, npages, batch };
    return this.device.tryIoctl('MIGRATE_TO_DEV', request);
  }

  /** Runs the device kernel over all pages, with a constant drawn now. */
  async addOnDevice(): Promise<void> {
    const constant = this.random.nextU32();
    this.added = (this.added + constant) >>> 0;
    const { addr, pages: npages } = this;
    const { errno } = await this.device.tryIoctl('ADD', { addr, ptr: constant, npages });
    if (errno !== 0) throw new OperationFailure(`the device kernel answered errno ${errno}`);
  }

  /** Throws unless every page is where it should be. */
  async expectAll(code: number): Promise<void> {
    const codes = await this.process.pageMap(this.addr, this.pages);
    const wrong = codes.findIndex((one) => one !== code);
    if (wrong >= 0) {
      throw new OperationFailure(`page ${wrong} is in state ${codes[wrong]}, not ${code}`);
    }
  }

  /** Reads all pages by the CPU and compares them with content and constants. */
  async compare(): Promise<string | null> {
    const bytes = await this.process.read(this.addr, this.pages * PAGE_SIZE);
    const words = new Uint32Array(bytes.buffer);
    for (let page = 0; page < this.pages; page++) {
      const at = page * WORDS_PER_PAGE;
      const wrong = checkPage(words, at, this.seed, 0, page, this.added);
      if (wrong >= 0) return `page ${page} of ${this.pages} is wrong from word ${wrong} on`;
    }
    return null;
  }

  async end(): Promise<void> {
    await this.device.close();
    await this.process.exit();
  }
}

/**
 * Gives `work` a migrating process and ends it. A process that can't be had, or that dies, is a
 * failed measurement, not a failed run.
 */
export async function withProcess(
  ctx: RunContext,
  pages: number,
  name: string,
  work: (subject: MigratingProcess) => Promise<Sampled>,
  huge = false,
): Promise<Sampled> {
  try {
    const subject = await MigratingProcess.start(ctx, pages, name, huge);
    const sampled = await work(subject);
    await subject.end();
    return sampled;
  } catch (error) {
    return { samples: [], dropped: 0, chained: 1, failure: failureText(error), phases: null };
  }
}

/**
 * The half of a cycle that is timed; the other half is part of its preparation.
 *
 * @param firsts Gets the microseconds until the first page of each migration to the device was
 * usable.
 */
export function halfCycle(
  ctx: RunContext,
  subject: MigratingProcess,
  direction: 'to-device' | 'to-host',
  firsts: number[] = [],
): Operation {
  const stray = ctx.copyMachine.strayErrors();
  const step = async (command: 'MIGRATE_TO_DEV' | 'MIGRATE_TO_SYS'): Promise<void> => {
    const errno = await subject.migrate(command);
    if (errno !== 0) throw new OperationFailure(`${command} answered errno ${errno}`);
  };
  const onDevice = async (): Promise<void> => {
    await subject.expectAll(PAGE_DEVICE);
    await subject.addOnDevice();
  };
  let isFirst = true;
  const prepare = async (): Promise<void> => {
    if (direction === 'to-host') {
      if (!isFirst) await subject.expectAll(PAGE_RAM);
      await step('MIGRATE_TO_DEV');
      await onDevice();
    } else if (!isFirst) {
      await onDevice();
      await step('MIGRATE_TO_SYS');
      await subject.expectAll(PAGE_RAM);
    }
    isFirst = false;
  };
  const verify = async (): Promise<string | null> => {
    if (direction === 'to-device') {
      await onDevice();
      await step('MIGRATE_TO_SYS');
    }
    await subject.expectAll(PAGE_RAM);
    const errors = ctx.copyMachine.strayErrors() - stray;
    return errors > 0 ? `${errors} uncaptured GPU errors` : subject.compare();
  };
  const totals = ctx.copyMachine.engine.stats;
  const leave = async (): Promise<number> => {
    const { errno, firstMs } = await subject.toDevice(subject.pages, 0);
    firsts.push(firstMs * 1000);
    return errno;
  };
  const run = direction === 'to-device' ? leave : () => subject.migrate('MIGRATE_TO_SYS');
  return { prepare, run, verify, totals };
}

/**
 * "bookkeeping" is what is left of a migration when the engine's own times are taken out; nobody
 * can tell where copies went on meanwhile.
 */
export function renameOther(sampled: Sampled): Sampled {
  if (sampled.phases === null) return sampled;
  const { other, ...engine } = sampled.phases;
  const phases = other === undefined ? engine : { ...engine, bookkeeping: other };
  return { ...sampled, phases };
}

/** Cells that the suite adds. */
export function countMigrateCells(ctx: RunContext): number {
  return 3 * ctx.plan.migrate.batches.length;
}

/** Measures whole migrations. Adds its cells to `ctx`. */
export async function runMigrateSuite(ctx: RunContext): Promise<void> {
  const { batches, box } = ctx.plan.migrate;
  const most = Math.max(...batches);
  scatterFreePages(ctx, Math.min(4 * most, ctx.machine.kernel.sys.pageAllocator.freePages));
  for (const pages of batches) {
    for (const direction of ['to-device', 'to-host'] as const) {
      await measureHalf(ctx, pages, direction, box);
    }
  }
}

async function measureHalf(
  ctx: RunContext,
  pages: number,
  direction: 'to-device' | 'to-host',
  box: SampleBox,
): Promise<void> {
  const id = `migrate/${direction}/${pages}`;
  await ctx.say('migrate', id);
  // A migration changes where pages are: it can't be chained, however coarse the clock is.
  const firsts: number[] = [];
  const sampled = await withProcess(ctx, pages, id, (subject) =>
    sampleOperation(halfCycle(ctx, subject, direction, firsts), box, 0, ctx.signal),
  );
  const bytes = pages * PAGE_SIZE;
  const params = { direction, batch: pages, pages, strategy: 'auto' };
  const spec = { suite: 'migrate' as const, id, params, unit: 'us' as const, bytes, pages };
  ctx.addCell(spec, renameOther(sampled));
  if (direction === 'to-device') addFirstPages(ctx, pages, sampled, firsts);
}
