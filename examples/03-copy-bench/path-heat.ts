/*
 * The map of paths: what each takes against the fastest, by folio size and batch, the path that
 * `auto` takes outlined, and its regret. A table, and the same drawn for a picture.
 */
import { pathMap, pathMaps } from '../../bench/path-map.ts';
import type { PathColumn, PathMap } from '../../bench/path-map.ts';
import type { BenchCell } from '../../bench/types.ts';
import { directionName, shortBytes } from '../../bench/format.ts';
import { byId, byIdAs, el } from '../_shell/dom.ts';
import { digits } from '../_shell/numbers.ts';
import type { Picture } from '../_shell/plot.ts';
import { fineCanvas } from '../_shell/png.ts';
import { writeAddress } from '../_shell/settings.ts';
import { colour } from '../_shell/theme.ts';
import { MAP_FIELDS } from './settings.ts';
import type { MapSettings } from './settings.ts';

/** Bounds of the shades, and how much of the map's colour each has. */
const SHADES = [
  [1.05, 0],
  [1.25, 10],
  [2, 20],
  [4, 32],
  [Number.POSITIVE_INFINITY, 45],
] as const;

export class PathHeat {
  private cells: readonly BenchCell[] = [];
  private map: PathMap = { paths: [], columns: [] };
  private title = '';
  /** What is looked at, as soon as there are cells of it. */
  private wanted: string;

  constructor({ map }: MapSettings) {
    this.wanted = map;
    byId('paths-view').addEventListener('change', () => {
      this.wanted = byIdAs('map', HTMLSelectElement).value;
      writeAddress(MAP_FIELDS, { map: this.wanted });
      this.draw();
    });
    byId('paths-view').addEventListener('submit', (event) => event.preventDefault());
  }

  /** Shows the map of these cells, of the direction that was chosen. */
  update(cells: readonly BenchCell[]): void {
    this.cells = cells;
    const select = byIdAs('map', HTMLSelectElement);
    const maps = pathMaps(cells).map(({ direction, fragments }) => ({
      value: `${direction}/${fragments}`,
      name: `${directionName(direction)}, ${fragments}`,
    }));
    const known = [...select.options].map(({ value }) => value).join();
    if (known !== maps.map(({ value }) => value).join()) {
      select.replaceChildren(...maps.map(({ value, name }) => el('option', { value }, name)));
      if (maps.some(({ value }) => value === this.wanted)) select.value = this.wanted;
    }
    this.draw();
  }

  /** The map as a picture; null without one. */
  picture(): Picture | null {
    if (this.map.columns.length === 0) return null;
    return { title: `Paths: ${this.title}`, canvas: drawMap(this.map), legend: [] };
  }

  private draw(): void {
    const select = byIdAs('map', HTMLSelectElement);
    const [direction = '', fragments = ''] = select.value.split('/');
    this.map = pathMap(this.cells, direction, fragments);
    this.title = select.selectedOptions[0]?.textContent ?? '';
    byId('paths').replaceChildren(table(this.map, this.title));
  }
}

/** "4K × 512" */
function nameOf({ folioBytes, batch }: PathColumn): string {
  return `${shortBytes(folioBytes)} × ${batch}`;
}

function shadeOf(ratio: number): number {
  return SHADES.findIndex(([bound]) => ratio <= bound);
}

function table({ paths, columns }: PathMap, title: string): HTMLTableElement {
  const corner = el('th', { scope: 'col' }, 'Folio × batch');
  const names = columns.map((column) => el('th', { scope: 'col' }, nameOf(column)));
  const rows = paths.map((path, at) =>
    el(
      'tr',
      {},
      el('th', { scope: 'row' }, path),
      ...columns.map((column) => cellOf(column.overBest[at] ?? null, column.chosen === path)),
    ),
  );
  const regrets = columns.map(({ regret }) => {
    if (regret === null) return el('td', {}, '–');
    const ends = regret.ci.map((end) => percent(end)).join(' to ');
    return el('td', { title: `95% interval: ${ends}` }, percent(regret.value));
  });
  const foot = el('tr', { class: 'regret' }, el('th', { scope: 'row' }, 'regret of auto'));
  foot.append(...regrets);
  return el(
    'table',
    { class: 'numbers heat', 'aria-label': `Time over the fastest path: ${title}` },
    el('thead', {}, el('tr', {}, corner, ...names)),
    el('tbody', {}, ...rows),
    el('tfoot', {}, foot),
  );
}

function cellOf(ratio: number | null, isChosen: boolean): HTMLTableCellElement {
  const shade = ratio === null ? undefined : String(shadeOf(ratio));
  const cell = el('td', { 'data-shade': shade, class: isChosen && 'chosen' });
  cell.textContent = ratio === null ? '–' : digits(ratio);
  if (isChosen) cell.append(el('span', { class: 'visually-hidden' }, ' (auto takes this)'));
  return cell;
}

/** 1.05 as "+5 %" */
function percent(ratio: number): string {
  const loss = Math.round((ratio - 1) * 100);
  return `${loss > 0 ? '+' : ''}${loss} %`;
}

const CELL = { width: 76, height: 26 } as const;
const NAMES = 110;

function drawMap(map: PathMap): HTMLCanvasElement {
  const { paths, columns } = map;
  const width = NAMES + columns.length * CELL.width;
  const context = fineCanvas(width + 2, (paths.length + 2) * CELL.height);
  const font = getComputedStyle(document.body).fontFamily;
  context.font = `13px ${font}`;
  context.textBaseline = 'middle';
  const write = (text: string, column: number, row: number): void => {
    context.fillStyle = colour('--text');
    context.textAlign = column < 0 ? 'left' : 'center';
    const x = column < 0 ? 0 : NAMES + (column + 0.5) * CELL.width;
    context.fillText(text, x, (row + 0.5) * CELL.height);
  };
  write('folio × batch', -1, 0);
  columns.forEach((column, i) => write(nameOf(column), i, 0));
  paths.forEach((path, at) => {
    write(path, -1, at + 1);
    columns.forEach((column, i) => {
      const ratio = column.overBest[at] ?? null;
      const place = [NAMES + i * CELL.width, (at + 1) * CELL.height] as const;
      if (ratio !== null) fillShade(context, shadeOf(ratio), ...place);
      write(ratio === null ? '–' : digits(ratio), i, at + 1);
      if (column.chosen !== path) return;
      context.strokeStyle = colour('--accent');
      context.lineWidth = 2;
      context.strokeRect(place[0] + 2, place[1] + 2, CELL.width - 4, CELL.height - 4);
    });
  });
  write('regret of auto', -1, paths.length + 1);
  columns.forEach(({ regret }, i) => {
    write(regret === null ? '–' : percent(regret.value), i, paths.length + 1);
  });
  return context.canvas;
}

function fillShade(context: CanvasRenderingContext2D, shade: number, x: number, y: number): void {
  context.save();
  context.fillStyle = colour(shade === 0 ? '--good-bg' : '--series-2');
  context.globalAlpha = shade === 0 ? 1 : (SHADES[shade]?.[1] ?? 0) / 100;
  context.fillRect(x + 1, y + 1, CELL.width - 2, CELL.height - 2);
  context.restore();
}
