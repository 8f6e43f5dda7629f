/*
 * The part of the page that runs a kernel on the real machine: editor, report, passes, where the
 * pages are; held, stepped, ended on the way, and as a file.
 */
import { errno, KernelCompileError, MachineError, ErrnoError, OpenError } from '../../src/index.ts';
import type { AccessTrace, LaunchFailure, RunningLaunch } from '../../src/index.ts';
import { AddressError } from '../_shell/address.ts';
import { CodeEditor } from '../_shell/code-editor.ts';
import type { CodeProblem } from '../_shell/code-editor.ts';
import { byId, byIdAs, el } from '../_shell/dom.ts';
import { save } from '../_shell/files.ts';
import { formatCount, formatMs, plural } from '../_shell/numbers.ts';
import { lineOfSyntax } from '../_shell/own-policy.ts';
import { PageMap } from '../_shell/page-map.ts';
import type { Page } from '../_shell/page.ts';
import { Plot } from '../_shell/plot.ts';
import { fillForm, queryOf, readForm, writeAddress } from '../_shell/settings.ts';
import { isLost, isRefusedLaunch, KernelRunner, NoAnswer, recordKernel } from './kernel-run.ts';
import type { KernelLook, KernelOutcome, PassNote, RunWatch } from './kernel-run.ts';
import {
  FAILURE_NAMES,
  injections,
  memoryCurves,
  OUTCOMES,
  passCurves,
  refusals,
  reportTable,
  serviceTable,
} from './kernel-views.ts';
import { EXAMPLE_NAMES, exampleKernel, LANES } from './kernels.ts';
import { runTrace } from './run-trace.ts';
import type { TracedLaunch } from './run-trace.ts';
import { KERNEL_FIELDS, orderOf, policyOf, serviceOf } from './settings.ts';
import type { KernelSettings, LabPolicyName, LabSettings } from './settings.ts';
import { Timeline } from './timeline.ts';

/** What the panel needs of the lab around it. */
export interface LabAround {
  /** What the lab's form says: real runs have the same policies and the same service. */
  readonly asked: () => LabSettings;
  /** Writes the lab's settings into the address. */
  readonly share: () => void;
  /** Shows what is wrong with the user's policy. */
  readonly mark: (problems: readonly CodeProblem[]) => void;
  /** Is given recorded traces. */
  readonly onTrace: (trace: AccessTrace) => Promise<void>;
}

/** Lives of a timeline. */
const SHOWN_LIVES = 96;
/** The plot is drawn anew less often than the rest. */
const PLOT_MS = 250;
const FILL_WORDS = { random: 'random', order: 'a permutation', zero: 'zero' } as const;
/** Buttons of a run that goes on. */
const RUNNING = ['pause-kernel', 'fail-kernel', 'abort-kernel', 'lose-device'] as const;

export class KernelPanel {
  /** Whether the address asks for a kernel. */
  readonly isAskedFor: boolean;
  /** Whether it asks for the user's policy under it. */
  readonly usesCode: boolean;
  private readonly form = byIdAs('kernel-form', HTMLFormElement);
  private readonly editor = new CodeEditor('wgsl', 'The kernel, in WGSL', 14);
  private readonly map = new PageMap({ label: "the kernel's arrays", devices: 1 });
  private readonly runner: KernelRunner;
  private readonly page: Page;
  private readonly around: LabAround;
  private readonly passes = new Plot({
    title: 'Faults and finished workgroups by pass',
    x: { label: 'pass', format: (pass) => (Number.isInteger(pass) ? String(pass) : '') },
    y: { label: '', format: formatCount },
    marks: 'both',
    height: 200,
  });

  private readonly memory = new Plot({
    title: 'Device memory in use by pass, pages',
    x: { label: 'pass', format: (pass) => (Number.isInteger(pass) ? String(pass) : '') },
    y: { label: '', format: formatCount },
    marks: 'both',
    height: 160,
  });

