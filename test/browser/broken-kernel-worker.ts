/* Entry of a kernel worker whose kernel breaks on request, in three ways. */
import { bug } from '../../src/base/assert.ts';
import { Kernel } from '../../src/worker/kernel.ts';
import '../../src/worker/kernel-worker.ts';

const never = (): Promise<never> => new Promise(() => undefined);

// A broken invariant in the middle of a call, and one outside of any.
Kernel.prototype.oomReap = () => bug('I0: broken in a call');
Kernel.prototype.poison = () => {
  setTimeout(() => bug('I0: broken in a timer'));
  return never();
};
// The worker goes without a word.
Kernel.prototype.clearRefs = () => {
  globalThis.close();
  return never();
};
