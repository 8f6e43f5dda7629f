/*
 * A small editor of program text: a text area with line numbers, and what is wrong at which line.
 * Tab leaves it, as in any field.
 */
import { el } from './dom.ts';

/** Something wrong with the text; without a line it is about the whole of it. */
export interface CodeProblem {
  readonly line: number | null;
  readonly reason: string;
}

export class CodeEditor {
  readonly element: HTMLElement;
  readonly area: HTMLTextAreaElement;
  private readonly gutter = el('div', { class: 'gutter', 'aria-hidden': 'true' });
  private readonly list = el('ul', { class: 'problems', role: 'alert' });
  private problems: readonly CodeProblem[] = [];

  /**
   * @param name of the field in its form
   * @param label what is edited, for people
   */
  constructor(name: string, label: string, rows = 16) {
    this.area = el('textarea', {
      name,
      rows,
      wrap: 'off',
      spellcheck: 'false',
      autocapitalize: 'off',
      autocomplete: 'off',
      'aria-label': label,
    });
    this.area.addEventListener('input', () => this.draw());
    this.area.addEventListener('scroll', () => (this.gutter.scrollTop = this.area.scrollTop));
    const box = el('div', { class: 'code-box' }, this.gutter, this.area);
    this.element = el('div', { class: 'code-editor' }, box, this.list);
    this.draw();
  }

  get text(): string {
    return this.area.value;
  }

  set text(text: string) {
    this.area.value = text;
    this.mark([]);
  }

  /** Shows what is wrong; nothing for an empty list. */
  mark(problems: readonly CodeProblem[]): void {
    this.problems = problems;
    this.list.replaceChildren(...problems.map((one) => this.item(one)));
    this.draw();
  }

  private item({ line, reason }: CodeProblem): HTMLLIElement {
    if (line === null) return el('li', {}, reason);
    const button = el('button', { type: 'button', class: 'quiet' }, `line ${line}`);
    button.addEventListener('click', () => this.show(line));
    return el('li', { 'data-line': line }, button, ` ${reason}`);
  }

  private show(line: number): void {
    const lines = this.area.value.split('\n');
    const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    this.area.focus();
    this.area.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
  }

  private draw(): void {
    const count = this.area.value.split('\n').length;
    const wrong = new Set(this.problems.map(({ line }) => line));
    const numbers = Array.from({ length: count }, (_, i) =>
      el('div', { class: wrong.has(i + 1) ? 'wrong' : undefined }, String(i + 1)),
    );
    this.gutter.replaceChildren(...numbers);
    this.gutter.scrollTop = this.area.scrollTop;
  }
}
