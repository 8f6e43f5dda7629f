/*
 * CPU twin of shaders/copy-pages.wgsl: copies pages inside one arena. Same bindings in the same
 * order, same jobs, same refusals; the contract suite compares the two byte by byte.
 *
 * The pages of one batch may be copied in any order: no job's target is another job's source.
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
  STATUS_BAD_OTHER,
} from '../kernel-abi.ts';
import { pagesIn } from './page-words.ts';

/**
 * Copies arena frame `other` of each job over arena frame `frame`.
 *
 * @param arena words of the arena, read and written
 * @param status status block; a job out of range is recorded there and touches nothing
 * @param batch header and jobs
 */
export function copyPages(arena: Uint32Array, status: Uint32Array, batch: Uint32Array): void {
  const jobs = batch[BATCH_JOB_COUNT]!;
  const frames = pagesIn(arena);
  for (let job = 0, at = BATCH_HEADER_WORDS; job < jobs; job++, at += JOB_WORDS) {
    const target = batch[at + JOB_FRAME]!;
    const source = batch[at + JOB_OTHER]!;
    if (target >= frames) {
      refuseJob(status, STATUS_BAD_FRAME, job);
    } else if (source >= frames) {
      refuseJob(status, STATUS_BAD_OTHER, job);
    } else {
      const from = source * WORDS_PER_PAGE;
      arena.copyWithin(target * WORDS_PER_PAGE, from, from + WORDS_PER_PAGE);
    }
  }
}
