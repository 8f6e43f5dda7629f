/*
 * Real kernels under a user's policy, in the bundled Chromium: beside the built-in ones, held and
 * stepped, as a file; and what a bad one ends, which is its run alone.
 */
import { describe, expect, test } from 'vitest';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { STAGES } from '../../src/driver/policy/fault-lives.ts';
import { readSlices } from '../unit/driver/policy/chrome-reader.ts';
import { PageRig } from './page-rig.ts';

const SIZES = 'kib=16&fit=50&groups=16';
/** The software adapter shares its cores with other tests. */
const SLOW = { timeout: 240_000 };

describe.skipIf(!bundleRunsHere())('real runs under policies (needs Linux x64)', SLOW, () => {
  const rig = new PageRig();
  const open = (query: string): Promise<void> =>
    rig.open(`05-fault-lab/?size=1&workload=sweep&manual&${SIZES}&${query}`);
  const verdict = (): Promise<string> => rig.text('#kernel-verdict');

  const code = (text: string): Promise<void> => rig.page.fill('#editor textarea', text);

  /** Another policy, or the same after one that went wrong, still does what it should. */
  async function expectUsable(): Promise<void> {
    await rig.page.selectOption('#mover', 'none');
    await rig.press('#run-kernel');
    expect(await verdict()).toMatch(/^Done\. Every word/);
    await rig.page.selectOption('#mover', 'yours');
  }

  test("the user's policy moves the pages of each kernel", async () => {
    await open('mover=yours');
    expect(await rig.page.isVisible('#editor textarea')).toBe(true);
    for (const kernel of ['stencil', 'histogram', 'chase', 'reduction']) {
      await rig.page.selectOption('#kernel', kernel);
      await rig.press('#run-kernel');
      expect(await verdict(), kernel).toBe('Done. Every word is what it has to be.');
      expect(await rig.text('#kernel-service thead')).toMatch(/two pages at a time/);
    }
    expect(await rig.text('#kernel-service')).toMatch(/pages evicted\s+[1-9]/);
    const text = await rig.page.inputValue('#editor textarea');
    await code(text.replace('two pages at a time', 'mine & yours'));
    await rig.press('#run-kernel');
    expect(await rig.text('#kernel-service thead')).toMatch(/mine & yours/);
    // It goes along in the address, and runs nowhere by itself.
    const query = await rig.query();
    expect(query.get('code')).toMatch(/mine & yours/);
    query.delete('manual');
    await rig.open(`05-fault-lab/?${query}`);
    expect(await verdict()).toMatch(/^This address brings a policy with it: read it/);
    expect(await rig.marks()).not.toHaveProperty('kernelOutcome');
    await rig.press('#run-kernel');
    expect(await verdict()).toMatch(/^Done\./);
  });

  test('each fault of a run is in its Chrome trace, whoever moved the pages', async () => {
    await open('kernel=stencil');
    for (const mover of ['uvm', 'yours', 'single']) {
      await rig.page.selectOption('#mover', mover);
      await rig.press('#run-kernel');
      expect(await verdict()).toMatch(/^Done\. Every word/);
      const faults = Number((await rig.marks())['kernelFaults']);
      const slices = readSlices(await rig.download('#kernel-files button'));
      const lives = slices.filter(({ args }) => 'batch' in args);
      expect(slices.length - lives.length, mover).toBe(faults);
      expect(lives.length > 0, mover).toBe(mover !== 'single');
      for (const { from, to, args, children } of lives) {
        const times = STAGES.map((stage) => args[`${stage}Us`]);
        expect([times[0], times.at(-1)]).toEqual([from, to]);
        expect(children.length).toBeGreaterThan(0);
      }
    }
  });

  test('what it throws, or answers, ends its run, with its line', async () => {
    await open('kernel=increment&mover=yours');
    const text = await rig.page.inputValue('#editor textarea');
    await code(text.replace('for (let i', 'nothing();\n    for (let i'));
    await rig.press('#run-kernel');
    expect(await verdict()).toMatch(/^The policy ended the run: policy two .* throws: nothing is/);
    expect(await rig.text('#editor .problems')).toMatch(/^line 5\s+policy two/);
    await expectUsable();
    expect(await rig.text('#editor .problems')).toBe('');
    await code('export const policy = { onFaults() {}, chooseVictims() {} };\n');
    await rig.press('#run-kernel');
    expect(await verdict()).toMatch(
      /policy yours, .* leaves the fault on page \d+ without an answer/,
    );
    await code('export const policy = {\n  onFaults() {},\n  chooseVictims( {},\n};\n');
    await rig.press('#run-kernel');
    expect(await verdict()).toMatch(/^The policy was refused: the module .* can't be loaded: /);
    expect(await rig.text('#editor .problems')).toMatch(/^line 4\s/);
    await code('export const other = 1;\n');
    await rig.press('#run-kernel');
    expect(await verdict()).toMatch(
      /^The policy was refused: policy yours, .* exports no `policy`/,
    );
    await expectUsable();
  });

  test('one that never returns is ended with its machine; the next run has another', async () => {
    await open('kernel=increment&mover=yours');
    await code('export const policy = { onFaults() { for (;;); }, chooseVictims() {} };\n');
    await rig.page.click('#run-kernel');
    await rig.page.waitForSelector('html:not([data-busy])');
    expect(await verdict()).toMatch(/^No answer for 8 s: a policy that never returns\? .* another/);
    await expectUsable();
    await code('await new Promise(() => {});\nexport const policy = {};\n');
    await rig.page.click('#run-kernel');
    // How far it is replaces `Running…` as soon as the machine is asked for the first time.
    await rig.page.waitForFunction(() =>
      /^(Running|Pass 0)/.test(document.querySelector('#kernel-verdict')!.textContent),
    );
    await rig.page.click('#abort-kernel');
    await rig.page.waitForSelector('html:not([data-busy])');
    expect(await verdict()).toBe('Aborted.');
    await expectUsable();
  });

  const held = (passes: number): Promise<unknown> =>
    rig.page.waitForFunction(
      (text) => document.querySelector('#kernel-verdict')?.textContent.startsWith(text),
      `Held after pass ${passes}:`,
    );

  test('a run is stepped pass by pass, goes on, and is right', async () => {
    await open('kernel=stencil&mover=uvm');
    await rig.page.click('#step-kernel');
    await held(1);
    expect(await rig.text('#pause-kernel')).toBe('Go on');
    expect(await verdict()).toMatch(/: 0 of 64 workgroups finished, [1-9]\d* faults so far/);
    for (const pass of [2, 3]) {
      await rig.page.click('#step-kernel');
      await held(pass);
    }
    await rig.page.click('#kernel-passes summary');
    await rig.page.waitForSelector('#kernel-passes details tbody tr');
    expect(await rig.page.locator('#kernel-passes details tbody tr').count()).toBe(3);
    await rig.page.click('#pause-kernel');
    await rig.page.waitForSelector('html:not([data-busy])');
    expect(await verdict()).toMatch(/^Done\. Every word/);
    expect(await rig.page.isDisabled('#pause-kernel')).toBe(true);
  });

  test('one that runs is paused; a held one is aborted, or loses its device', async () => {
    await open('kernel=chase&mover=none');
    await rig.page.fill('#kib', '512');
    await rig.page.fill('#fit', '10');
    for (const [button, words] of [
      ['#abort-kernel', /^Aborted\./],
      ['#lose-device', /^The (device|machine) failed/],
    ] as const) {
      await rig.page.click('#run-kernel');
      await rig.page.waitForFunction(() =>
        document.querySelector('#kernel-verdict')?.textContent.startsWith('Pass'),
      );
      await rig.page.click('#pause-kernel');
      await rig.page.waitForFunction(() => /Held after/.test(document.body.innerText));
      const { kernelPasses } = await rig.marks();
      await rig.page.waitForTimeout(300);
      expect((await rig.marks())['kernelPasses']).toBe(kernelPasses);
      await rig.page.click(button);
      await rig.page.waitForSelector('html:not([data-busy])');
      expect(await verdict()).toMatch(words);
    }
    await rig.page.fill('#kib', '16');
    await rig.press('#run-kernel');
    expect(await verdict()).toMatch(/^Done\. Every word/);
  });

  test('a compiler that takes long is left alone with it, on Abort', async () => {
    await open('kernel=increment&mover=none');
    await rig.press('#run-kernel');
    const line = '  vm_store(vm_arg(0u) + vm_load(vm_arg(0u)) % 64u, 1u);\n';
    const text = `fn kernel(wg: u32, lid: u32) {\n${line.repeat(40)}}\n`;
    await rig.page.fill('#kernel-editor textarea', text);
    // Pressed by the page itself: seen from outside, the compiler might have come to its end.
    await rig.page.evaluate(() => {
      const verdict = document.querySelector('#kernel-verdict')!;
      const watcher = new MutationObserver(() => {
        if (verdict.textContent !== 'Running…') return;
        watcher.disconnect();
        setTimeout(() => document.querySelector<HTMLElement>('#abort-kernel')!.click(), 20);
      });
      watcher.observe(verdict, { childList: true });
    });
    await rig.page.click('#run-kernel');
    await rig.page.waitForSelector('html:not([data-busy])');
    expect(await verdict()).toBe('Aborted.');
    await rig.page.selectOption('#kernel', 'stencil');
    await rig.press('#run-kernel');
    expect(await verdict()).toMatch(/^Done\. Every word/);
  });

  test('runs leave nothing behind: heap and workers stay as they are', async () => {
    await open('kernel=increment&mover=yours&a=yours&b=uvm');
    const devtools = await rig.page.context().newCDPSession(rig.page);
    const heap = async (): Promise<number> => {
      await devtools.send('HeapProfiler.collectGarbage');
      return (await devtools.send('Runtime.getHeapUsage')).usedSize;
    };
    const round = async (): Promise<void> => {
      await rig.press('#run-kernel');
      await rig.press('#run');
    };
    for (let i = 0; i < 4; i++) await round();
    const [before, workers] = [await heap(), rig.page.workers().length];
    for (let i = 0; i < 12; i++) await round();
    expect(await verdict()).toMatch(/^Done\. Every word/);
    // Workers that have ended are told of late, and so they were at first.
    await expect.poll(() => rig.page.workers().length).toBeLessThanOrEqual(workers);
    // What only waits for its turn to be collected goes in a moment.
    await expect.poll(async () => (await heap()) - before).toBeLessThan(2 ** 20);
  });
});
