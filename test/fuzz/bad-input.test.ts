/*
 * 50,000 calls of the kernel with arguments that nobody should give, mixed with some that work, so
 * that there is something to damage. Whatever comes: an errno that Linux has, no other exception,
 * and after a refusal everything is as it was.
 *
 * FUZZ_SEED=n repeats a run, FUZZ_CALLS=n makes it longer.
 */
import { expect, test } from 'vitest';
import { errno, errnoName, isErr } from '../../src/base/errno.ts';
import { Prng } from '../../src/base/prng.ts';
import { PAGE_SIZE, pageAlignDown } from '../../src/base/units.ts';
import type { CpuEngine } from '../../src/engine/cpu-engine.ts';
import { bootMachine } from '../../src/index.ts';
import { findProblems } from '../../src/sim/check-invariants.ts';
import { Kernel } from '../../src/worker/kernel.ts';
import type { KernelApi } from '../../src/worker/protocol.ts';
import { CALLS } from './calls.ts';
import { bytesDigest, kernelDigest } from './digest.ts';
import { show } from './hostile.ts';
import { Pool } from './pool.ts';

const SEED = Number(process.env['FUZZ_SEED'] ?? 20_261_121);
const COUNT = Number(process.env['FUZZ_CALLS'] ?? 50_000);
const MIB = 2 ** 20;
/** Turns of the microtask queue after which a call is taken to wait for somebody. */
const PATIENCE = 2000;
/** Calls between two looks at every byte, and at every invariant. */
const BYTES_EVERY = 16;
const CHECK_EVERY = 1000;

const ERRNOS = new Set<number>(Object.values(errno));

type Name = keyof KernelApi;
const NAMES = (Object.keys(CALLS) as Name[]).filter((name) => CALLS[name].isFinal !== true);

/** What a call answered: a number, or a result with an errno and perhaps a signal. */
interface Answer {
  readonly status: number;
  /** Address at which an access failed, null when none did. */
  readonly failedAt: number | null;
}

interface Tally {
  done: number;
  refused: number;
  waited: number;
  readonly byName: Map<string, number>;
  readonly byErrno: Map<string, number>;
}

function newTally(): Tally {
  return { done: 0, refused: 0, waited: 0, byName: new Map(), byErrno: new Map() };
}

/** A small machine with a process, memory, a file and a device. */
async function makePool(seed: number, thp: 'never' | 'always'): Promise<Pool> {
  const machine = await bootMachine({
    engine: 'cpu',
    ramBytes: (thp === 'always' ? 6 : 2) * MIB,
    deviceBytes: MIB / 8,
    chunkBytes: MIB / 16,
    thp,
  });
  return new Pool(new Prng(seed), machine.kernel);
}

/** Something to work on: calls without malice. */
async function furnish(pool: Pool): Promise<void> {
  pool.digest = null;
  const { kernel } = pool;
  while (pool.pids().length < 2) if (kernel.spawn() < 0) break;
  for (const [pid, mm] of kernel['processes']) {
    if (mm.vmas.length < 3) await kernel.mmap(pid, { length: 6 * PAGE_SIZE, prot: 3 });
  }
  const pid = pool.pids()[0];
  if (pid === undefined) return;
  if (pool.deviceFds().length === 0) kernel.openDevice(pid, pool.random.below(2));
  if (pool.fileFds().length === 0) kernel.tmpfile(5 * PAGE_SIZE + 100);
}

async function settle(pool: Pool, tally: Tally, result: unknown): Promise<unknown> {
  if (!(result instanceof Promise)) return result;
  const call = { isSettled: false };
  const seen = (): void => {
    call.isSettled = true;
  };
  result.then(seen, seen);
  for (let turn = 0; turn < PATIENCE && !call.isSettled; turn++) await Promise.resolve();
  if (!call.isSettled) {
    tally.waited++;
    await pool.wakeAll();
  }
  return result;
}

function readAnswer(value: unknown): Answer {
  if (typeof value === 'number') return { status: value, failedAt: null };
  if (typeof value !== 'object' || value === null) return { status: 0, failedAt: null };
  const { errno: status = 0, outcome = 0, address = 0 } = value as Record<string, number>;
  // A launch's outcome is a word.
  const isAccess = typeof outcome === 'number' && outcome !== 0;
  return { status, failedAt: isAccess ? address : null };
}

/** The seed and the call, for a failure. */
function describe(seed: number, at: number, name: string, args: readonly unknown[]): string {
  return `FUZZ_SEED=${seed} call ${at}: ${name}(${args.map(show).join(', ')})`;
}

