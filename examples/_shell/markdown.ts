/*
 * Markdown to elements, as much of it as the project's documents use: headings, paragraphs, lists,
 * tables, fenced code, and inline code, links and emphasis. Text never passes through HTML.
 */
import { el } from './dom.ts';

/** Where a link leads on this site; null shows its text alone. */
type LinkResolver = (target: string) => string | null;

const INLINE = /`([^`]+)`|\*\*(.+?)\*\*|\[([^\]]+)\]\(([^)\s]+)\)|\*([^*\s][^*]*)\*/g;
const ITEM = /^(\s*)(?:[-*]|\d+\.)\s+(.*)$/;

/** Renders `text` as a list of block elements. */
export function renderMarkdown(text: string, resolve: LinkResolver): HTMLElement[] {
  const lines = text.split('\n');
  const blocks: HTMLElement[] = [];
  let at = 0;
  while (at < lines.length) {
    const [block, next] = readBlock(lines, at, resolve);
    if (block !== null) blocks.push(block);
    at = next;
  }
  return blocks;
}

/** The block that begins at line `at`, and the line after it. */
function readBlock(
  lines: readonly string[],
  at: number,
  resolve: LinkResolver,
): [HTMLElement | null, number] {
  const line = lines[at] ?? '';
  if (line.trim() === '') return [null, at + 1];
  if (line.startsWith('```')) {
    const end = lines.findIndex((other, i) => i > at && other.startsWith('```'));
    const stop = end === -1 ? lines.length : end;
    const code = lines.slice(at + 1, stop).join('\n');
    return [el('pre', { tabindex: 0 }, el('code', {}, code)), stop + 1];
  }
  const heading = /^(#{1,3})\s+(.*)$/.exec(line);
  if (heading !== null) {
    const level = ['h1', 'h2', 'h3'] as const;
    const tag = level[(heading[1]?.length ?? 1) - 1] ?? 'h3';
    return [el(tag, {}, ...inline(heading[2] ?? '', resolve)), at + 1];
  }
  if (line.startsWith('|')) return readTable(lines, at, resolve);
  if (ITEM.test(line)) return readList(lines, at, resolve);
  const stop = endOfParagraph(lines, at);
  return [el('p', {}, ...inline(lines.slice(at, stop).join(' '), resolve)), stop];
}

function endOfParagraph(lines: readonly string[], at: number): number {
  let stop = at + 1;
  while (stop < lines.length && !/^\s*$|^```|^#{1,3}\s|^\|/.test(lines[stop] ?? '')) {
    if (ITEM.test(lines[stop] ?? '')) break;
    stop++;
  }
  return stop;
}

function readTable(
  lines: readonly string[],
  at: number,
  resolve: LinkResolver,
): [HTMLElement, number] {
  let stop = at;
  while (lines[stop]?.startsWith('|')) stop++;
  const rows = lines.slice(at, stop).map(splitCells);
  const isRule = (cells: readonly string[]): boolean =>
    cells.every((cell) => /^:?-+:?$/.test(cell));
  const hasHead = rows[1] !== undefined && isRule(rows[1]);
  const head = hasHead ? (rows[0] ?? []) : [];
  const body = rows.slice(hasHead ? 2 : 0);
  const table = el('table');
  if (head.some((cell) => cell !== '')) {
    const cells = head.map((cell) => el('th', {}, ...inline(cell, resolve)));
    table.append(el('thead', {}, el('tr', {}, ...cells)));
  }
  const lineOf = (cells: readonly string[]): HTMLElement =>
    el('tr', {}, ...cells.map((cell) => el('td', {}, ...inline(cell, resolve))));
  table.append(el('tbody', {}, ...body.map(lineOf)));
  return [el('div', { class: 'scroll', tabindex: 0 }, table), stop];
}

/** Splits at bars that are neither escaped nor inside code. */
function splitCells(line: string): string[] {
  const cells = line.match(/(?:\\\||`[^`]*`|[^|`])+/g) ?? [];
  return cells
    .map((cell) => cell.trim().replaceAll('\\|', '|'))
    .filter((_, i, all) => {
      // The spaces after the last bar are no cell.
      return i < all.length - 1 || all[i] !== '';
    });
}

function readList(
  lines: readonly string[],
  at: number,
  resolve: LinkResolver,
): [HTMLElement, number] {
  const isNumbered = /^\s*\d/.test(lines[at] ?? '');
  const items: string[] = [];
  let stop = at;
  for (; stop < lines.length; stop++) {
    const line = lines[stop] ?? '';
    const item = ITEM.exec(line);
    if (item !== null) items.push(item[2] ?? '');
    else if (/^\s+\S/.test(line)) items.push(`${items.pop() ?? ''} ${line.trim()}`);
    else break;
  }
  const children = items.map((item) => el('li', {}, ...inline(item, resolve)));
  return [el(isNumbered ? 'ol' : 'ul', {}, ...children), stop];
}

function inline(text: string, resolve: LinkResolver): (Node | string)[] {
  const parts: (Node | string)[] = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, code, strong, label, target, emphasis] = match;
    parts.push(text.slice(from, match.index));
    if (code !== undefined) parts.push(el('code', {}, code));
    else if (strong !== undefined) parts.push(el('b', {}, ...inline(strong, resolve)));
    else if (emphasis !== undefined) parts.push(el('em', {}, ...inline(emphasis, resolve)));
    else parts.push(link(label ?? '', target ?? '', resolve));
    from = match.index + whole.length;
  }
  parts.push(text.slice(from));
  return parts.filter((part) => part !== '');
}

function link(label: string, target: string, resolve: LinkResolver): HTMLElement {
  const href = resolve(target);
  const children = inline(label, resolve);
  return href === null ? el('span', {}, ...children) : el('a', { href }, ...children);
}
