/*
 * Reports as files: saved as JSON or CSV, and opened again.
 */
import { BENCH_SCHEMA } from '../../bench/types.ts';
import type { BenchReport } from '../../bench/types.ts';
import { el } from '../_shell/dom.ts';

/** Offers `text` as a download. */
export function save(text: string, name: string, type: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el('a', { href: url, download: name }).click();
  // The browser has taken its own reference by the next task.
  setTimeout(() => URL.revokeObjectURL(url));
}

/** "webhmm-bench-google-swiftshader-2026-11-21T07-30-00.json" */
export function fileName({ env }: BenchReport, extension: string): string {
  const where = env.engine === 'cpu' ? 'cpu' : `${env.adapter.vendor}-${env.adapter.architecture}`;
  const when = env.startedAt.slice(0, 19);
  return `webhmm-bench-${where}-${when}.${extension}`.replaceAll(/[^\w.-]+/g, '-');
}

/** Reads a report that was saved before. Throws an Error for people where it is none. */
export async function readReport(file: File): Promise<BenchReport> {
  let value: unknown;
  try {
    value = JSON.parse(await file.text());
  } catch {
    throw new Error(`${file.name} is not JSON`);
  }
  const schema = (value as { schema?: unknown } | null)?.schema;
  if (schema === BENCH_SCHEMA) return value as BenchReport;
  throw new Error(`${file.name} is not a report of this version (${BENCH_SCHEMA})`);
}
