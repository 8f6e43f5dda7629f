/*
 * The lab's buttons: both sides are opened together, go on together, and are shown together.
 */
import { traceToCsv } from '../../src/index.ts';
import type { AccessTrace } from '../../src/index.ts';
import type { CodeEditor } from '../_shell/code-editor.ts';
import { byId, byIdAs, el } from '../_shell/dom.ts';
import { traceOf, workName } from '../_shell/fault-work.ts';
import { save } from '../_shell/files.ts';
import { digits, formatBytes, formatCount, formatMs } from '../_shell/numbers.ts';
import type { Page } from '../_shell/page.ts';
import { INJECTIONS } from './lab-run.ts';
import type { Goal } from './lab-run.ts';
import { LabSide } from './lab-side.ts';
import { setupOf } from './settings.ts';
import type { LabSettings } from './settings.ts';
import { SpaceMap } from './space-map.ts';
import { Timeline } from './timeline.ts';
import { LabViews } from './views.ts';
import type { ShownSide } from './views.ts';

/** What the form asks for. */
export interface Asked {
  readonly settings: LabSettings;
  readonly trace: AccessTrace | null;
}

/** How long a worker runs at a time: as long as the page may stand still. */
const BUDGET_MS = 60;
const FRAME_MS = 16;
/** Plots are drawn anew less often than the rest. */
const PLOT_MS = 250;

const IDS = ['a', 'b'] as const;
type SideId = (typeof IDS)[number];

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** One side, and the part of the page that shows it. */
class Shown {
  readonly id: SideId;
  readonly side = new LabSide();
  policy = '';
  private readonly map: SpaceMap;
  private readonly timeline = new Timeline();

  constructor(id: SideId) {
    this.id = id;
    this.map = new SpaceMap(`side ${id.toUpperCase()}`);
    byId(`${id}-map`).append(this.map.element);
    byId(`${id}-timeline`).append(this.timeline.element);
    this.map.update(new Uint8Array(0));
    this.timeline.update([]);
  }

  get name(): string {
    return `${this.id.toUpperCase()}: ${this.side.state?.policy ?? this.policy}`;
  }

  draw(): void {
    const { id, side } = this;
    const { state, failure } = side;
    byId(`${id}-title`).textContent = this.name;
    const box = byId(`${id}-failure`);
    box.hidden = failure === null;
    box.textContent = failure === null ? '' : `The run ended: ${failure.message}.`;
    const bar = byIdAs(`${id}-bar`, HTMLProgressElement);
    if (state === null) {
      bar.value = 0;
      byId(`${id}-note`).textContent = 'Nothing has been run.';
      this.map.update(new Uint8Array(0));
      this.timeline.update([]);
      return;
    }
    const { counts, us, accesses, allAccesses, residentPages, devicePages } = state;
    [bar.max, bar.value] = [Math.max(allAccesses, 1), accesses];
    const share = Math.floor((100 * accesses) / Math.max(allAccesses, 1));
    byId(`${id}-note`).textContent =
      `${formatMs(us / 1000)} · ${share} % of ${formatCount(allAccesses)} accesses · ` +
      `batch ${formatCount(counts.batches)} · ${formatBytes(residentPages * 4096)} of ` +
      `${formatBytes(devicePages * 4096)} in use`;
    this.map.update(state.map);
    this.timeline.update(state.lives);
    const lines = state.events.map(({ us: at, text }) =>
      el('li', { class: 'warn' }, el('time', {}, formatMs(at / 1000)), el('span', {}, text)),
    );
    byId(`${id}-events`).append(...lines);
    if (lines.length > 0) byId('inject-note').textContent = '';
  }

  clear(): void {
    byId(`${this.id}-events`).replaceChildren();
  }
}

export class Lab {
  private readonly page: Page;
  private readonly editor: CodeEditor;
  private readonly ask: () => Asked | null;
  private readonly shown = IDS.map((id) => new Shown(id));
  private readonly views = new LabViews();
  private asked: Asked | null = null;
  private isStale = true;
  private isRunning = false;

