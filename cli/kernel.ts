/*
 * `npm run kernel -- file.wgsl`: runs a kernel over a process's memory on a fresh machine,
 * headless, and prints what became of it, with a table of its faults.
 *
 * A kernel is WGSL with `fn kernel(wg: u32, lid: u32)`; vm_arg(0u) is the address of its memory,
 * vm_arg(1u) the number of words there. The exit status is 0 when it finished.
 */
import { readFileSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import {
  ErrnoError,
  EVICTIONS,
  KernelCompileError,
  launchTrace,
  PAGE_SIZE,
  POLICIES,
  SHAPE_NAMES,
  traceToCsv,
  traceToJson,
} from '../src/index.ts';
import type { KernelReport, LaunchServiceOptions } from '../src/index.ts';
import { inLines, readCommandLine, UsageError } from './args.ts';
import type { CommandLine } from './args.ts';
import { isStopped, onExit, runCommand } from './cleanup.ts';
import { faultsText, FILLS, memoryOf, reportText, runKernel } from './kernel-run.ts';
import type { KernelRunOptions, KernelRunResult, RunProgress, RunWatcher } from './kernel-run.ts';
import { recordRun } from './kernel-record.ts';
import type { OpenSized } from './kernel-record.ts';
import { openNodeMachine } from './node-machine.ts';
import { callerFolder, outputFiles } from './output-file.ts';
import type { OutputFile } from './output-file.ts';
import { isPolicyModule, loadPolicyModule } from './policy-module.ts';
import { startProgress } from './progress.ts';

const MIB = 2 ** 20;
/** How often the progress is looked at, milliseconds. */
const LOOK_MS = 100;
/** Lives of faults that a trace file has. */
const LIVES = 2 ** 16;
const KERNEL = 'fn kernel(wg: u32, lid: u32) { ... }';
const EXAMPLE = `  fn kernel(wg: u32, lid: u32) {
    let index = wg * 64u + lid;
    if (index >= vm_arg(1u)) { return; }
    let at = vm_arg(0u) + index * 4u;
    vm_store(at, vm_load(at) + 1u);
  }`;

const SPEC = {
  name: 'kernel',
  usage: 'npm run kernel -- [options] KERNEL.wgsl',
  summary:
    "Runs a WGSL kernel over a process's memory on a fresh machine, such as one that adds 1 to\n" +
    `each word:\n\n${EXAMPLE}\n\n` +
    'wg and lid are the numbers of the workgroup and of the invocation in it; vm_arg(0u) is the\n' +
    "memory's address in bytes, vm_arg(1u) its words, vm_arg(2u) and on are --args. Memory is\n" +
    'reached by vm_load, vm_store (also _f32, _vec4, _byte), vm_atomic_add and others, all of\n' +
    'them in docs/device-faults-mechanism.md; its pages come to the device as they are asked\n' +
    'for. Prints how it ended and a table of faults by page.\n' +
    'Exit status: 0 when it finished and no access was refused, else 1.',
  positionals: 'KERNEL.wgsl',
  options: {
    shape: {
      kind: 'text',
      placeholder: 'NAME',
      help: `instead of a file, with memory of its own:\n${inLines(SHAPE_NAMES)}`,
    },
    engine: {
      kind: 'choice',
      choices: ['node', 'cpu'],
      help:
        'WebGPU by Dawn in Node (default), on a software\n' +
        'adapter where there is no other; or the CPU engine,\n' +
        'which runs shapes only',
    },
    pages: { kind: 'number', placeholder: 'N', min: 1, max: 2 ** 18, help: 'its memory (16)' },
    fill: {
      kind: 'choice',
      choices: FILLS,
      help: "its words before: each word's number (default)",
    },
    workgroups: {
      kind: 'number',
      placeholder: 'N',
      min: 1,
      max: 2 ** 24,
      help: 'as many as give each word an invocation;\nof a shape: 16',
    },
    lanes: {
      kind: 'number',
      placeholder: 'N',
      min: 1,
      max: 256,
      help: 'invocations in each workgroup (64)',
    },
    args: { kind: 'text', placeholder: 'A,B,...', help: 'further arguments, from vm_arg(2u) on' },
    window: {
      kind: 'number',
      placeholder: 'N',
      min: 1,
      max: 4096,
      help: 'workgroups in flight (256)',
    },
    budget: {
      kind: 'number',
      placeholder: 'N',
      min: 1,
      max: 2 ** 30,
      help: 'rounds of loops that an\ninvocation may take (65536)',
    },
    device: {
      kind: 'number',
      placeholder: 'N',
      min: 1,
      max: 2 ** 18,
      help: 'pages of device memory (1024)',
    },
    policy: {
      kind: 'text',
      placeholder: 'NAME',
      help:
        `who decides what moves:\n${inLines(POLICIES)},\n` +
        'or a module of your own, FILE.mjs, see\n' +
        'docs/device-faults.md; without it pages come\n' +
        'one by one, and there is no virtual time',
    },
    evict: {
      kind: 'text',
      placeholder: 'ORDER',
      help: `order of eviction, with a policy:\n${inLines(EVICTIONS)}`,
      refuse: (order: string) =>
        EVICTIONS.some((name) => name === order)
          ? undefined
          : `takes ${EVICTIONS.join(', ')}, not '${order}'`,
    },
    rows: {
      kind: 'number',
      placeholder: 'N',
      min: 0,
      max: 10_000,
      help: 'at most, of each table (32)',
    },
    dump: {
      kind: 'number',
      placeholder: 'N',
      min: 0,
      max: 2 ** 20,
      help: 'of its first words, how many to print at the end',
    },
    trace: {
      kind: 'text',
      placeholder: 'FILE',
      help: "where faults' lives go, for Perfetto;\nwith a policy",
    },
    record: {
      kind: 'text',
      placeholder: 'FILE',
      help:
        'where its access trace goes: CSV, or JSON where it\n' +
        'ends in .json; npm run fault -- --workload FILE\n' +
        'drives it under any policy. A kernel in a file\n' +
        'runs a second time for that',
    },
    json: { kind: 'text', placeholder: 'FILE', help: 'where report and faults go; - is stdout' },
  },
} as const;

type Values = CommandLine<typeof SPEC.options>['values'];

/** The command. Ends the process. */
export function main(): Promise<never> {
  const { values, positionals } = readCommandLine(SPEC);
  return runCommand('kernel', async () => {
    const { json, trace: lives, record } = values;
    const files = outputFiles({ json, trace: lives, record });
    if (files.trace !== undefined && values.policy === undefined) {
      throw new UsageError('--trace is of virtual time: give a --policy');
    }
    const options = await runOptions(values, positionals, callerFolder());
    const bytes = Math.max(memoryOf(options) * 2, 16 * MIB);
    const deviceBytes = (values.device ?? 1024) * PAGE_SIZE;
    const engine = values.engine === 'cpu' ? 'cpu' : 'webgpu';
    const sizes = { ramBytes: bytes, deviceBytes, chunkBytes: deviceBytes };
    const isPiped = Object.values(files).some((file) => file?.isStdout === true);
    const machine = await openNodeMachine({ engine, ...sizes }, say);
    try {
      const result = await watched(isPiped, (watcher) => runKernel(machine, options, watcher));
      if (isStopped()) return 1;
      if (!isPiped) printResult(result, values);
      const { report, faults } = result;
      files.json?.write(JSON.stringify({ report, faults }, null, 2));
      if (files.trace !== undefined && report.service !== null) {
        const name = options.source.name!;
        const trace = launchTrace(report.service, name, values.window ?? 256);
        files.trace.write(JSON.stringify(trace));
      }
      if (files.record !== undefined && !(await recorded(options, report, files.record, isPiped))) {
        return 1;
      }
      return report.outcome === 'done' && report.killed === 0 ? 0 : 1;
    } catch (error) {
      if (error instanceof KernelCompileError) return refusal(options.source.name!, error);
      // A launch that never began: an argument, or a policy that can't be set up.
      if (error instanceof ErrnoError) throw new UsageError(error.message);
      throw error;
    }
  });
}

/** Writes the access trace of a run that is over. @returns whether there is one */
async function recorded(
  options: KernelRunOptions,
  report: KernelReport,
  file: OutputFile,
  isPiped: boolean,
): Promise<boolean> {
  const open: OpenSized = (sizes) => openNodeMachine({ engine: 'webgpu', ...sizes }, say);
  const trace =
    report.outcome === 'done'
      ? await watched(isPiped, (watcher) => recordRun(open, options, report, watcher))
      : 'the run did not finish';
  if (isStopped()) return false;
  if (typeof trace === 'string') {
    say(`kernel: no access trace: ${trace}`);
    return false;
  }
  file.write(file.path.endsWith('.json') ? traceToJson(trace) : traceToCsv(trace));
  return true;
}

/** Does something with its progress on stderr, until its end or Ctrl-C. */
async function watched<T>(isPiped: boolean, run: (watcher: RunWatcher) => Promise<T>): Promise<T> {
  const stop = new AbortController();
  const progress = isPiped ? undefined : startProgress('kernel');
  let read = (): RunProgress => ({ note: 'compiles' });
  const timer = setInterval(() => {
    const { note, done, total } = read();
    progress?.update(note, done, total);
  }, LOOK_MS);
  // Taken away first: the machine can't close before the pass in progress is over.
  const end = onExit(() => {
    clearInterval(timer);
    progress?.end();
    stop.abort();
  });
  try {
    return await run({ signal: stop.signal, onRunning: (asked) => void (read = asked) });
  } finally {
    await end();
  }
}

function printResult(result: KernelRunResult, { rows, dump }: Values): void {
  process.stdout.write(reportText(result));
  const tables = faultsText(result, rows ?? 32);
  if (tables !== '') process.stdout.write(`\n${tables}`);
  if (dump !== undefined) say([...result.words.subarray(0, dump)].join(' '));
}

function refusal(name: string, { problems, message }: KernelCompileError): number {
  for (const { line, column, reason } of problems) say(`${name}:${line}:${column}: ${reason}`);
  if (problems.length === 0) say(`kernel: ${message}`);
  return 1;
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

async function runOptions(
  values: Values,
  positionals: readonly string[],
  folder: string,
): Promise<KernelRunOptions> {
  const { shape, lanes, window, budget, policy, evict } = values;
  const [file, extra] = positionals;
  if (extra !== undefined) throw new UsageError(`one kernel at a time, not '${extra}' as well`);
  if ((file === undefined) === (shape === undefined)) {
    throw new UsageError(`give a file with\n${KERNEL}\nor --shape, one of them`);
  }
  if (shape !== undefined && !SHAPE_NAMES.includes(shape)) {
    throw new UsageError(`--shape is one of ${SHAPE_NAMES.join(', ')}, not '${shape}'`);
  }
  if (evict !== undefined && policy === undefined) throw new UsageError('--evict needs --policy');
  for (const name of ['pages', 'fill', 'args', 'lanes'] as const) {
    if (shape === undefined || values[name] === undefined) continue;
    throw new UsageError(`--${name} is of a kernel in a file; a shape has its own`);
  }
  if (file !== undefined && values.engine === 'cpu') {
    throw new UsageError(
      '--engine cpu runs no WGSL, only --shape NAME; without --engine, Dawn runs it anywhere, ' +
        'on a software adapter where there is no other',
    );
  }
  const name = file === undefined ? shape! : basename(file);
  const text = file === undefined ? { shape: shape! } : { wgsl: readKernel(resolve(folder, file)) };
  const pages = values.pages ?? 16;
  const words = (pages * PAGE_SIZE) / 4;
  const perGroup = lanes ?? 64;
  const inFlight = window === undefined ? {} : { window };
  const service = { lives: LIVES, ...(evict === undefined ? {} : { evict }) };
  const decided =
    policy === undefined
      ? {}
      : {
          policy: await policyOf(policy, folder),
          service: service as LaunchServiceOptions,
        };
  return {
    source: { ...text, name, ...inFlight, ...(lanes === undefined ? {} : { lanes }) },
    pages,
    fill: values.fill ?? 'index',
    args: readArgs(values.args),
    launch: {
      workgroups: values.workgroups ?? (shape === undefined ? Math.ceil(words / perGroup) : 16),
      ...(budget === undefined ? {} : { budget }),
      ...decided,
    },
  };
}

function readKernel(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`can't read ${file}: ${(error as Error).message}`);
  }
}

function readArgs(text: string | undefined): number[] {
  if (text === undefined || text.trim() === '') return [];
  return text.split(',').map((one) => {
    const value = Number(one);
    const isWord = one.trim() !== '' && Number.isInteger(value) && value >= 0 && value < 2 ** 32;
    if (!isWord) throw new UsageError(`--args takes words, as --args 1,0x10, not '${one}'`);
    return value;
  });
}

/** A policy's name, or the URL of a module, which is looked at before the machine is opened. */
async function policyOf(policy: string, folder: string): Promise<string> {
  if (POLICIES.some((name) => name === policy)) return policy;
  if (!isPolicyModule(policy)) {
    throw new UsageError(`--policy is one of ${POLICIES.join(', ')}, or a module (.mjs or .js)`);
  }
  return (await loadPolicyModule(policy, folder)).url;
}