  private readonly timeline = new Timeline();
  private runName = '';
  /** What was asked to be put in the way of the run at hand. */
  private failure: LaunchFailure | null = null;
  /** Runs whose memory is shown side by side. */
  private runs: { readonly name: string; readonly passes: readonly PassNote[] }[] = [];
  private launch: RunningLaunch | null = null;
  /** What the run in progress was asked to do: to be held, or to go on. */
  private wantsHold = false;
  private plottedAt = 0;

  constructor(page: Page, around: LabAround) {
    this.page = page;
    this.around = around;
    this.runner = new KernelRunner((own) => page.options(own));
    byId('kernel').append(...EXAMPLE_NAMES.map((name) => el('option', { value: name }, name)));
    byId('kernel-editor').append(this.editor.element);
    byId('kernel-map').append(this.map.element);
    byId('kernel-passes').append(this.passes.element);
    byId('kernel-memory').append(this.memory.element);
    byId('kernel-timeline').append(this.timeline.element);
    const words = { single: 'page by page', yours: 'yours (above)' } as const;
    const movers = KERNEL_FIELDS.mover.values.map((name) => {
      return el(
        'option',
        { value: name },
        name in words ? words[name as keyof typeof words] : name,
      );
    });
    byId('mover').append(...movers);
    const failures = KERNEL_FIELDS.fail.values.map((value) => {
      return el('option', { value }, value === 'nothing' ? value : FAILURE_NAMES[value]);
    });
    byId('fail').append(...failures);
    const settings = page.settings(KERNEL_FIELDS);
    this.isAskedFor = [...queryOf(KERNEL_FIELDS, settings)].length > 0;
    this.usesCode = settings.mover === 'yours';
    fillForm(this.form, KERNEL_FIELDS, settings);
    this.choose(settings.wgsl);
    this.form.addEventListener('submit', (event) => event.preventDefault());
    byId('kernel').addEventListener('change', () => this.choose(''));
    page.action('run-kernel', () => this.run());
    page.action('run-both', () => this.runBoth());
    page.action('record-kernel', () => this.record());
    byId('step-kernel').addEventListener('click', () => void this.step());
    byId('pause-kernel').addEventListener('click', () => this.togglePause());
    byId('fail-kernel').addEventListener('click', () => this.failNow());
  }

  /** A line about the kernel. */
  say(text: string, tone: '' | 'good' | 'bad' = ''): void {
    this.write(text, tone, 'polite');
  }

  /** @param live `off` for what changes many times a second, and would never be read out */
  private write(text: string, tone: '' | 'good' | 'bad', live: 'off' | 'polite'): void {
    const verdict = byId('kernel-verdict');
    if (verdict.textContent === text) return;
    verdict.setAttribute('aria-live', live);
    verdict.textContent = text;
    verdict.className = `verdict ${tone}`.trim();
  }

  /** Whether a run under these settings asks the user's policy. */
  get asksCode(): boolean {
    return byIdAs('mover', HTMLSelectElement).value === 'yours';
  }

  /** Whether its form can be read. */
  get isValid(): boolean {
    return this.form.checkValidity();
  }

  /** Runs what the editor has; one that is held stops behind its first pass. */
  async run(isHeld = false): Promise<void> {
    await this.attempt(async (settings, signal) => {
      const { mover } = settings;
      const by = mover === 'single' ? null : mover;
      const outcome = await this.runOnce(settings, by, signal, isHeld);
      byId('kernel-service').replaceChildren(...serviceTable([outcome.report]));
      this.offer([traced(outcome, settings)]);
    });
  }

  /** One pass more of the run in progress; without one, the first of a new one. */
  private async step(): Promise<void> {
    if (this.launch !== null) {
      this.launch.step();
      this.showHold(true);
    } else if ('busy' in document.documentElement.dataset) {
      this.say('Something else is running: pause it or wait for its end.');
    } else {
      await this.page.run(() => this.run(true));
    }
  }

  private togglePause(): void {
    if (this.launch === null) return;
    if (this.wantsHold) this.launch.resume();
    else this.launch.pause();
    this.showHold(!this.wantsHold);
  }

