/**
 * What a run may be told about its copies besides their sizes: how frames lie in memory, how deep
 * the engine's rings are, how many lists are in flight, and who looks at results. All but the
 * rings' depth, which is the machine's, act on the cells of the copy suite; the comparisons behind
 * goals bring settings of their own.
 */
import type { Fragmentation } from './fragments.ts';
import type { BenchOptions } from './types.ts';

/**
 * Who looks at the last result of a cell. `device`: what lies in VRAM by checksums that the device
 * computes, RAM word by word. `readback`: VRAM is copied back first, then all words are compared.
 * `off`: nobody, and contents are written once instead of before each sample.
 */
export const VERIFY_NAMES = ['device', 'readback', 'off'] as const;
export type Verify = (typeof VERIFY_NAMES)[number];

/** See the file header. */
export interface CopySettings {
  readonly fragments: Fragmentation;
  /**
   * Staging slots of each size and direction; twice as many flights and two more, each with a
   * table of descriptors, may be in the air.
   */
  readonly ringDepth: number;
  /** Lists that a batch is split into, all in flight at once. */
  readonly channels: number;
  readonly verify: Verify;
}

export const MOST_RING_DEPTH = 8;
export const MOST_CHANNELS = 16;

/** What is measured where nobody says otherwise. */
export const USUAL_SETTINGS: CopySettings = {
  fragments: 'scattered',
  ringDepth: 3,
  channels: 1,
  verify: 'device',
};

/** The settings that options ask for. */
export function settingsOf(options: BenchOptions): CopySettings {
  const { fragments, ringDepth, channels, verify } = USUAL_SETTINGS;
  return {
    fragments: options.fragments ?? fragments,
    ringDepth: options.ringDepth ?? ringDepth,
    channels: options.channels ?? channels,
    verify: options.verify ?? verify,
  };
}

const FRAGMENT_WORDS: Readonly<Record<Fragmentation, string>> = {
  contiguous: 'one range on both sides',
  clustered: 'clusters of 16 folios',
  scattered: 'scattered on both sides',
  sources: 'only sources scattered',
  targets: 'only targets scattered',
};

const VERIFY_WORDS: Readonly<Record<Verify, string>> = {
  device: 'checksums by the device',
  readback: 'read back and compared',
  off: 'not looked at',
};

/** How folios lie, in words. */
export function fragmentsText(fragments: Fragmentation): string {
  return FRAGMENT_WORDS[fragments];
}

/** Settings in words, a fact each; reports of earlier versions have none. */
export function settingsText(settings: CopySettings | undefined): string {
  const { fragments, ringDepth, channels, verify } = settings ?? USUAL_SETTINGS;
  const lists = channels === 1 ? '1 channel' : `${channels} channels`;
  const parts = [fragmentsText(fragments), `rings of ${ringDepth}`, lists, VERIFY_WORDS[verify]];
  return parts.join(', ');
}

/** What of the settings is not as usual; '' when all is. */
export function unusualText(settings: CopySettings | undefined): string {
  const given = settings ?? USUAL_SETTINGS;
  const names = Object.keys(USUAL_SETTINGS) as (keyof CopySettings)[];
  return names
    .filter((name) => given[name] !== USUAL_SETTINGS[name])
    .map((name) => `${name} ${given[name]}`)
    .join(', ');
}
