/*
 * The page around the benchmark: controls, progress, results. A driver opens it with
 * `?auto&suite=copy,migrate&quick=1&seed=N` (also `engine=cpu`, `power=high`,
 * `goal=G2,G18`, `preset=xe-phases`), awaits
 * `webhmmBench`, the report, and may give functions: `reportProgress` hears of each step,
 * `readWorkerHeap` tells how much of the worker's JS heap is in use.
 */
import { runBench } from '../../bench/bench-client.ts';
import { tidyCsv } from '../../bench/exports.ts';
import type { BenchCell, BenchProgress, BenchReport } from '../../bench/types.ts';
import { byId, byIdAs } from '../_shell/dom.ts';
import { save } from '../_shell/files.ts';
import { digits, plural } from '../_shell/numbers.ts';
import { runPage } from '../_shell/page.ts';
import type { Page } from '../_shell/page.ts';
import { probeAdapter } from '../_shell/status.ts';
import { fileName, openReport } from './report-files.ts';
import { ReportView } from './report-view.ts';
import { fillForm, readForm, writeAddress } from './settings.ts';

declare global {
  interface Window {
    webhmmBench?: Promise<BenchReport>;
    reportProgress?: (progress: BenchProgress) => unknown;
    readWorkerHeap?: () => Promise<number | null>;
  }
}

/** Drawing takes time from what is measured, so it is done seldom, and not for a driver. */
const REDRAW_MS = 1500;

const query = new URLSearchParams(location.search);
const form = byIdAs('form', HTMLFormElement);
const cancel = byIdAs('cancel', HTMLButtonElement);
let settle = (_report: BenchReport): void => {};
let refuse = (_error: Error): void => {};
let shown: BenchReport | null = null;

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

function showReport(page: Page, view: ReportView, report: BenchReport): void {
  shown = report;
  const { env, cells, omitted, wallSeconds } = report;
  page.status.showAdapter(env.engine === 'cpu' ? null : env.adapter);
  view.showReport(report);
  const bar = byIdAs('bar', HTMLProgressElement);
  bar.value = bar.max;
  const left = omitted.length === 0 ? '' : `, ${omitted.length} left out`;
  note(`${plural(cells.length, 'cell')} in ${digits(wallSeconds)} s${left}.`);
  for (const id of ['save-json', 'save-csv']) byIdAs(id, HTMLButtonElement).disabled = false;
}

async function run(page: Page, view: ReportView): Promise<void> {
  const options = readForm(form, query);
  if (options.suites?.length === 0) return note('Choose at least one suite.');
  writeAddress(options);
  const cells: BenchCell[] = [];
  const abort = new AbortController();
  cancel.onclick = () => abort.abort(new Error('the run was cancelled'));
  cancel.disabled = false;
  let drawn = performance.now();
  const onProgress = (progress: BenchProgress): void => {
    showProgress(progress);
    void window.reportProgress?.(progress);
    if (progress.cell === undefined) return;
    cells.push(progress.cell);
    if (query.has('auto') || performance.now() - drawn < REDRAW_MS) return;
    view.showCells(cells);
    drawn = performance.now();
  };
  try {
    const report = await runBench(options, onProgress, abort.signal, window.readWorkerHeap);
    showReport(page, view, report);
    page.result(report.cells.every(({ verified }) => verified) ? 'ok' : 'wrong');
    settle(report);
  } catch (error) {
    refuse(error instanceof Error ? error : new Error(String(error)));
    if (!abort.signal.aborted) throw error;
    view.showCells(cells);
    note(`Cancelled after ${plural(cells.length, 'cell')}.`);
  } finally {
    cancel.disabled = true;
  }
}

function wireFiles(page: Page, view: ReportView): void {
  byId('save-json').addEventListener('click', () => {
    if (shown === null) return;
    save(JSON.stringify(shown, null, 1), fileName(shown, 'json'), 'application/json');
  });
  byId('save-csv').addEventListener('click', () => {
    if (shown !== null) save(tidyCsv(shown), fileName(shown, 'csv'), 'text/csv');
  });
  const open = byIdAs('open', HTMLInputElement);
  open.addEventListener('change', () => {
    const file = open.files?.[0];
    if (file === undefined) return;
    openReport(file).then(
      (report) => showReport(page, view, report),
      (error: Error) => note(`${error.message}.`),
    );
  });
}

await runPage(async (page) => {
  const view = new ReportView();
  fillForm(form, query);
  form.addEventListener('submit', (event) => event.preventDefault());
  page.action('start', () => run(page, view));
  wireFiles(page, view);
  const adapter = query.get('engine') === 'cpu' ? null : await probeAdapter();
  page.status.showAdapter(adapter);
  if (query.has('auto')) await page.run(() => run(page, view));
});
if (query.has('auto')) refuse(new Error('the page could not run the benchmark'));
