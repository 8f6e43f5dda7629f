/*
 * The part of the page that runs a kernel on the real machine: editor, report, passes, where the
 * pages are.
 */
import {
  ErrnoError,
  KernelCompileError,
  MachineError,
  OpenError,
  POLICIES,
} from '../../src/index.ts';
import type { AccessTrace, KernelReport, PolicyName } from '../../src/index.ts';
import { AddressError } from '../_shell/address.ts';
import { CodeEditor } from '../_shell/code-editor.ts';
import { byId, byIdAs, el, row } from '../_shell/dom.ts';
import { COUNT_WORDS } from '../_shell/fault-words.ts';
import { formatBytes, formatCount, formatMs, hexAddress, plural } from '../_shell/numbers.ts';
import { PageMap } from '../_shell/page-map.ts';
import type { Page } from '../_shell/page.ts';
import { Plot } from '../_shell/plot.ts';
import { fillForm, queryOf, readForm, settingsFrom, writeAddress } from '../_shell/settings.ts';
import { KernelRunner, recordKernel } from './kernel-run.ts';
import type { KernelLook, KernelOutcome } from './kernel-run.ts';
import { EXAMPLE_NAMES, exampleKernel } from './kernels.ts';
import { KERNEL_FIELDS, orderOf, serviceOf } from './settings.ts';
import type { KernelSettings, LabSettings } from './settings.ts';
import { Timeline } from './timeline.ts';

/** What each way to end means, for people. */
const OUTCOMES: Readonly<Record<KernelReport['outcome'], string>> = {
  done: 'Done.',
  endless: 'Ended: an invocation ran out of its budget of loop rounds.',
  cancelled: 'Ended: a fault could not be served.',
  stalled: 'Ended: no workgroup made progress any more.',
  logFull: 'Ended: an invocation needs more log than there may be.',
  diverged: 'Ended: a replay took another way than the run before.',
  aborted: 'Aborted.',
  failed: 'The device failed; the next run opens another machine.',
};

export class KernelPanel {
  /** Whether the address asks for a kernel. */
  readonly isAskedFor: boolean;
  private readonly form = byIdAs('kernel-form', HTMLFormElement);
  private readonly editor = new CodeEditor('wgsl', 'The kernel, in WGSL', 14);
  private readonly map = new PageMap({ label: "the kernel's arrays" });
  private readonly runner: KernelRunner;
  private readonly page: Page;
  private readonly passes = new Plot({
    title: 'Faults and finished workgroups by pass',
    x: { label: 'pass', format: (pass) => (Number.isInteger(pass) ? String(pass) : '') },
    y: { label: '', format: formatCount },
    marks: 'both',
    height: 200,
  });

  private readonly timeline = new Timeline();
  private readonly asked: () => LabSettings;
  private readonly onTrace: (trace: AccessTrace) => Promise<void>;

  /**
   * @param asked what the lab's form says: real runs have the same service
   * @param onTrace is given recorded traces
   */
  constructor(
    page: Page,
    asked: () => LabSettings,
    onTrace: (trace: AccessTrace) => Promise<void>,
  ) {
    this.page = page;
    this.asked = asked;
    this.onTrace = onTrace;
    this.runner = new KernelRunner((own) => page.options(own));
    byId('kernel').append(...EXAMPLE_NAMES.map((name) => el('option', { value: name }, name)));
    byId('kernel-editor').append(this.editor.element);
    byId('kernel-map').append(this.map.element);
    byId('kernel-passes').append(this.passes.element);
    byId('kernel-timeline').append(this.timeline.element);
    const movers = KERNEL_FIELDS.mover.values.map((name) => {
      return el('option', { value: name }, name === 'single' ? 'page by page' : name);
    });
    byId('mover').append(...movers);
    const settings = settingsFrom(KERNEL_FIELDS, page.query);
    this.isAskedFor = [...queryOf(KERNEL_FIELDS, settings)].length > 0;
    fillForm(this.form, KERNEL_FIELDS, settings);
    this.choose(settings.wgsl);
    this.form.addEventListener('submit', (event) => event.preventDefault());
    byId('kernel').addEventListener('change', () => this.choose(''));
    page.action('run-kernel', () => this.run());
    page.action('run-both', () => this.runBoth());
    page.action('record-kernel', () => this.record());
  }

  /** Runs what the editor has. */
  async run(): Promise<void> {
    await this.attempt(async (settings, signal) => {
      const outcome = await this.runOnce(settings, orderOf(settings).policy, signal);
      byId('kernel-service').replaceChildren(...serviceTable([outcome.report]));
    });
  }