/** One call; fails the test when the machine does what it must not. */
async function callOnce(pool: Pool, tally: Tally, seed: number, at: number): Promise<void> {
  const { kernel } = pool;
  const name = NAMES[pool.random.below(NAMES.length)]!;
  const args = CALLS[name].args(pool);
  const where = (): string => describe(seed, at, name, args);
  // After a refusal the state is known: it is as it was.
  const before = pool.digest ?? kernelDigest(kernel);
  pool.digest = null;
  const looksAtBytes = at % BYTES_EVERY === 0;
  const engine = kernel.engine as CpuEngine;
  const bytesBefore = looksAtBytes ? bytesDigest(kernel.sys, engine) : 0;
  const waitedBefore = tally.waited;
  let value: unknown;
  try {
    const method = kernel[name] as (...rest: unknown[]) => unknown;
    value = await settle(pool, tally, method.apply(kernel, args));
  } catch (error) {
    throw new Error(`${where()} threw`, { cause: error });
  }
  const { status, failedAt } = readAnswer(value);
  if (!Number.isSafeInteger(status)) throw new Error(`${where()} answered ${status}`);
  if (!isErr(status) && failedAt === null) {
    tally.done++;
    const { ends } = CALLS[name];
    if (ends !== undefined) {
      const again = await (kernel[name] as (handle: unknown) => unknown).call(kernel, args[0]);
      if (again !== ends) throw new Error(`${where()} a second time answered ${show(again)}`);
    }
    await pool.tidy();
    return;
  }
  if (isErr(status) && !ERRNOS.has(status)) throw new Error(`${where()} answered ${status}`);
  tally.refused++;
  const code = isErr(status) ? errnoName(status) : 'signal';
  tally.byErrno.set(code, (tally.byErrno.get(code) ?? 0) + 1);
  tally.byName.set(name, (tally.byName.get(name) ?? 0) + 1);
  if (tally.waited !== waitedBefore) return;
  if (isErr(status) && CALLS[name].isPartial?.(args, status, pool) === true) return;
  // An access that failed on a later page has faulted the first ones in.
  if (failedAt !== null && pageAlignDown(failedAt) !== pageAlignDown(args[1] as number)) return;
  pool.digest = kernelDigest(kernel);
  if (pool.digest !== before) throw new Error(`${where()} ${code} changed the state`);
  if (looksAtBytes && bytesDigest(kernel.sys, engine) !== bytesBefore) {
    throw new Error(`${where()} ${code} changed bytes`);
  }
}

function checkAll(pool: Pool, where: string): void {
  const { kernel } = pool;
  const inodeHandles = new Map([...kernel['tmpfiles']['inodes'].values()].map((one) => [one, 1]));
  const pins = new Map<number, number>();
  const references = new Map<number, number>();
  for (const { pfns, isPin } of kernel['userPages']['held'].values()) {
    const held = isPin ? pins : references;
    for (const pfn of pfns) {
      const folio = kernel.sys.mem.folioOf(pfn);
      // Nobody counts pins of the pages of zeroes.
      if (isPin && (folio === kernel.sys.zeroPfn || folio === kernel.sys.hugeZeroPfn)) continue;
      held.set(folio, (held.get(folio) ?? 0) + 1);
    }
  }
  const problems = findProblems(kernel.sys, { inodeHandles, pins, references });
  if (problems.length > 0) throw new Error(`${where}:\n  ${problems.join('\n  ')}`);
}

async function fuzz(pool: Pool, tally: Tally, seed: number, count: number): Promise<void> {
  for (let at = 0; at < count; at++) {
    if (at % 20 === 0) await furnish(pool);
    await callOnce(pool, tally, seed, at);
    if (at % CHECK_EVERY === CHECK_EVERY - 1) checkAll(pool, `FUZZ_SEED=${seed} after call ${at}`);
  }
}

test('every call of the kernel has a row in the table', () => {
  const internal = ['settle', 'constructor', 'addProcess', 'endProcess', 'canMigrateBy'];
  const methods = Object.getOwnPropertyNames(Kernel.prototype);
  const isCall = (name: string): boolean => !internal.includes(name);
  expect(methods.filter(isCall).toSorted()).toEqual(Object.keys(CALLS).toSorted());
});

test('50,000 calls with bad arguments end in errnos and leave no trace', async () => {
  const tally = newTally();
  const shares = [0.4, 0.4, 0.15, 0.05].map((share) => Math.floor(share * COUNT));
  await fuzz(await makePool(SEED, 'never'), tally, SEED, shares[0]!);
  const pool = await makePool(SEED + 1, 'always');
  await fuzz(pool, tally, SEED, shares[1]!);
  await pool.kernel.loseDevice();
  await fuzz(pool, tally, SEED, shares[2]!);
  await pool.wakeAll();
  await pool.kernel.close();
  await fuzz(pool, tally, SEED, shares[3]!);
  // Not vacuous: most calls are refused, enough work, and every kind of refusal occurs.
  const summary = JSON.stringify([tally, [...tally.byName], [...tally.byErrno]]);
  if (process.env['FUZZ_VERBOSE'] !== undefined) process.stdout.write(`${summary}\n`);
  expect(tally.refused, summary).toBeGreaterThan(COUNT / 3);
  expect(tally.done, summary).toBeGreaterThan(COUNT / 10);
  for (const name of NAMES) {
    if (['report', 'counters', 'liveCounters', 'liveFaultLatency', 'spawn'].includes(name))
      continue;
    expect(tally.byName.get(name) ?? 0, `${name}: ${summary}`).toBeGreaterThan(COUNT / 1000);
  }
  for (const code of ['EINVAL', 'EBADF', 'ESRCH', 'ENOMEM', 'EFAULT', 'ENXIO', 'signal']) {
    expect(tally.byErrno.get(code) ?? 0, `${code}: ${summary}`).toBeGreaterThan(0);
  }
}, 400_000);