  /** @param ask reads the form, or answers null where something in it can't be */
  constructor(page: Page, editor: CodeEditor, ask: () => Asked | null) {
    [this.page, this.editor, this.ask] = [page, editor, ask];
    page.action('run', () => this.run());
    page.action('step-batch', () => this.step('batch'));
    page.action('step-pass', () => this.step('pass'));
    page.action('restart', () => this.restart());
    byId('pause').addEventListener('click', () => (this.isRunning = false));
    for (const what of INJECTIONS) {
      byId(`inject-${what}`).addEventListener('click', () => void this.inject(what));
    }
    for (const shown of this.shown) {
      const save = byId(`${shown.id}-chrome`);
      save.addEventListener('click', () => void this.saveChrome(shown));
    }
    byId('save-json').addEventListener('click', () => void this.saveJson());
    byId('save-trace').addEventListener('click', () => this.saveTrace());
  }

  /** A line about the whole lab. */
  say(text: string, tone: '' | 'good' | 'bad' = ''): void {
    byId('verdict').textContent = text;
    byId('verdict').className = `verdict ${tone}`.trim();
  }

  /** A line about files, where their buttons are. */
  sayOfFiles(text: string, tone: '' | 'bad' = ''): void {
    byId('files-note').textContent = text;
    byId('files-note').className = `small ${tone === '' ? 'muted' : 'failed'}`;
  }

  /** What runs is not what the form says any more. */
  settingsChanged(): void {
    this.isStale = true;
    this.isRunning = false;
    this.say('The settings have changed: Run and the steps begin anew with them.');
  }

  /** Begins anew, and stops before the first fault. */
  async restart(): Promise<void> {
    if (await this.open()) this.say('Ready. Run, or go step by step.');
  }

  /** Runs to the end, or until Pause; begins anew where there is nothing to go on with. */
  async run(): Promise<void> {
    if (!(await this.ready())) return;
    this.isRunning = true;
    const pauseButton = byIdAs('pause', HTMLButtonElement);
    pauseButton.disabled = false;
    this.say('Running…');
    try {
      await this.goOn();
    } finally {
      this.isRunning = false;
      pauseButton.disabled = true;
    }
    if (!this.isStale) this.conclude();
  }

  private async goOn(): Promise<void> {
    const going = this.shown.filter(({ side }) => side.canGoOn);
    // Both sides begin at the earlier one's time, so that they are seen at the same moment.
    let clockUs = Math.min(...going.map(({ side }) => side.state?.us ?? 0));
    let last = performance.now();
    let plotted = last;
    while (this.isRunning && this.shown.some(({ side }) => side.canGoOn)) {
      const speed = byIdAs('speed', HTMLSelectElement).value;
      const now = performance.now();
      if (speed !== 'full') clockUs += ((now - last) / 1000) * Number(speed);
      last = now;
      const goal: Goal = speed === 'full' ? { kind: 'end' } : { kind: 'until', us: clockUs };
      await Promise.all(
        this.shown.map(async ({ side }) => {
          // What is ahead of the clock waits for it.
          if (goal.kind === 'until' && (side.state?.us ?? 0) >= goal.us) return;
          await side.advance(goal, BUDGET_MS);
        }),
      );
      this.draw(now - plotted > PLOT_MS);
      if (now - plotted > PLOT_MS) plotted = now;
      await pause(FRAME_MS);
    }
    this.draw(true);
  }

  private async step(kind: 'batch' | 'pass'): Promise<void> {
    if (!(await this.ready())) return;
    for (const { side } of this.shown) {
      // A step may be longer than a worker's turn.
      while (!(await side.advance({ kind }, BUDGET_MS)));
    }
    this.draw(true);
    this.conclude();
  }

  private async inject(what: (typeof INJECTIONS)[number]): Promise<void> {
    const into = byIdAs('inject-into', HTMLSelectElement).value;
    const sides = this.shown.filter(({ id }) => into === 'both' || into === id);
    await Promise.all(sides.map(({ side }) => side.inject(what)));
    const going = sides.filter(({ side }) => side.canGoOn).map(({ name }) => name);
    const note = byId('inject-note');
    note.textContent =
      going.length === 0
        ? 'There is no run under way to be disturbed: Restart, then step.'
        : `Waits for the next ${what === 'throw' ? 'fault' : 'move'} of ${going.join(' and ')}.`;
  }

