/* What `npm run stress` runs on a page: the test, with its progress told to the command. */
import { Machine } from '../../src/index.ts';
import { STRESS_MACHINE, runStress } from './stress.ts';
import type { StressFigures } from './stress.ts';

/** What the page has for the command, and the command for the page. */
export interface StressWindow {
  /** @returns the figures, or what went wrong, in words. */
  stressRun?: (seconds: number, seed: number) => Promise<StressFigures | string>;
  stressProgress?: (figures: StressFigures) => void;
}

const here = globalThis as StressWindow;

here.stressRun = async (seconds, seed) => {
  const machine = await Machine.create(STRESS_MACHINE);
  const program = new URL('../fixtures/programs/stress.js', import.meta.url).href;
  const onProgress = (figures: StressFigures): void => here.stressProgress?.(figures);
  try {
    return await runStress(machine, { seconds, seed, program, onProgress });
  } catch (error) {
    return (error as Error).message;
  } finally {
    await machine.close();
  }
};
