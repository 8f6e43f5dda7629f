/*
 * `npm run features`: which test proves which feature.
 *
 * Prints docs/features.md, writes it, or checks that it is what the tests' tags make of it.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { readCommandLine, UsageError } from './args.ts';
import { runCommand } from './cleanup.ts';
import {
  coverageProblems,
  readFeatureTable,
  renderFeatures,
  tagProblems,
} from './feature-table.ts';

const ROOT = resolve(import.meta.dirname, '..');
const DOCUMENT = 'docs/features.md';

export function main(): Promise<never> {
  const { values } = readCommandLine({
    name: 'features',
    summary:
      `Prints the table of features and of the tests that prove them, as in ${DOCUMENT}. It is\n` +
      'made from the tags in the titles of tests, such as [F96], and of docs/deviations.md.',
    options: {
      write: { kind: 'flag', help: `write ${DOCUMENT}` },
      check: { kind: 'flag', help: 'exit with 1 if the document is stale or a tag is wrong' },
    },
  });
  return runCommand('features', () => Promise.resolve(run(values.write, values.check)));
}

function run(isWriting: boolean, isChecking: boolean): number {
  if (isWriting && isChecking) throw new UsageError('--write and --check exclude each other');
  const table = readFeatureTable(ROOT);
  const text = renderFeatures(table);
  const file = resolve(ROOT, DOCUMENT);
  if (isWriting) {
    writeFileSync(file, text);
    process.stderr.write(`features: wrote ${DOCUMENT}\n`);
  } else if (!isChecking) {
    process.stdout.write(text);
  }
  const wrong = tagProblems(table);
  for (const line of wrong) process.stderr.write(`features: ${line}\n`);
  if (!isChecking) return wrong.length === 0 ? 0 : 1;
  for (const line of coverageProblems(table)) process.stderr.write(`features: so far ${line}\n`);
  const isStale = !existsSync(file) || readFileSync(file, 'utf8') !== text;
  if (isStale) {
    process.stderr.write(`features: ${DOCUMENT} is stale: run \`npm run features -- --write\`\n`);
  }
  return isStale || wrong.length > 0 ? 1 : 0;
}
