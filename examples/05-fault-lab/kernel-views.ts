/*
 * What became of a kernel's run, as tables and as the data of a plot.
 */
import type { KernelReport, LaunchFailure } from '../../src/index.ts';
import { el, row } from '../_shell/dom.ts';
import { COUNT_WORDS, TIME_WORDS } from '../_shell/fault-words.ts';
import { formatBytes, formatCount, formatMs, hexAddress } from '../_shell/numbers.ts';
import type { PlotData } from '../_shell/plot.ts';
import type { KernelOutcome, PassNote } from './kernel-run.ts';

/** What each way to end means, for people. */
export const OUTCOMES: Readonly<Record<KernelReport['outcome'], string>> = {
  done: 'Done.',
  endless: 'Ended: an invocation ran out of its budget of loop rounds.',
  cancelled: 'Ended: a fault could not be served.',
  stalled: 'Ended: no workgroup made progress any more.',
  logFull: 'Ended: an invocation needs more log than there may be.',
  diverged: 'Ended: a replay took another way than the run before.',
  aborted: 'Aborted.',
  failed: 'The device failed; the next run opens another machine.',
};

/** Passes as curves. */
export function passCurves(passes: readonly PassNote[]): PlotData {
  const of = (name: 'faults' | 'finished' | 'replayed'): number[] =>
    passes.map((pass) => pass[name]);
  return {
    x: passes.map(({ pass }) => pass + 1),
    series: [
      { label: 'faults', values: of('faults') },
      { label: 'workgroups finished so far', values: of('finished') },
      { label: 'workgroups run again', values: of('replayed') },
    ],
  };
}

/** Pages of device memory in use behind each pass, of runs side by side. */
export function memoryCurves(
  runs: readonly { readonly name: string; readonly passes: readonly PassNote[] }[],
  devicePages: number,
): PlotData {
  const longest = Math.max(0, ...runs.map(({ passes }) => passes.length));
  const x = Array.from({ length: longest }, (_, i) => i + 1);
  const series = runs.map(({ name, passes }) => ({
    label: name,
    values: x.map((pass) => passes[pass - 1]?.pagesInUse ?? null),
  }));
  const whole = { label: 'device size', values: x.map(() => devicePages), isReference: true };
  return { x, series: [...series, whole] };
}

/** What was put in a run's way, and what came of that; `name` is the run's. */
export function injections(
  { report, others }: KernelOutcome,
  asked: LaunchFailure | null,
  name: string,
): HTMLElement[] {
  if (asked === null) return [];
  const [came] = report.injected;
  if (came === undefined) {
    const isNobody = asked === 'policy' && report.service === null;
    const why = isNobody ? 'there is no policy that could throw' : 'the run was over before';
    return [el('p', {}, `${name}: the failure did not come: ${why}.`)];
  }
  const when = came.pass === 0 ? 'before the first pass' : `after pass ${came.pass}`;
  const end =
    report.outcome === 'done'
      ? 'The run went on to its end.'
      : `It ended the run: ${report.cause}.`;
  return [el('p', {}, `${name}, ${when}: ${FAILURES[came.what]}. ${end} ${others}`)];
}

/** Failures, as they are chosen. */
export const FAILURE_NAMES: Readonly<Record<LaunchFailure, string>> = {
  memory: 'no device memory',
  copy: 'a copy fails',
  ring: 'the fault ring is full',
  policy: 'the policy throws',
  device: 'the device is lost',
};

/** What a failure does, for people. */
const FAILURES: Readonly<Record<LaunchFailure, string>> = {
  memory: 'no page of device memory was free for its faults',
  copy: 'a copy failed, and its pages stayed where they were',
  ring: 'the fault ring was full, and faults got lost until the next pass raised them again',
  policy: 'the policy threw',
  device: 'the device was lost, with all that was on it',
};

/** What a run came to. */
export function reportTable({ report, kernel, before }: KernelOutcome): HTMLTableElement {
  const { pages } = report;
  const size = before.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const rows: readonly (readonly [string, string])[] = [
    ['Memory', formatBytes(size)],
    ['Workgroups', `${formatCount(report.finished)} of ${formatCount(report.workgroups)}`],
    ['Passes', formatCount(report.passes)],
    ['Faults', formatCount(report.faults)],
    ['Faults that found the ring full', formatCount(report.overflow)],
    ['Workgroups run again', formatCount(report.replayed)],
    ['Invocations ended', formatCount(report.killed)],
    ['Pages mapped', formatCount(pages.mapped)],
    ['Pages evicted for it', formatCount(pages.evicted)],
    ['First attempt', FIRST_ATTEMPTS[kernel.firstAttempt]],
    ['Compiled in', formatMs(kernel.compileMs)],
    ['Ran for', formatMs(report.totalMs)],
    ['of that in passes', formatMs(report.passMs)],
    ['of that serving faults', formatMs(report.serveMs)],
  ];
  const body = el('tbody', {}, ...rows.map(([name, value]) => row(name, value)));
  return el('table', { class: 'numbers' }, body);
}

/** What the fault services of runs counted, side by side, and what their virtual time went to. */
export function serviceTable(reports: readonly KernelReport[]): HTMLElement[] {
  const all = reports.flatMap(({ service }) => service ?? []);
  if (all.length === 0) return [];
  const names = Object.keys(COUNT_WORDS) as (keyof typeof COUNT_WORDS)[];
  const counts = names
    .filter((name) => all.some((one) => one.counts[name] > 0))
    .map((name) => {
      const format = name.startsWith('bytes') ? formatBytes : formatCount;
      return row(COUNT_WORDS[name], ...all.map((one) => format(one.counts[name])));
    });
  const terms = Object.keys(TIME_WORDS) as (keyof typeof TIME_WORDS)[];
  const times = terms
    .filter((term) => all.some((one) => one.times[term] > 0))
    .map((term) => row(`of that: ${TIME_WORDS[term]}`, ...all.map((one) => us(one.times[term]))));
  const heads = ['The fault service, for real', ...all.map(({ policy }) => policy)];
  const head = el('tr', {}, ...heads.map((name) => el('th', { scope: 'col' }, name)));
  const whole = row('virtual time', ...all.map(({ virtualUs }) => us(virtualUs)));
  const body = el('tbody', {}, whole, ...times, ...counts);
  return [el('table', { class: 'numbers' }, el('thead', {}, head), body)];
}

function us(time: number): string {
  return time === 0 ? '–' : formatMs(time / 1000);
}

/** How a first attempt keeps effects from happening twice. */
const FIRST_ATTEMPTS: Readonly<Record<KernelOutcome['kernel']['firstAttempt'], string>> = {
  direct: 'has one effect, the last thing it does',
  defer: 'keeps its effects back to the end',
  log: 'logs every result',
  none: 'keeps nothing',
};

/** Accesses that ended their invocation. */
export function refusals({ refusals: all }: KernelReport): HTMLElement[] {
  if (all.length === 0) return [];
  const names = ['Address', 'Access', 'Why', 'Workgroup', 'Invocation', 'Pass'];
  const head = el('tr', {}, ...names.map((name) => el('th', { scope: 'col' }, name)));
  const rows = all.map(({ address, access, reason, workgroup, lane, pass }) => {
    const cells = [access, reason, String(workgroup), String(lane), String(pass)];
    return row(hexAddress(address), ...cells);
  });
  const table = el('table', { class: 'numbers' }, el('thead', {}, head), el('tbody', {}, ...rows));
  return [el('h3', {}, 'Refused accesses'), table];
}
