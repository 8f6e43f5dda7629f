/*
 * Choices on the page of the copy benchmark that contradict each other: said as soon as they are
 * made, and refused by Start and by an address that starts by itself.
 */
import { describe, expect, test } from 'vitest';
import { GOAL_IDS } from '../../bench/goals.ts';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { PageRig } from './page-rig.ts';

describe.skipIf(!bundleRunsHere())('contradicting choices (needs Linux x64)', () => {
  const rig = new PageRig();
  const open = (query: string): Promise<void> => rig.open(`03-copy-bench/${query}`);
  const G2 = 'G2 needs the suite copy, which is not among the chosen ones; choose copy as well';

  test('a goal without its suite is said at once, and Start runs nothing', async () => {
    await open('?suite=mm&goal=G2');
    expect(await rig.text('#unused')).toContain(`Can't be run: ${G2}`);
    await rig.press('#start');
    expect(await rig.text('#note')).toContain(G2);
    expect(await rig.marks()).not.toHaveProperty('cells');
    await rig.page.check('input[value=copy]');
    expect(await rig.text('#unused')).not.toContain("Can't be run");
  });

  test('none beside a goal is refused with what helps', async () => {
    await open('?engine=cpu&suite=copy&goal=none,G1');
    await rig.press('#start');
    expect(await rig.text('#note')).toContain('name goals alone, or none alone.');
    await rig.page.fill('#goal', 'none');
    expect(await rig.text('#unused')).not.toContain("Can't be run");
  });

  test('what the goals are is on the page', async () => {
    await open('');
    await rig.page.click('.goal-names summary');
    const names = await rig.page.$$eval('#goal-names dt', (all) =>
      all.map((one) => one.textContent),
    );
    expect(names).toEqual(GOAL_IDS);
    expect(await rig.text('#goal-names')).toContain('Clustered 4 KiB pages coalesce to 64 KiB');
  });

  test('an address that starts by itself refuses, and its report fails', async () => {
    await open('?auto&suite=mm&goal=G2');
    expect(await rig.text('#note')).toContain(G2);
    const failure = await rig.page.evaluate(() =>
      window.webhmmBench?.catch((error: Error) => error.message),
    );
    expect(failure).toContain(G2);
  });
});
