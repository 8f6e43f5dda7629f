/*
 * What one launch has a device do that others use, too. An error that no scope takes would be
 * everybody's: the copy engine lets its flights fail for it. Here it is the launch's own.
 *
 * Locking. None. Source: our own.
 */
import { errno } from '../../base/errno.ts';
import type { Errno } from '../../base/errno.ts';
import type { GpuVmHost } from './gpu-host.ts';

/** See the file header. */
export class RunScope {
  private readonly host: Pick<GpuVmHost, 'device' | 'whatFailed'>;
  private first: Promise<Errno | 0> = Promise.resolve(0);

  constructor(host: Pick<GpuVmHost, 'device' | 'whatFailed'>) {
    this.host = host;
  }

  /** Does something at once; what the device finds wrong with it, later, is told by `failure`. */
  do<T>(work: () => T): T {
    const { device } = this.host;
    device.pushErrorScope('validation');
    device.pushErrorScope('out-of-memory');
    try {
      return work();
    } finally {
      const noRoom = device.popErrorScope();
      const wrong = device.popErrorScope();
      this.first = this.settled(this.first, Promise.all([noRoom, wrong]));
    }
  }

  /**
   * The first thing that went wrong so far: ENOMEM for want of memory, else EIO; ENODEV of a lost
   * device; 0 where nothing did. Never rejects.
   */
  get failure(): Promise<Errno | 0> {
    return this.first;
  }

  private async settled(
    before: Promise<Errno | 0>,
    errors: Promise<readonly (GPUError | null)[]>,
  ): Promise<Errno | 0> {
    try {
      // Both are heard, also where the one before has failed already.
      const [earlier, [noRoom, wrong]] = await Promise.all([before, errors]);
      if (earlier !== 0) return earlier;
      // Whatever was to be made without memory is invalid, and what uses it fails for that.
      if (noRoom !== null) return errno.ENOMEM;
      return wrong === null ? 0 : errno.EIO;
    } catch {
      return this.host.whatFailed();
    }
  }
}
