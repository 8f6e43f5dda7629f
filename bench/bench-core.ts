/**
 * A CPU core for the suites: a worker of its own, on a process of the machine in this thread, which
 * so is the kernel that answers it. Browsers only: in Node the bundle of the benchmark has no URL
 * for a further worker.
 */
import type { Process } from '../src/index.ts';
import type { CoreCommand, HopTimes } from './core-worker.ts';
import { markDead } from './insides.ts';
import type { CoreImage } from './insides.ts';
import type { TlbTimes } from './tlb-times.ts';
import type { RunContext } from './run-context.ts';

/** True where cores can be started. */
export function hasCores(): boolean {
  return typeof Worker !== 'undefined' && 'waitAsync' in Atomics;
}

export function startWorker(): Worker {
  return new Worker(new URL('./core-worker.ts', import.meta.url), { type: 'module' });
}

/** Sends a command and waits for its answer. */
export function tell<T>(worker: Worker, command: CoreCommand, moved: Transferable[] = []) {
  return new Promise<T>((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<T>) => resolve(data);
    worker.onerror = (event) => reject(new Error(event.message));
    worker.postMessage(command, moved);
  });
}

/** A core of the machine that has no thread yet. */
export function startCore(ctx: RunContext, process: Process): CoreImage {
  const { kernel } = ctx.machine;
  kernel.attachHost(new MessageChannel().port1);
  const image = kernel.startCore(process.pid, null);
  if (typeof image === 'number') throw new Error(`no core: errno ${image}`);
  return image;
}

export class BenchCore {
  readonly worker = startWorker();
  private readonly ctx: RunContext;
  private readonly image: CoreImage;

  private constructor(ctx: RunContext, image: CoreImage) {
    this.ctx = ctx;
    this.image = image;
  }

  static async start(ctx: RunContext, process: Process): Promise<BenchCore> {
    const image = startCore(ctx, process);
    const core = new BenchCore(ctx, image);
    await tell(core.worker, { kind: 'core', image });
    return core;
  }

  /** Microseconds of one load. */
  touch(addr: number): Promise<number> {
    return tell<number>(this.worker, { kind: 'touch', addr, isStore: false });
  }

  /** Microseconds of a load from each of these pages, in order. */
  sweep(addr: number, pages: number): Promise<number> {
    return tell<number>(this.worker, { kind: 'sweep', addr, pages });
  }

  /** Microseconds that the worker is blocked until `words` are answered. */
  ask(words: Int32Array): Promise<number> {
    return tell<number>(this.worker, { kind: 'ask', words });
  }

  hops(command: Extract<CoreCommand, { kind: 'hops' }>): Promise<HopTimes> {
    return tell<HopTimes>(this.worker, command, [command.port]);
  }

  tlb(base: number, pairs: number): Promise<TlbTimes[]> {
    return tell<TlbTimes[]>(this.worker, { kind: 'tlb', base, pairs });
  }

  end(): void {
    this.worker.terminate();
    markDead(this.image);
    this.ctx.machine.kernel.endCore(this.image.slot);
  }
}
