/*
 * Counters of the machine as a table of what an action changed. Names are the kernel's where it has
 * them.
 */
import type { Counters } from '../../src/index.ts';
import { el, row } from './dom.ts';
import { formatBytes, formatCount, formatMs } from './numbers.ts';

type Row = readonly [name: string, value: number];

/** Readings by group, in the order in which they are shown. */
function groups({ vm, devices, engine, ramFreePages }: Counters): readonly [string, Row[]][] {
  const ofDevices = devices.flatMap(({ minor, calloc, cfree }): Row[] => [
    [`device ${minor}: calloc`, calloc],
    [`device ${minor}: cfree`, cfree],
  ]);
  return [
    ['Kernel', Object.entries(vm)],
    ['Memory', [['RAM pages free', ramFreePages], ...ofDevices]],
    ['Copy engine', Object.entries(engine)],
  ];
}

/** One table a group, with the counters that differ between two readings. */
export function counterTables(before: Counters, after: Counters): HTMLElement[] {
  const old = groups(before);
  return groups(after).map(([title, readings], at) => {
    const then = new Map(old[at]?.[1]);
    const changes = readings.map(([name, value]): Row => [name, value - (then.get(name) ?? 0)]);
    const rows = changes
      .filter(([, by]) => by !== 0)
      .map(([name, by]) => row(el('code', {}, name), amount(name, by)));
    const head = el(
      'tr',
      {},
      el('th', { scope: 'col' }, title),
      el('th', { scope: 'col' }, 'Change'),
    );
    return el('table', { class: 'numbers' }, el('thead', {}, head), el('tbody', {}, ...rows));
  });
}

function amount(name: string, by: number): string {
  if (name.startsWith('bytes')) return `+${formatBytes(by)}`;
  return name.endsWith('Ms') ? `+${formatMs(by)}` : `${by > 0 ? '+' : ''}${formatCount(by)}`;
}
