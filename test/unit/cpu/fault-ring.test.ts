/* The ring of a core: order, both ends of its capacity, wrap-around, and what the dead leave. */
import { describe, expect, test } from 'vitest';
import { atomicsOf } from '../../../src/cpu/atomics-port.ts';
import {
  CORE_REPLY,
  CORE_RING_DROPPED,
  CORE_RING_HEAD,
  CORE_RING_TAIL,
  CORE_TRAPS,
  ControlMap,
} from '../../../src/cpu/control.ts';
import {
  RECORD_FAULT,
  RECORD_PREFETCH,
  clearRing,
  newRecord,
  popRecord,
  pushOrDrop,
  pushRecord,
} from '../../../src/cpu/fault-ring.ts';
import type { RingRecord } from '../../../src/cpu/fault-ring.ts';
import { claimCore } from '../../../src/cpu/shootdown.ts';
import { hasTrapped } from '../../../src/cpu/trap.ts';

const port = atomicsOf(() => 0);
const CAPACITY = 4;

function fault(slot: number, address: number): RingRecord {
  return { kind: RECORD_FAULT, slot, access: 1, address, length: 0 };
}

function popAll(map: ControlMap, slot: number): number[] {
  const record = newRecord();
  const addresses: number[] = [];
  while (popRecord(port, map, slot, record)) addresses.push(record.address);
  return addresses;
}

describe('the ring of a core', () => {
  test('gives records back whole and in order', () => {
    const map = ControlMap.create(CAPACITY);
    const first = {
      kind: RECORD_PREFETCH,
      slot: 3,
      access: 0,
      address: 2 ** 47 - 1,
      length: 2 ** 31,
    };
    expect(pushRecord(port, map, first)).toBe(true);
    expect(pushRecord(port, map, fault(3, 0x8000_0000))).toBe(true);
    const record = newRecord();
    expect(popRecord(port, map, 3, record)).toBe(true);
    expect(record).toEqual(first);
    expect(popAll(map, 3)).toEqual([0x8000_0000]);
  });

  test('holds as many as it has room for, and not one more', () => {
    const map = ControlMap.create(CAPACITY);
    for (let i = 0; i < CAPACITY; i++) expect(pushRecord(port, map, fault(0, i))).toBe(true);
    expect(pushRecord(port, map, fault(0, 99))).toBe(false);
    expect(popRecord(port, map, 0, newRecord())).toBe(true);
    expect(pushRecord(port, map, fault(0, CAPACITY))).toBe(true);
    expect(popAll(map, 0)).toEqual([1, 2, 3, 4]);
  });

  test('of another core is another one', () => {
    const map = ControlMap.create(CAPACITY);
    for (let i = 0; i < CAPACITY; i++) pushRecord(port, map, fault(0, i));
    expect(pushRecord(port, map, fault(1, 7))).toBe(true);
    expect(popAll(map, 1)).toEqual([7]);
    expect(popAll(map, 2)).toEqual([]);
  });

  test('goes on when its counters wrap around', () => {
    const map = ControlMap.create(CAPACITY);
    const block = map.block(5);
    for (const at of [CORE_RING_HEAD, CORE_RING_TAIL]) map.words[block + at] = 2 ** 31 - 2;
    for (let i = 0; i < CAPACITY; i++) expect(pushRecord(port, map, fault(5, i))).toBe(true);
    expect(pushRecord(port, map, fault(5, 9))).toBe(false);
    expect(popAll(map, 5)).toEqual([0, 1, 2, 3]);
    expect(map.words[block + CORE_RING_TAIL]).toBe(-(2 ** 31) + 2);
  });

  test('counts the hints that it had no room for', () => {
    const map = ControlMap.create(CAPACITY);
    for (let i = 0; i < CAPACITY + 2; i++) {
      expect(pushOrDrop(port, map, fault(0, i))).toBe(i < CAPACITY);
    }
    expect(map.words[map.block(0) + CORE_RING_DROPPED]).toBe(2);
  });

  test('a record that its core did not live to finish is in nobody else’s way', () => {
    const map = ControlMap.create(CAPACITY);
    const words = map.words;
    let stores = 0;
    const dying = {
      ...port,
      store: (at: Int32Array, index: number, value: number): void => {
        if (++stores === 4) throw new Error('ended');
        port.store(at, index, value);
      },
    };
    expect(() => pushRecord(dying, map, fault(2, 1))).toThrow('ended');
    expect(popAll(map, 2)).toEqual([]);
    pushRecord(port, map, fault(3, 4));
    expect(popAll(map, 3)).toEqual([4]);
    expect(words[map.block(2) + CORE_RING_HEAD]).toBe(0);
  });

  test('whoever gets a slot next finds neither records nor a trap of the one before', () => {
    const map = ControlMap.create(CAPACITY);
    const block = map.block(0);
    pushRecord(port, map, fault(0, 1));
    map.words[block + CORE_TRAPS] = 12;
    map.words[block + CORE_REPLY] = 11;
    expect(hasTrapped(port, map.words, block)).toBe(true);
    clearRing(port, map, 0);
    claimCore(port, map.words, block);
    expect(hasTrapped(port, map.words, block)).toBe(false);
    expect(popAll(map, 0)).toEqual([]);
  });
});
