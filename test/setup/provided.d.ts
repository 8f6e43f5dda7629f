/*
 * Values that vitest.config.ts provides to the GPU projects, for inject().
 */
import type { AdapterReport } from '../../cli/adapter.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Dawn's adapter on this machine, found before the run. */
    dawnAdapter: AdapterReport | null;
    /** Whether a missing adapter is a failure (CI or REQUIRE_GPU is set). */
    gpuRequired: boolean;
  }
}
