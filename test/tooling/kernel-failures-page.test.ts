/*
 * Failures in the way of real runs on the lab's page, in the bundled Chromium: chosen in the form
 * or in the address, said with what and when, and the other process of the machine goes on.
 */
import { describe, expect, test } from 'vitest';
import { bundleRunsHere } from '../../cli/chromium-bundle.ts';
import { PageRig } from './page-rig.ts';

const SIZES = 'kib=64&fit=50&groups=4&kernel=stencil';
/** The software adapter shares its cores with other tests. */
const SLOW = { timeout: 90_000 };
const RIGHT = 'Done. Every word is what it has to be.';
const SERVED = 'Another process of the machine has its memory as it was, and the device serves it.';

describe.skipIf(!bundleRunsHere())('failures in the lab (needs Linux x64)', SLOW, () => {
  const rig = new PageRig();
  const open = (query: string): Promise<void> =>
    rig.open(`05-fault-lab/?size=1&workload=sweep&${SIZES}&${query}`);

  test.for([
    ['memory', RIGHT, `no page of device memory was free .* on to its end. ${SERVED}`],
    ['ring', RIGHT, `the fault ring was full.* on to its end. ${SERVED}`],
    ['copy', 'The run ended: EIO: a copy failed in pass \\d+ \\(injected\\).', SERVED],
    ['policy', 'The policy ended the run: policy uvm, onFaults: throws', SERVED],
    ['device', 'The device failed.* ENODEV: the device was lost in pass', 'as it was; the device'],
  ] as const)('%s, from the address', async ([what, verdict, note]) => {
    await open(`mover=uvm&fail=${what}&failat=0`);
    expect(await rig.text('#kernel-verdict')).toMatch(new RegExp(verdict));
    const said = await rig.text('#kernel-injected');
    expect(said).toMatch(/^uvm, (?:before the first pass|after pass \d+): /);
    expect(said).toMatch(new RegExp(note, 's'));
  });

  test('one that does not come says why; the next run is as ever', async () => {
    await open('manual&fail=policy&failat=0');
    await rig.press('#run-kernel');
    expect(await rig.text('#kernel-injected')).toMatch(/there is no policy that could throw/);
    await rig.page.selectOption('#fail', 'copy');
    await rig.page.fill('#failat', '9999');
    await rig.press('#run-kernel');
    expect(await rig.text('#kernel-injected')).toMatch(/the run was over before/);
    expect((await rig.query()).get('fail')).toBe('copy');
    await rig.page.selectOption('#fail', 'nothing');
    await rig.press('#run-kernel');
    expect(await rig.text('#kernel-injected')).toBe('');
    expect(await rig.text('#kernel-verdict')).toBe(RIGHT);
  });

  test('into a run that is held; and the memory of runs side by side', async () => {
    await open('manual&mover=uvm&a=uvm&b=none');
    await rig.page.click('#step-kernel');
    await rig.page.waitForFunction(() =>
      document.querySelector('#kernel-verdict')?.textContent?.startsWith('Held after pass 1'),
    );
    await rig.page.click('#fail-kernel');
    expect(await rig.text('#kernel-injected')).toMatch(/^Which failure\?/);
    await rig.page.selectOption('#fail', 'copy');
    await rig.page.click('#fail-kernel');
    expect(await rig.text('#kernel-injected')).toMatch(/next faults are served: a copy fails/);
    await rig.page.click('#pause-kernel');
    await rig.page.waitForFunction(() =>
      document.querySelector('#kernel-verdict')?.textContent?.startsWith('The run ended: EIO'),
    );
    expect(await rig.text('#kernel-injected')).toMatch(/^uvm, after pass 1: a copy failed/);
    await rig.page.selectOption('#fail', 'nothing');
    await rig.press('#run-both');
    await rig.page.click('#kernel-memory summary');
    await rig.page.waitForSelector('#kernel-memory details tbody tr');
    const heads = await rig.page.locator('#kernel-memory details th').allTextContents();
    expect(heads).toEqual(expect.arrayContaining(['uvm', 'none', 'device size']));
  });
});
