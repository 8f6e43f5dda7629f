/*
 * The page around the sweep: settings, a worker that runs the model, curves that grow with it,
 * files. `?manual` opens it without a run; all settings are in the address.
 */
import { readTrace, WORKLOAD_HELP, WORKLOADS } from '../../src/index.ts';
import type { AccessTrace, ExperimentReport } from '../../src/index.ts';
import { CodeEditor } from '../_shell/code-editor.ts';
import { CostForm } from '../_shell/cost-form.ts';
import { costFrom } from '../_shell/cost-text.ts';
import { byId, byIdAs, el } from '../_shell/dom.ts';
import { pagesOf, workName } from '../_shell/fault-work.ts';
import { save } from '../_shell/files.ts';
import { digits, formatBytes, formatCount, plural } from '../_shell/numbers.ts';
import { lineOfSyntax } from '../_shell/own-policy.ts';
import type { PolicyFailure } from '../_shell/own-policy.ts';
import { runPage } from '../_shell/page.ts';
import type { Page } from '../_shell/page.ts';
import { fillForm, queryOf, readForm, writeAddress } from '../_shell/settings.ts';
import { copiesAddress } from '../_shell/share.ts';
import { sweepCsv } from './cliff.ts';
import { FIELDS, sweepOf } from './settings.ts';
import type { SweepSettings } from './settings.ts';
import type { SweepMessage, SweepRequest } from './sweep-worker.ts';
import { CONTENDER_HELP, CONTENDERS } from './sweep.ts';
import type { SweepCell, SweepOptions } from './sweep.ts';
import { reportTable, SweepView } from './views.ts';

/** How often the curves are drawn while cells come in. */
const REDRAW_MS = 250;

const form = byIdAs('form', HTMLFormElement);
const bar = byIdAs('bar', HTMLProgressElement);
const cancel = byIdAs('cancel', HTMLButtonElement);

function note(text: string): void {
  byId('note').textContent = text;
}

/** A line about files, where their buttons are. */
function sayOfFiles(text: string, tone: 'muted' | 'failed' = 'muted'): void {
  byId('files-note').textContent = text;
  byId('files-note').className = `small ${tone}`;
}

/** Runs a request in a worker of its own until it says that it is done, or Cancel is pressed. */
function ask(request: SweepRequest, hear: (message: SweepMessage) => void): Promise<boolean> {
  const worker = new Worker(new URL('./sweep-worker.ts', import.meta.url), { type: 'module' });
  const ended = new Promise<boolean>((resolve, reject) => {
    cancel.onclick = () => resolve(false);
    worker.onerror = (event) => reject(new Error(event.message || 'the worker could not start'));
    worker.onmessage = ({ data }: MessageEvent<SweepMessage>) => {
      if (data.kind === 'failed') return reject(new Error(data.message));
      hear(data);
      if (data.kind === 'done' || data.kind === 'report') resolve(true);
    };
  });
  cancel.disabled = false;
  worker.postMessage(request);
  return ended.finally(() => {
    worker.terminate();
    cancel.disabled = true;
  });
}

class Oversubscription {
  private readonly page: Page;
  private readonly view = new SweepView();
  private readonly editor: CodeEditor;
  private trace: AccessTrace | null = null;
  /** The last sweep, for files. */
  private last: { readonly options: SweepOptions; readonly cells: readonly SweepCell[] } | null =
    null;

  constructor(page: Page, editor: CodeEditor) {
    [this.page, this.editor] = [page, editor];
    page.action('start', () => this.sweep());
    page.action('reproduce', () => this.reproduce());
    byId('save-csv').addEventListener('click', () => this.saveCsv());
    byId('save-json').addEventListener('click', () => this.saveJson());
    byIdAs('open', HTMLInputElement).addEventListener('change', () => void this.open());
    byId('drop').addEventListener('click', () => this.use(null));
    const write = (): void => share(readForm(form, FIELDS));
    copiesAddress(byId('copy-address'), write, (text) => sayOfFiles(text));
  }

