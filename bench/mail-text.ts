/**
 * What is pasted into a mail: the table of exports.ts, below what it was measured with. A mail goes
 * far from its report, so figures must not leave without the adapter's name.
 */
import { unusualText } from './copy-settings.ts';
import { mailTable } from './exports.ts';
import type { Counted } from './exports.ts';
import { ranOn } from './format.ts';
import { textTable } from './report-text.ts';
import type { BenchReport } from './types.ts';

/** The tables as text, without a newline at the end; null where the report has no copies. */
export function mailText(report: BenchReport, counted: Counted): string | null {
  const tables = mailTable(report, counted).map(textTable);
  if (tables.length === 0) return null;
  const { env, commit } = report;
  const { browser, version, startedAt, hidden, settings } = env;
  const software = env.isSoftware ? " (software adapter: figures are not a GPU's)" : '';
  const made = commit === null ? '' : `, commit ${commit}`;
  const unusual = unusualText(settings);
  const head = [
    `${ranOn(env)}${software}`,
    `WebHMM copy benchmark, ${browser} ${version}, ${startedAt.slice(0, 10)}${made}`,
    unusual === '' ? '' : `not the usual settings: ${unusual}`,
    hidden ? 'the tab was hidden meanwhile: worthless' : '',
  ];
  return [head.filter((line) => line !== '').join('\n'), ...tables].join('\n\n');
}
