/*
 * `npm run kernel -- --record FILE`: what a kernel touches, as an access trace. A shape is recorded
 * by the CPU engine, which sees all accesses; a kernel of the user's writes them down itself, while
 * it runs once more, on a machine of its own.
 */
import {
  CpuVmEngine,
  PAGE_SIZE,
  plainRegion,
  PROT_READ,
  PROT_WRITE,
  recordingKernel,
  recordTrace,
  shapeCase,
  traceOfLogs,
} from '../src/index.ts';
import type { AccessTrace, KernelReport, Machine, MachineOptions } from '../src/index.ts';
import { contents, KERNEL_BASE, progressOf } from './kernel-run.ts';
import type { KernelRunOptions, RunWatcher } from './kernel-run.ts';

const MIB = 2 ** 20;
/** Bytes of all logs at most. */
const MOST_LOG_BYTES = 256 * MIB;
/** Words of each invocation's log at first, and by how much they grow where that is too little. */
const FIRST_WORDS = 64;
const GROWTH = 8;
/** Between memory and logs: who goes past the end of the one must not come to the other. */
const GAP = 2 * MIB;
const DEFAULT_LANES = 64;
/** Rounds of loops, as of a launch that says nothing. */
const DEFAULT_BUDGET = 2 ** 16;

/** Opens a machine with that memory. */
export type OpenSized = (sizes: MachineOptions) => Promise<Machine>;

/**
 * Records a run.
 *
 * @param done the report of the run itself, which finished
 * @returns the trace, or why there is none
 */
export async function recordRun(
  open: OpenSized,
  options: KernelRunOptions,
  done: Pick<KernelReport, 'killed'>,
  watcher: RunWatcher = {},
): Promise<AccessTrace | string> {
  const { source } = options;
  if (source.shape !== undefined) return recordShape(source.shape, options);
  const { workgroups } = options.launch;
  const invocations = workgroups * (source.lanes ?? DEFAULT_LANES);
  let words = FIRST_WORDS;
  for (; invocations * words * 4 <= MOST_LOG_BYTES; words *= GROWTH) {
    const trace = await recordFile(open, options, words, done, watcher);
    if (trace !== null) return trace;
  }
  if (words === FIRST_WORDS) {
    return `${invocations} invocations are too many: their logs have ${MOST_LOG_BYTES / MIB} MiB`;
  }
  return `an invocation changes pages more than ${words / GROWTH - 2} times`;
}

/** Records a shape, on its memory, whose first page has number 0. */
async function recordShape(
  shape: string,
  { source, launch }: KernelRunOptions,
): Promise<AccessTrace | string> {
  const { kernel, bytes, args, workgroups } = shapeCase(shape, launch.workgroups, 0, 1);
  const pages = bytes.length / PAGE_SIZE;
  const recorded = await recordTrace(new CpuVmEngine(pages), {
    kernel: { ...kernel, name: source.name ?? shape },
    workgroups,
    args,
    regions: [plainRegion(0, pages)],
    contents: (page) => bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE),
    budget: launch.budget ?? DEFAULT_BUDGET,
  });
  if ('problems' in recorded) return recorded.problems.map(({ reason }) => reason).join('; ');
  const { outcome, trace } = recorded;
  return outcome === 'done' ? trace : `its run for that ended as ${outcome}`;
}

/** Has a kernel write down what it touches; null where logs are too short. */
async function recordFile(
  open: OpenSized,
  { source, pages, fill, args, launch }: KernelRunOptions,
  words: number,
  done: Pick<KernelReport, 'killed'>,
  { signal, onRunning }: RunWatcher,
): Promise<AccessTrace | string | null> {
  const { lanes = DEFAULT_LANES, name = 'kernel' } = source;
  const made = await recordingKernel(source.wgsl!, {
    argument: 2 + args.length,
    words,
    lanes,
  });
  if ('reason' in made) return made.reason;
  const { workgroups, budget } = launch;
  const size = pages * PAGE_SIZE;
  const logBytes = Math.ceil((workgroups * lanes * words * 4) / PAGE_SIZE) * PAGE_SIZE;
  // Everything has room, and comes in large pieces: only what is touched matters.
  const deviceBytes = Math.max(4 * MIB, size + logBytes);
  const ramBytes = Math.max(16 * MIB, 2 * (size + logBytes));
  const chunkBytes = deviceBytes;
  await using machine = await open({ ramBytes, deviceBytes, chunkBytes });
  const process = await machine.spawn();
  const length = size + GAP + logBytes;
  const addr = await process.mmap({ length, prot: PROT_READ | PROT_WRITE });
  await process.munmap(addr + size, GAP);
  if (fill !== 'none') await process.write(addr, contents(size, fill));
  const device = await process.openDevice(0);
  const kernel = await device.compileKernel({ ...source, wgsl: made.wgsl });
  const running = device.startLaunch(kernel, {
    workgroups,
    origin: addr - KERNEL_BASE,
    args: [addr, size / 4, ...args, addr + size + GAP],
    policy: 'kfd',
    ...(budget === undefined ? {} : { budget }),
    ...(signal === undefined ? {} : { signal }),
  });
  onRunning?.(() => progressOf(running.progress, workgroups, 'records: '));
  const { outcome, cause, killed } = await running.report;
  if (outcome !== 'done') return `its run for that ended as ${outcome}: ${cause}`;
  if (killed !== done.killed) {
    return `${killed} invocations had an access refused while it was recorded, not ${done.killed}`;
  }
  const bytes = await process.read(addr + size + GAP, logBytes);
  const logs = new Uint32Array(bytes.slice().buffer, 0, workgroups * lanes * words);
  return traceOfLogs(name, logs, words, lanes, pages);
}
