/** The facade's handle of an open test device, beside the others in machine.ts. */
import { isErr } from '../base/errno.ts';
import { isRecord } from '../base/is-record.ts';
import { DeviceKernel, KernelCompileError, RunningLaunch } from './device-kernel.ts';
import type { LaunchOptions } from './device-kernel.ts';
import { ErrnoError, checked, disposed, wordOf } from './errors.ts';
import type { Machine } from './machine.ts';
import type { KernelReport, KernelSource } from './protocol-launch.ts';
import type { DmirrorCommand, DmirrorRequest, DmirrorResult } from './protocol.ts';

/** An open test device (/dev/hmm_dmirrorN). */
export class TestDevice implements AsyncDisposable {
  /** The machine that it belongs to. */
  readonly machine: Machine;
  /** Descriptor, for `mmap`. */
  readonly fd: number;

  constructor(machine: Machine, fd: number) {
    this.machine = machine;
    this.fd = fd;
  }

  /**
   * Runs a command. Returns pages done and device fault rounds. Throws ErrnoError, whose message
   * says why a migration left pages behind. MIGRATE_TO_DEV is ENOENT unless all pages of the range
   * are on the device afterwards, as on Linux: those that could go have gone.
   */
  async ioctl(command: DmirrorCommand, request: DmirrorRequest): Promise<DmirrorResult> {
    const result = await this.tryIoctl(command, request);
    if (!isErr(result.errno)) return result;
    const skipped = Object.entries(result.skipped).map(([reason, n]) => `${reason}: ${n}`);
    const detail = skipped.length === 0 ? '' : `left behind: ${skipped.join(', ')}`;
    throw new ErrnoError(result.errno, `ioctl HMM_DMIRROR_${wordOf(command)}`, detail);
  }

  /** Like `ioctl`, with the errno as data, and the pages left behind by reason in `skipped`. */
  tryIoctl(command: DmirrorCommand, request: DmirrorRequest): Promise<DmirrorResult> {
    return this.machine.call(this.machine.api.ioctl(this.fd, command, request));
  }

  /**
   * Compiles a kernel that runs over this process's memory: WGSL with `fn kernel(wg: u32, lid:
   * u32)`, which reaches memory by `vm_load` and its kin. Throws KernelCompileError, which names
   * lines, columns and reasons; ErrnoError (EBADF, ENODEV).
   */
  async compileKernel(source: KernelSource): Promise<DeviceKernel> {
    const { machine, fd } = this;
    const made = await machine.call(machine.api.compileKernel(fd, source));
    if (made.problems.length > 0) {
      // Callers without types: there may be no source at all.
      const { name = 'kernel' } = isRecord(source) ? source : {};
      throw new KernelCompileError(made.errno, wordOf(name), made.problems);
    }
    checked(made.errno, 'compileKernel');
    return new DeviceKernel(machine, made);
  }

  /**
   * Runs a kernel over this process's memory to its end: pages come to the device as it asks for
   * them. Resolves with a report, whatever the outcome; throws ErrnoError for a launch that could
   * not begin (EINVAL, EFAULT, EBADF, ENODEV).
   */
  launch(kernel: DeviceKernel, options: LaunchOptions): Promise<KernelReport> {
    return this.startLaunch(kernel, options).report;
  }

  /** The same for one that is to be watched, or ended early. */
  startLaunch(kernel: DeviceKernel, options: LaunchOptions): RunningLaunch {
    return new RunningLaunch(this.machine, this.fd, kernel, options);
  }

  /**
   * Closes the device: launches in progress end, its kernels are gone. Throws ErrnoError (EBADF)
   * when it is closed already.
   */
  async close(): Promise<void> {
    checked(await this.machine.call<number>(this.machine.api.closeDevice(this.fd)), 'close');
  }

  /** Closes the device, unless it is closed. */
  [Symbol.asyncDispose](): Promise<void> {
    return disposed(this.machine, () => this.close());
  }
}
