/**
 * The browser worker of the benchmark: the machine under test runs in this thread, so that no hop
 * between threads is in any sample. First message: the options. Later: "abort" stops the run, an
 * answer says how much of this thread's heap is in use.
 */
import type { HeapAnswer, WorkerMessage } from './bench-client.ts';
import { askedHeap } from './heap.ts';
import { runSuites } from './run-suites.ts';
import type { BenchOptions } from './types.ts';

const abort = new AbortController();

function send(message: WorkerMessage): void {
  postMessage(message);
}

// An unhandled rejection in a worker reaches nobody; thrown from a task it becomes an error event.
addEventListener('unhandledrejection', (event) => {
  setTimeout(() => {
    throw event.reason instanceof Error ? event.reason : new Error(String(event.reason));
  });
});

let heard = (_heap: number | null): void => {};

function askHeap(): Promise<number | null> {
  return new Promise((resolve) => {
    heard = resolve;
    send({ kind: 'heap' });
  });
}

/** A port by way of the main thread to this one, which then calls `answer`. */
function askMainThread(answer: () => void): MessagePort {
  const core = new MessageChannel();
  const kernel = new MessageChannel();
  kernel.port1.onmessage = answer;
  const transfer = [core.port2, kernel.port2];
  const message: WorkerMessage = { kind: 'hops', from: core.port2, to: kernel.port2 };
  postMessage(message, { transfer });
  return core.port1;
}

async function run(options: BenchOptions): Promise<void> {
  try {
    const report = await runSuites(
      options,
      (progress) => send({ kind: 'progress', progress }),
      abort.signal,
      await askedHeap(askHeap),
      askMainThread,
    );
    send({ kind: 'report', report });
  } catch (error) {
    send({ kind: 'failed', message: error instanceof Error ? error.message : String(error) });
  }
}

addEventListener('message', (event: MessageEvent<BenchOptions | HeapAnswer | 'abort'>) => {
  const { data } = event;
  if (data === 'abort') abort.abort(new Error('the run was stopped'));
  else if ('heap' in data) heard(data.heap);
  else void run(data);
});