  /** Runs it under both policies of the lab, one after the other. */
  private async runBoth(): Promise<void> {
    await this.attempt(async (settings, signal) => {
      const { a, b } = this.asked();
      const named = [a, b].map((name) => POLICIES.find((one) => one === name));
      if (named.includes(undefined)) {
        return this.say('“Yours” runs in the model alone: choose A and B by name.', 'bad');
      }
      const outcomes: KernelOutcome[] = [];
      for (const policy of named) {
        const outcome = await this.runOnce(settings, policy!, signal);
        outcomes.push(outcome);
        if (outcome.report.outcome !== 'done') return;
      }
      byId('kernel-service').replaceChildren(...serviceTable(outcomes.map((one) => one.report)));
      const times = outcomes.map(({ report }) => formatMs(report.totalMs)).join(' and ');
      this.say(`${byId('kernel-verdict').textContent} Under ${a} and ${b}: ${times}.`, 'good');
    });
  }

  private async runOnce(
    settings: KernelSettings,
    policy: PolicyName | null,
    signal: AbortSignal,
  ): Promise<KernelOutcome> {
    const outcome = await this.runner.run(
      { ...orderOf(settings, serviceOf(this.asked())), policy },
      ({ report }) => {
        this.page.status.showMachine(report);
        this.say('Running…');
      },
      (look) => this.look(look, settings),
      signal,
    );
    const isExample = settings.wgsl === exampleKernel(settings.kernel).wgsl;
    this.show(outcome, isExample ? settings : null);
    return outcome;
  }

  /** Records what it touches, and hands the trace to both policies of the lab. */
  private async record(): Promise<void> {
    await this.attempt(async (settings, signal) => {
      const name = `kernel ${settings.kernel}`;
      const recorded = await recordKernel(
        this.runner,
        orderOf(settings),
        name,
        (look) => this.look(look, settings),
        signal,
      );
      if (typeof recorded === 'string') return this.say(`No trace: ${recorded}.`, 'bad');
      const count = formatCount(recorded.pages.length);
      this.say(`Recorded ${count} accesses. A and B go by them now: see above.`, 'good');
      await this.onTrace(recorded);
    });
  }