  /** Runs what the form asks for. */
  async sweep(): Promise<void> {
    if (!form.reportValidity()) return;
    const settings = readForm(form, FIELDS);
    const options = sweepOf(settings, this.trace);
    if (options.contenders.length === 0) return note('Choose at least one policy.');
    share(settings);
    this.editor.mark([]);
    const cells: SweepCell[] = [];
    const found: { wrong: PolicyFailure | null } = { wrong: null };
    const began = performance.now();
    let drawn = began;
    let accesses = 0;
    [bar.max, bar.value] = [options.contenders.length * options.ratios.length, 0];
    note('Making the access trace…');
    const code = asksCode(settings) ? settings.code : null;
    const isWhole = await ask({ kind: 'sweep', options, code }, (message) => {
      if (message.kind === 'wrong') found.wrong = message.failure;
      if (message.kind === 'trace') ({ accesses } = message);
      if (message.kind === 'step') bar.value = cells.length + message.fraction;
      if (message.kind !== 'cell') return;
      cells.push(message.cell);
      bar.value = message.done;
      const { contender, ratio } = message.cell;
      note(`${message.done} of ${message.total} runs · ${contender} at ${ratio}×`);
      if (performance.now() - drawn < REDRAW_MS) return;
      this.view.update(options.contenders, cells);
      drawn = performance.now();
    });
    if (found.wrong !== null) {
      await this.mark(found.wrong, settings.code);
      if (cells.length === 0) return note('Your policy can not be run: see below it.');
    }
    this.view.update(options.contenders, cells);
    this.last = { options, cells };
    for (const id of ['save-csv', 'save-json']) byIdAs(id, HTMLButtonElement).disabled = false;
    const runs = plural(cells.length, 'run');
    if (!isWhole) return note(`Cancelled after ${runs}.`);
    const pages = cells[0]?.pages ?? 0;
    const what = `${formatCount(accesses)} accesses to ${formatBytes(pages * 4096)}`;
    note(`${runs} of ${what} in ${digits((performance.now() - began) / 1000)} s.`);
    this.page.result('ok');
  }

  /** What is wrong with the user's policy stands at its line. */
  private async mark({ message, line, isSyntax }: PolicyFailure, code: string): Promise<void> {
    const at = isSyntax ? await lineOfSyntax(code) : line;
    this.editor.mark([{ line: at, reason: message }]);
    byIdAs('yours', HTMLDetailsElement).open = true;
  }

  /** Runs the experiment that holds the curves against published ones. */
  async reproduce(): Promise<void> {
    if (!form.reportValidity()) return;
    const { cost } = readForm(form, FIELDS);
    const summary = byId('experiment-note');
    summary.textContent = 'Running…';
    const request = { kind: 'experiment', name: 'cliff', cost: costFrom(cost) } as const;
    let report: ExperimentReport | null = null;
    const isWhole = await ask(request, (message) => {
      if (message.kind === 'report') ({ report } = message);
    });
    summary.textContent = isWhole ? '' : 'Cancelled.';
    byId('experiment').replaceChildren(...(report === null ? [] : [reportTable(report)]));
  }

  private async open(): Promise<void> {
    const input = byIdAs('open', HTMLInputElement);
    const file = input.files?.[0];
    if (file === undefined) return;
    try {
      this.use(readTrace(await file.text(), file.name));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      sayOfFiles(`${file.name}: ${why}.`, 'failed');
    }
    // The same file may be chosen again, once it has been put right.
    input.value = '';
  }

  /** Takes a recorded trace instead of a workload; null goes back. */
  private use(trace: AccessTrace | null): void {
    this.trace = trace;
    byId('trace').hidden = trace === null;
    byIdAs('workload', HTMLSelectElement).disabled = trace !== null;
    for (const id of ['size', 'passes']) byIdAs(id, HTMLInputElement).disabled = trace !== null;
    if (trace === null) return note('The workload is chosen above.');
    const pages = formatBytes(pagesOf(trace) * 4096);
    byId('trace-name').textContent =
      `${trace.name}: ${formatCount(trace.pages.length)} accesses to ${pages}`;
    note('The recorded trace takes the place of the workload. Start sweeps it.');
    sayOfFiles(`${trace.name} takes the place of the workload: press Start.`);
  }

