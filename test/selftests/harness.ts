/*
 * Runs selftests and reports them in TAP, as kselftest_harness.h does.
 *
 * One machine serves a run, a fresh process each test: what a test leaves behind would show in the
 * next, so after each the harness checks that nothing is left. All device pages that were handed
 * out have come back, once before and once after every device chunk is released (RELEASE would
 * wait for ever for a page that somebody still holds), and RAM has as many free pages as at the
 * start. A test that leaks fails. After a failure the next test gets a new machine.
 *
 * The kernel gives a test 30 seconds. Here that is how long the machine may do nothing for it, as
 * adapters differ by a factor of a thousand: a browser that looks at its queue ten times a second
 * needs 17 minutes for the 10,240 faults of migrate_multiple. A test whose machine stands still,
 * or that takes more than an hour, fails and its machine is given up, so every run ends.
 */
import { ErrnoError, PAGE_SIZE, PMD_SIZE, SignalError } from '../../src/index.ts';
import type { Counters, Machine, MachineOptions, MachineReport } from '../../src/index.ts';
import { AssertionFailed, SkipTest } from './checks.ts';
import type { Checks } from './checks.ts';
import { BENCHMARK_ROUNDS, HmmTest } from './hmm-test.ts';
import type { Instance } from './selftest.ts';
import { TapWriter } from './tap.ts';
import type { Totals, Verdict } from './tap.ts';

/** The machine that the tests are written for: room for two buffers twice, two devices a kind. */
export const SELFTEST_MACHINE: MachineOptions = {
  ramBytes: 64 * 2 ** 20,
  deviceBytes: 32 * 2 ** 20,
  chunkBytes: 16 * 2 ** 20,
  devices: 2,
  coherentDevices: 2,
  coherentBytes: 32 * 2 ** 20,
};

/** No test takes longer than this. */
export const LONGEST_MS = 60 * 60_000;

const STILL_MS = 30_000;
const CLOSE_MS = 5000;
/** The kernel checks the range of every command, also of those that have no use for it. */
const ANY_RANGE = { addr: 65_536, ptr: 0, npages: 1 };

/**
 * Opens a machine for tests; called again after a failure, and for tests that need another one.
 *
 * @param extra options that differ from SELFTEST_MACHINE's
 */
export type OpenTestMachine = (extra: MachineOptions) => Promise<Machine>;

/** A machine, what it was asked to have, and its counters when it was new. */
interface Opened {
  readonly machine: Machine;
  readonly extra: string;
  readonly start: Counters;
}

export interface Result {
  readonly instance: Instance;
  readonly verdict: Verdict;
  /** Why it was skipped; empty otherwise. */
  readonly reason: string;
  /** Diagnostic lines. */
  readonly log: readonly string[];
  readonly ms: number;
}

/** Runs instances one after the other on a machine that lives as long as they pass. */
export class SelftestSession {
  private readonly openMachine: OpenTestMachine;
  private readonly stillMs: number;
  private readonly rounds: number;
  private current: Opened | null = null;

  /**
   * @param stillMs how long a machine may do nothing for a test
   * @param rounds how often a benchmark measures; the kernel's does five times
   */
  constructor(openMachine: OpenTestMachine, stillMs = STILL_MS, rounds = BENCHMARK_ROUNDS) {
    this.openMachine = openMachine;
    this.stillMs = stillMs;
    this.rounds = rounds;
  }

  /** The machine of the next test, opened if need be. */
  async machine(): Promise<Machine> {
    return (await this.ready()).machine;
  }

  /** Runs one instance. Rejects only where no machine can be opened. */
  async run(instance: Instance): Promise<Result> {
    const { machine, start } = await this.ready(instance);
    const test = new HmmTest(machine, instance, this.rounds);
    const began = performance.now();
    let reason = '';
    const before = await machine.counters();
    const work = workIn(before);
    const body = performTest(test, instance, start).catch((error: unknown) => {
      if (error instanceof SkipTest && !test.failed) reason = error.message;
      else logError(test, error);
    });
    if (!(await settlesWhileBusy(body, machine, work, this.stillMs))) {
      test.fail(' Test terminated by timeout');
    }
    const ms = performance.now() - began;
    const log = [...test.log];
    if (test.failed) await this.close();
    else if (test.isCoherent) log.push(movedLine(before, await machine.counters()));
    const verdict = test.failed ? 'fail' : reason === '' ? 'pass' : 'skip';
    return { instance, verdict, reason, log, ms };
  }

  /** Closes the machine; one that does not answer is given up. */
  async close(): Promise<void> {
    const machine = this.current?.machine;
    this.current = null;
    if (machine === undefined) return;
    // A machine that failed a test may fail to close, too, and has nothing more to say.
    const closed = machine.close().catch(() => {});
    await settlesWithin(closed, CLOSE_MS);
  }

  private async ready(instance?: Instance): Promise<Opened> {
    const options = instance?.selftest.machine?.(instance.variant) ?? {};
    const extra = instance === undefined ? this.current?.extra : JSON.stringify(options);
    if (this.current !== null && this.current.extra !== extra) await this.close();
    if (this.current === null) {
      const machine = await this.open(options);
      this.current = { machine, extra: extra ?? '{}', start: await machine.counters() };
    }
    return this.current;
  }

  /** Falls back to the usual machine: the test says what it can't do there. */
  private open(options: MachineOptions): Promise<Machine> {
    const opened = this.openMachine(options);
    return Object.keys(options).length === 0 ? opened : opened.catch(() => this.openMachine({}));
  }
}

