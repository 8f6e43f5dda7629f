/*
 * The page around the benchmark: controls, progress, results. A driver opens it with
 * `?auto&suite=copy,migrate&quick=0&seed=N` (also `engine=cpu`, `power=high`,
 * `goal=G2,G18`, `preset=xe-phases`), awaits
 * `webhmmBench`, the report, and may give functions: `reportProgress` hears of each step,
 * `readWorkerHeap` tells how much of the worker's JS heap is in use.
 */
import { runBench } from '../../bench/bench-client.ts';
import { contradictionIn } from '../../bench/contradictions.ts';
import { GOALS } from '../../bench/goals.ts';
import { isSound } from '../../bench/types.ts';
import type { BenchCell, BenchOptions, BenchProgress, BenchReport } from '../../bench/types.ts';
import { AddressError } from '../_shell/address.ts';
import { byId, byIdAs, el } from '../_shell/dom.ts';
import { digits, plural } from '../_shell/numbers.ts';
import { runPage } from '../_shell/page.ts';
import type { Page } from '../_shell/page.ts';
import { fillForm, readForm, settingsFrom } from '../_shell/settings.ts';
import { copiesAddress } from '../_shell/share.ts';
import { probeAdapter } from '../_shell/status.ts';
import { showIdle } from './idle.ts';
import { showCaution } from './report-view.ts';
import { Results } from './results.ts';
import { ADAPTER_FIELDS, MAP_FIELDS, VIEW_FIELDS } from './settings.ts';
import { fillRunForm, readRunForm, refuseOtherNames } from './settings.ts';

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

/** Says why nothing is run, also to a driver. */
function decline(why: string): void {
  note(why);
  if (query.has('auto')) refuse(new Error(why));
}

/** The bar is full, and the note says what came of it. */
function showEnd({ cells, omitted, wallSeconds }: BenchReport): void {
  const bar = byIdAs('bar', HTMLProgressElement);
  bar.value = bar.max;
  const left = omitted.length === 0 ? '' : `, ${omitted.length} left out`;
  note(`${plural(cells.length, 'cell')} in ${digits(wallSeconds)} s${left}.`);
}

function showProgress({ suite, note: what, done, total }: BenchProgress): void {
  const bar = byIdAs('bar', HTMLProgressElement);
  [bar.max, bar.value] = [Math.max(total, 1), done];
  note(`${done} of ${total} · ${suite}: ${what}`);
}

/** What the form asks for, or why that can't be. */
function optionsOrWords(): BenchOptions | string {
  try {
    const options = readRunForm(form);
    const found = options.suites?.length === 0 ? null : contradictionIn(options);
    return found === null ? options : `${found.what}; ${found.remedy}.`;
  } catch (error) {
    if (error instanceof AddressError) return `${error.message} ${error.remedy}`;
    throw error;
  }
}

async function run(page: Page, results: Results): Promise<void> {
  if (!form.reportValidity()) return decline('A number is missing, or out of its range.');
  const options = optionsOrWords();
  if (typeof options === 'string') return decline(options);
  if (options.suites?.length === 0) return decline('Choose at least one suite.');
  const { refusal } = results;
  if (refusal !== null) return decline(refusal);
  const cells: BenchCell[] = [];
  const abort = new AbortController();
  cancel.onclick = () => {
    cancel.disabled = true;
    note('Stopping.');
    abort.abort(new Error('the run was cancelled'));
  };
  cancel.disabled = false;
  results.begin();
  const guard = (): void => {
    if (document.hidden) showCaution([HIDDEN], true);
  };
  document.addEventListener('visibilitychange', guard);
  let drawn = performance.now();
  const onProgress = (progress: BenchProgress): void => {
    if (!abort.signal.aborted) showProgress(progress);
    void window.reportProgress?.(progress);
    if (progress.cell === undefined) return;
    cells.push(progress.cell);
    if (query.has('auto') || performance.now() - drawn < REDRAW_MS) return;
    results.showCells(cells);
    drawn = performance.now();
  };
  try {
    const report = await runBench(options, onProgress, abort.signal, window.readWorkerHeap);
    results.finish(report);
    showEnd(report);
    page.result(isSound(report) ? 'ok' : 'wrong');
    settle(report);
  } catch (error) {
    refuse(error instanceof Error ? error : new Error(String(error)));
    results.abandon(cells);
    if (!abort.signal.aborted) {
      note(`The run ended with an error after ${plural(cells.length, 'cell')}.`);
      throw error;
    }
    note(`Cancelled after ${plural(cells.length, 'cell')}.`);
  } finally {
    document.removeEventListener('visibilitychange', guard);
    cancel.disabled = true;
  }
}

/** Shows which adapter the form's choices stand for, while no run says which it was. */
async function showAdapter(page: Page): Promise<void> {
  const { engine, power } = readForm(form, ADAPTER_FIELDS);
  if (engine === 'cpu') return page.status.showAdapter(null);
  const preference = { '': undefined, high: 'high-performance', low: 'low-power' } as const;
  const adapter = await probeAdapter(preference[power]);
  if (adapter === null) page.status.showNoAdapter();
  else page.status.showAdapter(adapter);
}

await runPage(async (page) => {
  refuseOtherNames(query);
  fillRunForm(form, query);
  showIdle(form);
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('input', () => showIdle(form));
  const viewed = settingsFrom(VIEW_FIELDS, query);
  fillForm(byIdAs('view', HTMLFormElement), VIEW_FIELDS, viewed);
  for (const { id, title, suite } of GOALS) {
    byId('goal-names').append(el('dt', {}, id), el('dd', {}, `${title} (${suite})`));
  }
  const results = new Results(page, viewed, settingsFrom(MAP_FIELDS, query));
  page.action('start', () => run(page, results));
  for (const id of ['engine', 'power']) {
    byId(id).addEventListener('change', () => void showAdapter(page));
  }
  copiesAddress(
    byId('copy-address'),
    () => void readRunForm(form),
    (text) => (byId('files-note').textContent = text),
  );
  await showAdapter(page);
  if (query.has('auto')) await page.run(() => run(page, results));
});
if (query.has('auto')) refuse(new Error('the page could not run the benchmark'));
