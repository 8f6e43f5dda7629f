/*
 * The page around the benchmark: controls, progress, results. A driver opens it with
 * `?auto&suite=copy,migrate&quick=0&seed=N` (also `engine=cpu`, `power=high`,
 * `goal=G2,G18`, `preset=xe-phases`), awaits
 * `webhmmBench`, the report, and may give functions: `reportProgress` hears of each step,
 * `readWorkerHeap` tells how much of the worker's JS heap is in use.
 */
import { runBench } from '../../bench/bench-client.ts';
import { tidyCsv } from '../../bench/exports.ts';
import { mailText } from '../../bench/mail-text.ts';
import { isSound } from '../../bench/types.ts';
import type { BenchCell, BenchProgress, BenchReport } from '../../bench/types.ts';
import { byId, byIdAs } from '../_shell/dom.ts';
import { save } from '../_shell/files.ts';
import { digits, plural } from '../_shell/numbers.ts';
import { runPage } from '../_shell/page.ts';
import type { Page } from '../_shell/page.ts';
import { pngOf } from '../_shell/png.ts';
import { fillForm, settingsFrom } from '../_shell/settings.ts';
import { probeAdapter } from '../_shell/status.ts';
import { fileName, openReport, pngText } from './report-files.ts';
import { ReportView, showCaution } from './report-view.ts';
import { MOST_RUNS, RunList } from './runs.ts';
import { VIEW_FIELDS, fillRunForm, readRunForm } from './settings.ts';
import type { ViewSettings } from './settings.ts';

declare global {
  interface Window {
    webhmmBench?: Promise<BenchReport>;
    reportProgress?: (progress: BenchProgress) => unknown;
    readWorkerHeap?: () => Promise<number | null>;
  }
}

/** Drawing takes time from what is measured, so it is done seldom, and not for a driver. */
const REDRAW_MS = 1500;
const HIDDEN =
  'The tab was hidden: browsers throttle it, so this run is worth nothing. Start again.';

const query = new URLSearchParams(location.search);
const form = byIdAs('form', HTMLFormElement);
const cancel = byIdAs('cancel', HTMLButtonElement);
let settle = (_report: BenchReport): void => {};
let refuse = (_error: Error): void => {};

window.webhmmBench = new Promise((resolve, reject) => {
  [settle, refuse] = [resolve, reject];
});
// The page itself shows what went wrong.
window.webhmmBench.catch(() => {});

function note(text: string): void {
  byId('note').textContent = text;
}

function showProgress({ suite, note: what, done, total }: BenchProgress): void {
  const bar = byIdAs('bar', HTMLProgressElement);
  [bar.max, bar.value] = [Math.max(total, 1), done];
  note(`${done} of ${total} · ${suite}: ${what}`);
}

/** The page's results: the run that is shown, others beside it, and the files they go to. */
class Results {
  readonly view: ReportView;
  readonly runs: RunList;
  private readonly page: Page;
  private viewed: ViewSettings;

  constructor(page: Page, viewed: ViewSettings) {
    this.page = page;
    this.viewed = viewed;
    this.view = new ReportView(viewed, (changed) => {
      this.viewed = changed;
      this.fillMail();
    });
    this.runs = new RunList(byId('runs'), () => this.show());
  }

  /** Takes a run in; shows it, or lays it over the one that is shown. */
  add(report: BenchReport, isShown: boolean): void {
    if (this.runs.add(report, isShown)) return this.show();
    note(`There are ${MOST_RUNS} runs already: remove one first.`);
  }

  /** Cells of a run that is going on, beside the runs that there are. */
  showCells(cells: readonly BenchCell[]): void {
    this.view.showCells(cells, 'now', this.runs.all);
  }

  show(): void {
    const [shown, ...others] = this.runs.all;
    if (shown === undefined) return;
    const { env, cells, omitted, wallSeconds } = shown.report;
    this.page.status.showAdapter(env.engine === 'cpu' ? null : env.adapter);
    this.view.showRuns(shown, others);
    const bar = byIdAs('bar', HTMLProgressElement);
    bar.value = bar.max;
    const left = omitted.length === 0 ? '' : `, ${omitted.length} left out`;
    note(`${plural(cells.length, 'cell')} in ${digits(wallSeconds)} s${left}.`);
    for (const kind of ['json', 'csv']) {
      byIdAs(`save-${kind}`, HTMLButtonElement).disabled = false;
    }
    // A published table's run may have no plot: its picture would be a title alone.
    byIdAs('save-png', HTMLButtonElement).disabled = this.view.pictures().length === 0;
    this.fillMail();
  }

