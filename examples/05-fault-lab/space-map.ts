/*
 * The address space, live: a tile per 2 MiB block, a cell per page, with a legend that counts them.
 *
 * The canvas is one control, as the page map of other pages is: arrow keys move a cursor over the
 * pages, and its value says in words where the page is.
 */
import { el, onWidth } from '../_shell/dom.ts';
import { formatCount } from '../_shell/numbers.ts';
import { colour, onThemeChange } from '../_shell/theme.ts';
import {
  MAP_AHEAD,
  MAP_BATCH,
  MAP_BOTH,
  MAP_DEVICE,
  MAP_OUTSIDE,
  MAP_RAM,
  MAP_REMOTE,
} from './lab-run.ts';

/**
 * Kinds of pages: code, name, colour token, and that of a dot in the cell. By lightness and dot
 * they can be told apart without their hue.
 */
const KINDS: readonly (readonly [code: number, name: string, token: string, dot?: string])[] = [
  [MAP_RAM, 'RAM', '--space-ram'],
  [MAP_DEVICE, 'device', '--space-device'],
  [MAP_AHEAD, 'prefetched, unused', '--space-ahead', '--space-device'],
  [MAP_REMOTE, 'remote: used over the link', '--space-remote', '--space-dot'],
  [MAP_BOTH, 'both, for reading', '--space-both'],
  [MAP_BATCH, 'in the last batch', '--space-batch'],
];

/** Pages of a block, as columns and rows of its tile. */
const COLUMNS = 32;
const ROWS = 16;
const BLOCK_PAGES = COLUMNS * ROWS;
const GAP_PX = 4;
const MAX_CELL_PX = 8;
const TALLEST_PX = 300;
/** Cells that have room for a dot. */
const DOT_CELL_PX = 4;
/** Blocks that are drawn: 1 GiB. The legend counts all. */
const MAX_BLOCKS = 512;

export class SpaceMap {
  readonly element: HTMLElement;
  private readonly canvas = el('canvas');
  private readonly legend = el('ul', { class: 'legend' });
  private readonly words = el('p', { class: 'muted small' });
  /** A pixel per page, block beside block: drawn once, and from there scaled into place. */
  private readonly pixels = document.createElement('canvas');
  private readonly label: string;
  private map: Readonly<Uint8Array> = new Uint8Array(0);
  private cursor = 0;
  private cellPx = 1;
  private perRow = 1;

  constructor(label: string) {
    this.label = label;
    const { canvas } = this;
    canvas.tabIndex = 0;
    canvas.setAttribute('role', 'slider');
    canvas.setAttribute('aria-label', `Page of ${label}`);
    canvas.addEventListener('keydown', (event) => this.onKey(event));
    canvas.addEventListener('click', (event) => this.onClick(event));
    for (const name of ['focus', 'blur']) canvas.addEventListener(name, () => this.draw());
    this.element = el('div', { class: 'page-map' }, canvas, this.words, this.legend);
    onThemeChange(this.element, () => this.update(this.map));
    onWidth(this.element, () => this.draw());
  }

  /** Shows MAP_ codes, one a page. */
  update(map: Readonly<Uint8Array>): void {
    this.map = map;
    this.cursor = Math.min(this.cursor, Math.max(map.length - 1, 0));
    this.paint();
    this.draw();
    this.describe();
  }

  private get blocks(): number {
    return Math.min(Math.ceil(this.map.length / BLOCK_PAGES), MAX_BLOCKS);
  }

  private paint(): void {
    const { pixels, map, blocks } = this;
    pixels.width = Math.max(1, blocks * COLUMNS);
    pixels.height = ROWS;
    const context = pixels.getContext('2d');
    if (context === null || blocks === 0) return;
    const image = context.createImageData(pixels.width, ROWS);
    const words = new Uint32Array(image.data.buffer);
    const fills = new Uint32Array(16);
    for (const [code, , token] of KINDS) fills[code] = pixelOf(colour(token));
    const count = Math.min(map.length, blocks * BLOCK_PAGES);
    for (let page = 0; page < count; page++) {
      const block = Math.floor(page / BLOCK_PAGES);
      const row = Math.floor((page % BLOCK_PAGES) / COLUMNS);
      words[row * pixels.width + block * COLUMNS + (page % COLUMNS)] = fills[map[page]!]!;
    }
    context.putImageData(image, 0, 0);
  }

  private draw(): void {
    const { canvas, pixels, blocks } = this;
    const width = this.element.clientWidth;
    canvas.hidden = blocks === 0;
    if (width === 0 || blocks === 0) return;
    this.chooseLayout(width);
    const { cellPx, perRow } = this;
    const rows = Math.ceil(blocks / perRow);
    const ratio = devicePixelRatio;
    const size = [
      Math.min(perRow, blocks) * (COLUMNS * cellPx + GAP_PX) - GAP_PX,
      rows * (ROWS * cellPx + GAP_PX) - GAP_PX,
    ] as const;
    [canvas.style.width, canvas.style.height] = [`${size[0]}px`, `${size[1]}px`];
    [canvas.width, canvas.height] = [size[0] * ratio, size[1] * ratio];
    const context = canvas.getContext('2d');
    if (context === null) return;
    context.scale(ratio, ratio);
    context.imageSmoothingEnabled = false;
    for (let block = 0; block < blocks; block++) {
      const [x, y] = this.placeOf(block * BLOCK_PAGES);
      const [w, h] = [COLUMNS * cellPx, ROWS * cellPx];
      context.strokeStyle = colour('--map-none-line');
      context.strokeRect(x + 0.5, y + 0.5, w - 1, h - 1);
      context.drawImage(pixels, block * COLUMNS, 0, COLUMNS, ROWS, x, y, w, h);
    }
    if (cellPx >= DOT_CELL_PX) this.drawDots(context);
    if (document.activeElement === canvas) this.drawCursor(context);
  }

