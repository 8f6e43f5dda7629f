/*
 * `npm run exec -- prog.js`: runs a program on CPU cores of a fresh machine, headless.
 *
 * A program is an ES module with `export default function main(cpu, args)`. Its output is printed
 * as it comes. The exit status is what main returned; 1 when it threw, 128 and the signal's number
 * when a signal ended it, with address and cause on stderr. Children by cpu.fork are waited for.
 */
import { existsSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { MachineOptions } from '../src/index.ts';
import { readCommandLine, UsageError } from './args.ts';
import type { CommandLine } from './args.ts';
import { isStopped, runCommand } from './cleanup.ts';
import { execInBrowser } from './exec-browser.ts';
import { execOnMachine, exitCode } from './exec-run.ts';
import type { ExecEvent, ExecReport } from './exec-run.ts';
import { openNodeMachine } from './node-machine.ts';

const MIB = 2 ** 20;
const MAIN = 'export default function main(cpu, args) { ... }';

const SPEC = {
  name: 'exec',
  usage: 'npm run exec -- [options] PROGRAM.js',
  summary:
    'Runs a program on the CPU cores of a fresh machine: an ES module with\n' +
    `\`${MAIN}\`.\n` +
    'Exit status: what main returns; 1 when it throws; 128 and the number of the signal that\n' +
    'ended it. The options for the program, as `--arg`, come before or after its name.',
  positionals: 'PROGRAM.js',
  options: {
    arg: { kind: 'text', placeholder: 'JSON', help: "main's second argument; without it, null" },
    cores: {
      kind: 'number',
      placeholder: 'N',
      min: 1,
      max: 64,
      help:
        'cores that run main at the same time, in one\n' +
        'address space; cpu.core tells them apart (1)',
    },
    engine: {
      kind: 'choice',
      choices: ['cpu', 'node', 'chromium'],
      help:
        'what moves pages: the CPU engine (default), Dawn\n' +
        'in Node, or WebGPU in a headless browser',
    },
    ram: { kind: 'number', placeholder: 'MIB', min: 1, max: 4096, help: 'RAM (256)' },
    device: {
      kind: 'number',
      placeholder: 'MIB',
      min: 1,
      max: 4096,
      help: 'memory of each device (64)',
    },
    swap: { kind: 'number', placeholder: 'MIB', min: 1, max: 32767, help: 'swap space (none)' },
    stats: { kind: 'flag', help: 'print the counters of the machine on stderr' },
  },
} as const;

type Values = CommandLine<typeof SPEC.options>['values'];

/** The command. Ends the process. */
export function main(): Promise<never> {
  const { values, positionals } = readCommandLine(SPEC);
  return runCommand('exec', async () => {
    // npm changes to the project's folder; names are meant from where it was called.
    const entry = programUrl(positionals, process.env['INIT_CWD'] ?? '.');
    const args = parseArg(values.arg);
    const options = machineOptions(values);
    const request = { entry: entry.href, args, cores: values.cores ?? 1, options };
    const report =
      values.engine === 'chromium'
        ? await execInBrowser(request, entry, show, say)
        : await execOnMachine(() => openNodeMachine(options, say), request, show);
    if (isStopped()) return 1;
    if (values.stats) say(statsText(report));
    return exitCode(report.exits);
  });
}

/** Prints what a program says, and what became of it. */
function show(event: ExecEvent): void {
  // A program that is taken down with the command has not failed.
  if (isStopped()) return;
  if (event.kind === 'output') return void process.stdout.write(`${event.text}\n`);
  const { signal, message, name } = event;
  if (message === '') return;
  const text = signal === '' || message.startsWith(signal) ? message : `${signal}: ${message}`;
  say(`exec: ${name === '' ? '' : `${name}: `}${text}`);
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/**
 * The program that the command line names, relative to `folder`. Throws UsageError with the remedy.
 */
export function programUrl(positionals: readonly string[], folder: string): URL {
  const [name, extra] = positionals;
  if (name === undefined) {
    throw new UsageError('no program given: write `npm run exec -- prog.js`, a file with\n' + MAIN);
  }
  if (extra !== undefined) {
    throw new UsageError(`one program at a time, not '${extra}' as well; arguments go by --arg`);
  }
  const file = resolve(folder, name);
  if (!existsSync(file)) {
    throw new UsageError(`there is no file ${file}: give the path of a JavaScript module`);
  }
  if (!statSync(file).isFile())
    throw new UsageError(`${file} is no file: give the path of a JavaScript module`);
  if (/\.[mc]?tsx?$/.test(file)) {
    throw new UsageError(`${file} is TypeScript: compile it first, a core runs JavaScript modules`);
  }
  if (file.endsWith('.wgsl')) {
    throw new UsageError(`${file} is a kernel for a device: npm run kernel -- ${name}`);
  }
  return pathToFileURL(file);
}

/** The value of `--arg`. Throws UsageError unless it is JSON. */
export function parseArg(text: string | undefined): unknown {
  if (text === undefined) return null;
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new UsageError(`--arg takes JSON, as --arg '{"words": 64}': ${(error as Error).message}`);
  }
}

function machineOptions({ engine, ram, device, swap }: Values): MachineOptions {
  return {
    engine: engine === 'node' || engine === 'chromium' ? 'webgpu' : 'cpu',
    ...(ram === undefined ? {} : { ramBytes: ram * MIB }),
    ...(device === undefined ? {} : { deviceBytes: device * MIB }),
    ...(swap === undefined ? {} : { swapBytes: swap * MIB }),
  };
}

/** The counters that are not zero, a line each, as in /proc/vmstat. */
function statsText({ counters, milliseconds }: ExecReport): string {
  const rows = Object.entries({ ...counters.vm, ...engineCounts(counters.engine) });
  const lines = rows.filter(([, n]) => n !== 0).map(([name, n]) => `${name} ${n}`);
  return [...lines, `milliseconds ${milliseconds.toFixed(1)}`].join('\n');
}

function engineCounts(stats: ExecReport['counters']['engine']): Record<string, number> {
  const pairs = Object.entries(stats).map(([name, n]) => [`engine_${name}`, n] as const);
  return Object.fromEntries(pairs);
}
