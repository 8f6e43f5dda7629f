/*
 * What to run and what to look at: from the address into the forms, from the forms to the
 * benchmark, and back into the address, so that it can be passed on.
 */
import {
  BATCH_NAMES,
  DIRECTION_NAMES,
  FOLIO_NAMES,
  MIX_NAME,
  STRATEGY_NAMES,
} from '../../bench/copy-grid.ts';
import {
  MOST_CHANNELS,
  MOST_RING_DEPTH,
  USUAL_SETTINGS,
  VERIFY_NAMES,
} from '../../bench/copy-settings.ts';
import { FRAGMENTATIONS } from '../../bench/fragments.ts';
import { GOAL_IDS } from '../../bench/goals.ts';
import { NO_GOALS, PRESET_NAMES, SUITE_NAMES } from '../../bench/types.ts';
import type { BenchOptions } from '../../bench/types.ts';
import { choice, fillForm, list, readForm, settingsFrom, text, whole } from '../_shell/settings.ts';
import { refuseOthers, writeAddress } from '../_shell/settings.ts';
import type { Settings } from '../_shell/settings.ts';

/** What is run. */
export const RUN_FIELDS = {
  // All of them, in the order of the form.
  suite: list(SUITE_NAMES, ['copy', 'migrate', 'fault', 'mm']),
  quick: choice(['1', '0'] as const, '1'),
  seed: whole(1, 0, 2 ** 32 - 1),
  soak: whole(null, 1, 24 * 60),
  preset: choice(['', ...PRESET_NAMES] as const, ''),
  goal: list([...GOAL_IDS, NO_GOALS], []),
  engine: choice(['webgpu', 'cpu'] as const, 'webgpu'),
  power: choice(['', 'high', 'low'] as const, ''),
  // Which copies; the view has the same names in the singular.
  directions: list(DIRECTION_NAMES, []),
  strategies: list(STRATEGY_NAMES, []),
  folios: list(FOLIO_NAMES, []),
  batches: list(BATCH_NAMES, []),
  fragments: choice(FRAGMENTATIONS, USUAL_SETTINGS.fragments),
  channels: whole(USUAL_SETTINGS.channels, 1, MOST_CHANNELS),
  ring: whole(USUAL_SETTINGS.ringDepth, 1, MOST_RING_DEPTH),
  verify: choice(VERIFY_NAMES, USUAL_SETTINGS.verify),
} as const;

/** Which adapter it is run on. */
export const ADAPTER_FIELDS = { engine: RUN_FIELDS.engine, power: RUN_FIELDS.power } as const;

/** Bytes of folios, as cells have them, or a mix; files may hold sizes that no run has now. */
function checkFolio(given: string): void {
  if (!/^[1-9]\d{3,9}$/.test(given) && !['', MIX_NAME].includes(given)) {
    throw new Error(`'${given}' is neither a size in bytes nor ${MIX_NAME}`);
  }
}

/** How it is shown. */
export const VIEW_FIELDS = {
  direction: choice(['to-device', 'to-host', 'in-device', 'in-host'] as const, 'to-device'),
  strategy: choice(
    ['', 'auto', 'staging', 'commands', 'runs', 'compute', 'writeBuffer', 'cpu'] as const,
    '',
  ),
  batch: whole(null, 1, 2 ** 20),
  folio: text('', checkFolio),
  counted: choice(['once', 'twice'] as const, 'once'),
} as const;

/** Which map of paths is shown; '' for the first. */
export const MAP_FIELDS = {
  map: choice(
    ['', ...DIRECTION_NAMES.flatMap((to) => FRAGMENTATIONS.map((how) => `${to}/${how}`))],
    '',
  ),
} as const;

/** Names that the page's address may have. */
const NAMES = [RUN_FIELDS, VIEW_FIELDS, MAP_FIELDS].flatMap((fields) => Object.keys(fields));

/** Refuses an address with other names, or with one twice. Throws AddressError. */
export function refuseOtherNames(query: URLSearchParams): void {
  refuseOthers([...NAMES, 'auto'], query);
}

export type ViewSettings = Settings<typeof VIEW_FIELDS>;
export type MapSettings = Settings<typeof MAP_FIELDS>;

/** Puts the address's choices into the form. Throws AddressError for what can't be. */
export function fillRunForm(form: HTMLFormElement, query: URLSearchParams): void {
  fillForm(form, RUN_FIELDS, settingsFrom(RUN_FIELDS, query));
  // What is chosen must be seen.
  for (const part of form.querySelectorAll('details')) {
    part.open = part.querySelector(':checked') !== null;
  }
}

/** What the form asks for, which goes into the address. Throws AddressError for what can't be. */
export function readRunForm(form: HTMLFormElement): BenchOptions {
  const settings = readForm(form, RUN_FIELDS);
  writeAddress(RUN_FIELDS, settings);
  return optionsOf(settings);
}

/** Settings as the benchmark takes them. */
export function optionsOf(settings: Settings<typeof RUN_FIELDS>): BenchOptions {
  const { suite, quick, seed, soak, preset, goal, engine, power } = settings;
  const { fragments, channels, ring: ringDepth, verify } = settings;
  const { directions, strategies, folios, batches } = settings;
  return {
    suites: suite,
    ...(goal.length > 0 ? { goals: goal } : {}),
    ...(preset === '' ? {} : { preset }),
    ...(soak === null ? {} : { soakMinutes: soak }),
    quick: quick === '1',
    seed,
    engine,
    directions,
    strategies,
    folios,
    batches,
    fragments,
    channels,
    ringDepth,
    verify,
    ...(power === 'high' ? { powerPreference: 'high-performance' } : {}),
    ...(power === 'low' ? { powerPreference: 'low-power' } : {}),
  };
}

/** Puts choices of view into the address. */
export function writeView(view: ViewSettings): void {
  writeAddress(VIEW_FIELDS, view);
}