  private drawDots(context: CanvasRenderingContext2D): void {
    const { map, cellPx, blocks } = this;
    const side = Math.max(2, Math.floor(cellPx / 3));
    const inset = (cellPx - side) / 2;
    const dots = KINDS.flatMap(([code, , , dot]) => {
      return dot === undefined ? [] : [[code, colour(dot)] as const];
    });
    const count = Math.min(map.length, blocks * BLOCK_PAGES);
    for (const [code, fill] of dots) {
      context.fillStyle = fill;
      for (let page = map.indexOf(code); page >= 0 && page < count;) {
        const [x, y] = this.placeOf(page);
        context.fillRect(x + inset, y + inset, side, side);
        page = map.indexOf(code, page + 1);
      }
    }
  }

  private drawCursor(context: CanvasRenderingContext2D): void {
    const [x, y] = this.placeOf(this.cursor);
    const side = Math.max(this.cellPx, 4);
    context.strokeStyle = colour('--focus');
    context.lineWidth = 2;
    context.strokeRect(x - 1, y - 1, side + 2, side + 2);
  }

  /** Where a page's cell begins. */
  private placeOf(page: number): [x: number, y: number] {
    const { cellPx, perRow } = this;
    const block = Math.floor(page / BLOCK_PAGES);
    const row = Math.floor((page % BLOCK_PAGES) / COLUMNS);
    return [
      (block % perRow) * (COLUMNS * cellPx + GAP_PX) + (page % COLUMNS) * cellPx,
      Math.floor(block / perRow) * (ROWS * cellPx + GAP_PX) + row * cellPx,
    ];
  }

  /** The largest cells with which all blocks fit into the width and are not too tall. */
  private chooseLayout(width: number): void {
    for (let cell = MAX_CELL_PX; cell >= 1; cell--) {
      this.cellPx = cell;
      this.perRow = Math.max(1, Math.floor((width + GAP_PX) / (COLUMNS * cell + GAP_PX)));
      const rows = Math.ceil(this.blocks / this.perRow);
      const fits = COLUMNS * cell <= width && rows * (ROWS * cell + GAP_PX) <= TALLEST_PX;
      if (fits) return;
    }
  }

  private onKey(event: KeyboardEvent): void {
    const last = this.map.length - 1;
    const moves: Readonly<Record<string, number>> = {
      ArrowRight: 1,
      ArrowLeft: -1,
      ArrowDown: COLUMNS,
      ArrowUp: -COLUMNS,
      PageDown: BLOCK_PAGES,
      PageUp: -BLOCK_PAGES,
      Home: -last,
      End: last,
    };
    const move = moves[event.key];
    if (move === undefined || last < 0) return;
    event.preventDefault();
    this.moveTo(Math.min(Math.max(this.cursor + move, 0), last));
  }

  private onClick({ offsetX, offsetY }: MouseEvent): void {
    const { cellPx, perRow } = this;
    const [tileX, tileY] = [COLUMNS * cellPx + GAP_PX, ROWS * cellPx + GAP_PX];
    const block = Math.floor(offsetY / tileY) * perRow + Math.floor(offsetX / tileX);
    const column = Math.floor((offsetX % tileX) / cellPx);
    const row = Math.floor((offsetY % tileY) / cellPx);
    const page = block * BLOCK_PAGES + row * COLUMNS + column;
    if (column < COLUMNS && row < ROWS && page < this.map.length) this.moveTo(page);
  }

  private moveTo(page: number): void {
    this.cursor = page;
    this.draw();
    this.describe();
  }

  private describe(): void {
    const { map, canvas, cursor } = this;
    const counts = new Uint32Array(16);
    for (const code of map) counts[code]!++;
    const items = KINDS.map(([code, name, token, dot = token]) => {
      const swatch = el('span', { class: 'swatch cell', 'aria-hidden': 'true' });
      const middle = `var(${dot}) 0 4px, transparent 4px`;
      swatch.style.background = `radial-gradient(${middle}), var(${token})`;
      const attributes = { 'data-kind': code, 'data-count': counts[code] };
      const item = el('li', attributes, swatch, name, el('b', {}, formatCount(counts[code]!)));
      item.classList.toggle('absent', counts[code] === 0);
      return item;
    });
    this.legend.replaceChildren(...items);
    const code = map[cursor] ?? MAP_OUTSIDE;
    const where = KINDS.find(([kind]) => kind === code)?.[1] ?? 'in no region';
    const block = Math.floor(cursor / BLOCK_PAGES);
    const text = `page ${formatCount(cursor)} (block ${block}): ${where}`;
    canvas.setAttribute('aria-valuemin', '0');
    canvas.setAttribute('aria-valuemax', String(Math.max(map.length - 1, 0)));
    canvas.setAttribute('aria-valuenow', String(cursor));
    canvas.setAttribute('aria-valuetext', text);
    const rest = Math.ceil(map.length / BLOCK_PAGES) - MAX_BLOCKS;
    const cut = rest > 0 ? `; ${formatCount(rest)} more blocks are not drawn` : '';
    this.words.textContent = map.length === 0 ? `No run of ${this.label} yet.` : `${text}${cut}`;
  }
}

/** "#4a6f98" as a pixel of an ImageData on a little-endian machine: ABGR. */
function pixelOf(hex: string): number {
  const rgb = Number.parseInt(hex.slice(1), 16);
  const [red, green, blue] = [(rgb >>> 16) & 255, (rgb >>> 8) & 255, rgb & 255];
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
