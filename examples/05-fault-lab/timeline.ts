/*
 * The latest faults' lives, a line each, from the moment they were raised to their replay: what
 * they waited for, one colour a stage, and the same as a table.
 */
import { STAGES } from '../../src/index.ts';
import type { FaultLife, Stage } from '../../src/index.ts';
import { linearTicks } from '../_shell/axis.ts';
import { el, onWidth } from '../_shell/dom.ts';
import { STAGE_WORDS } from '../_shell/fault-words.ts';
import { hatchedBackground, hatchedFill } from '../_shell/hatch.ts';
import { digits, formatMs } from '../_shell/numbers.ts';
import { colour, onThemeChange } from '../_shell/theme.ts';

const HEIGHT_PX = 196;
/** Below the lines: times. */
const AXIS_PX = 18;
/** Between two numbers of the axis, at least. */
const TICK_PX = 90;
const LINE_PX = [2, 10] as const;
const ACCESS = ['prefetch', 'read', 'write', 'atomic', 'strong atomic', 'counter'];

type EndStage = Exclude<Stage, 'raised'>;

/** Stages that end a wait, in order. */
export const END_STAGES = STAGES.filter((stage): stage is EndStage => stage !== 'raised');

/** Their colours; waiting in the ring is no work of anybody, and grey. */
const TOKENS = END_STAGES.map((_, i) => (i === 0 ? '--line-strong' : `--series-${i}`));

export class Timeline {
  readonly element: HTMLElement;
  private readonly canvas = el('canvas', { role: 'img' });
  private readonly words = el('p', { class: 'muted small' });
  private readonly table = el('table', { class: 'numbers' });
  private lives: readonly FaultLife[] = [];

  constructor() {
    const summary = el('summary', {}, 'The same as a table');
    const box = el('div', { class: 'scroll tall' }, this.table);
    const details = el('details', {}, summary, box);
    details.addEventListener('toggle', () => this.fillTable());
    this.element = el('div', { class: 'timeline' }, this.canvas, this.words, legend(), details);
    onThemeChange(this.element, () => this.draw());
    onWidth(this.element, () => this.draw());
  }

  /** Shows these lives, oldest first. */
  update(lives: readonly FaultLife[]): void {
    this.lives = lives;
    this.draw();
    this.fillTable();
    const [from, to] = this.span();
    const text =
      lives.length === 0
        ? 'No fault yet.'
        : `The latest ${lives.length} faults, a line each, the oldest on top: ` +
          `${formatMs((to - from) / 1000)} of virtual time, from ${formatMs(from / 1000)} on.`;
    this.words.textContent = text;
    this.canvas.setAttribute('aria-label', text);
  }

  private span(): [from: number, to: number] {
    const from = Math.min(...this.lives.map(({ times }) => times[0]!));
    const to = Math.max(...this.lives.map(({ times }) => times.at(-1)!));
    return [from, Math.max(to, from + 1e-9)];
  }

  private draw(): void {
    const { canvas, lives } = this;
    const width = this.element.clientWidth;
    canvas.hidden = lives.length === 0;
    if (width === 0 || canvas.hidden) return;
    const ratio = devicePixelRatio;
    const height = HEIGHT_PX + AXIS_PX;
    [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
    [canvas.width, canvas.height] = [width * ratio, height * ratio];
    const context = canvas.getContext('2d');
    if (context === null) return;
    context.scale(ratio, ratio);
    const line = Math.min(Math.max(Math.floor(HEIGHT_PX / lives.length), LINE_PX[0]), LINE_PX[1]);
    const shown = lives.slice(-Math.floor(HEIGHT_PX / line));
    const empty = colour('--sunken');
    const fills = TOKENS.map((token, i) => hatchedFill(context, i, colour(token), empty));
    const [from, to] = this.span();
    const scale = width / (to - from);
    this.drawAxis(context, width);
    shown.forEach(({ times }, i) => {
      for (let stage = 1; stage < STAGES.length; stage++) {
        const [x, end] = [(times[stage - 1]! - from) * scale, (times[stage]! - from) * scale];
        if (end <= x) continue;
        context.fillStyle = fills[stage - 1]!;
        context.fillRect(x, i * line, Math.max(end - x, 0.5), line - (line > 3 ? 1 : 0));
      }
    });
  }

  /** Times, as far apart as their words need. */
  private drawAxis(context: CanvasRenderingContext2D, width: number): void {
    const [from, to] = this.span();
    const { fontFamily } = getComputedStyle(document.body);
    context.font = `12px ${fontFamily}`;
    context.textBaseline = 'bottom';
    const ticks = linearTicks(from, to, Math.max(1, Math.floor(width / TICK_PX)));
    for (const us of ticks) {
      const x = ((us - from) / (to - from)) * width;
      context.fillStyle = colour('--grid');
      context.fillRect(x, 0, 1, HEIGHT_PX + 4);
      context.fillStyle = colour('--muted');
      const words = `${Number((us / 1000).toPrecision(6))} ms`;
      const half = context.measureText(words).width / 2;
      const middle = Math.min(Math.max(x, half), width - half);
      context.fillText(words, middle - half, HEIGHT_PX + AXIS_PX);
    }
  }

  private fillTable(): void {
    if (this.table.closest('details')?.open !== true) return;
    const names = ['Page', 'Access', 'Batch', 'Outcome', 'Raised, ms', ...END_STAGES];
    const head = el('tr', {}, ...names.map((name) => el('th', { scope: 'col' }, name)));
    const rows = this.lives.toReversed().map(({ page, access, batch, outcome, times }) => {
      const waits = times.slice(1).map((us, i) => {
        const wait = us - times[i]!;
        return wait > 0 ? `+${digits(wait)} µs` : '';
      });
      const cells = [ACCESS[access] ?? '', String(batch), outcome, (times[0]! / 1000).toFixed(3)];
      return el('tr', {}, ...[String(page), ...cells, ...waits].map((text) => el('td', {}, text)));
    });
    this.table.replaceChildren(el('thead', {}, head), el('tbody', {}, ...rows));
  }
}

function legend(): HTMLElement {
  const items = END_STAGES.map((stage, i) => {
    const swatch = el('span', { class: 'swatch', 'aria-hidden': 'true' });
    swatch.style.background = hatchedBackground(i, `var(${TOKENS[i]})`);
    return el('li', {}, swatch, STAGE_WORDS[stage]);
  });
  return el('ul', { class: 'legend' }, ...items);
}
