/**
 * Numbers and names for people: tables on a terminal and the HTML report print the same.
 */
import { USUAL_SETTINGS, settingsText } from './copy-settings.ts';
import { NO_GOALS } from './types.ts';
import type { BenchEnvironment, BenchReport } from './types.ts';

/** "4 KiB", "2 MiB", "512 B". */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let at = 0;
  let value = bytes;
  while (value >= 1024 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  return `${Number(value.toFixed(2))} ${units[at]!}`;
}

/** "4K", "2M": sizes in narrow columns. */
export function shortBytes(bytes: number): string {
  return formatBytes(bytes)
    .replace(/ ?(i?B)$/, '')
    .replace(' ', '')
    .replace(/i$/, '');
}

/** Three significant digits, never in exponent form: "0.0123", "1.23", "123", "12300". */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 6));
}

/** "RAM to VRAM" and so on, for the directions of cells. */
export function directionName(direction: string): string {
  const names: Readonly<Record<string, string>> = {
    'to-device': 'RAM to VRAM',
    'to-host': 'VRAM to RAM',
    'in-device': 'VRAM to VRAM',
    'in-host': 'RAM to RAM',
  };
  return names[direction] ?? direction;
}

/** Vendor, architecture and description of an adapter without repetitions. */
export function adapterName(adapter: {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
}): string {
  const { vendor, architecture, device, description } = adapter;
  const words = [vendor === 'none' ? '' : vendor, architecture, device, description];
  const seen = words.filter((word, at) => word !== '' && words.indexOf(word) === at);
  return seen.length === 0 ? 'unnamed adapter' : seen.join(' ');
}

/** What moved the bytes of a run: an adapter's name, or that none did. */
export function ranOn(env: Pick<BenchEnvironment, 'engine' | 'adapter'>): string {
  return env.engine === 'cpu' ? 'the CPU engine' : adapterName(env.adapter);
}

/**
 * What was asked for: "copy, migrate (quick)", "preset xe-phases (full)", "only goals G2, G18, of
 * copy (full)", "copy, no goals (quick)", "soak of 10 min".
 */
export function askedFor({ env, presets = [] }: Pick<BenchReport, 'env' | 'presets'>): string {
  if (env.soakMinutes !== undefined) return `soak of ${env.soakMinutes} min`;
  const names = [...new Set(presets.map(({ preset }) => preset))];
  const what = names.length > 0 ? `preset ${names.join(', ')}` : sweepsAndGoals(env);
  return `${what} (${env.quick ? 'quick' : 'full'})`;
}

/**
 * Settings as they acted on a run: published tables, soaks and goals have copies of their own, and
 * the rings' depth alone is the machine's.
 */
export function settingsFact({ env, presets = [] }: Pick<BenchReport, 'env' | 'presets'>): string {
  const { settings = USUAL_SETTINGS, soakMinutes, goals = [] } = env;
  const hasSweep = presets.length === 0 && goals.every((id) => id === NO_GOALS);
  if (soakMinutes === undefined && hasSweep) return settingsText(settings);
  return `rings of ${settings.ringDepth}; copies have no others than their own`;
}

function sweepsAndGoals({ suites, goals = [] }: BenchEnvironment): string {
  const names = suites.length === 0 ? 'no suite' : suites.join(', ');
  if (goals.length === 0) return names;
  const only = goals.filter((id) => id !== NO_GOALS);
  if (only.length === 0) return `${names}, no goals`;
  return `only ${only.length === 1 ? 'goal' : 'goals'} ${only.join(', ')}, of ${names}`;
}
