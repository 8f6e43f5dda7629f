/**
 * The worker side of the control plane, for browsers and Node alike: a `KernelApi` that forwards to
 * the kernel once it is booted, and says when that panics.
 */
import * as Comlink from 'comlink';
import { assert } from '../base/assert.ts';
import { boot } from './boot.ts';
import type { BootOptions } from './create-options.ts';
import type { KernelWorkerApi } from './connect.ts';
import type { Kernel } from './kernel.ts';
import { describePanic, guardKernel } from './panic.ts';
import type { Panic } from './panic.ts';
import type { MachineOptions, OpenFailure } from './protocol.ts';

/** What the entry of a kernel worker works with. */
export interface KernelHost {
  /** To be exposed to the thread that holds the machine. */
  readonly api: KernelWorkerApi;
  /** Ends the machine: for exceptions that no call can answer with. */
  readonly panic: (error: unknown) => void;
}

/**
 * @param prepare Runs before a machine is built; why there can be none, or null.
 */
export function createKernelHost(
  prepare: (options: MachineOptions) => Promise<OpenFailure | null> = () => Promise.resolve(null),
): KernelHost {
  let kernel: Kernel | null = null;
  let tell: (panic: Panic) => void = () => undefined;
  const panicked = new Promise<Panic>((resolve) => (tell = resolve));
  const panic = (error: unknown): void => tell(describePanic(error));
  const host = {
    async boot(options: BootOptions) {
      const obstacle = await prepare(options);
      if (obstacle !== null) return obstacle;
      const result = await boot(options);
      if ('remedy' in result) return result;
      kernel = guardKernel(result, panic);
      return null;
    },
    watch: () => panicked,
    hold: (lock: string) =>
      new Promise<void>((resolve) => {
        void navigator.locks.request(lock, () => {
          resolve();
          return new Promise(() => undefined);
        });
      }),
    /** What was read moves to the caller instead of being copied once more. */
    async read(...args: Parameters<Kernel['read']>) {
      assert(kernel !== null, 'a kernel is booted before it is used');
      const result = await kernel.read(...args);
      const { buffer } = result.bytes;
      return buffer.byteLength === 0 ? result : Comlink.transfer(result, [buffer]);
    },
  };
  // Comlink asks for one property a call, so forwarding by name costs nothing that matters.
  const api = new Proxy(host, {
    get(target, name): unknown {
      return Reflect.get(name in target || kernel === null ? target : kernel, name) as unknown;
    },
  }) as unknown as KernelWorkerApi;
  return { api, panic };
}