  /** Opens both sides where there is nothing to go on with. @returns whether there is now */
  private async ready(): Promise<boolean> {
    if (!this.isStale && this.shown.some(({ side }) => side.canGoOn)) return true;
    return this.open();
  }

  private async open(): Promise<boolean> {
    const asked = this.ask();
    if (asked === null) return false;
    this.asked = asked;
    this.isStale = false;
    this.editor.mark([]);
    byId('inject-note').textContent = '';
    await Promise.all(
      this.shown.map((shown) => {
        shown.policy = asked.settings[shown.id];
        shown.clear();
        return shown.side.open(setupOf(asked.settings, shown.id, asked.trace));
      }),
    );
    this.draw(true);
    return true;
  }

  private draw(withPlot: boolean): void {
    for (const shown of this.shown) shown.draw();
    const sides: ShownSide[] = this.shown.map(({ name, side }) => ({ name, state: side.state }));
    this.views.update(sides);
    if (withPlot) this.views.plot(sides);
    this.markEditor();
    const { dataset } = document.documentElement;
    for (const { id, side } of this.shown) {
      dataset[`${id}Us`] = String(side.state?.us ?? '');
      dataset[`${id}Batches`] = String(side.state?.counts.batches ?? '');
      dataset[`${id}Done`] = String(side.state?.isDone ?? false);
    }
  }

  /** What went wrong in the user's module stands at its line. */
  private markEditor(): void {
    const problems = this.shown.flatMap(({ policy, side }) => {
      if (policy !== 'yours' || side.failure === null) return [];
      return [{ line: side.failure.line, reason: side.failure.message }];
    });
    const once = problems.filter(
      (one, i) => problems.findIndex(({ reason }) => reason === one.reason) === i,
    );
    this.editor.mark(once);
  }

  private conclude(): void {
    // Nothing waits any more for a run that is over.
    if (!this.shown.some(({ side }) => side.canGoOn)) byId('inject-note').textContent = '';
    const failed = this.shown.filter(({ side }) => side.failure !== null);
    const [first, second] = this.shown.map(({ side }) => side.state);
    if (failed.length > 0) {
      return this.say(`${failed.map(({ name }) => name).join(' and ')} ended early.`, 'bad');
    }
    if (!first?.isDone || !second?.isDone) {
      return this.say(
        `At ${formatMs((first?.us ?? 0) / 1000)} and ${formatMs((second?.us ?? 0) / 1000)}.`,
      );
    }
    const ratio = second.us / first.us;
    const [faster, times] = ratio >= 1 ? ['A', ratio] : ['B', 1 / ratio];
    const isEven = times < 1.005;
    const ends = `A took ${formatMs(first.us / 1000)}, B ${formatMs(second.us / 1000)}`;
    this.say(isEven ? `${ends}.` : `${ends}: ${faster} is ${digits(times)} times as fast.`, 'good');
    this.page.result('ok');
  }

  private async saveChrome({ id, side }: Shown): Promise<void> {
    const files = await side.files();
    if (files === null)
      return this.sayOfFiles('There is no run to be saved: press Run first.', 'bad');
    save(files.chrome, `webhmm-faults-${id}.json`, 'application/json');
  }

  private async saveJson(): Promise<void> {
    const files = await Promise.all(this.shown.map(({ side }) => side.files()));
    const { asked } = this;
    if (asked === null || files.every((one) => one === null)) {
      return this.sayOfFiles('There is no run to be saved: press Run first.', 'bad');
    }
    const { work, options } = setupOf(asked.settings, 'a', asked.trace);
    const sides = Object.fromEntries(IDS.map((id, i) => [id, files[i]?.result ?? null]));
    const content = { schema: 'webhmm-fault-lab-1', work: workName(work), options, ...sides };
    save(JSON.stringify(content, null, 1), 'webhmm-fault-lab.json', 'application/json');
  }

  /** What was accessed does not depend on the policy: one trace for both. */
  private saveTrace(): void {
    const asked = this.ask();
    if (asked === null) return;
    const { work, options } = setupOf(asked.settings, 'a', asked.trace);
    const trace = traceOf(work, options.seed);
    save(traceToCsv(trace), `webhmm-${trace.name.replaceAll(/[^\w-]+/g, '-')}.csv`, 'text/csv');
  }
}