  wireFiles(): void {
    const wire = (id: string, act: (report: BenchReport) => unknown): void => {
      byId(id).addEventListener('click', () => {
        if (this.runs.shown !== null) void act(this.runs.shown.report);
      });
    };
    wire('save-json', (report) =>
      save(JSON.stringify(report, null, 1), fileName(report, 'json'), 'application/json'),
    );
    wire('save-csv', (report) => save(tidyCsv(report), fileName(report, 'csv'), 'text/csv'));
    wire('save-png', (report) => this.savePng(report));
    wire('copy-mail', () => navigator.clipboard.writeText(byId('mail-text').textContent ?? ''));
    const open = byIdAs('open', HTMLInputElement);
    open.addEventListener('change', () => {
      const files = [...(open.files ?? [])];
      // Else choosing the same file again, mended or taken away meanwhile, would be no change.
      open.value = '';
      void this.open(files);
    });
  }

  private async open(files: readonly File[]): Promise<void> {
    const refused: string[] = [];
    for (const file of files) {
      try {
        this.add(await openReport(file), false);
      } catch (error) {
        refused.push(`${(error as Error).message}.`);
      }
    }
    if (refused.length > 0) note(refused.join(' '));
  }

  private async savePng(report: BenchReport): Promise<void> {
    const text = pngText(this.runs.all);
    save(await pngOf(this.view.pictures(), text), fileName(report, 'png'), 'image/png');
  }

  /** GB/s by folio size, as text. */
  private fillMail(): void {
    const report = this.runs.shown?.report;
    const text = report === undefined ? null : mailText(report, this.viewed.counted);
    byId('mail').hidden = text === null;
    byId('mail-text').textContent = text;
  }
}

async function run(page: Page, results: Results): Promise<void> {
  const options = readRunForm(form);
  if (options.suites?.length === 0) return note('Choose at least one suite.');
  const cells: BenchCell[] = [];
  const abort = new AbortController();
  cancel.onclick = () => abort.abort(new Error('the run was cancelled'));
  cancel.disabled = false;
  showCaution([], false);
  const guard = (): void => {
    if (document.hidden) showCaution([HIDDEN], true);
  };
  document.addEventListener('visibilitychange', guard);
  let drawn = performance.now();
  const onProgress = (progress: BenchProgress): void => {
    showProgress(progress);
    void window.reportProgress?.(progress);
    if (progress.cell === undefined) return;
    cells.push(progress.cell);
    if (query.has('auto') || performance.now() - drawn < REDRAW_MS) return;
    results.showCells(cells);
    drawn = performance.now();
  };
  try {
    const report = await runBench(options, onProgress, abort.signal, window.readWorkerHeap);
    results.add(report, true);
    page.result(isSound(report) ? 'ok' : 'wrong');
    settle(report);
  } catch (error) {
    refuse(error instanceof Error ? error : new Error(String(error)));
    if (!abort.signal.aborted) throw error;
    results.showCells(cells);
    note(`Cancelled after ${plural(cells.length, 'cell')}.`);
  } finally {
    document.removeEventListener('visibilitychange', guard);
    cancel.disabled = true;
  }
}

await runPage(async (page) => {
  fillRunForm(form, query);
  form.addEventListener('submit', (event) => event.preventDefault());
  const viewed = settingsFrom(VIEW_FIELDS, query);
  fillForm(byIdAs('view', HTMLFormElement), VIEW_FIELDS, viewed);
  const results = new Results(page, viewed);
  page.action('start', () => run(page, results));
  results.wireFiles();
  const adapter = query.get('engine') === 'cpu' ? null : await probeAdapter();
  page.status.showAdapter(adapter);
  if (query.has('auto')) await page.run(() => run(page, results));
});
if (query.has('auto')) refuse(new Error('the page could not run the benchmark'));