  /** What goes wrong with a kernel is said here, not in the page's banner. */
  private async attempt(
    body: (settings: KernelSettings, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    if (!this.form.reportValidity()) return;
    const settings = readForm(this.form, KERNEL_FIELDS);
    const isExample = settings.wgsl === exampleKernel(settings.kernel).wgsl;
    writeAddress(KERNEL_FIELDS, isExample ? { ...settings, wgsl: '' } : settings);
    this.editor.mark([]);
    if (!crossOriginIsolated) return this.say('It needs shared memory: see the message above.');
    const abort = new AbortController();
    const button = byIdAs('abort-kernel', HTMLButtonElement);
    button.onclick = () => abort.abort();
    const lose = byIdAs('lose-device', HTMLButtonElement);
    lose.onclick = () => void this.runner.loseDevice();
    for (const one of [button, lose]) one.disabled = false;
    this.say('Opening the machine…');
    try {
      await body(settings, abort.signal);
    } catch (error) {
      this.fail(error);
    } finally {
      for (const one of [button, lose]) one.disabled = true;
    }
  }

  /** Puts the chosen example, or a text of one's own, into the editor. */
  private choose(text: string): void {
    const select = byIdAs('kernel', HTMLSelectElement);
    const name = EXAMPLE_NAMES.find((one) => one === select.value) ?? EXAMPLE_NAMES[0]!;
    const { help, wgsl, fills } = exampleKernel(name);
    this.editor.text = text === '' ? wgsl : text;
    const contents = fills.map((fill, i) => `array ${i} ${FILL_WORDS[fill]}`).join(', ');
    byId('kernel-help').textContent = `${help}. At first: ${contents}.`;
  }

  private look({ progress, map }: KernelLook, settings: KernelSettings): void {
    byId('kernel-result').hidden = false;
    const bar = byIdAs('kernel-bar', HTMLProgressElement);
    bar.max = orderOf(settings).words / 64;
    bar.value = progress.finished;
    const { passes, faults, finished } = progress;
    this.say(
      `Pass ${formatCount(passes)}: ${formatCount(finished)} of ${formatCount(bar.max)} ` +
        `workgroups finished, ${formatCount(faults)} faults`,
    );
    this.map.update(map);
  }

  /** @param checked the settings, where the outcome can be held against the example's */
  private show(outcome: KernelOutcome, checked: KernelSettings | null): void {
    const { report, passes, before, after, map } = outcome;
    byId('kernel-result').hidden = false;
    this.map.update(map);
    byId('kernel-report').replaceChildren(reportTable(outcome));
    byId('kernel-refusals').replaceChildren(...refusals(report));
    byId('kernel-service').replaceChildren();
    byId('kernel-timeline').hidden = report.service === null;
    this.timeline.update(report.service?.lives ?? []);
    const x = passes.map((_, i) => i + 1);
    const of = (name: 'faults' | 'finished' | 'replayed'): number[] =>
      passes.map((pass) => pass[name]);
    this.passes.update({
      x,
      series: [
        { label: 'faults', values: of('faults') },
        { label: 'workgroups finished so far', values: of('finished') },
        { label: 'workgroups run again', values: of('replayed') },
      ],
    });
    const check = checked === null ? undefined : exampleKernel(checked.kernel).check;
    const wrong = report.outcome === 'done' && check !== undefined ? check(before, after) : '';
    const { dataset } = document.documentElement;
    dataset['kernelOutcome'] = report.outcome;
    dataset['kernelFaults'] = String(report.faults);
    dataset['kernelRight'] = check === undefined ? '' : String(wrong === undefined);
    const cause = report.cause === '' ? '' : ` ${report.cause}.`;
    const text = `${OUTCOMES[report.outcome]}${cause}`;
    if (report.outcome !== 'done') return this.say(text, report.outcome === 'aborted' ? '' : 'bad');
    const killed =
      report.killed > 0 ? ` Ended on the way: ${plural(report.killed, 'invocation')}.` : '';
    const verdict =
      check === undefined
        ? ' Its own text: nobody knows what has to come out.'
        : wrong === undefined
          ? ' Every word is what it has to be.'
          : ` Wrong: ${wrong}.`;
    const isGood = wrong === undefined || wrong === '';
    this.say(`${text}${killed}${killed === '' ? verdict : ''}`, isGood ? 'good' : 'bad');
    if (!isGood) this.page.result('wrong');
  }

  private fail(error: unknown): void {
    if (error instanceof KernelCompileError) {
      this.editor.mark(error.problems);
      const { length } = error.problems;
      const reasons = length === 1 ? 'a reason stands' : `${length} reasons stand`;
      return this.say(`Refused: ${reasons} at the kernel's lines.`, 'bad');
    }
    // The lab's form has something that can't be.
    if (error instanceof AddressError) return this.say(`${error.message} ${error.remedy}`, 'bad');
    if (error instanceof OpenError) {
      return this.say(`The machine could not be opened: ${error.reason}; ${error.remedy}.`, 'bad');
    }
    if (error instanceof MachineError || error instanceof ErrnoError) {
      return this.say(`The machine failed: ${error.message}. The next run opens another.`, 'bad');
    }
    throw error;
  }

  private say(text: string, tone: '' | 'good' | 'bad' = ''): void {
    byId('kernel-verdict').textContent = text;
    byId('kernel-verdict').className = `verdict ${tone}`.trim();
  }
}

const FILL_WORDS = { random: 'random', order: 'a permutation', zero: 'zero' } as const;

function reportTable({ report, kernel, before }: KernelOutcome): HTMLTableElement {
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

/** What the fault service counted, where a policy moved the pages. */
function serviceTable(reports: readonly KernelReport[]): HTMLElement[] {
  const all = reports.flatMap(({ service }) => service ?? []);
  if (all.length === 0) return [];
  const names = Object.keys(COUNT_WORDS) as (keyof typeof COUNT_WORDS)[];
  const rows = names
    .filter((name) => all.some(({ counts }) => counts[name] > 0))
    .map((name) => {
      const format = name.startsWith('bytes') ? formatBytes : formatCount;
      return row(COUNT_WORDS[name], ...all.map(({ counts }) => format(counts[name])));
    });
  const times = all.map(({ virtualUs }) => formatMs(virtualUs / 1000));
  const heads = ['The fault service, for real', ...all.map(({ policy }) => policy)];
  const head = el('tr', {}, ...heads.map((name) => el('th', { scope: 'col' }, name)));
  const body = el('tbody', {}, row('virtual time', ...times), ...rows);
  return [el('table', { class: 'numbers' }, el('thead', {}, head), body)];
}

/** How a first attempt keeps effects from happening twice. */
const FIRST_ATTEMPTS: Readonly<Record<KernelOutcome['kernel']['firstAttempt'], string>> = {
  direct: 'has one effect, the last thing it does',
  defer: 'keeps its effects back to the end',
  log: 'logs every result',
  none: 'keeps nothing',
};

function refusals({ refusals: all }: KernelReport): HTMLElement[] {
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
