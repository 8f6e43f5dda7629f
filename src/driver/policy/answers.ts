/**
 * What a policy answers, collected and checked. A page that can't be named ends the policy's run
 * with the place and the value.
 */
import { PolicyError } from './policy.ts';
import type { Decisions, PolicyView, Victims } from './policy.ts';

export const ANSWER_NONE = 0;
export const ANSWER_MIGRATE = 1;
export const ANSWER_REMOTE = 2;
export const ANSWER_PIN = 3;
export const ANSWER_DUPLICATE = 4;
export const ANSWER_THROTTLE = 5;

/** Answers to one group of faults, one per page, in the order in which they were first given. */
export class AnswerSheet implements Decisions {
  count = 0;
  pages = new Int32Array(1024);
  private readonly kinds: Uint8Array;
  private readonly view: PolicyView;
  private readonly policy: string;
  private call = '';

  constructor(view: PolicyView, policy: string) {
    this.view = view;
    this.policy = policy;
    this.kinds = new Uint8Array(view.where.length);
  }

  /** Forgets all answers. @param call the policy's method that gives the next ones */
  begin(call: string): void {
    for (let i = 0; i < this.count; i++) this.kinds[this.pages[i]!] = ANSWER_NONE;
    this.count = 0;
    this.call = call;
  }

  /** The answer for a page, ANSWER_NONE where there is none. */
  of(page: number): number {
    return this.kinds[page]!;
  }

  migrate(page: number): void {
    this.set(page, ANSWER_MIGRATE);
  }

  remote(page: number): void {
    this.set(page, ANSWER_REMOTE);
  }

  pin(page: number): void {
    this.set(page, ANSWER_PIN);
  }

  duplicate(page: number): void {
    this.set(page, ANSWER_DUPLICATE);
  }

  throttle(page: number): void {
    this.set(page, ANSWER_THROTTLE);
  }

  private set(page: number, kind: number): void {
    checkPage(page, this.view, this.policy, this.call);
    if (this.kinds[page] === ANSWER_NONE) {
      if (this.count === this.pages.length) this.pages = grown(this.pages);
      this.pages[this.count++] = page;
    }
    this.kinds[page] = kind;
  }
}

/** Victims, each once, in the order in which they were named. */
export class VictimList implements Victims {
  count = 0;
  pages = new Int32Array(1024);
  private readonly isNamed: Uint8Array;
  private readonly view: PolicyView;
  private readonly policy: string;

  constructor(view: PolicyView, policy: string) {
    this.view = view;
    this.policy = policy;
    this.isNamed = new Uint8Array(view.where.length);
  }

  begin(): void {
    for (let i = 0; i < this.count; i++) this.isNamed[this.pages[i]!] = 0;
    this.count = 0;
  }

  evict(page: number): void {
    checkPage(page, this.view, this.policy, 'chooseVictims');
    if (this.isNamed[page] === 1) return;
    this.isNamed[page] = 1;
    if (this.count === this.pages.length) this.pages = grown(this.pages);
    this.pages[this.count++] = page;
  }
}

function checkPage(page: unknown, view: PolicyView, policy: string, call: string): void {
  if (typeof page !== 'number' || !Number.isInteger(page) || page < 0 || page >= view.pageCount) {
    const most = view.pageCount - 1;
    throw new PolicyError(policy, call, `names page ${describe(page)}; pages are 0 to ${most}`);
  }
}

function describe(value: unknown): string {
  return typeof value === 'number' ? String(value) : `'${String(value)}'`;
}

function grown(array: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(array.length * 2);
  larger.set(array);
  return larger;
}
