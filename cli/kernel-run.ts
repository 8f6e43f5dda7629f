/*
 * One run of `npm run kernel`: memory for a kernel, a launch, and what is printed of it.
 */
import { PAGE_SIZE, PROT_READ, PROT_WRITE, Prng, shapeCase } from '../src/index.ts';
import type {
  DeviceFaultEvent,
  KernelReport,
  KernelSource,
  LaunchOptions,
  LaunchProgress,
  Machine,
  MachineEvent,
} from '../src/index.ts';

/** Where a shape's memory is in the kernel's addresses. */
const SHAPE_BASE = 2 ** 20;
/** Where that of any other kernel is: an address of 0, or an index for one, is a mistake. */
export const KERNEL_BASE = 2 ** 21;

/** What words hold before the launch. */
export const FILLS = ['index', 'zero', 'random', 'none'] as const;

/** What to run, and on what. */
export interface KernelRunOptions {
  readonly source: KernelSource;
  /**
   * Pages of memory that the kernel gets: their address and number of words come first among its
   * arguments. A shape brings its own memory and arguments.
   */
  readonly pages: number;
  readonly fill: (typeof FILLS)[number];
  /** Further arguments. */
  readonly args: readonly number[];
  readonly launch: Omit<LaunchOptions, 'args' | 'workgroups'> & { readonly workgroups: number };
}

/** What came out. */
export interface KernelRunResult {
  readonly report: KernelReport;
  /** Faults by page of the memory, in order; -1 for addresses outside of it. */
  readonly faults: readonly PageFaults[];
  /** Events that the trace lost. */
  readonly lost: number;
  /** The kernel's address of its memory. */
  readonly base: number;
  /** Words of the memory at the end. */
  readonly words: Uint32Array;
}

/** Faults on one page. */
export interface PageFaults {
  readonly page: number;
  readonly read: number;
  readonly write: number;
  readonly atomic: number;
  readonly prefetch: number;
  /** Pass of the first one. */
  readonly first: number;
}

/** Bytes of memory that a run works on. */
export function memoryOf({ source, pages, launch }: KernelRunOptions): number {
  if (source.shape === undefined) return pages * PAGE_SIZE;
  return shapeCase(source.shape, launch.workgroups, SHAPE_BASE, 1).bytes.length;
}

/** How far a run is. */
export interface RunProgress {
  readonly note: string;
  /** Workgroups that finished, and all. */
  readonly done?: number;
  readonly total?: number;
}

/** Who looks on while a kernel runs, and may end it. */
export interface RunWatcher {
  readonly signal?: AbortSignal;
  /** Told when the launch has begun, how to ask it. */
  readonly onRunning?: (read: () => RunProgress) => void;
}

/** Runs a kernel on a machine. */
export async function runKernel(
  machine: Machine,
  { source, pages, fill, args, launch }: KernelRunOptions,
  { signal, onRunning }: RunWatcher = {},
): Promise<KernelRunResult> {
  const process = await machine.spawn();
  const { workgroups } = launch;
  const given =
    source.shape === undefined
      ? { bytes: contents(pages * PAGE_SIZE, fill), base: KERNEL_BASE, args, workgroups }
      : shapeCase(source.shape, workgroups, SHAPE_BASE, 1);
  const { length } = given.bytes;
  const addr = await process.mmap({ length, prot: PROT_READ | PROT_WRITE });
  if (fill !== 'none' || source.shape !== undefined) await process.write(addr, given.bytes);
  const device = await process.openDevice(0);
  const kernel = await device.compileKernel(source);
  const faults: DeviceFaultEvent[] = [];
  const trace = await machine.trace(
    (events: readonly MachineEvent[]) => {
      for (const event of events) if (event.type === 'device_fault') faults.push(event);
    },
    { events: ['device_fault'], capacity: 2 ** 18 },
  );
  const request = { ...launch, workgroups: given.workgroups, origin: addr - given.base };
  const own = source.shape === undefined ? [addr, length / 4] : [];
  const running = device.startLaunch(kernel, {
    ...request,
    args: [...own, ...given.args],
    ...(signal === undefined ? {} : { signal }),
  });
  onRunning?.(() => progressOf(running.progress, given.workgroups));
  const report = await running.report;
  await trace.close();
  const bytes = await process.read(addr, length);
  const byPage = faultsByPage(faults, addr, length / PAGE_SIZE);
  const words = new Uint32Array(bytes.buffer);
  return { report, faults: byPage, lost: trace.dropped, base: given.base, words };
}

/** How far a launch is. @param what comes before that */
export function progressOf(counts: LaunchProgress, total: number, what = ''): RunProgress {
  const { passes, faults, finished } = counts;
  const note = `${what}pass ${passes + 1}, ${faults} faults, workgroups`;
  return { note, done: finished, total };
}

/** What a kernel's memory holds before it runs. */
export function contents(length: number, fill: KernelRunOptions['fill']): Uint8Array {
  const words = new Uint32Array(length / 4);
  const prng = new Prng(1);
  if (fill === 'index') words.forEach((_, at) => (words[at] = at));
  if (fill === 'random') words.forEach((_, at) => (words[at] = prng.below(2 ** 32)));
  return new Uint8Array(words.buffer);
}

