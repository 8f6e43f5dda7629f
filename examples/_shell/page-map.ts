/*
 * Where the pages of a range are: one cell a page, coloured and lettered by kind, with a legend
 * that counts them and a table that says the same in words.
 *
 * The canvas is one control: arrow keys move a cursor over the pages and its value names the page
 * and its kind, so that it can be read without seeing it. With onActivate, Enter or a click acts
 * on the page under the cursor. Pages that the last update changed are framed.
 */
import { PAGE_DEVICE, PAGE_MIGRATING, PAGE_NONE, PAGE_RAM, PAGE_ZERO } from '../../src/index.ts';
import { el, onWidth } from './dom.ts';
import { formatCount, plural } from './numbers.ts';
import { colour, onThemeChange } from './theme.ts';

interface Kind {
  readonly code: number;
  readonly name: string;
  /** In the cell, where it is large enough. */
  readonly letter: string;
  readonly token: string;
}

const KINDS: readonly Kind[] = [
  { code: PAGE_NONE, name: 'none', letter: '', token: 'none' },
  { code: PAGE_ZERO, name: 'zero page', letter: '0', token: 'zero' },
  { code: PAGE_RAM, name: 'RAM', letter: 'R', token: 'ram' },
  { code: PAGE_MIGRATING, name: 'migrating', letter: 'M', token: 'migrating' },
  { code: PAGE_DEVICE, name: 'device 0', letter: 'D0', token: 'device0' },
  { code: PAGE_DEVICE + 1, name: 'device 1', letter: 'D1', token: 'device1' },
];
/** No kind of page, but a mark on any. */
const CHANGED: Kind = { code: -2, name: 'changed last', letter: '', token: 'changed' };
const UNKNOWN: Kind = { code: -1, name: 'another device', letter: '?', token: 'none' };

/** Cells from this size on have letters. */
const LETTER_PX = 17;
const STRIP_PX = 7;
/** Pages that a strip draws; its words count all. */
const STRIP_PAGES = 64;
const MAX_CELL_PX = 34;
const MIN_CELL_PX = 7;
/** Cells that a line holds at most: 64 pages are 256 KiB. */
const MAX_COLUMNS = 64;
const TABLE_ROWS = 200;

export interface PageMapOptions {
  /** What is mapped, for people: "the range of this page". */
  readonly label: string;
  /** Devices that the legend names; both by default. */
  readonly devices?: number;
  /** Small, with a few words instead of legend, table and keyboard: for one line of a list. */
  readonly isStrip?: boolean;
  readonly onActivate?: (page: number) => void;
}

export class PageMap {
  readonly element: HTMLElement;
  private readonly canvas = el('canvas');
  /** What a strip says in words. */
  private readonly words = el('span', { class: 'muted' });
  private readonly legend = el('ul', { class: 'legend' });
  private readonly table = el('table', { class: 'numbers' });
  private readonly options: PageMapOptions;
  private codes = new Uint8Array(0);
  private changed = new Uint8Array(0);
  private cursor = 0;
  private columns = 1;
  private cellPx = MAX_CELL_PX;

  constructor(options: PageMapOptions) {
    this.options = options;
    this.element = el('div', { class: options.isStrip ? 'page-map strip' : 'page-map' });
    this.element.append(this.canvas);
    if (options.isStrip) {
      this.canvas.setAttribute('aria-hidden', 'true');
      this.element.append(this.words);
    } else {
      this.addControls();
    }
    onThemeChange(this.element, () => this.draw());
    onWidth(this.element, () => this.draw());
  }

  /** Shows PAGE_* codes, one a page. */
  update(codes: Uint8Array): void {
    const before = this.codes;
    const hasBefore = before.length === codes.length;
    this.codes = Uint8Array.from(codes);
    this.changed = this.codes.map((code, page) => (hasBefore && code !== before[page] ? 1 : 0));
    this.cursor = Math.min(this.cursor, Math.max(codes.length - 1, 0));
    this.draw();
    this.describe();
  }

