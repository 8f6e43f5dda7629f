/**
 * Failures that the caller of a launch puts in its way, to see what becomes of them: one at a time,
 * when the faults of a pass are served. They hit this launch alone, but for a device that is lost.
 *
 * Locking: none. The word is shared with the caller. Source: our own; the error injection of UVM's
 * and xe's tests is the model (nth allocation, copy error, eviction error).
 */
import type { Dmirror } from '../driver/dmirror.ts';
import type { LaunchPager } from '../driver/launch-pager.ts';
import { MachinePager } from '../driver/machine-pager.ts';
import { PolicyPager } from '../driver/policy-pager.ts';
import { FAULT_WORDS } from '../engine/vm/abi.ts';
import type { FaultBatch } from '../engine/vm/launch.ts';
import { LAUNCH_FAILURE, LAUNCH_FAILURES } from './protocol-launch.ts';
import type { InjectedFailure, LaunchFailure } from './protocol-launch.ts';

/** Failures of one launch. */
export class LaunchFailures {
  /** Those that have come, in order. */
  readonly injected: InjectedFailure[] = [];
  private readonly words: Int32Array;
  private readonly mirror: Dmirror;
  private readonly pager: LaunchPager;

  /** @param words of the launch, shared with its caller */
  constructor(words: Int32Array, mirror: Dmirror, pager: LaunchPager) {
    this.words = words;
    this.mirror = mirror;
    this.pager = pager;
  }

  /**
   * Serves the faults of a pass, with the failure that is due, if any.
   *
   * @param passes that the launch has done. @returns and throws as the pager. Context: waits.
   */
  async serve(batch: FaultBatch, passes: number): Promise<boolean | 'hold'> {
    const what = this.due(passes);
    if (what === null) return this.pager.serve(batch);
    const { mirror, pager } = this;
    const { engine } = mirror.device.context;
    const { memory } = mirror.device;
    switch (what) {
      case 'memory':
        this.came(what, passes);
        memory.isShort = true;
        break;
      case 'copy':
        mirror.failNextCopy = true;
        break;
      case 'ring':
        return this.losing(batch, passes);
      case 'policy':
        this.came(what, passes);
        if (pager instanceof PolicyPager) pager.breakPolicy();
        break;
      case 'device':
        this.came(what, passes);
        engine.markLost('the device was lost on request');
        await engine.lost;
    }
    try {
      return await pager.serve(batch);
    } finally {
      memory.isShort = false;
      // Where nothing was to be copied it waits for the next faults.
      if (what === 'copy' && !mirror.failNextCopy) this.came(what, passes);
      mirror.failNextCopy = false;
    }
  }

  /** Serves no fault but the first, or none: the others come again. */
  private async losing(batch: FaultBatch, passes: number): Promise<boolean | 'hold'> {
    const { pager } = this;
    const isRaised = batch.records.length > 0;
    if (isRaised) this.came('ring', passes);
    if (pager instanceof PolicyPager) return pager.serve(batch, isRaised);
    const kept = Math.min(1, batch.count);
    const overflow = batch.overflow + batch.count - kept;
    const records = batch.records.subarray(0, kept * FAULT_WORDS);
    return pager.serve({ ...batch, records, count: kept, overflow });
  }

  /** The failure that is due, which stays so until it has come. */
  private due(passes: number): LaunchFailure | null {
    const word = Atomics.load(this.words, LAUNCH_FAILURE);
    if (word === 0 || passes < word >>> 3) return null;
    const what = LAUNCH_FAILURES[(word & 7) - 1] ?? null;
    // A launch without a policy has none that could throw.
    if (what === 'policy' && this.pager instanceof MachinePager) return null;
    return what;
  }

  private came(what: LaunchFailure, pass: number): void {
    Atomics.store(this.words, LAUNCH_FAILURE, 0);
    this.injected.push({ what, pass });
  }
}