  private saveCsv(): void {
    if (this.last === null) return;
    const { options, cells } = this.last;
    const notes = [
      `WebHMM oversubscription sweep of ${workName(options.work)}`,
      `window ${options.window}, batch ${options.batchLimit ?? 'own'}, ` +
        `replay ${options.replay ?? 'own'}, evict ${options.evict ?? 'own'}, seed ${options.seed}`,
      `cost ${JSON.stringify(options.cost)}`,
    ];
    save(sweepCsv(cells, notes), 'webhmm-oversubscription.csv', 'text/csv');
  }

  private saveJson(): void {
    if (this.last === null) return;
    const { options, cells } = this.last;
    const content = { schema: 'webhmm-oversubscription-1', ...options };
    const text = JSON.stringify({ ...content, work: workName(options.work), cells }, null, 1);
    save(text, 'webhmm-oversubscription.json', 'application/json');
  }
}

/** Whether somebody asks the user's policy. */
function asksCode({ policies }: SweepSettings): boolean {
  return policies.includes('yours');
}

/** Writes settings into the address: a policy goes along where it is asked. */
function share(settings: SweepSettings): void {
  writeAddress(FIELDS, asksCode(settings) ? settings : { ...settings, code: FIELDS.code.initial });
}

/** Fills in what the model knows by name. */
function buildForm(): { readonly cost: CostForm; readonly editor: CodeEditor } {
  const workloads = WORKLOADS.map((name) => el('option', { value: name }, name));
  byId('workload').append(...workloads);
  const boxes = CONTENDERS.map((name) =>
    el(
      'label',
      {},
      el('input', { type: 'checkbox', name: 'policies', value: name }),
      el('span', {}, el('b', {}, name), ` ${CONTENDER_HELP[name]}`),
    ),
  );
  byId('policies').append(...boxes);
  for (const id of ['evict', 'replay'] as const) {
    const options = FIELDS[id].values.map((name) =>
      el('option', { value: name }, name === 'own' ? "each policy's own" : name),
    );
    byId(id).append(...options);
  }
  const cost = new CostForm();
  byId('cost').append(cost.element);
  const editor = new CodeEditor('code', 'Your policy: a module');
  byId('editor').append(editor.element);
  return { cost, editor };
}

function showHelp(): void {
  const name = byIdAs('workload', HTMLSelectElement).value as keyof typeof WORKLOAD_HELP;
  byId('workload-help').textContent = WORKLOAD_HELP[name];
}

await runPage(async (page) => {
  const { cost, editor } = buildForm();
  const settings = page.settings(FIELDS);
  fillForm(form, FIELDS, settings);
  cost.show(settings.cost);
  byIdAs('more', HTMLDetailsElement).open = ['evict', 'replay', 'window', 'batch', 'seed'].some(
    (name) => queryOf(FIELDS, settings).has(name),
  );
  editor.text = settings.code;
  byIdAs('yours', HTMLDetailsElement).open = asksCode(settings);
  showHelp();
  page.status.set('Clock', 'virtual', []);
  byId('workload').addEventListener('change', showHelp);
  form.addEventListener('submit', (event) => event.preventDefault());
  byId('policies').addEventListener('change', ({ target }) => {
    const { value, checked } = target as HTMLInputElement;
    if (value === 'yours' && checked) byIdAs('yours', HTMLDetailsElement).open = true;
  });
  const sweep = new Oversubscription(page, editor);
  if (!page.isAutomatic) return;
  // Somebody else's program is not run because somebody has followed a link.
  if (asksCode(settings) && queryOf(FIELDS, settings).has('code')) {
    return note('This address brings a policy with it: read it above, then press Start.');
  }
  await page.run(() => sweep.sweep());
});
