/*
 * The contract harness of the CPU engine.
 */
import { CpuEngine } from '../../src/engine/cpu-engine.ts';
import type { EngineHarness } from './engine-harness.ts';

/** A harness of the CPU engine. */
export const CPU_HARNESS: EngineHarness = {
  title: 'CPU engine',
  strategies: ['cpu'],
  pages: 1024,
  can: () => true,
  async open(ram, geometry) {
    const engine = new CpuEngine({ ram, geometry });
    return {
      engine,
      lose: () => engine.markLost('lost by a test'),
      strayErrors: () => [],
      kernelStatus: async () => '',
    };
  },
};
