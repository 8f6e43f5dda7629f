/** A machine without a kernel worker: `bootMachine` builds it in the calling thread. */
import { boot } from './boot.ts';
import { bootOptions } from './create-options.ts';
import type { CreateOptions } from './create-options.ts';
import { MachineError, OpenError } from './errors.ts';
import { Machine } from './machine.ts';
import type { LocalMachine } from './machine.ts';
import { describePanic, guardKernel } from './panic.ts';

/**
 * Builds a machine in the calling thread, whose kernel is at hand as `machine.kernel`: for workers
 * of your own, for tests and for benchmarks of the emulator's insides. It has no CPU cores, since
 * those block until the kernel's thread answers. Throws OpenError.
 */
export async function bootMachine(options: CreateOptions = {}): Promise<LocalMachine> {
  const kernel = await boot(bootOptions(options));
  if ('remedy' in kernel) throw new OpenError(kernel);
  let die: (death: Error) => void = () => undefined;
  // A promise of its own: what waits for it must go with the machine.
  const died = new Promise<never>((_resolve, reject) => (die = reject));
  const api = guardKernel(kernel, (cause) => {
    die(Object.assign(new MachineError('panic', describePanic(cause).why), { cause }));
  });
  const vmstat = kernel.liveCounters();
  const faultLatency = kernel.liveFaultLatency();
  const link = { api, died, dispose: () => undefined, vmstat, faultLatency };
  const machine = new Machine(link, kernel.report());
  return Object.assign(machine, { kernel });
}
