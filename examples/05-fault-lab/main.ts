/*
 * The fault lab: one workload under two policies, side by side, each in a worker of its own. Run,
 * step, pause, disturb; what the address says is what the form shows. `?manual` opens it without a
 * run.
 */
import { POLICY_HELP, readTrace, WORKLOAD_HELP, WORKLOADS } from '../../src/index.ts';
import type { AccessTrace } from '../../src/index.ts';
import { CodeEditor } from '../_shell/code-editor.ts';
import { CostForm } from '../_shell/cost-form.ts';
import { byId, byIdAs, el } from '../_shell/dom.ts';
import { pagesOf } from '../_shell/fault-work.ts';
import { formatBytes, formatCount } from '../_shell/numbers.ts';
import { runPage } from '../_shell/page.ts';
import type { Page } from '../_shell/page.ts';
import { copiesAddress } from '../_shell/share.ts';
import { fillForm, queryOf, readForm, writeAddress } from '../_shell/settings.ts';
import { KernelPanel } from './kernel-panel.ts';
import { Lab } from './lab.ts';
import { FIELDS, LAB_POLICIES } from './settings.ts';
import type { LabSettings } from './settings.ts';

const form = byIdAs('form', HTMLFormElement);

/** Fills in what the model knows by name. */
function buildForm(): { readonly cost: CostForm; readonly editor: CodeEditor } {
  byId('workload').append(...WORKLOADS.map((name) => el('option', { value: name }, name)));
  for (const id of ['a', 'b']) {
    const options = LAB_POLICIES.map((name) => {
      return el('option', { value: name }, name === 'yours' ? 'yours (below)' : name);
    });
    byId(id).append(...options);
  }
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

/** What the chosen workload and policies are, in a line each. */
function showHelp(): void {
  const workload = byIdAs('workload', HTMLSelectElement).value as keyof typeof WORKLOAD_HELP;
  byId('workload-help').textContent = `${workload}: ${WORKLOAD_HELP[workload]}`;
  for (const id of ['a', 'b']) {
    const name = byIdAs(id, HTMLSelectElement).value;
    const help = POLICY_HELP[name as keyof typeof POLICY_HELP] as string | undefined;
    byId(`${id}-help`).textContent = `${id.toUpperCase()}, ${name}: ${help ?? 'the module below'}`;
  }
}

/** Gives the lab recorded traces: by hand, and out of files. */
function acceptTraces(lab: Lab, use: (next: AccessTrace | null) => void): void {
  byId('drop').addEventListener('click', () => use(null));
  const open = byIdAs('open', HTMLInputElement);
  open.addEventListener('change', () => {
    const file = open.files?.[0];
    if (file === undefined) return;
    file
      .text()
      .then((text) => {
        use(readTrace(text, file.name));
        lab.sayOfFiles(`A and B go by ${file.name} now: press Run.`);
      })
      .catch((error: Error) => lab.sayOfFiles(`${file.name}: ${error.message}.`, 'bad'))
      // The same file may be chosen again, once it has been put right.
      .finally(() => (open.value = ''));
  });
}

/** Shows which trace takes the place of the workload, if any. */
function showTrace(next: AccessTrace | null): void {
  byId('trace').hidden = next === null;
  byIdAs('workload', HTMLSelectElement).disabled = next !== null;
  for (const id of ['size', 'passes']) byIdAs(id, HTMLInputElement).disabled = next !== null;
  if (next === null) return;
  const size = formatBytes(pagesOf(next) * 4096);
  byId('trace-name').textContent =
    `${next.name}: ${formatCount(next.pages.length)} accesses to ${size}`;
}

/** The editor of policies comes into view where somebody asks for one. */
function openEditor(): void {
  byIdAs('yours', HTMLDetailsElement).open = true;
}

/** Runs what the address asks for. */
async function runAsAsked(
  page: Page,
  lab: Lab,
  panel: KernelPanel,
  { a, b }: LabSettings,
  isForeign: boolean,
): Promise<void> {
  // Somebody else's program is not run because somebody has followed a link.
  const warning = 'This address brings a policy with it: read it above, then press Run.';
  if (isForeign && [a, b].includes('yours')) lab.say(warning);
  else await page.run(() => lab.run());
  // A GPU is asked for when somebody asks for a kernel.
  if (!panel.isAskedFor) return;
  if (isForeign && panel.usesCode) panel.say(warning);
  else await page.run(() => panel.run());
}

await runPage(async (page) => {
  const { cost, editor } = buildForm();
  const settings = page.settings(FIELDS);
  fillForm(form, FIELDS, settings);
  cost.show(settings.cost);
  editor.text = settings.code;
  const given = queryOf(FIELDS, settings);
  const more = ['evict', 'replay', 'batch', 'dedup', 'seed', 'passes'];
  byIdAs('more', HTMLDetailsElement).open = more.some((name) => given.has(name));
  showHelp();
  page.status.set('Clock', 'virtual', []);
  form.addEventListener('submit', (event) => event.preventDefault());

  let trace: AccessTrace | null = null;
  let kernel: KernelPanel | null = null;
  // A policy goes along in the address where somebody asks it.
  const share = (): void => {
    const chosen = readForm(form, FIELDS);
    const usesCode = [chosen.a, chosen.b].includes('yours') || kernel?.asksCode === true;
    writeAddress(FIELDS, usesCode ? chosen : { ...chosen, code: FIELDS.code.initial });
  };
  const lab = new Lab(page, editor, () => {
    if (!form.reportValidity()) return null;
    share();
    if (kernel?.isValid === true) kernel.share();
    return { settings: readForm(form, FIELDS), trace };
  });
  // Controls without a name are none of the run's settings, and it may go on at any speed.
  form.addEventListener('input', ({ target }) => {
    showHelp();
    const { name, value } = target as HTMLInputElement;
    if (value === 'yours') openEditor();
    if (name !== '' && name !== 'speed') lab.settingsChanged();
  });

  const use = (next: AccessTrace | null): void => {
    trace = next;
    showTrace(next);
    lab.settingsChanged();
  };
  acceptTraces(lab, use);
  const panel = new KernelPanel(page, {
    asked: () => readForm(form, FIELDS),
    share,
    mark: (problems) => {
      editor.mark(problems);
      if (problems.length > 0) openEditor();
    },
    onTrace: (recorded) => {
      use(recorded);
      return lab.run();
    },
  });
  kernel = panel;
  copiesAddress(
    byId('copy-address'),
    () => panel.share(),
    (text) => lab.sayOfFiles(text),
  );
  if (panel.usesCode || [settings.a, settings.b].includes('yours')) openEditor();
  byId('mover').addEventListener('change', () => {
    if (panel.asksCode) openEditor();
  });
  if (page.isAutomatic) await runAsAsked(page, lab, panel, settings, given.has('code'));
});
