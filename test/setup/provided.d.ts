/*
 * Values that vitest.config.ts provides to the GPU projects, for inject().
 */
import 'vitest';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Dawn's adapter on this machine in words, found before the run. */
    dawnName: string | null;
    /** Whether a missing adapter is a failure (CI or REQUIRE_GPU is set). */
    gpuRequired: boolean;
  }
}