  private addControls(): void {
    const { canvas } = this;
    canvas.tabIndex = 0;
    canvas.setAttribute('role', 'slider');
    canvas.setAttribute('aria-label', `Page of ${this.options.label}`);
    canvas.addEventListener('keydown', (event) => this.onKey(event));
    canvas.addEventListener('click', (event) => this.onClick(event));
    canvas.addEventListener('focus', () => this.draw());
    canvas.addEventListener('blur', () => this.draw());
    const summary = el('summary', {}, 'The same as a table');
    const details = el('details', {}, summary, el('div', { class: 'scroll' }, this.table));
    details.addEventListener('toggle', () => this.describe());
    this.element.append(this.legend, details);
  }

  private onKey(event: KeyboardEvent): void {
    const last = this.codes.length - 1;
    const moves: Readonly<Record<string, number>> = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: this.columns,
      ArrowUp: -this.columns,
      Home: -last,
      End: last,
    };
    const move = moves[event.key];
    if (move !== undefined) {
      this.cursor = Math.min(Math.max(this.cursor + move, 0), last);
      this.draw();
      this.describe();
    } else if (event.key === 'Enter' || event.key === ' ') {
      this.options.onActivate?.(this.cursor);
    } else {
      return;
    }
    event.preventDefault();
  }

  private onClick(event: MouseEvent): void {
    const column = Math.floor(event.offsetX / this.cellPx);
    const page = Math.floor(event.offsetY / this.cellPx) * this.columns + column;
    if (column >= this.columns || page >= this.codes.length) return;
    this.cursor = page;
    this.draw();
    this.describe();
    this.options.onActivate?.(page);
  }

  /** The words: legend, table, and what a screen reader says about the cursor. */
  private describe(): void {
    const { codes, canvas } = this;
    const counts = countKinds(codes);
    const words = [...counts].map(([kind, count]) => `${formatCount(count)} ${kind.name}`);
    if (this.options.isStrip) {
      const cut = codes.length > STRIP_PAGES ? '… ' : '';
      this.words.textContent = `${cut}${words.join(', ')}`;
      return;
    }
    const code = codes[this.cursor];
    canvas.setAttribute('aria-valuemin', '0');
    canvas.setAttribute('aria-valuemax', String(Math.max(codes.length - 1, 0)));
    canvas.setAttribute('aria-valuenow', String(this.cursor));
    const where = code === undefined ? 'no pages' : kindOf(code).name;
    canvas.setAttribute('aria-valuetext', `page ${this.cursor}, ${where}`);
    const frames = this.changed.reduce((sum, one) => sum + one, 0);
    const { devices = 2 } = this.options;
    const kinds = KINDS.filter(({ code }) => code < PAGE_DEVICE + devices);
    this.legend.replaceChildren(
      ...kinds.map((kind) => legendItem(kind, counts.get(kind) ?? 0)),
      legendItem(CHANGED, frames),
    );
    if (this.table.closest('details')?.open) this.fillTable();
  }

  private fillTable(): void {
    const runs = findRuns(this.codes);
    const head = el('tr', {}, ...['Pages', 'Count', 'Where'].map((name) => el('th', {}, name)));
    const rows = runs.slice(0, TABLE_ROWS).map(({ first, count, kind }) => {
      const range = count === 1 ? String(first) : `${first}–${first + count - 1}`;
      return el(
        'tr',
        {},
        ...[range, formatCount(count), kind.name].map((text) => el('td', {}, text)),
      );
    });
    const left = runs.length - rows.length;
    if (left > 0)
      rows.push(el('tr', {}, el('td', { colspan: 3 }, `and ${plural(left, 'more run')}`)));
    this.table.replaceChildren(el('thead', {}, head), el('tbody', {}, ...rows));
  }

  private draw(): void {
    const { canvas, element } = this;
    const codes = this.options.isStrip ? this.codes.subarray(0, STRIP_PAGES) : this.codes;
    const width = element.clientWidth;
    if (width === 0) return;
    this.chooseLayout(width);
    const { columns, cellPx } = this;
    const rows = Math.max(Math.ceil(codes.length / columns), 1);
    const ratio = devicePixelRatio;
    canvas.style.width = `${columns * cellPx}px`;
    canvas.style.height = `${rows * cellPx}px`;
    canvas.width = Math.round(columns * cellPx * ratio);
    canvas.height = Math.round(rows * cellPx * ratio);
    const context = canvas.getContext('2d');
    if (context === null) return;
    context.scale(ratio, ratio);
    const painter = new CellPainter(context, cellPx);
    codes.forEach((code, page) => {
      const x = (page % columns) * cellPx;
      const y = Math.floor(page / columns) * cellPx;
      painter.paint(kindOf(code), x, y, this.changed[page] === 1);
      if (page === this.cursor && document.activeElement === canvas) painter.mark(x, y);
    });
  }

  /** Largest cells that show all pages in a power of two of columns and not too many lines. */
  private chooseLayout(width: number): void {
    const { isStrip = false } = this.options;
    const pages = Math.max(Math.min(this.codes.length, isStrip ? STRIP_PAGES : Infinity), 1);
    const widest = Math.min(MAX_COLUMNS, 2 ** Math.ceil(Math.log2(pages)));
    const tallest = isStrip ? 1 : 16;
    let columns = widest;
    while (columns > 8 && width / columns < MIN_CELL_PX) columns /= 2;
    while (columns > 8 && width / columns < LETTER_PX && pages / (columns / 2) <= tallest)
      columns /= 2;
    this.columns = columns;
    const largest = isStrip ? STRIP_PX : MAX_CELL_PX;
    this.cellPx = Math.min(Math.floor(width / columns), largest);
  }
}

