/* A trap in one thread: the kernel answers while the core sleeps. */
import { beforeEach, describe, expect, test } from 'vitest';
import { CORE_PARKED, CORE_REPLY, CORE_TRAPS, ControlMap } from '../../../src/cpu/control.ts';
import { RECORD_FAULT, newRecord, popRecord } from '../../../src/cpu/fault-ring.ts';
import { CoreGate, claimCore, coreState } from '../../../src/cpu/shootdown.ts';
import { answerTrap, hasTrapped, trap } from '../../../src/cpu/trap.ts';
import { NotingPort } from './noting-port.ts';

const SLOT = 3;
let map: ControlMap;
let port: NotingPort;
let block: number;
let gate: CoreGate;

beforeEach(() => {
  map = ControlMap.create(4);
  port = new NotingPort(map, SLOT);
  block = map.block(SLOT);
  claimCore(port, map.words, block);
  gate = new CoreGate(port, map.words, block, () => undefined);
  gate.unpark();
  port.notes.length = 0;
});

function makeTrap(ring: () => void): number {
  const record = { ...newRecord(), kind: RECORD_FAULT, slot: SLOT, address: 4096 };
  return trap(port, map, gate, { ring }, record);
}

const answer = (result: number): void => answerTrap(port, map.words, block, result);

describe('a trap', () => {
  test('is parked and in the ring when the bell rings', () => {
    makeTrap(() => {
      expect(coreState(port, map.words, block)).toBe(CORE_PARKED);
      expect(hasTrapped(port, map.words, block)).toBe(true);
      const record = newRecord();
      expect(popRecord(port, map, SLOT, record)).toBe(true);
      expect([record.slot, record.address]).toEqual([SLOT, 4096]);
      answer(0);
    });
    expect(hasTrapped(port, map.words, block)).toBe(false);
  });

  test.each([0, 1, -14])('comes back with %d', (result) => {
    expect(makeTrap(() => answer(result))).toBe(result);
  });

  test('answered at once: the core does not sleep', () => {
    makeTrap(() => answer(0));
    expect(port.slept).toEqual([]);
  });

  test('answered later: the core sleeps, also when it is woken for nothing', () => {
    port.onSleep = () => {
      if (port.slept.length === 2) answer(5);
    };
    expect(makeTrap(() => undefined)).toBe(5);
    expect(port.slept).toEqual([Infinity, Infinity]);
  });

  test('the answer of an earlier trap does not count', () => {
    makeTrap(() => answer(1));
    expect(makeTrap(() => answer(2))).toBe(2);
  });

  test('numbers wrap', () => {
    map.words[block + CORE_TRAPS] = 2 ** 31 - 1;
    map.words[block + CORE_REPLY] = 2 ** 31 - 1;
    expect(makeTrap(() => answer(7))).toBe(7);
    expect(map.words[block + CORE_TRAPS]).toBe(-(2 ** 31));
  });

  test('the core is still parked when it comes back: its caller unparks', () => {
    makeTrap(() => answer(0));
    expect(coreState(port, map.words, block)).toBe(CORE_PARKED);
  });
});

test('an answer: the result is there before the reply, then the core is woken', () => {
  answer(0);
  const stores = port.notes.filter((note) => !note.startsWith('load'));
  expect(stores).toEqual(['store result', 'store reply', 'notify reply']);
});
