/*
 * Reports as files: saved as JSON, CSV or PNG, and opened again.
 */
import { readReport } from '../../bench/read-report.ts';
import { isVerified } from '../../bench/types.ts';
import type { BenchReport } from '../../bench/types.ts';
import type { PngText } from '../_shell/png.ts';
import { runName } from './runs.ts';
import type { Run } from './runs.ts';

/** "webhmm-bench-google-swiftshader-2026-11-21T07-30-00.json" */
export function fileName({ env }: BenchReport, extension: string): string {
  const where = env.engine === 'cpu' ? 'cpu' : `${env.adapter.vendor}-${env.adapter.architecture}`;
  const when = env.startedAt.slice(0, 19);
  return `webhmm-bench-${where}-${when}.${extension}`.replaceAll(/[^\w.-]+/g, '-');
}

/** What stands around the plots of runs in a picture. */
export function pngText(runs: readonly Run[]): PngText {
  const isHidden = runs.some(({ report }) => report.env.hidden);
  const isUnverified = runs.some(({ report }) => !isVerified(report));
  const isOnCpu = runs.every(({ report }) => report.env.engine === 'cpu');
  const isSoftware = runs.every(({ report }) => report.env.isSoftware);
  const made = isOnCpu ? 'CPU engine' : isSoftware ? 'software adapter' : '';
  const mark = isUnverified ? 'not verified' : made;
  return {
    title: 'WebHMM copy benchmark',
    lines: runs.map(({ letter, report }) => {
      const commit = report.commit === null ? '' : `, commit ${report.commit}`;
      return `${runs.length === 1 ? '' : `${letter}: `}${runName(report)}${commit}`;
    }),
    watermark: isHidden ? 'the tab was hidden: worthless' : mark,
  };
}

/** Reads a report that was saved before. Throws an Error for people where it is none. */
export async function openReport(file: File): Promise<BenchReport> {
  return readReport(await file.text(), file.name);
}