/** What a run reports to, besides TAP. */
export interface RunObserver {
  /** The machine is there. */
  readonly opened?: (report: MachineReport) => void;
  readonly finished?: (result: Result) => void;
}

/**
 * Runs the instances and prints TAP.
 *
 * @param print takes each line as soon as it is known
 * @returns how many ended in which way
 */
export async function runSelftests(
  instances: readonly Instance[],
  session: SelftestSession,
  print: (line: string) => void,
  observer: RunObserver = {},
): Promise<Totals> {
  const tap = new TapWriter(print);
  const { report } = await session.machine();
  observer.opened?.(report);
  tap.begin(instances.length, new Set(instances.map(({ group }) => group)).size);
  tap.comment(`adapter ${describeAdapter(report)}`);
  for (const instance of instances) {
    tap.run(instance.id);
    const result = await session.run(instance);
    for (const line of result.log) tap.comment(line);
    tap.result(instance.id, result.verdict, result.reason);
    observer.finished?.(result);
  }
  tap.end();
  await session.close();
  return tap.totals;
}

/** What moves the pages, in words that never pass software off as hardware. */
export function describeAdapter({ engine, adapter }: MachineReport): string {
  if (engine === 'cpu') return 'none: the CPU engine moves the pages (software)';
  const { vendor, architecture, device, description, isSoftware } = adapter;
  const words = [vendor, architecture || device, description].filter((word) => word !== '');
  const name = [...new Set(words)].join(' ') || 'unnamed';
  return isSoftware ? `${name} (software)` : name;
}

/**
 * What devices and engine moved for a test: the CPU reaches coherent memory, so that its contents
 * alone don't show that a device had any part in it.
 */
function movedLine(before: Counters, after: Counters): string {
  const ofEngine = ({ engine }: Counters): number =>
    engine.bytesToDevice + engine.bytesToHost + engine.bytesInHost;
  const ofAperture = ({ devices }: Counters): number =>
    devices.reduce((sum, { apertureBytes }) => sum + apertureBytes, 0);
  const engine = ofEngine(after) - ofEngine(before);
  const aperture = ofAperture(after) - ofAperture(before);
  return ` bytes moved by the copy engine: ${engine}, of these through an aperture: ${aperture}`;
}

/** Fixture, body, and the check that nothing is left behind. */
async function performTest(test: HmmTest, instance: Instance, start: Counters): Promise<void> {
  try {
    await test.setUp();
    await instance.selftest.run(test);
  } catch (error) {
    if (error instanceof SkipTest) throw error;
    logError(test, error);
  }
  await test.tearDown();
  // A failed test gets no second complaint, and no other test the machine that it ran on.
  if (!test.failed) await checkNothingLeft(test, instance.minors, start);
}

async function checkNothingLeft(
  test: HmmTest,
  minors: readonly number[],
  start: Counters,
): Promise<void> {
  await checkDevicePages(test, 'after the test');
  test.stopIfFailed();
  const process = await test.machine.spawn();
  for (const minor of minors) {
    const device = await process.openDevice(minor);
    const { errno } = await device.tryIoctl('RELEASE', ANY_RANGE);
    test.assertErrno(0, errno, `RELEASE of device ${minor} after the test`);
  }
  await process.exit();
  await checkDevicePages(test, 'after RELEASE');
  const { ramFreePages, vm } = await test.machine.counters();
  // The huge zero page is made once and kept.
  const zeroPages = (zeroPagesIn(vm) - zeroPagesIn(start.vm)) * (PMD_SIZE / PAGE_SIZE);
  test.assertEq(start.ramFreePages - zeroPages, ramFreePages, 'free pages of RAM after the test');
}

function zeroPagesIn(vm: Readonly<Record<string, number>>): number {
  return vm['thp_zero_page_alloc'] ?? 0;
}

async function checkDevicePages(test: HmmTest, when: string): Promise<void> {
  const { devices } = await test.machine.counters();
  devices.forEach(({ minor, calloc, cfree }) => {
    test.expectEq(calloc, cfree, `pages returned to device ${minor} ${when}`);
  });
}

function logError(test: Checks, error: unknown): void {
  if (error instanceof AssertionFailed) return;
  if (error instanceof ErrnoError || error instanceof SignalError) {
    test.fail(` ${error.message}`);
    return;
  }
  // Anything else is a mistake in the emulator or in a test: the stack says where.
  test.fail(` ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
}

/**
 * False when the promise, which must not reject, is still pending after the machine has stood still
 * for `stillMs`, or after LONGEST_MS.
 */
async function settlesWhileBusy(
  promise: Promise<void>,
  machine: Machine,
  workBefore: number,
  stillMs: number,
): Promise<boolean> {
  const giveUpAt = performance.now() + LONGEST_MS;
  let work = workBefore;
  while (performance.now() < giveUpAt) {
    if (await settlesWithin(promise, stillMs)) return true;
    const before = work;
    // A machine that does not even answer leaves `work` as it is.
    const asked = workDone(machine).then(
      (sum) => void (work = sum),
      () => {},
    );
    await settlesWithin(asked, CLOSE_MS);
    if (work === before) return false;
  }
  return false;
}

/** A number that grows with all that a machine does. */
async function workDone(machine: Machine): Promise<number> {
  return workIn(await machine.counters());
}

function workIn({ vm, engine }: Counters): number {
  return Object.values(vm).reduce((sum, count) => sum + count, engine.pages + engine.lists);
}

/** False when the promise, which must not reject, takes longer than that. */
async function settlesWithin(promise: Promise<void>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  const settled = await Promise.race([promise.then(() => true), late]);
  clearTimeout(timer);
  return settled;
}