  /** Puts the chosen failure in the way of what is served next. */
  private failNow(): void {
    const { fail } = readForm(this.form, KERNEL_FIELDS);
    const note = byId('kernel-injected');
    if (fail === 'nothing' || this.launch === null) {
      note.textContent = 'Which failure? Choose the one in its way.';
      return byId('fail').focus();
    }
    this.launch.fail(fail);
    this.failure = fail;
    note.textContent = `It comes when the next faults are served: ${FAILURE_NAMES[fail]}.`;
  }

  private showHold(wantsHold: boolean): void {
    this.wantsHold = wantsHold;
    byId('pause-kernel').textContent = wantsHold ? 'Go on' : 'Pause';
  }

  /** Runs it under both policies of the lab, one after the other. */
  private async runBoth(): Promise<void> {
    await this.attempt(async (settings, signal) => {
      const { a, b } = this.around.asked();
      const outcomes: KernelOutcome[] = [];
      for (const policy of [a, b]) {
        const outcome = await this.runOnce(settings, policy, signal, false);
        outcomes.push(outcome);
        if (outcome.report.outcome !== 'done') break;
      }
      byId('kernel-service').replaceChildren(...serviceTable(outcomes.map((one) => one.report)));
      this.offer(outcomes.map((one) => traced(one, settings)));
      if (outcomes.some(({ report }) => report.outcome !== 'done')) return;
      const times = outcomes.map(({ report }) => formatMs(report.totalMs)).join(' and ');
      this.say(`${byId('kernel-verdict').textContent} Under ${a} and ${b}: ${times}.`, 'good');
    });
  }

  private async runOnce(
    settings: KernelSettings,
    by: LabPolicyName | null,
    signal: AbortSignal,
    isHeld: boolean,
  ): Promise<KernelOutcome> {
    const asked = this.around.asked();
    const policy = by === null ? null : policyOf(asked, by);
    byId('kernel-run-title').textContent = `Under ${by ?? 'no policy: page by page'}`;
    this.runName = by ?? 'page by page';
    this.failure = settings.fail === 'nothing' ? null : settings.fail;
    this.clear();
    const watch: RunWatch = {
      onOpen: ({ report }) => {
        this.page.status.showMachine(report);
        this.say('Running…');
      },
      onStart: (launch) => this.began(launch, isHeld),
      onLook: (look) => this.look(look, settings),
      signal,
    };
    const outcome = await this.runner.run(orderOf(settings, policy, serviceOf(asked)), watch);
    this.show(outcome, settings, by);
    this.runs.push({ name: this.runName, passes: outcome.notes.passes });
    return outcome;
  }

  /** What the run before has left is none of the next one's. */
  private clear(): void {
    this.launch = null;
    for (const id of ['report', 'refusals', 'service', 'files']) {
      byId(`kernel-${id}`).replaceChildren();
    }
    byId('kernel-waits').hidden = true;
    byId('kernel-files-note').hidden = true;
    this.passes.update(passCurves([]));
    this.memory.update(memoryCurves(this.runs, 0));
  }

  private began(launch: RunningLaunch, isHeld: boolean): void {
    this.launch = launch;
    if (isHeld) launch.step();
    this.showHold(isHeld);
    for (const id of ['pause-kernel', 'fail-kernel'])
      byIdAs(id, HTMLButtonElement).disabled = false;
  }

  /** Records what it touches, and hands the trace to both policies of the lab. */
  private async record(): Promise<void> {
    await this.attempt(async (settings, signal) => {
      const name = `kernel ${settings.kernel}`;
      byId('kernel-run-title').textContent = 'Recorded, with room for everything';
      this.runName = 'recorded';
      this.clear();
      const watch: RunWatch = {
        onStart: (launch) => this.began(launch, false),
        onLook: (look) => this.look(look, settings),
        signal,
      };
      const recorded = await recordKernel(this.runner, orderOf(settings), name, watch);
      if (typeof recorded === 'string') return this.say(`No trace: ${recorded}.`, 'bad');
      const count = formatCount(recorded.pages.length);
      this.say(`Recorded ${count} accesses. A and B go by them now: see above.`, 'good');
      await this.around.onTrace(recorded);
    });
  }

