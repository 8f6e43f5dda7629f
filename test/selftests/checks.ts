/*
 * ASSERT_EQ and EXPECT_EQ of kselftest_harness.h: a failed assertion ends the test, a failed
 * expectation is remembered and the test goes on. Messages name both values, errnos by name, and
 * for memory the first wrong word.
 */
import { errnoName } from '../../src/index.ts';

/** Ends a test after a failed assertion; what failed is in its log. */
export class AssertionFailed extends Error {
  override readonly name = 'AssertionFailed';
}

/** Ends a test that can't run here (SKIP of kselftest_harness.h). */
export class SkipTest extends Error {
  override readonly name = 'SkipTest';
}

/** Content of a range: the 32-bit integer that word `i` of it holds. */
export type Pattern = (i: number) => number;

type Value = number | string | boolean;

/** The log of one test, and whether anything in it failed. */
export class Checks {
  /** Diagnostic lines, without the leading "# ". */
  readonly log: string[] = [];
  private readonly testName: string;
  private isFailed = false;

  /** @param testName begins each line, as in kselftest */
  constructor(testName: string) {
    this.testName = testName;
  }

  get failed(): boolean {
    return this.isFailed;
  }

  /** Remembers a failure and goes on. */
  fail(message: string): void {
    this.isFailed = true;
    this.log.push(`${this.testName}:${message}`);
  }

  /** Fails the test, and goes on, unless the values are the same. */
  expectEq(expected: Value, seen: Value, what: string): void {
    if (!Object.is(expected, seen)) this.fail(`Expected ${expected} == ${what} (${seen})`);
  }

  /** Ends the test unless the values are the same. */
  assertEq(expected: Value, seen: Value, what: string): void {
    this.expectEq(expected, seen, what);
    this.stopIfFailed();
  }

  /** Ends the test unless `seen` is `expected`: 0, or an errno, which the message names. */
  assertErrno(expected: number, seen: number, what: string): void {
    if (expected !== seen) this.fail(`Expected ${named(expected)} == ${what} (${named(seen)})`);
    this.stopIfFailed();
  }

  /**
   * Ends the test unless each word of `bytes` is what the pattern says.
   *
   * @param first index of the first word of `bytes`, for the pattern and the message
   */
  assertWords(bytes: Uint8Array, pattern: Pattern, what: string, first = 0): void {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    let wrong = 0;
    let firstWrong = -1;
    for (let i = 0; i < words.length; i++) {
      if (words[i] === (pattern(first + i) | 0)) continue;
      if (wrong === 0) firstWrong = i;
      wrong++;
    }
    if (wrong === 0) return;
    const at = first + firstWrong;
    this.fail(
      `Expected ${pattern(at) | 0} == ${what}[${at}] (${words[firstWrong]}), ` +
        `${wrong} of ${words.length} words are wrong`,
    );
    this.stopIfFailed();
  }

  /** Ends the test unless the bytes are the same. */
  assertBytes(expected: readonly number[], seen: Uint8Array, what: string): void {
    expected.forEach((byte, i) => this.expectEq(hex(byte), hex(seen[i] ?? -1), `${what}[${i}]`));
    this.expectEq(expected.length, seen.length, `length of ${what}`);
    this.stopIfFailed();
  }

  /** Ends the test, as the kernel's harness does when an assertion fails. */
  stopIfFailed(): void {
    if (!this.isFailed) return;
    this.log.push(`${this.testName}: Test terminated by assertion`);
    throw new AssertionFailed(this.testName);
  }
}

function named(value: number): string {
  return value < 0 ? `-${errnoName(value)} (${value})` : String(value);
}

function hex(byte: number): string {
  return byte < 0 ? 'nothing' : `0x${byte.toString(16).padStart(2, '0')}`;
}
