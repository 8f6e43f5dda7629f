/*
 * Strategy `cpu`: RAM to RAM only, by this thread. It exists so that a caller can insist on it;
 * lists that touch VRAM are refused.
 */
import type { Strategy } from './strategy.ts';

export const cpuStrategy: Strategy = {
  name: 'cpu',
  sortsRows: false,
  stagesUploads: false,
  movesInPlace: false,
};
