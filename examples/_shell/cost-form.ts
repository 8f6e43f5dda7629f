/*
 * The editor of the cost model: a number for each term, and a button that brings the defaults back.
 */
import { COST_MODEL } from '../../src/index.ts';
import type { CostModel } from '../../src/index.ts';
import { COST_HELP, COST_TERMS, costFrom, costText } from './cost-text.ts';
import { el } from './dom.ts';

export class CostForm {
  readonly element: HTMLElement;
  private readonly inputs = new Map<keyof CostModel, HTMLInputElement>();
  private readonly summary = el('summary', {});
  /** What the page keeps in its form, as text: the terms that differ from the defaults. */
  private readonly hidden = el('input', { type: 'hidden', name: 'cost' });

  /** @param used the terms that the page's results depend on */
  constructor(used: readonly (keyof CostModel)[] = COST_TERMS) {
    const fields = used.map((term) => {
      const id = `cost-${term}`;
      const input = el('input', { type: 'number', id, min: 0, step: 'any', required: true });
      input.addEventListener('input', () => this.onInput());
      this.inputs.set(term, input);
      const name = el('label', { for: id }, el('code', {}, term), ` ${COST_HELP[term]}`);
      return el('div', { class: 'cost-term' }, name, input);
    });
    const reset = el('button', { type: 'button' }, 'Defaults');
    reset.addEventListener('click', () => this.show(''));
    this.element = el(
      'details',
      { class: 'cost-form' },
      this.summary,
      el('div', { class: 'cost-terms' }, ...fields),
      reset,
      this.hidden,
    );
    this.show('');
  }

  /** Shows the cost model of a text, as costFrom() reads it. */
  show(text: string): void {
    const cost = costFrom(text);
    for (const [term, input] of this.inputs) input.value = String(cost[term]);
    this.onInput();
  }

  private onInput(): void {
    const terms = [...this.inputs].filter(([, { value }]) => value !== '');
    const values = terms.map(([term, { value }]) => [term, Number(value)]);
    const text = costText({ ...COST_MODEL, ...(Object.fromEntries(values) as Partial<CostModel>) });
    const isNew = this.hidden.value !== text;
    this.hidden.value = text;
    const count = text === '' ? 0 : text.split(',').length;
    this.summary.textContent =
      count === 0 ? 'Cost model: the defaults' : `Cost model: ${count} of its terms changed`;
    // Who listens to the form hears of it as of any other field.
    if (isNew) this.hidden.dispatchEvent(new Event('input', { bubbles: true }));
  }
}
