/*
 * A published table, and ours below it in the same columns, with the source.
 */
import { presetValue } from '../../bench/presets.ts';
import type { PresetRow, PresetTable } from '../../bench/types.ts';
import { el, row } from '../_shell/dom.ts';

/** The table and its words. */
export function presetTables(preset: PresetTable): HTMLElement[] {
  const { title, source, notes, unit, columns, published, measured } = preset;
  const names = [unit === 'us' ? 'µs' : unit, ...columns];
  const head = el('tr', {}, ...names.map((name) => el('th', { scope: 'col' }, name)));
  const table = el('table', { class: 'numbers' }, el('thead', {}, head));
  if (published.length > 0) table.append(group('published', 'Published', published, names.length));
  table.append(group('here', 'Here', measured, names.length));
  const place = { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': title };
  return [
    el('h3', {}, title),
    el('p', { class: 'muted' }, source),
    el('ul', { class: 'muted notes' }, ...notes.map((note) => el('li', {}, note))),
    el('div', place, table),
  ];
}

function group(
  who: string,
  name: string,
  rows: readonly PresetRow[],
  columns: number,
): HTMLTableSectionElement {
  const head = el('tr', {}, el('th', { scope: 'rowgroup', colspan: columns }, name));
  const lines = rows.map((one) => {
    const text = (value: number | null): string => (value === null ? '–' : presetValue(one, value));
    return row(one.label, ...one.values.map(text));
  });
  return el('tbody', { 'data-who': who }, head, ...lines);
}
