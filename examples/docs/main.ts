/*
 * Reads one document of docs/, named by the address's hash: "#architecture".
 */
import { findDocument, listDocuments } from '../_shell/documents.ts';
import { byId, el } from '../_shell/dom.ts';
import { renderMarkdown } from '../_shell/markdown.ts';
import { runPage } from '../_shell/page.ts';

/** "deviations.md#x" and "../docs/deviations.md" lead to documents of this page; code does not. */
function resolveLink(target: string): string | null {
  if (/^https?:/.test(target)) return target;
  const name = /([\w-]+)\.md(?:#.*)?$/.exec(target)?.[1];
  return name === undefined || findDocument(name) === undefined ? null : `#${name.toLowerCase()}`;
}

async function show(): Promise<void> {
  const wanted = location.hash.slice(1);
  const found = findDocument(wanted) ?? listDocuments()[0];
  if (found === undefined) return;
  const items = listDocuments().map(({ name, title }) => {
    const current = name === found.name ? 'page' : undefined;
    return el('li', {}, el('a', { href: `#${name}`, 'aria-current': current }, title));
  });
  byId('list').replaceChildren(...items);
  byId('text').replaceChildren(...renderMarkdown(await found.load(), resolveLink));
  document.title = `${found.title} · WebHMM`;
}

await runPage(async (page) => {
  await show();
  page.result('ok');
  addEventListener('hashchange', () => {
    void show().then(() => {
      byId('text').focus();
      scrollTo(0, 0);
    });
  });
});
