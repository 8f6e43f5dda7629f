/*
 * The copy-engine contract on the CPU engine.
 */
import { CpuEngine } from '../../src/engine/cpu-engine.ts';
import { describeCopyEngine } from './copy-engine-contract.ts';

describeCopyEngine({
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
});
