/*
 * Kernels of the fault lab, on the page's adapter in the bundled Chromium: that they finish right
 * with less memory than they use, and what is said of those that can't.
 */
import { describe, expect, test } from 'vitest';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { PageRig } from './page-rig.ts';

const SIZES = 'kib=16&fit=50&groups=16';
/** The software adapter shares its cores with other tests. */
const SLOW = { timeout: 180_000 };
const FINISHING = [
  'elementwise',
  'stencil',
  'increment',
  'histogram',
  'chase',
  'reduction',
  'hash',
] as const;

describe.skipIf(!bundleRunsHere())('kernels of the lab (needs Linux x64)', SLOW, () => {
  const rig = new PageRig();
  const open = (query: string): Promise<void> =>
    rig.open(`05-fault-lab/?size=1&workload=sweep&${query}`);

  test('each of the list finishes right with half of its memory', async () => {
    await open(`manual&${SIZES}`);
    for (const name of FINISHING) {
      await rig.page.selectOption('#kernel', name);
      await rig.press('#run-kernel');
      expect(await rig.text('#kernel-verdict'), name).toBe(
        'Done. Every word is what it has to be.',
      );
      const { kernelOutcome, kernelRight, kernelFaults } = await rig.marks();
      expect({ kernelOutcome, kernelRight }).toEqual({
        kernelOutcome: 'done',
        kernelRight: 'true',
      });
      expect(Number(kernelFaults), name).toBeGreaterThan(0);
    }
    expect(await rig.text('#kernel-report')).toMatch(/Workgroups\s+64 of 64/);
    expect(await rig.text('[data-status=adapter]')).toMatch(/swiftshader/);
  });

  test('the address names a kernel, which then runs by itself', async () => {
    await open(`kernel=chase&${SIZES}`);
    expect(await rig.marks()).toMatchObject({ result: 'ok', aDone: 'true', kernelRight: 'true' });
    const kinds = await rig.page.$$eval('#kernel-map [data-kind]', (all) =>
      all.map((one) => Number((one as HTMLElement).dataset['count'])),
    );
    expect(kinds.reduce((sum, one) => sum + one, 0)).toBe(8);
    await rig.page.click('#kernel-passes summary');
    await rig.page.waitForSelector('#kernel-passes details tbody tr');
    expect(await rig.page.locator('#kernel-passes details tbody tr').count()).toBeGreaterThan(1);
  });

  test('what is refused stands at its lines, the compiler’s words as well', async () => {
    await open(`manual&kernel=refused&${SIZES}`);
    await rig.press('#run-kernel');
    expect(await rig.text('#kernel-verdict')).toMatch(/^Refused: \d reasons stand/);
    const lines = await rig.page.$$eval('#kernel-editor [data-line]', (all) =>
      all.map((one) => Number((one as HTMLElement).dataset['line'])),
    );
    expect(lines).toEqual([1, 4, 5]);
    expect(await rig.page.locator('#kernel-editor .gutter .wrong').count()).toBe(3);
    await rig.page.fill(
      '#kernel-editor textarea',
      'fn kernel(wg: u32, lid: u32) {\n  let x = 1u;\n  vm_store(vm_arg(0u), x + 1.5);\n}\n',
    );
    await rig.press('#run-kernel');
    expect(await rig.page.locator('#kernel-editor [data-line="3"]').count()).toBeGreaterThan(0);
    expect((await rig.query()).get('wgsl')).toMatch(/x \+ 1\.5/);
    await rig.page.fill('#kernel-editor textarea', '');
    await rig.press('#run-kernel');
    expect(await rig.text('#kernel-editor .problems')).toMatch(/^line 1\s+there is no fn kernel/);
    await rig.page.selectOption('#kernel', 'increment');
    expect(await rig.page.locator('#kernel-editor [data-line]').count()).toBe(0);
    await rig.press('#run-kernel');
    expect(await rig.text('#kernel-verdict')).toMatch(/^Done/);
    expect((await rig.query()).has('wgsl')).toBe(false);
  });

  test('an access out of memory ends its invocation, and names it', async () => {
    await open(`manual&${SIZES}`);
    await rig.page.selectOption('#kernel', 'out of bounds');
    await rig.press('#run-kernel');
    expect(await rig.text('#kernel-verdict')).toBe('Done. Ended on the way: 1 invocation.');
    const cells = await rig.page.$$eval('#kernel-refusals tbody td', (all) =>
      all.map((one) => one.textContent),
    );
    expect(cells.slice(0, 4)).toEqual(['read', 'EFAULT', '1', '13']);
  });

  test('one without an end is ended, and the machine goes on', async () => {
    await open(`manual&${SIZES}`);
    await rig.page.selectOption('#kernel', 'endless');
    await rig.press('#run-kernel');
    expect(await rig.text('#kernel-verdict')).toMatch(
      /^Ended: an invocation ran out of its budget/,
    );
    expect(await rig.marks()).toMatchObject({ kernelOutcome: 'endless' });
    await rig.page.selectOption('#kernel', 'increment');
    await rig.press('#run-kernel');
    expect(await rig.text('#kernel-verdict')).toMatch(/^Done\. Every word/);
  });

  test('a run can be aborted, and its device can be lost: the next one goes on', async () => {
    await open('manual&kib=1024&fit=10&groups=16');
    await rig.page.selectOption('#kernel', 'chase');
    for (const [button, verdict] of [
      ['#abort-kernel', /^Aborted\./],
      ['#lose-device', /^The (device|machine) failed/],
    ] as const) {
      await rig.page.click('#run-kernel');
      await rig.page.waitForFunction(() =>
        document.querySelector('#kernel-verdict')?.textContent.startsWith('Pass'),
      );
      await rig.page.click(button);
      await rig.page.waitForSelector('html:not([data-busy])');
      expect(await rig.text('#kernel-verdict')).toMatch(verdict);
    }
    await rig.page.selectOption('#kernel', 'increment');
    await rig.page.fill('#kib', '16');
    await rig.press('#run-kernel');
    expect(await rig.text('#kernel-verdict')).toMatch(/^Done\. Every word/);
  });

  test('a policy moves the pages, and its service says what it did', async () => {
    await open(`manual&${SIZES}&kernel=stencil`);
    for (const mover of ['uvm', 'kfd', 'adaptive', 'nouveau', 'none']) {
      await rig.page.selectOption('#mover', mover);
      await rig.press('#run-kernel');
      expect(await rig.text('#kernel-verdict'), mover).toMatch(/^Done\. Every word/);
      const what = mover === 'nouveau' ? 'pages mapped in RAM' : 'pages moved to the device';
      expect(await rig.text('#kernel-service')).toMatch(new RegExp(`${what}\\s+[1-9]`));
      expect(await rig.page.isVisible('#kernel-timeline canvas')).toBe(true);
    }
    expect((await rig.query()).get('mover')).toBe('none');
    await rig.page.selectOption('#mover', 'single');
    await rig.press('#run-kernel');
    expect(await rig.text('#kernel-service')).toBe('');
    expect(await rig.page.isVisible('#kernel-timeline canvas')).toBe(false);
  });

  test('both policies of the lab are asked for real, with the settings of the lab', async () => {
    await open(`manual&${SIZES}&kernel=increment&a=none&b=kfd&batch=4&cost=farFaultUs%3A1000`);
    await rig.press('#run-both');
    expect(await rig.text('#kernel-verdict')).toMatch(/^Done\..* Under none and kfd: [\d.]+ m?s/);
    const heads = await rig.page.$$eval('#kernel-service th[scope=col]', (all) =>
      all.map((one) => one.textContent),
    );
    expect(heads).toEqual(['The fault service, for real', 'none', 'kfd']);
    // Four pages one by one, at a millisecond each.
    expect(await rig.text('#kernel-service tbody tr')).toMatch(/^virtual time\s+[4-9]\.\d+ ms/);
    expect(await rig.text('#kernel-service')).toMatch(/of that: transfers\s+\d/);
    await rig.page.selectOption('#b', 'yours');
    await rig.press('#run-both');
    expect(await rig.text('#kernel-verdict')).toMatch(/^Done\..* Under none and yours: [\d.]+ m?s/);
    expect(await rig.text('#kernel-service thead')).toMatch(/none\s+two pages at a time/);
    const files = await rig.page.locator('#kernel-files button').allTextContents();
    expect(files).toEqual([
      'Chrome trace of increment under none',
      'Chrome trace of increment under two pages at a time',
    ]);
  });

  test('what a kernel touches is recorded, and A and B go by it', async () => {
    await open(`manual&${SIZES}&kernel=stencil&a=none&b=kfd`);
    await rig.press('#record-kernel');
    expect(await rig.text('#kernel-verdict')).toMatch(/^Recorded [\d,]+ accesses/);
    expect(await rig.marks()).toMatchObject({ aDone: 'true', bDone: 'true', result: 'ok' });
    expect(await rig.text('#trace')).toMatch(/kernel stencil: [\d,]+ accesses to 32 KiB/);
    const csv = await rig.download('#save-trace');
    expect(csv.trimEnd().split('\n').slice(3)).toEqual(stencilLines(4096));
    await rig.page.selectOption('#kernel', 'endless');
    await rig.press('#record-kernel');
    expect(await rig.text('#kernel-verdict')).toMatch(/^No trace: its run ended as endless/);
    await rig.page.selectOption('#kernel', 'refused');
    await rig.press('#record-kernel');
    expect(await rig.page.locator('#kernel-editor [data-line="4"]').count()).toBe(1);
  });

  test('without an adapter the lab works, and the kernel says why it does not', async () => {
    await rig.open('05-fault-lab/?size=1&workload=sweep&engine=cpu&kernel=increment');
    expect(await rig.marks()).toMatchObject({ aDone: 'true', bDone: 'true' });
    expect(await rig.text('#kernel-editor .problems')).toMatch(
      /^line 1\s+this engine runs no WGSL/,
    );
  });
});

/** What the stencil touches: three neighbours of one array, one word of the other behind it. */
function stencilLines(words: number): string[] {
  const lines: string[] = [];
  for (let i = 0; i < words; i++) {
    const reads = [Math.max(i - 1, 0), i, Math.min(i + 1, words - 1)].map((at) => at >>> 10);
    const pages = reads.filter((page, at) => page !== reads[at - 1]);
    const who = `${Math.floor(i / 64)},${i % 64}`;
    lines.push(...pages.map((page) => `${who},${page},R`), `${who},${4 + (i >>> 10)},W`);
  }
  return lines;
}
