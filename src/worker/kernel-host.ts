/**
 * The worker side of the control plane, for browsers and Node alike: a `KernelApi` that forwards to
 * the kernel once it is booted.
 */
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
  };
  // Comlink asks for one property a call, so forwarding by name costs nothing that matters.
  return new Proxy(host, {
    get(target, name) {
      if (name === 'boot' || kernel === null) return Reflect.get(target, name);
      const member: unknown = Reflect.get(kernel, name);
      return typeof member === 'function' ? member.bind(kernel) : member;
    },
  }) as unknown as KernelWorkerApi;
}
