/*
 * The part of `npm run exec` that runs where the machine is: in this process, or on a page
 * (exec-page.ts).
 */
import { MachineError } from '../src/index.ts';
import type {
  Counters,
  ExitStatus,
  Machine,
  MachineOptions,
  ProgramEvents,
  RunningProgram,
} from '../src/index.ts';

/** What to run. Plain data, for pages. */
export interface ExecRequest {
  /** URL of the program's module. */
  readonly entry: string;
  readonly args: unknown;
  /** How many cores run it at the same time. */
  readonly cores: number;
  readonly options: MachineOptions;
}

/** What there is to be told while it runs. */
export type ExecEvent =
  | { readonly kind: 'output'; readonly text: string }
  /** A program has ended; `name` is '' for the only one. */
  | ({ readonly kind: 'end'; readonly name: string } & ExitStatus);

/** How it went. */
export interface ExecReport {
  /** Of the program on each core, without children. */
  readonly exits: readonly ExitStatus[];
  readonly counters: Counters;
  readonly milliseconds: number;
}

/** Numbers of the signals that end programs. */
const SIGNALS: Readonly<Record<string, number>> = { SIGBUS: 7, SIGKILL: 9, SIGSEGV: 11 };

/**
 * Runs the program on a fresh process of a fresh machine, with all its children, to the end.
 *
 * @param tell called with events in their order
 */
export async function execOnMachine(
  open: () => Promise<Machine>,
  request: ExecRequest,
  tell: (event: ExecEvent) => void,
): Promise<ExecReport> {
  const machine = await open();
  try {
    return await execAll(machine, request, tell);
  } finally {
    await machine.close();
  }
}

async function execAll(
  machine: Machine,
  request: ExecRequest,
  tell: (event: ExecEvent) => void,
): Promise<ExecReport> {
  const process = await machine.spawn();
  const start = performance.now();
  const children: Promise<unknown>[] = [];
  const follow = (program: RunningProgram, name: string): Promise<ExitStatus> =>
    program.exited.then((exit) => {
      tell({ kind: 'end', name, ...exit });
      return exit;
    });
  const events: ProgramEvents = {
    onOutput: (text) => tell({ kind: 'output', text }),
    onSpawn: (child) => void children.push(follow(child, `child ${child.pid}`)),
  };
  const programs: Promise<ExitStatus>[] = [];
  for (let core = 0; core < request.cores; core++) {
    const program = await process.run(request.entry, request.args, events);
    programs.push(follow(program, request.cores === 1 ? '' : `core ${core}`));
  }
  const exits = await Promise.all(programs);
  // Children have children: the list grows while they are waited for.
  for (let i = 0; i < children.length; i++) await children[i];
  const milliseconds = performance.now() - start;
  return { exits, counters: await lastCounters(machine), milliseconds };
}

/** The counters; those in shared memory alone when the machine is gone. */
async function lastCounters(machine: Machine): Promise<Counters> {
  try {
    return await machine.counters();
  } catch (error) {
    if (!(error instanceof MachineError)) throw error;
    const vm = machine.vmstat.snapshot();
    return { vm, engine: {}, ramFreePages: 0, devices: [] } as unknown as Counters;
  }
}

/** The status of the command: of the first core whose program did not end well, else 0. */
export function exitCode(exits: readonly ExitStatus[]): number {
  return exits.map(codeOf).find((code) => code !== 0) ?? 0;
}

function codeOf({ status, signal, message }: ExitStatus): number {
  if (signal !== '') return 128 + (SIGNALS[signal] ?? 0);
  return message === '' ? Math.trunc(status) & 0xff : 1;
}
