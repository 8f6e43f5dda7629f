/*
 * Undoes what a command has set up, however it ends.
 *
 * Whoever starts a browser or a server, or makes a temporary folder, registers how to undo it. A
 * command body runs inside runCommand(): its clean-ups run, last first, when it returns, throws, or
 * is stopped by Ctrl-C (SIGINT), SIGTERM or SIGHUP. Each has five seconds, so that none can hold up
 * the exit; a second signal ends the process at once.
 */
import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { UsageError } from './args.ts';

const CLEANUP_MS = 5000;

type Cleanup = () => void | Promise<void>;

const cleanups = new Set<Cleanup>();

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
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      process.stderr.write(`\n${name}: stopped by ${signal}\n`);
      void endProcess(128 + constants.signals[signal]);
    });
  }
  let status = 1;
  try {
    status = await body();
  } catch (error) {
    process.stderr.write(`${name}: ${errorText(error)}\n`);
  }
  return endProcess(status);
}

/** Runs all clean-ups, last registered first. */
export async function runCleanups(): Promise<void> {
  for (const cleanup of [...cleanups].toReversed()) {
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
