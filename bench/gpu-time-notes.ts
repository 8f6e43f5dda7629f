/**
 * What people are told of the time on the device, wherever a report shows it.
 */
import type { BenchCell } from './types.ts';

/** What the figure is, and where there is none: a sentence each. */
export const GPU_TIME_NOTES: readonly string[] = [
  "Time on the device is what one operation's submissions took there, by timestamp queries, in " +
    "repeats of their own; 0 is less than a step of the device's clock.",
  'There is none without timestamp queries, for writeBuffer and copies within RAM, which submit ' +
    'nothing to be timed, and for operations over 50 ms.',
];

/** Whether any of these cells has such a time: else no column of it is shown. */
export function hasGpuTime(cells: readonly Pick<BenchCell, 'gpuUs'>[]): boolean {
  return cells.some(({ gpuUs }) => gpuUs !== undefined);
}
