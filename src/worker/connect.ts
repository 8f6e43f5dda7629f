/**
 * The way to a kernel worker: starts it by the platform of the host, has it build the machine, and
 * watches it. The other side is kernel-host.ts.
 */
import * as Comlink from 'comlink';
import { CoreHost } from './core-host.ts';
import type { CoreKernel } from './core-host.ts';
import { MachineError, OpenError } from './errors.ts';
import type { KernelLink } from './machine.ts';
import type { Panic } from './panic.ts';
import { bootOptions } from './create-options.ts';
import type { BootOptions, CreateOptions } from './create-options.ts';
import type { Platform } from './platform.ts';
import type { KernelApi, MachineReport, OpenFailure } from './protocol.ts';

/** What the kernel worker exposes. */
export interface KernelWorkerApi extends KernelApi {
  /** Builds the machine. To be called once, first. */
  boot(options: BootOptions): Promise<OpenFailure | null>;
  /** Resolves when the kernel panics: nothing is answered from then on. */
  watch(): Promise<Panic>;
  /** Holds a Web Lock as long as the thread lives; resolves when it does. Browsers only. */
  hold(lock: string): Promise<void>;
}

/** Builds a machine in a worker of its own. Throws OpenError. */
export async function connectKernel(
  platform: Platform,
  options: CreateOptions,
): Promise<{ readonly link: KernelLink; readonly report: MachineReport }> {
  const told = bootOptions(options);
  const thread = await platform.startKernel(options);
  const remote = Comlink.wrap<KernelWorkerApi>(thread.endpoint);
  const dispose = (): void => {
    remote[Comlink.releaseProxy]();
    thread.terminate();
  };
  const panicked = remote.watch().then(({ why, stack }) => {
    throw Object.assign(new MachineError('panic', why), { cause: stack });
  });
  thread.adopt?.((lock) => remote.hold(lock));
  const died = Promise.race([thread.died, panicked]);
  // A worker that dies after `close` must not become an unhandled rejection.
  died.catch(() => undefined);
  try {
    const failure = await Promise.race([remote.boot(told), died]);
    if (failure !== null) throw new OpenError(failure);
    const report = await Promise.race([remote.report(), died]);
    const vmstat = await Promise.race([remote.liveCounters(), died]);
    const faultLatency = await Promise.race([remote.liveFaultLatency(), died]);
    const cores = new CoreHost(coreKernel(remote), thread.cores);
    return { link: { api: remote, died, dispose, cores, vmstat, faultLatency }, report };
  } catch (error) {
    dispose();
    throw error;
  }
}

/** The calls that a host of cores makes, with the ports it sends along handed over. */
function coreKernel(remote: Comlink.Remote<KernelWorkerApi>): CoreKernel {
  return {
    attachHost: (port) => remote.attachHost(Comlink.transfer(port, [port])),
    startCore: (pid, bell) =>
      remote.startCore(pid, bell === null ? null : Comlink.transfer(bell, [bell])),
    signalCore: (slot, signal) => remote.signalCore(slot, signal),
    endCore: (slot) => remote.endCore(slot),
    exit: (pid) => remote.exit(pid),
  };
}
