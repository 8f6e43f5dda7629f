/*
 * CPU twin of shaders/add-words.wgsl: adds a constant to every word of arena pages. It is the
 * smallest kernel that only a device can have run: an engine that answers from a copy kept in RAM
 * fails it.
 */
import { WORDS_PER_PAGE } from '../../base/units.ts';
import {
  BATCH_HEADER_WORDS,
  BATCH_JOB_COUNT,
  JOB_FRAME,
  JOB_OTHER,
  JOB_WORDS,
  refuseJob,
  STATUS_BAD_FRAME,
} from '../kernel-abi.ts';
import { pagesIn } from './page-words.ts';

/**
 * Adds `other` of each job to each word of arena frame `frame`, modulo 2^32.
 *
 * @param arena words of the arena, read and written
 * @param status status block; a job out of range is recorded there and touches nothing
 * @param batch header and jobs
 */
export function addWords(arena: Uint32Array, status: Uint32Array, batch: Uint32Array): void {
  const jobs = batch[BATCH_JOB_COUNT]!;
  const frames = pagesIn(arena);
  for (let job = 0, at = BATCH_HEADER_WORDS; job < jobs; job++, at += JOB_WORDS) {
    const target = batch[at + JOB_FRAME]!;
    const operand = batch[at + JOB_OTHER]!;
    if (target >= frames) {
      refuseJob(status, STATUS_BAD_FRAME, job);
    } else {
      const end = (target + 1) * WORDS_PER_PAGE;
      for (let i = target * WORDS_PER_PAGE; i < end; i++) {
        arena[i] = arena[i]! + operand;
      }
    }
  }
}
