/**
 * How much of this thread's JS heap is in use. Node says so itself; a worker of a browser has to
 * ask its page, and the page whoever drives the browser, as no web page can see a worker's heap.
 */

/** Reads the JS heap of the thread that is measured. */
export interface HeapReader {
  /** Whether the thread is a browser's. */
  readonly isBrowser: boolean;
  /** Bytes in use, garbage included. */
  used(): number | Promise<number>;
}

/** As much of Node's process as this needs. */
interface NodeProcess {
  memoryUsage(): { readonly heapUsed: number; readonly rss: number };
}

/** The process of Node; null elsewhere. */
export function nodeProcess(): NodeProcess | null {
  const { process } = globalThis as { readonly process?: Partial<NodeProcess> };
  return process?.memoryUsage === undefined ? null : (process as NodeProcess);
}

/** The reader of a thread of Node; null elsewhere. */
export function nodeHeap(): HeapReader | null {
  const own = nodeProcess();
  return own === null ? null : { isBrowser: false, used: () => own.memoryUsage().heapUsed };
}

/**
 * A reader that asks somebody else; null if the first answer is.
 *
 * @param ask Gives bytes, or null where nobody can tell.
 */
export async function askedHeap(ask: () => Promise<number | null>): Promise<HeapReader | null> {
  if ((await ask()) === null) return null;
  const used = async (): Promise<number> => {
    const bytes = await ask();
    if (bytes === null) throw new Error('the browser does not tell the size of the heap any more');
    return bytes;
  };
  return { isBrowser: true, used };
}

/**
 * Bytes by which the heap grows while something runs, which should be much less than a collection
 * frees: where the heap has shrunk there was one, and it runs again. NaN where that happens always.
 */
export async function growthOf(
  heap: HeapReader,
  run: () => void | Promise<void>,
  tries = 5,
): Promise<number> {
  for (let i = 0; i < tries; i++) {
    const before = await heap.used();
    await run();
    const grown = (await heap.used()) - before;
    if (grown >= 0) return grown;
  }
  return Number.NaN;
}
