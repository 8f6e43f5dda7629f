/*
 * CPU twin of shaders/checksum-pages.wgsl: one partial checksum for each page of a batch. The host
 * adds the partials of a job's pages; see ../checksum.ts for the definition.
 */
import { WORDS_PER_PAGE } from '../../base/units.ts';
import { checksumWords } from '../checksum.ts';
import {
  BATCH_FIRST_RESULT,
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
 * Writes the partial checksum of arena frame `frame` of each job; `other` is the page's position in
 * the range that the checksum is over, in pages.
 *
 * @param arena words of the arena, read only
 * @param status status block; a job out of range is recorded there and touches nothing
 * @param batch header and jobs
 * @param sums partial checksums, written from index BATCH_FIRST_RESULT on, one a job
 */
export function checksumPages(
  arena: Uint32Array,
  status: Uint32Array,
  batch: Uint32Array,
  sums: Uint32Array,
): void {
  const jobs = batch[BATCH_JOB_COUNT]!;
  const first = batch[BATCH_FIRST_RESULT]!;
  const frames = pagesIn(arena);
  for (let job = 0, at = BATCH_HEADER_WORDS; job < jobs; job++, at += JOB_WORDS) {
    const source = batch[at + JOB_FRAME]!;
    const position = Math.imul(batch[at + JOB_OTHER]!, WORDS_PER_PAGE);
    if (source >= frames) {
      refuseJob(status, STATUS_BAD_FRAME, job);
    } else if (first + job >= sums.length) {
      refuseJob(status, STATUS_BAD_OTHER, job);
    } else {
      sums[first + job] = checksumWords(arena, source * WORDS_PER_PAGE, WORDS_PER_PAGE, position);
    }
  }
}
