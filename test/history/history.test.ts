/*
 * docs/history.md: each of its snippets is a file beside this one, runs, and is in the document as
 * it is here. `npx vitest run --project node test/history -u` brings the document up to date.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const ROOT = resolve(import.meta.dirname, '../..');
const DOCUMENT = join(ROOT, 'docs/history.md');
/** Shown in the document, too, but nothing to run. */
const COMMON = 'machine.ts';

interface Snippet {
  readonly example: () => void | Promise<void>;
}

const names = readdirSync(import.meta.dirname).filter(
  (name) => name.endsWith('.ts') && !name.endsWith('.test.ts') && name !== COMMON,
);
const document = readFileSync(DOCUMENT, 'utf8');

test.each(names)('%s does what it says', async (name) => {
  const { example } = (await import(`./${name}`)) as Snippet;
  await example();
});

test('the document shows every snippet once, as it is', async () => {
  const shown = [...document.matchAll(/^\[test\/history\/([\w-]+\.ts)\]/gm)].map(
    ([, name]) => name,
  );
  expect(new Set(shown)).toEqual(new Set([...names, COMMON]));
  expect(shown).toHaveLength(names.length + 1);
  const renewed = document.replaceAll(
    /^(\[test\/history\/([\w-]+\.ts)\]\(.*\):\n\n```ts\n)[^]*?```$/gm,
    (_, head: string, name: string) =>
      `${head}${readFileSync(join(import.meta.dirname, name), 'utf8')}\`\`\``,
  );
  await expect(renewed).toMatchFileSnapshot(DOCUMENT);
});