/** Draws cells of one size with the theme's colours. */
class CellPainter {
  private readonly context: CanvasRenderingContext2D;
  private readonly size: number;
  private readonly gap: number;
  private readonly fills = new Map<string, string>();

  constructor(context: CanvasRenderingContext2D, size: number) {
    this.context = context;
    this.size = size;
    this.gap = size >= 10 ? 2 : 1;
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    context.font = `600 ${Math.round(size * 0.42)}px ${getComputedStyle(document.body).fontFamily}`;
  }

  paint(kind: Kind, x: number, y: number, isChanged: boolean): void {
    const { context, gap } = this;
    const side = this.size - gap;
    context.fillStyle = this.token(`--map-${kind.token}`);
    context.fillRect(x, y, side, side);
    if (kind.token === 'none') {
      context.strokeStyle = this.token('--map-none-line');
      context.lineWidth = 1;
      context.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
    }
    if (this.size >= LETTER_PX && kind.letter !== '') {
      context.fillStyle = this.token(`--map-${kind.token}-text`);
      context.fillText(kind.letter, x + side / 2, y + side / 2 + 1);
    }
    if (isChanged && side >= 6) {
      context.strokeStyle = this.token('--text');
      context.lineWidth = 1.5;
      context.strokeRect(x + 0.75, y + 0.75, side - 1.5, side - 1.5);
    }
  }

  mark(x: number, y: number): void {
    const side = this.size - this.gap;
    this.context.strokeStyle = this.token('--focus');
    this.context.lineWidth = 3;
    this.context.strokeRect(x + 1.5, y + 1.5, side - 3, side - 3);
  }

  private token(name: string): string {
    const known = this.fills.get(name) ?? colour(name);
    this.fills.set(name, known);
    return known;
  }
}

function kindOf(code: number): Kind {
  return KINDS.find((kind) => kind.code === code) ?? UNKNOWN;
}

function countKinds(codes: Uint8Array): Map<Kind, number> {
  const counts = new Map<Kind, number>();
  for (const code of codes) counts.set(kindOf(code), (counts.get(kindOf(code)) ?? 0) + 1);
  return counts;
}

function legendItem(kind: Kind, count: number): HTMLLIElement {
  const swatch = el('span', { class: `swatch ${kind.token}`, 'aria-hidden': 'true' }, kind.letter);
  const number = el('b', {}, formatCount(count));
  const item = el(
    'li',
    { 'data-kind': kind.token, 'data-count': count },
    swatch,
    kind.name,
    number,
  );
  item.classList.toggle('absent', count === 0);
  return item;
}

interface Run {
  readonly first: number;
  readonly count: number;
  readonly kind: Kind;
}

function findRuns(codes: Uint8Array): Run[] {
  const runs: Run[] = [];
  let first = 0;
  for (let page = 1; page <= codes.length; page++) {
    if (page < codes.length && codes[page] === codes[first]) continue;
    runs.push({ first, count: page - first, kind: kindOf(codes[first] ?? PAGE_NONE) });
    first = page;
  }
  return runs;
}
