/*
 * Reports as files: saved as JSON or CSV, and opened again.
 */
import { readReport } from '../../bench/read-report.ts';
import type { BenchReport } from '../../bench/types.ts';

/** "webhmm-bench-google-swiftshader-2026-11-21T07-30-00.json" */
export function fileName({ env }: BenchReport, extension: string): string {
  const where = env.engine === 'cpu' ? 'cpu' : `${env.adapter.vendor}-${env.adapter.architecture}`;
  const when = env.startedAt.slice(0, 19);
  return `webhmm-bench-${where}-${when}.${extension}`.replaceAll(/[^\w.-]+/g, '-');
}

/** Reads a report that was saved before. Throws an Error for people where it is none. */
export async function openReport(file: File): Promise<BenchReport> {
  return readReport(await file.text(), file.name);
}
