/*
 * The selftests on this page's adapter. `npm run selftest` reads the same marks as a person: the
 * TAP in #tap, and on the root element how many tests passed, failed and were skipped.
 */
import { Machine } from '../../src/index.ts';
import { runSelftests, SELFTEST_MACHINE, SelftestSession } from '../../test/selftests/harness.ts';
import type { Result } from '../../test/selftests/harness.ts';
import { selectInstances } from '../../test/selftests/selftest.ts';
import type { Instance, VariantName } from '../../test/selftests/selftest.ts';
import { SUITE } from '../../test/selftests/suite.ts';
import { byId, byIdAs, el, row } from '../_shell/dom.ts';
import { formatMs, plural } from '../_shell/numbers.ts';
import { runPage } from '../_shell/page.ts';
import type { Page } from '../_shell/page.ts';

/** What a visit runs by itself: all but the benchmark, which moves 256 MiB ten times. */
const QUICK = '^(?!.*benchmark)';

const TONES = { pass: 'good', fail: 'bad', skip: 'warn' } as const;
const WORDS = { pass: 'passed', fail: 'failed', skip: 'skipped' } as const;

/** The instances that the form asks for; a text that says what is wrong where there are none. */
function choose(): Instance[] | string {
  const source = byIdAs('filter', HTMLInputElement).value.trim();
  const variant = byIdAs('variant', HTMLSelectElement).value as VariantName | '';
  let filter: RegExp | undefined;
  try {
    filter = source === '' ? undefined : new RegExp(source);
  } catch (error) {
    return `${(error as SyntaxError).message}.`;
  }
  const instances = selectInstances(SUITE, { filter, variant: variant || undefined });
  return instances.length === 0 ? `No test matches ${source || 'this choice'}.` : instances;
}

/** The name in parts that a narrow window may put on lines of their own. */
function breakable(name: string): (Node | string)[] {
  return name.split(/(?<=[._])/).flatMap((part) => [part, el('wbr')]);
}

function showResult({ instance, verdict, reason, log, ms }: Result): void {
  const name = el('div', {}, el('code', {}, ...breakable(instance.id)));
  const why = verdict === 'fail' ? log.join('\n') : reason;
  if (why !== '') name.append(el('p', { class: 'reason' }, why));
  const badge = el('span', { class: `badge ${TONES[verdict]}` }, WORDS[verdict]);
  byId('results').append(row(name, badge, verdict === 'skip' ? '' : formatMs(ms)));
}

function showVerdict(text: string, tone: '' | 'good' | 'bad'): void {
  byId('verdict').className = `verdict ${tone}`;
  byId('verdict').textContent = text;
}

/** Runs what the form asks for. */
async function runChosen(page: Page): Promise<void> {
  byId('results').replaceChildren();
  byId('tap').textContent = '';
  const instances = choose();
  if (typeof instances === 'string') {
    showVerdict(instances, 'bad');
    return;
  }
  const options = page.options(SELFTEST_MACHINE);
  const session = new SelftestSession((extra) => Machine.create({ ...options, ...extra }));
  let done = 0;
  const totals = await runSelftests(instances, session, (line) => byId('tap').append(`${line}\n`), {
    opened: (report) => page.status.showMachine(report),
    finished: (result) => {
      showResult(result);
      showVerdict(`${++done} of ${plural(instances.length, 'test')} done…`, '');
    },
  });
  const { pass, fail, skip } = totals;
  Object.assign(document.documentElement.dataset, totals);
  const text = `${pass} passed, ${fail} failed, ${skip} skipped.`;
  showVerdict(text, fail > 0 ? 'bad' : pass > 0 ? 'good' : '');
  page.result(fail === 0 ? 'ok' : 'wrong');
}

await runPage(async (page) => {
  byIdAs('filter', HTMLInputElement).value = page.query.get('filter') ?? QUICK;
  byIdAs('variant', HTMLSelectElement).value = page.query.get('variant') ?? '';
  const start = (): Promise<void> => runChosen(page);
  page.action('run', start);
  byId('controls').addEventListener('submit', (event) => {
    event.preventDefault();
    byId('run').click();
  });
  if (page.isAutomatic) await page.run(start);
  else showVerdict('Ready.', '');
});
