/*
 * The runs on the page: the one whose goals and cells are shown, and those that the plots lay over
 * it. Each keeps lines of its own: runs of different adapters have no mean.
 */
import type { BenchReport } from '../../bench/types.ts';
import { el } from '../_shell/dom.ts';
import { adapterName } from '../_shell/status.ts';

/** A run with the letter that stands for it. */
export interface Run {
  readonly letter: string;
  readonly report: BenchReport;
}

/** Runs on a page at most: more lines than that nobody can tell apart. */
const LETTERS = ['A', 'B', 'C', 'D', 'E', 'F'];
export const MOST_RUNS = LETTERS.length;

/** "google swiftshader, Chromium 147.0.7727.0, 2026-11-21 18:30" */
export function runName({ env }: BenchReport): string {
  const where = env.engine === 'cpu' ? 'CPU engine' : adapterName(env.adapter);
  const when = env.startedAt.slice(0, 16).replace('T', ' ');
  return `${where}, ${env.browser} ${env.version}, ${when}`;
}

export class RunList {
  private runs: Run[] = [];
  private shownLetter = '';
  private isLocked = false;
  private readonly host: HTMLElement;
  private readonly onChange: () => void;

  /** @param onChange Called when the visitor shows or takes away a run. */
  constructor(host: HTMLElement, onChange: () => void) {
    this.host = host;
    this.onChange = onChange;
  }

  /** The run whose goals and cells are shown; null without any. */
  get shown(): Run | null {
    return this.runs.find(({ letter }) => letter === this.shownLetter) ?? null;
  }

  /** All runs, the one that is shown first. */
  get all(): readonly Run[] {
    const rest = this.runs.filter(({ letter }) => letter !== this.shownLetter);
    return this.shown === null ? rest : [this.shown, ...rest];
  }

  /**
   * Adds a run. Throws when there are as many as can be.
   *
   * @returns its letter
   */
  add(report: BenchReport, isShown: boolean): string {
    const letter = LETTERS.find((one) => this.runs.every((run) => run.letter !== one));
    if (letter === undefined) throw new Error(`there are ${MOST_RUNS} runs already`);
    this.runs.push({ letter, report });
    if (isShown || this.shown === null) this.shownLetter = letter;
    this.render();
    return letter;
  }

  /** Takes a run away, without a call of `onChange`. */
  drop(letter: string): void {
    this.runs = this.runs.filter((run) => run.letter !== letter);
    if (letter === this.shownLetter) this.shownLetter = this.runs[0]?.letter ?? '';
    this.render();
  }

  /** While a run is going on its cells are shown: none of these can be chosen. */
  lock(isLocked: boolean): void {
    this.isLocked = isLocked;
    this.render();
  }

  private render(): void {
    this.host.replaceChildren(...this.runs.map((run) => this.row(run)));
  }

  private row({ letter, report }: Run): HTMLElement {
    const radio = el('input', {
      type: 'radio',
      name: 'run',
      value: letter,
      checked: letter === this.shownLetter,
      disabled: this.isLocked,
      title: this.isLocked && 'the run that is going on is shown until it is over',
    });
    // No change where it is chosen already, but cells of a cancelled run are shown.
    radio.addEventListener('click', () => {
      this.shownLetter = letter;
      this.onChange();
    });
    const label = el('label', {}, radio, el('b', {}, letter), el('span', {}, runName(report)));
    const remove = el('button', { type: 'button', class: 'quiet' }, 'Remove');
    remove.setAttribute('aria-label', `Remove run ${letter}`);
    remove.disabled = this.runs.length === 1;
    remove.addEventListener('click', () => {
      this.drop(letter);
      this.onChange();
    });
    return el('li', { 'data-run': letter }, label, remove);
  }
}
