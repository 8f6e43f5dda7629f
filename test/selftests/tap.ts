/*
 * TAP version 13 in kselftest's dialect (tools/testing/selftests/kselftest.h and
 * kselftest_harness.h): the same lines in the same order and with the same spacing, so that what
 * reads the kernel's logs reads ours. Knows nothing of what is tested.
 *
 * As there, a skipped test counts as passed in the line before the totals, and as skipped in them.
 */

/** What became of a test. */
export type Verdict = 'pass' | 'fail' | 'skip';

/** How many tests ended in which way. */
export interface Totals {
  readonly pass: number;
  readonly fail: number;
  readonly skip: number;
}

/** Exit statuses of kselftest (KSFT_PASS, KSFT_FAIL, KSFT_SKIP). */
export const KSFT_PASS = 0;
export const KSFT_FAIL = 1;
export const KSFT_SKIP = 4;

/** The exit status of a run: skipped only if all was, failed if nothing ran at all. */
export function exitStatus({ pass, fail, skip }: Totals): number {
  if (fail > 0 || pass + skip === 0) return KSFT_FAIL;
  return pass === 0 ? KSFT_SKIP : KSFT_PASS;
}

/** Writes one run, line by line, to `print`. Calls in order: begin, (run, result)*, end. */
export class TapWriter {
  private readonly print: (line: string) => void;
  private readonly counts = { pass: 0, fail: 0, skip: 0 };

  constructor(print: (line: string) => void) {
    this.print = print;
  }

  get totals(): Totals {
    return { ...this.counts };
  }

  /**
   * Header and plan.
   *
   * @param tests how many results will follow; with 0 nothing follows, not even `end`
   * @param groups fixture variants among them
   */
  begin(tests: number, groups: number): void {
    this.print('TAP version 13');
    this.print(`1..${tests}`);
    this.comment(`Starting ${tests} tests from ${groups} test cases.`);
  }

  /** The whole report of a run that can't start (ksft_exit_skip before the plan). */
  skipAll(reason: string): void {
    this.print('TAP version 13');
    this.print(`1..0 # SKIP ${oneLine(reason)}`);
  }

  /** A diagnostic line; a text of several lines makes several. */
  comment(text: string): void {
    for (const line of text.split('\n')) this.print(`# ${line}`.trimEnd());
  }

  /** Says that a test begins. */
  run(name: string): void {
    this.comment(` RUN           ${name} ...`);
  }

  /** The result of the test that was begun last; `reason` belongs to a skip. */
  result(name: string, verdict: Verdict, reason = ''): void {
    this.counts[verdict]++;
    const number = this.counts.pass + this.counts.fail + this.counts.skip;
    const why = oneLine(reason);
    if (verdict === 'skip') this.comment(`     SKIP      ${why}`);
    this.comment(`         ${verdict === 'fail' ? 'FAIL' : '  OK'}  ${name}`);
    const status = verdict === 'fail' ? 'not ok' : 'ok';
    const directive = verdict === 'skip' ? ` # SKIP ${why}` : '';
    this.print(`${status} ${number} ${name}${directive}`);
  }

  /** The two summary lines. */
  end(): void {
    const { pass, fail, skip } = this.counts;
    const word = fail > 0 ? 'FAILED' : 'PASSED';
    this.comment(`${word}: ${pass + skip} / ${pass + fail + skip} tests passed.`);
    this.comment(`Totals: pass:${pass} fail:${fail} xfail:0 xpass:0 skip:${skip} error:0`);
  }
}

/** A reason must not end the line that it is on: what follows would be read as a result. */
function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, ' ').trim();
}