function faultsByPage(
  faults: readonly DeviceFaultEvent[],
  addr: number,
  pages: number,
): PageFaults[] {
  const byPage = new Map<number, PageFaults>();
  for (const { address, access, pass } of faults) {
    const at = Math.floor((address - addr) / PAGE_SIZE);
    const page = at >= 0 && at < pages ? at : -1;
    const none = { page, read: 0, write: 0, atomic: 0, prefetch: 0, first: pass };
    const before = byPage.get(page) ?? none;
    const kind = access === 'prefetch_write' ? 'prefetch' : access;
    byPage.set(page, { ...before, [kind]: before[kind] + 1 });
  }
  return [...byPage.values()].toSorted((a, b) => a.page - b.page);
}

/** Of faults for which the device's ring was full. */
const NO_ROOM = 'too many for the ring, and raised again';

function counted(count: number, what: string, plural = 's'): string {
  return `${count} ${what}${count === 1 ? '' : plural}`;
}

function hex(address: number): string {
  return `0x${address.toString(16)}`;
}

/** The report as text, a line for each thing. */
export function reportText({ report, base, words }: KernelRunResult): string {
  const { outcome, cause, pages, service, overflow } = report;
  const size = words.byteLength / PAGE_SIZE;
  const rows: (readonly [string, string | number])[] = [
    ['outcome', cause === '' ? outcome : `${outcome}: ${cause}`],
    ['memory', `${counted(size, 'page')} from ${hex(base)} to ${hex(base + words.byteLength)}`],
    ['workgroups', `${report.finished} of ${report.workgroups} finished`],
    ['passes', report.passes],
    ['replayed', counted(report.replayed, 'workgroup')],
    ['faults', `${report.faults}${overflow === 0 ? '' : `, ${overflow} of them ${NO_ROOM}`}`],
    [
      'killed',
      counted(report.killed, 'invocation') + (report.killed === 0 ? '' : ', by refused accesses'),
    ],
    ...(report.logGrowths === 0 ? [] : [['logs', logsText(report)] as const]),
    [
      'pages',
      `${pages.mapped} mapped, ${pages.erased} erased, ${pages.evicted} evicted, ` +
        `${pages.remote} remote, ${pages.refused} refused`,
    ],
    [
      'time',
      `${report.totalMs.toFixed(1)} ms, of it ${report.serveMs.toFixed(1)} ms serving faults`,
    ],
  ];
  if (service !== null) {
    const { counts, virtualUs } = service;
    rows.push(
      ['policy', service.policy],
      [
        'service',
        `${counted(counts.batches, 'batch', 'es')}, ${counted(counts.replays, 'replay')}`,
      ],
      [
        'moved',
        `${counted(counts.movedPages, 'page')}, ${counts.prefetchedPages} of them prefetched`,
      ],
      [
        'evicted',
        `${counted(counts.evictedPages, 'page')} in ${counted(counts.evictions, 'eviction')}`,
      ],
      ['virtual time', `${virtualUs.toFixed(1)} µs`],
    );
  }
  return rows.map(([name, value]) => `${name.padEnd(13)}${value}\n`).join('');
}

function logsText({ logGrowths, logWords, window }: KernelReport): string {
  const grown = `doubled ${logGrowths} ${logGrowths === 1 ? 'time' : 'times'}`;
  return `${logWords} words each, ${grown}; at most ${window} workgroups in flight`;
}

/** Faults by page, and refusals, as tables of at most `rows` rows; empty without any. */
export function faultsText({ report, faults, lost }: KernelRunResult, rows: number): string {
  const head = ['page', 'read', 'write', 'atomic', 'prefetch', 'first pass'];
  const body = faults.map(({ page, read, write, atomic, prefetch, first }) =>
    [page < 0 ? 'elsewhere' : page, read, write, atomic, prefetch, first].map(String),
  );
  const refused = report.refusals.map(({ address, access, reason, workgroup, lane, pass }) =>
    [hex(address - report.origin), access, reason, workgroup, lane, pass].map(String),
  );
  const columns = ['refused', 'access', 'reason', 'workgroup', 'lane', 'pass'];
  const tables = [table(head, body, rows), table(columns, refused, rows)];
  if (lost > 0) tables.push(`${lost} faults were too many for the trace\n`);
  return tables.filter((text) => text !== '').join('\n');
}

function table(
  head: readonly string[],
  body: readonly (readonly string[])[],
  rows: number,
): string {
  if (body.length === 0) return '';
  const shown = [head, ...body.slice(0, rows)];
  const widths = head.map((_, at) => Math.max(...shown.map((row) => row[at]!.length)));
  const lines = shown.map((row) => row.map((cell, at) => cell.padStart(widths[at]!)).join('  '));
  if (body.length > rows) lines.push(`... and ${body.length - rows} more`);
  return `${lines.join('\n')}\n`;
}
