/*
 * Progress on stderr for anything that takes more than two seconds, so that stdout stays the
 * result.
 *
 * On a terminal one line is rewritten in place; elsewhere (a CI log, a pipe) a full line is
 * printed, at most one each five seconds. A task that is over within two seconds prints nothing.
 */

const QUIET_MS = 2000;
const TERMINAL_EVERY_MS = 100;
const LOG_EVERY_MS = 5000;

/** Where progress goes; process.stderr, or a stand-in in tests. */
export interface ProgressSink {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** What a task reports through. */
export interface Progress {
  /** Says how far the task is: `update('copy 4 KiB', 3, 40)` shows "copy 4 KiB 3/40". */
  update(note: string, done?: number, total?: number): void;
  /** Prints a line that stays, above the progress. */
  line(text: string): void;
  /** Removes the progress line. Call it once, also after a failure. */
  end(): void;
}

/**
 * Starts to show the progress of one task.
 *
 * @param label the task, a word or two
 * @param sink where to print
 * @param now a clock in ms, for tests
 */
export function startProgress(
  label: string,
  sink: ProgressSink = process.stderr,
  now: () => number = () => performance.now(),
): Progress {
  const start = now();
  let lastShown = -Infinity;
  let shown = '';

  function clear(): void {
    if (shown !== '' && sink.isTTY === true) {
      sink.write('\r\u001B[K');
    }
    shown = '';
  }

  function show(text: string): void {
    if (sink.isTTY !== true) {
      sink.write(`${text}\n`);
      return;
    }
    const fitting = text.slice(0, Math.max(20, (sink.columns ?? 80) - 1));
    sink.write(`\r\u001B[K${fitting}`);
    shown = fitting;
  }

  return {
    update(note, done, total) {
      const time = now();
      const every = sink.isTTY === true ? TERMINAL_EVERY_MS : LOG_EVERY_MS;
      if (time - start < QUIET_MS || time - lastShown < every) {
        return;
      }
      lastShown = time;
      const count = done === undefined || total === undefined ? '' : ` ${done}/${total}`;
      show(`${label}: ${note}${count} (${((time - start) / 1000).toFixed(0)} s)`);
    },
    line(text) {
      clear();
      sink.write(`${text}\n`);
    },
    end: clear,
  };
}

/** Shows progress each second while a promise without progress of its own is pending. */
export async function withProgress<T>(label: string, note: string, task: Promise<T>): Promise<T> {
  const progress = startProgress(label);
  const timer = setInterval(() => progress.update(note), 1000);
  try {
    return await task;
  } finally {
    clearInterval(timer);
    progress.end();
  }
}
