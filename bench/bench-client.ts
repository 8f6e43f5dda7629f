/**
 * Runs the benchmark away from the caller's thread: in a worker of its own in a browser, in this
 * thread in Node, where nothing has to stay responsive.
 *
 * The page asks for an adapter before the worker does: a worker that asks while the browser's GPU
 * process is still starting can be told that there is none. A worker that dies of an unhandled
 * rejection fires no error event by itself; bench-worker.ts turns the one into the other, so that
 * the promise here always settles.
 */
import type { BenchOptions, BenchProgress, BenchReport } from './types.ts';

/** Messages from bench-worker.ts. */
export type WorkerMessage =
  | { readonly kind: 'progress'; readonly progress: BenchProgress }
  | { readonly kind: 'heap' }
  /** Asks the main thread to pass messages on, from a core to the kernel. */
  | { readonly kind: 'hops'; readonly from: MessagePort; readonly to: MessagePort }
  | { readonly kind: 'report'; readonly report: BenchReport }
  | { readonly kind: 'failed'; readonly message: string };

/** The answer to a worker that asks for its heap: bytes, or null where nobody can tell. */
export interface HeapAnswer {
  readonly heap: number | null;
}

/** Tells the size of the worker's heap. */
export type AskHeap = () => Promise<number | null>;

/** How long an aborted worker may take to stop between two cells before it is terminated. */
const GRACE_MS = 2000;

/**
 * Runs the suites of `options`.
 *
 * @param onProgress Called on this thread at each step.
 * @param signal Stops the run; the promise then rejects with the signal's reason.
 * @param askHeap Tells how much of the heap of the worker is in use: whoever drives the browser.
 * @returns the report; cells that went wrong are in it with `verified: false`
 * @throws Error with one line for people when no machine can be opened (no WebGPU, too little
 * memory)
 */
export async function runBench(
  options: BenchOptions,
  onProgress: (progress: BenchProgress) => void = () => {},
  signal?: AbortSignal,
  askHeap: AskHeap = () => Promise.resolve(null),
): Promise<BenchReport> {
  signal?.throwIfAborted();
  if (typeof Worker === 'undefined') {
    const { runSuites } = await import('./run-suites.ts');
    return runSuites(options, onProgress, signal);
  }
  if (options.engine !== 'cpu') await wakeGpuProcess();
  const visibility = watchVisibility();
  try {
    const report = await runInWorker(options, onProgress, signal, askHeap);
    return { ...report, env: { ...report.env, hidden: visibility.wasHidden() } };
  } finally {
    visibility.stop();
  }
}

async function wakeGpuProcess(): Promise<void> {
  if ('gpu' in navigator) await navigator.gpu.requestAdapter();
}

function runInWorker(
  options: BenchOptions,
  onProgress: (progress: BenchProgress) => void,
  signal: AbortSignal | undefined,
  askHeap: AskHeap,
): Promise<BenchReport> {
  const worker = new Worker(new URL('./bench-worker.ts', import.meta.url), { type: 'module' });
  const result = new Promise<BenchReport>((resolve, reject) => {
    worker.onmessage = (event: MessageEvent<WorkerMessage>) => {
      const message = event.data;
      if (message.kind === 'progress') onProgress(message.progress);
      else if (message.kind === 'heap') void answerHeap(worker, askHeap());
      else if (message.kind === 'hops') passOn(message.from, message.to);
      else if (message.kind === 'report') resolve(message.report);
      else reject(new Error(message.message));
    };
    worker.onerror = (event) => reject(new Error(event.message || 'the worker did not start'));
    worker.onmessageerror = () => reject(new Error('a message of the worker could not be read'));
    signal?.addEventListener('abort', () => {
      worker.postMessage('abort');
      setTimeout(() => {
        worker.terminate();
        reject(signal.reason as Error);
      }, GRACE_MS);
    });
  });
  worker.postMessage(options);
  return result.finally(() => worker.terminate());
}

async function answerHeap(worker: Worker, bytes: Promise<number | null>): Promise<void> {
  const answer: HeapAnswer = { heap: await bytes.catch(() => null) };
  worker.postMessage(answer);
}

/** Passes on what comes in by one port, as a page would that stands between core and kernel. */
function passOn(from: MessagePort, to: MessagePort): void {
  from.onmessage = () => to.postMessage(null);
}

/** Notices that the tab was hidden, now or later: a hidden tab is throttled. */
function watchVisibility(): { wasHidden(): boolean; stop(): void } {
  if (typeof document === 'undefined') return { wasHidden: () => false, stop: () => {} };
  let hidden = document.hidden;
  const look = (): void => {
    hidden ||= document.hidden;
  };
  document.addEventListener('visibilitychange', look);
  return {
    wasHidden: () => hidden,
    stop: () => document.removeEventListener('visibilitychange', look),
  };
}
