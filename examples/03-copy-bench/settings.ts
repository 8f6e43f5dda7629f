/*
 * What to run: from the address into the form, from the form to the benchmark, and back into the
 * address, so that it can be passed on.
 */
import { isPresetName } from '../../bench/presets.ts';
import { SUITE_NAMES } from '../../bench/types.ts';
import type { BenchOptions } from '../../bench/types.ts';

/** Puts the address's choices into the form. Without `auto` the default is a quick run. */
export function fillForm(form: HTMLFormElement, query: URLSearchParams): void {
  const suites = query.get('suite')?.split(',');
  for (const box of form.querySelectorAll<HTMLInputElement>('input[name=suite]')) {
    box.checked = suites === undefined || suites.includes(box.value);
  }
  const quick = query.has('quick') ? query.get('quick') !== '0' : !query.has('auto');
  for (const radio of form.querySelectorAll<HTMLInputElement>('input[name=quick]')) {
    radio.checked = (radio.value === '1') === quick;
  }
  const seed = form.querySelector<HTMLInputElement>('input[name=seed]');
  if (seed !== null && query.has('seed')) seed.value = query.get('seed') ?? '';
}

/** What the form asks for; goals, preset, engine and power are chosen by the address alone. */
export function readForm(form: HTMLFormElement, query: URLSearchParams): BenchOptions {
  const values = new FormData(form);
  const chosen = values.getAll('suite');
  const power = query.get('power');
  const preset = query.get('preset');
  const goals = query.get('goal')?.split(',') ?? [];
  return {
    suites: SUITE_NAMES.filter((name) => chosen.includes(name)),
    ...(goals.length > 0 ? { goals } : {}),
    ...(isPresetName(preset) ? { preset } : {}),
    quick: values.get('quick') === '1',
    seed: Number(values.get('seed')) >>> 0,
    engine: query.get('engine') === 'cpu' ? 'cpu' : 'webgpu',
    ...(power === 'high' ? { powerPreference: 'high-performance' } : {}),
    ...(power === 'low' ? { powerPreference: 'low-power' } : {}),
  };
}

/** Writes the choices into the address. */
export function writeAddress({ suites = [], quick, seed }: BenchOptions): void {
  const url = new URL(location.href);
  const settings = { suite: suites.join(), quick: quick === true ? '1' : '0', seed: String(seed) };
  for (const [name, value] of Object.entries(settings)) url.searchParams.set(name, value);
  history.replaceState(null, '', url);
}
