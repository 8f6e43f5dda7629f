/*
 * Controls that the run would not use are off, and the page says why: a choice that does nothing
 * would be taken for what was measured. What was chosen there stays, for when it counts again.
 * Choices that contradict each other are said there, too, before Start refuses them.
 */
import { contradictionIn } from '../../bench/contradictions.ts';
import { unusedBy } from '../../bench/unused.ts';
import type { BenchOptions } from '../../bench/types.ts';
import { AddressError } from '../_shell/address.ts';
import { byId } from '../_shell/dom.ts';
import { readForm } from '../_shell/settings.ts';
import { RUN_FIELDS, optionsOf } from './settings.ts';

/** Names of controls, and why they are off. */
interface Idle {
  readonly names: readonly string[];
  readonly why: string;
}

/** What these options leave unused, whether it was chosen or not. */
function idleBy(options: BenchOptions): Idle[] {
  const unused = unusedBy(options);
  const onCpu = { names: ['power'], why: 'the CPU engine uses no adapter' };
  return [...(unused === null ? [] : [unused]), ...(options.engine === 'cpu' ? [onCpu] : [])];
}

/** A control's name for people: of its group, where it is one of several. */
function nameOf(field: Element): string {
  const name = field.querySelector(':scope > label, :scope > span')?.textContent ?? '';
  return name.trim().toLowerCase();
}

type Control = HTMLInputElement | HTMLSelectElement;

/** Switches the controls of `form` off that its other choices leave unused, the others on. */
export function showIdle(form: HTMLFormElement): void {
  const controls = [...form.querySelectorAll<Control>('[name]')];
  const before = controls.map(({ disabled }) => disabled);
  // All count: a choice that is off may be what another one would be off for.
  for (const control of controls) control.disabled = false;
  let idle: Idle[];
  let options: BenchOptions;
  try {
    options = optionsOf(readForm(form, RUN_FIELDS));
    idle = idleBy(options);
  } catch (error) {
    if (!(error instanceof AddressError)) throw error;
    // Something is only half typed.
    controls.forEach((control, i) => (control.disabled = before[i] ?? false));
    return;
  }
  const isIdle = (name: string): boolean => idle.some(({ names }) => names.includes(name));
  for (const control of controls) {
    control.disabled = isIdle(control.name);
    if (control.disabled) control.setAttribute('aria-describedby', 'unused');
    else control.removeAttribute('aria-describedby');
    control.closest('.field')?.toggleAttribute('data-unused', control.disabled);
  }
  for (const part of form.querySelectorAll('details')) {
    const isOff = part.querySelector('[name]:not(:disabled)') === null;
    part.toggleAttribute('data-unused', isOff);
  }
  const lines = idle.map(({ names, why }) => {
    const fields = [...form.querySelectorAll('.field')].filter((field) =>
      names.includes(field.querySelector('[name]')?.getAttribute('name') ?? ''),
    );
    return `Off: ${fields.map(nameOf).join(', ')} (${why}).`;
  });
  const found = contradictionIn(options);
  if (found !== null) lines.push(`Can't be run: ${found.what}; ${found.remedy}.`);
  byId('unused').textContent = lines.join(' ');
  byId('unused').hidden = lines.length === 0;
}
