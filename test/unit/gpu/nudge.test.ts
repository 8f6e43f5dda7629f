/*
 * Nudges: none for short waits, one a millisecond for long ones, never two at a time, none after.
 * The clock goes a hundred times as slow as the real one: its timers have whole milliseconds.
 */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Nudger } from '../../../src/gpu/nudge.ts';

/** A device that answers scopes when told to, and counts those open. */
class ScopeDevice {
  open = 0;
  pending: { resolve: (error: GPUError | null) => void; reject: (reason: unknown) => void }[] = [];
  pushErrorScope = (): undefined => {
    this.open += 1;
    return undefined;
  };
  popErrorScope = (): Promise<GPUError | null> => {
    this.open -= 1;
    return new Promise((resolve, reject) => this.pending.push({ resolve, reject }));
  };
  async answer(): Promise<void> {
    this.pending.shift()!.resolve(null);
    await Promise.resolve();
    await Promise.resolve();
  }
}

const SLOW = 100;
const pass = (ms: number): void => void vi.advanceTimersByTime(ms * SLOW);
const slowly = (ms: number, then: () => void): void => void setTimeout(then, ms * SLOW);

let device: ScopeDevice;
let nudger: Nudger;
beforeEach(() => {
  vi.useFakeTimers();
  device = new ScopeDevice();
  nudger = new Nudger(device, true, slowly);
});
afterEach(() => {
  vi.useRealTimers();
});

test('a wait of less than a quarter of a millisecond sends nothing', () => {
  nudger.begin();
  pass(0.24);
  nudger.end();
  pass(10);
  expect([nudger.sent, vi.getTimerCount()]).toEqual([0, 0]);
});

test('a longer wait sends some in a row, then one a millisecond', async () => {
  nudger.begin();
  pass(0.25);
  expect(nudger.sent).toBe(1);
  pass(10);
  expect(nudger.sent).toBe(1);
  for (let sent = 2; sent <= 3; sent++) {
    await device.answer();
    expect([nudger.sent, vi.getTimerCount()]).toEqual([sent, 0]);
  }
  await device.answer();
  expect([nudger.sent, vi.getTimerCount()]).toEqual([3, 1]);
  pass(0.99);
  expect(nudger.sent).toBe(3);
  pass(0.01);
  expect([nudger.sent, device.open]).toEqual([4, 0]);
});

test('one in the middle of the quick ones is the last when the wait ends', async () => {
  nudger.begin();
  pass(1);
  await device.answer();
  nudger.end();
  await device.answer();
  pass(10);
  expect([nudger.sent, vi.getTimerCount()]).toEqual([2, 0]);
});

test('several waits share the nudges, until the last one has ended', async () => {
  nudger.begin(2);
  pass(1);
  nudger.begin();
  expect(vi.getTimerCount()).toBe(0);
  nudger.end();
  nudger.end();
  await device.answer();
  expect(nudger.sent).toBe(2);
  nudger.end();
  await device.answer();
  pass(10);
  expect([nudger.sent, vi.getTimerCount()]).toEqual([2, 0]);
});

test('short waits one after the other send nothing, however many', () => {
  for (let i = 0; i < 20; i++) {
    nudger.begin();
    pass(0.2);
    nudger.end();
  }
  expect(nudger.sent).toBe(0);
});

test('a long wait after short ones is nudged within half a millisecond', () => {
  nudger.begin();
  nudger.end();
  pass(0.2);
  nudger.begin();
  pass(0.05);
  expect(nudger.sent).toBe(0);
  pass(0.24);
  expect(nudger.sent).toBe(0);
  pass(0.01);
  expect(nudger.sent).toBe(1);
});

test('until() counts its answer, a refusal as well', async () => {
  await expect(nudger.until(Promise.resolve(7))).resolves.toBe(7);
  await expect(nudger.until(Promise.reject(new Error('lost')))).rejects.toThrow('lost');
  pass(10);
  expect(nudger.sent).toBe(0);
});

test('nothing is sent once the device is lost, nor where nobody needs it', async () => {
  nudger.begin();
  pass(1);
  nudger.stop();
  await device.answer();
  pass(10);
  expect([nudger.sent, vi.getTimerCount()]).toEqual([1, 0]);
  const idle = new Nudger(device, false, slowly);
  idle.begin();
  pass(10);
  expect(idle.sent).toBe(0);
});

test('a device that refuses the scope is left alone until the next wait', async () => {
  nudger.begin();
  pass(1);
  device.pending.shift()!.reject(new Error('lost'));
  await Promise.resolve();
  await Promise.resolve();
  pass(10);
  expect([nudger.sent, vi.getTimerCount()]).toEqual([1, 0]);
});
