/*
 * Picks frames for test jobs: runs of a given size that do not touch each other, in random places
 * and in random order, so that every run has frames around it that nobody may write.
 */
import type { Prng } from '../../src/base/prng.ts';

/** A stretch of frames. */
export interface FrameArea {
  readonly first: number;
  readonly count: number;
}

/**
 * First frames of `runs` runs of `size` frames inside `area`, in random order. Runs don't overlap;
 * where there is room, at least one frame stays free between two.
 */
export function pickRuns(prng: Prng, area: FrameArea, size: number, runs: number): number[] {
  const stride = Math.floor(area.count / Math.max(1, runs));
  if (stride < size) throw new Error(`no room for ${runs} runs of ${size} frames`);
  const firsts: number[] = [];
  const slack = stride - size;
  for (let i = 0; i < runs; i++) {
    firsts.push(area.first + i * stride + (slack > 0 ? prng.below(slack) : 0));
  }
  return prng.shuffle(firsts);
}
