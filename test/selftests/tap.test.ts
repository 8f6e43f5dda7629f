/*
 * The TAP writer, against lines as kselftest prints them.
 */
import { expect, test } from 'vitest';
import { exitStatus, TapWriter } from './tap.ts';

function capture(body: (tap: TapWriter) => void): string[] {
  const lines: string[] = [];
  body(new TapWriter((line) => lines.push(line)));
  return lines;
}

test('a run with a pass, a failure and a skip', () => {
  const lines = capture((tap) => {
    tap.begin(3, 2);
    tap.comment('adapter none');
    tap.run('hmm.hmm_device_private.open_close');
    tap.result('hmm.hmm_device_private.open_close', 'pass');
    tap.run('hmm.hmm_device_private.anon_read');
    tap.comment('anon_read:Expected 1 == faults (2)');
    tap.result('hmm.hmm_device_private.anon_read', 'fail');
    tap.run('hmm.hmm_device_coherent.anon_read');
    tap.result('hmm.hmm_device_coherent.anon_read', 'skip', 'no such device');
    tap.end();
  });
  expect(lines).toEqual([
    'TAP version 13',
    '1..3',
    '# Starting 3 tests from 2 test cases.',
    '# adapter none',
    '#  RUN           hmm.hmm_device_private.open_close ...',
    '#            OK  hmm.hmm_device_private.open_close',
    'ok 1 hmm.hmm_device_private.open_close',
    '#  RUN           hmm.hmm_device_private.anon_read ...',
    '# anon_read:Expected 1 == faults (2)',
    '#          FAIL  hmm.hmm_device_private.anon_read',
    'not ok 2 hmm.hmm_device_private.anon_read',
    '#  RUN           hmm.hmm_device_coherent.anon_read ...',
    '#      SKIP      no such device',
    '#            OK  hmm.hmm_device_coherent.anon_read',
    'ok 3 hmm.hmm_device_coherent.anon_read # SKIP no such device',
    '# FAILED: 2 / 3 tests passed.',
    '# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0',
  ]);
});

test('a run that can not start is one line after the header', () => {
  const lines = capture((tap) => tap.skipAll('Firefox is not installed'));
  expect(lines).toEqual(['TAP version 13', '1..0 # SKIP Firefox is not installed']);
});

test('no text can begin a line of its own that reads as a result', () => {
  const lines = capture((tap) => {
    tap.begin(1, 1);
    tap.comment('first\nok 1 forged');
    tap.result('name', 'skip', 'because\nok 2 forged');
  });
  expect(lines.filter((line) => /^(not )?ok/.test(line))).toEqual([
    'ok 1 name # SKIP because ok 2 forged',
  ]);
});

test.each([
  { totals: { pass: 14, fail: 0, skip: 14 }, status: 0 },
  { totals: { pass: 1, fail: 0, skip: 0 }, status: 0 },
  { totals: { pass: 13, fail: 1, skip: 14 }, status: 1 },
  { totals: { pass: 0, fail: 1, skip: 3 }, status: 1 },
  { totals: { pass: 0, fail: 0, skip: 1 }, status: 4 },
  { totals: { pass: 0, fail: 0, skip: 0 }, status: 1 },
])('exit status $status for $totals', ({ totals, status }) => {
  expect(exitStatus(totals)).toBe(status);
});
