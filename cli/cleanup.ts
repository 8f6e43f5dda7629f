/*
 * Undoes what a command has set up, however it ends.
 *
 * Whoever starts a browser or a server, or makes a temporary folder, registers how to undo it. A
 * command body runs inside runCommand(): its clean-ups run, last first, when it returns, throws, or
 * is stopped by Ctrl-C (SIGINT), SIGTERM or SIGHUP. Each has five seconds, so that none can hold up
 * the exit; a second signal ends the process at once.
 *
 * A body that is stopped goes on while the clean-ups take away what it works with, and fails: what
 * it says then is not shown and its status not taken. Before it starts anything further it should
 * await unlessStopped().
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { UsageError } from './args.ts';

const CLEANUP_MS = 5000;
/** On Ctrl-C npm passes on the signal that the terminal sends as well: two that close are one. */
const SAME_KEY_MS = 500;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

type Cleanup = () => void | Promise<void>;

const cleanups = new Set<Cleanup>();

/** The end of the process, which never settles; undefined until a signal asks for it. */
let stopping: Promise<never> | undefined;

/**
 * Registers a clean-up.
 *
 * @returns runs it now, once, and takes it off the list
 */
export function onExit(cleanup: Cleanup): () => Promise<void> {
  cleanups.add(cleanup);
  return async () => {
    if (cleanups.delete(cleanup)) {
      await cleanup();
    }
  };
}

/**
 * Runs a command's body and ends the process with its status.
 *
 * A UsageError is printed as one line; any other exception with its stack, as it is a mistake of
 * ours.
 *
 * @param name the command, to begin error lines with
 * @param body returns the exit status
 */
export async function runCommand(name: string, body: () => Promise<number>): Promise<never> {
  stopOnSignals(name);
  // Whoever reads stdout may have seen enough, as `| head` does; the rest of the work goes on.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  let status = 1;
  try {
    status = await body();
  } catch (error) {
    if (stopping === undefined) process.stderr.write(`${name}: ${errorText(error)}\n`);
  }
  return stopping ?? endProcess(status);
}

/** Whether a signal has stopped the command. What fails from now on does so because of it. */
export function isStopped(): boolean {
  return stopping !== undefined;
}

/** Returns unless a signal has stopped the command; then the process ends before this does. */
export async function unlessStopped(): Promise<void> {
  await stopping;
}

/**
 * Makes a temporary folder for this command's own use, or for a program that it starts: given as
 * TMPDIR, it takes what the program leaves behind when it is killed.
 *
 * @returns its path, and what removes it, with all that is in it; the end of the command does, too
 */
export async function temporaryFolder(
  prefix: string,
): Promise<{ readonly path: string; readonly remove: () => Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), prefix));
  // A killed program's own children may still write for a moment.
  const options = { recursive: true, force: true, maxRetries: 5, retryDelay: 100 };
  return { path, remove: onExit(() => rm(path, options)) };
}

function stopOnSignals(name: string): void {
  let since = 0;
  for (const signal of SIGNALS) {
    const status = 128 + constants.signals[signal];
    process.on(signal, () => {
      if (stopping === undefined) {
        since = performance.now();
        process.stderr.write(`\n${name}: stopped by ${signal}\n`);
        stopping = endProcess(status);
      } else if (performance.now() - since > SAME_KEY_MS) {
        process.exit(status);
      }
    });
  }
}

/** Runs all clean-ups, last registered first, also those that are registered meanwhile. */
export async function runCleanups(): Promise<void> {
  for (;;) {
    const cleanup = [...cleanups].at(-1);
    if (cleanup === undefined) return;
    cleanups.delete(cleanup);
    try {
      await Promise.race([cleanup(), delay(CLEANUP_MS, undefined, { ref: false })]);
    } catch (error) {
      process.stderr.write(`clean-up failed: ${errorText(error)}\n`);
    }
  }
}

async function endProcess(status: number): Promise<never> {
  await runCleanups();
  // Waits for a pipe to take what was printed: process.exit() would cut it off.
  await new Promise<void>((done) => void process.stdout.write('', () => done()));
  return process.exit(status);
}

function errorText(error: unknown): string {
  if (error instanceof UsageError) {
    return error.message;
  }
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
