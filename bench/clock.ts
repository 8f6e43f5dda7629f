/**
 * The clock of the benchmark and its granularity. Browsers round performance.now() to 5 us on
 * cross-origin isolated pages and to 100 us elsewhere, so the tick is detected, never assumed,
 * and short operations are chained until a sample is long against it.
 */

/** Samples are at least this many ticks long. */
export const TICKS_PER_SAMPLE = 20;
/** Steps that tick detection waits for. */
const STEPS = 64;
/** Reads after which a clock that stands still is taken as it is. */
const MAX_READS = 5_000_000;
/** Most operations in one sample. */
const MAX_CHAINED = 100_000;

/** Now, in microseconds from an arbitrary start. */
export function nowUs(): number {
  return performance.now() * 1000;
}

/**
 * The smallest step that the clock shows, in microseconds.
 *
 * @param clock For tests; nowUs by default.
 */
export function detectTickUs(clock: () => number = nowUs): number {
  let tick = Number.POSITIVE_INFINITY;
  let last = clock();
  let steps = 0;
  for (let reads = 0; reads < MAX_READS && steps < STEPS; reads++) {
    const now = clock();
    if (now === last) continue;
    tick = Math.min(tick, now - last);
    last = now;
    steps += 1;
  }
  // Doubles near the page's age round a step of 5 us to 4.99999: three decimals are real.
  return Number.isFinite(tick) ? Math.round(tick * 1000) / 1000 : 0;
}

/** How many operations of that length to chain so that a sample is TICKS_PER_SAMPLE long. */
export function chainLength(operationUs: number, tickUs: number): number {
  const wanted = TICKS_PER_SAMPLE * tickUs;
  if (operationUs >= wanted) return 1;
  const length = operationUs > 0 ? wanted / operationUs : wanted / Math.max(tickUs, 0.001);
  return Math.min(MAX_CHAINED, Math.max(1, Math.ceil(length)));
}

/** Lets the event loop take a turn, so that a message that stops the run is heard. */
export function nextTask(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 0);
  });
}
