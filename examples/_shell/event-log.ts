/*
 * What happened on the page, newest last, each line with the time since the page was opened.
 */
import { el } from './dom.ts';

const MAX_LINES = 200;

export class EventLog {
  readonly element = el('ol', { class: 'log', 'aria-label': 'Events', tabindex: 0 });

  private readonly latest: HTMLElement | null;

  /** @param latest also shows the newest line, where the visitor looks first */
  constructor(latest: HTMLElement | null = null) {
    this.latest = latest;
  }

  /** Adds a line. */
  add(text: string, tone: '' | 'good' | 'warn' | 'bad' = ''): void {
    const seconds = (performance.now() / 1000).toFixed(3);
    this.element.append(
      el('li', { class: tone }, el('time', {}, `${seconds} s`), el('span', {}, text)),
    );
    if (this.latest !== null) this.latest.textContent = text;
    while (this.element.childElementCount > MAX_LINES) this.element.firstElementChild?.remove();
    this.element.scrollTop = this.element.scrollHeight;
  }
}