  /** What goes wrong with a kernel is said here, not in the page's banner. */
  private async attempt(
    body: (settings: KernelSettings, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    if (!this.form.reportValidity()) return;
    const { wgsl, ...rest } = readForm(this.form, KERNEL_FIELDS);
    // No text in the address is the example; no text in the editor is no kernel.
    const settings = { ...rest, wgsl: wgsl === '' ? '\n' : wgsl };
    this.share();
    this.editor.mark([]);
    this.around.mark([]);
    if (!crossOriginIsolated) return this.say('It needs shared memory: see the message above.');
    const abort = new AbortController();
    byId('abort-kernel').onclick = () => {
      abort.abort();
      // What has not begun hears of nothing: a compiler may take as long as it likes.
      if (this.launch === null) this.runner.kill();
    };
    byId('lose-device').onclick = () => void this.loseDevice();
    this.runs = [];
    byId('kernel-injected').replaceChildren();
    for (const id of ['abort-kernel', 'lose-device'])
      byIdAs(id, HTMLButtonElement).disabled = false;
    this.say('Opening the machine…');
    try {
      await body(settings, abort.signal);
    } catch (error) {
      if (abort.signal.aborted && error instanceof MachineError) this.say(OUTCOMES.aborted);
      else await this.fail(error);
    } finally {
      this.launch = null;
      this.showHold(false);
      for (const id of RUNNING) byIdAs(id, HTMLButtonElement).disabled = true;
    }
  }

  /** A launch that is held would never see that its device is gone. */
  private async loseDevice(): Promise<void> {
    // The machine may be gone just now: then there is nothing left to be lost.
    await this.runner.loseDevice().catch(() => undefined);
    this.launch?.resume();
  }

  /** Writes the panel's settings into the address, and the lab's. */
  share(): void {
    const settings = readForm(this.form, KERNEL_FIELDS);
    const isExample = settings.wgsl === exampleKernel(settings.kernel).wgsl;
    this.around.share();
    writeAddress(KERNEL_FIELDS, isExample ? { ...settings, wgsl: '' } : settings);
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

  private look({ progress, isHeld, map, notes }: KernelLook, settings: KernelSettings): void {
    byId('kernel-result').hidden = false;
    const bar = byIdAs('kernel-bar', HTMLProgressElement);
    bar.max = orderOf(settings).words / LANES;
    bar.value = progress.finished;
    const { passes, faults, finished } = progress;
    const done = `${formatCount(finished)} of ${formatCount(bar.max)} workgroups finished`;
    const count = `${formatCount(faults)} faults`;
    if (isHeld) this.say(`Held after pass ${formatCount(passes)}: ${done}, ${count} so far.`);
    else this.write(`Pass ${formatCount(passes)}: ${done}, ${count}`, '', 'off');
    document.documentElement.dataset['kernelPasses'] = String(passes);
    this.map.update(map);
    if (!isHeld && performance.now() - this.plottedAt < PLOT_MS) return;
    this.plottedAt = performance.now();
    this.plot(notes.passes, settings);
  }

  /** Draws the passes of the run at hand, and its memory beside that of the runs before it. */
  private plot(passes: readonly PassNote[], settings: KernelSettings): void {
    this.passes.update(passCurves(passes));
    const runs = [...this.runs, { name: this.runName, passes }];
    this.memory.update(memoryCurves(runs, orderOf(settings).devicePages));
  }

  /**
   * @param by whose policy it was
   */
  private show(outcome: KernelOutcome, settings: KernelSettings, by: LabPolicyName | null): void {
    const { report, notes, before, after, map } = outcome;
    byId('kernel-result').hidden = false;
    byIdAs('kernel-bar', HTMLProgressElement).value = report.finished;
    this.map.update(map);
    byId('kernel-report').replaceChildren(reportTable(outcome));
    const box = byId('kernel-injected');
    // Those of the runs before; what was said while it ran is over.
    box.replaceChildren(...box.children, ...injections(outcome, this.failure, this.runName));
    byId('kernel-refusals').replaceChildren(...refusals(report));
    byId('kernel-service').replaceChildren();
    byId('kernel-waits').hidden = report.service === null;
    this.timeline.update(report.service?.lives.slice(-SHOWN_LIVES) ?? []);
    this.plot(notes.passes, settings);
    const example = exampleKernel(settings.kernel);
    const check = settings.wgsl === example.wgsl ? example.check : undefined;
    const wrong = report.outcome === 'done' && check !== undefined ? check(before, after) : '';
    const { dataset } = document.documentElement;
    dataset['kernelOutcome'] = report.outcome;
    dataset['kernelFaults'] = String(report.faults);
    dataset['kernelRight'] = check === undefined ? '' : String(wrong === undefined);
    if (report.outcome !== 'done') return this.showEnd(report, by);
    const killed =
      report.killed > 0 ? ` Ended on the way: ${plural(report.killed, 'invocation')}.` : '';
    const verdict =
      check === undefined
        ? ' Its own text: nobody knows what has to come out.'
        : wrong === undefined
          ? ' Every word is what it has to be.'
          : ` Wrong: ${wrong}.`;
    const isGood = wrong === undefined || wrong === '';
    this.say(`${OUTCOMES.done}${killed}${killed === '' ? verdict : ''}`, isGood ? 'good' : 'bad');
    if (!isGood) this.page.result('wrong');
  }

  /** How a run ended that is not done. */
  private showEnd({ outcome, cause, ...report }: KernelOutcome['report'], by: string | null): void {
    const why = cause === '' ? '' : ` ${cause}.`;
    if (outcome === 'failed' && report.errno !== errno.EINVAL && !isLost({ ...report, outcome })) {
      return this.say(`The run ended:${why}`, 'bad');
    }
    if (outcome === 'failed' && report.errno === errno.EINVAL) {
      if (by === 'yours') this.around.mark([problemOf(cause)]);
      return this.say(`The policy ended the run: ${cause}.`, 'bad');
    }
    this.say(`${OUTCOMES[outcome]}${why}`, outcome === 'aborted' ? '' : 'bad');
  }

  /** Files of runs that are over. */
  private offer(runs: readonly TracedLaunch[]): void {
    const buttons = runs.map((run) => {
      const button = el('button', { type: 'button' }, `Chrome trace of ${run.name}`);
      button.addEventListener('click', () => {
        const name = `webhmm-${run.name.replaceAll(/[^\w-]+/g, '-')}.json`;
        save(JSON.stringify(runTrace(run)), name, 'application/json');
      });
      return button;
    });
    byId('kernel-files').replaceChildren(...buttons);
    byId('kernel-files-note').hidden = false;
  }

  private async fail(error: unknown): Promise<void> {
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
    if (error instanceof NoAnswer) {
      return this.say(`${sentence(error.message)}. The next run opens another.`, 'bad');
    }
    if (isRefusedLaunch(error)) return this.refuse(error);
    if (error instanceof MachineError || error instanceof ErrnoError) {
      return this.say(`The machine failed: ${error.message}. The next run opens another.`, 'bad');
    }
    throw error;
  }

  /** A policy can't be made, or never was. */
  private async refuse({ message, errno: code }: ErrnoError): Promise<void> {
    if (code === errno.EINTR) return this.say(OUTCOMES.aborted);
    const why = message.replace(/^\w+: launch \(([^]*)\)$/, '$1');
    this.say(`The policy was refused: ${why}.`, 'bad');
    const isLoaded = !why.startsWith('the module');
    const line = isLoaded ? null : await lineOfSyntax(this.around.asked().code);
    this.around.mark([line === null ? problemOf(why) : { line, reason: why }]);
  }
}

/** A cause that may end with its line. */
function problemOf(cause: string): CodeProblem {
  const line = /\(line (\d+)(?:, column \d+)?\)$/.exec(cause)?.[1];
  return { line: line === undefined ? null : Number(line), reason: cause };
}

/** What a run's file is made of, without its memory. */
function traced({ report, notes, kernel }: KernelOutcome, settings: KernelSettings): TracedLaunch {
  const by = report.service?.policy ?? 'page by page';
  const { service, origin, outcome } = report;
  const name =
    report.service === null ? `${settings.kernel}, ${by}` : `${settings.kernel} under ${by}`;
  return { name, report: { service, origin, outcome }, notes, window: kernel.window };
}

function sentence(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}
