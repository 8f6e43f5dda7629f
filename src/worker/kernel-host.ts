/**
 * The worker side of the control plane, for browsers and Node alike: a `KernelApi` that forwards to
 * the kernel once it is booted.
 */
import * as Comlink from 'comlink';
import { assert } from '../base/assert.ts';
import { boot } from './boot.ts';
import type { Kernel } from './kernel.ts';
import type { KernelWorkerApi } from './open.ts';
import type { MachineOptions } from './protocol.ts';

/** The object that a kernel worker exposes. */
export function createKernelHost(): KernelWorkerApi {
  let kernel: Kernel | null = null;
  const host = {
    async boot(options: MachineOptions) {
      const result = await boot(options);
      if ('remedy' in result) return result;
      kernel = result;
      return null;
    },
    /** What was read moves to the caller instead of being copied once more. */
    async read(...args: Parameters<Kernel['read']>) {
      assert(kernel !== null, 'a kernel is booted before it is used');
      const result = await kernel.read(...args);
      const { buffer } = result.bytes;
      return buffer.byteLength === 0 ? result : Comlink.transfer(result, [buffer]);
    },
  };
  // Comlink asks for one property a call, so forwarding by name costs nothing that matters.
  return new Proxy(host, {
    get(target, name): unknown {
      if (name in target || kernel === null) return Reflect.get(target, name);
      const member: unknown = Reflect.get(kernel, name);
      return typeof member === 'function' ? (member.bind(kernel) as unknown) : member;
    },
  }) as unknown as KernelWorkerApi;
}
