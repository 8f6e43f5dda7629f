/*
 * How long a flush waits for a core that runs: a second in all, however the time goes by.
 */
import { beforeEach, expect, test } from 'vitest';
import { ControlMap } from '../../../src/cpu/control.ts';
import { CoreGate, markCoreDead } from '../../../src/cpu/shootdown.ts';
import { CoreSet, LIMIT_MS, MOST_AT_ONCE_MS } from '../../../src/worker/core-set.ts';
import type { FlushTarget } from '../../../src/worker/core-set.ts';
import { makeMm, makeSystem } from '../mm/fixture.ts';
import { NotingPort } from '../cpu/noting-port.ts';

const SLOT = 3;
const mm = makeMm(makeSystem());

let map: ControlMap;
let port: NotingPort;
let gate: CoreGate;
let set: CoreSet;
let core: FlushTarget;
/** What the programs that were ended are said to have done. */
let ended: string[];

beforeEach(() => {
  map = ControlMap.create(4);
  port = new NotingPort(map, SLOT);
  gate = new CoreGate(port, map.words, map.block(SLOT), () => undefined);
  gate.unpark();
  ended = [];
  set = new CoreSet(port, map, ({ block }, why) => {
    ended.push(why);
    markCoreDead(port, map.words, block);
  });
  core = { slot: SLOT, block: map.block(SLOT), request: 0, isSilent: false };
  set.cores.push(core);
});

test('a core that answers in its last moment goes on', () => {
  port.onSleep = () => {
    port.clock += MOST_AT_ONCE_MS;
    if (port.clock === LIMIT_MS) gate.park();
  };
  expect(set.flush(mm, 0, 4096, false)).toBe(true);
  expect([ended, core.isSilent, port.clock]).toEqual([[], false, LIMIT_MS]);
});

test('one that does not is ended', () => {
  expect(set.flush(mm, 0, 4096, false)).toBe(true);
  expect(ended).toEqual([expect.stringMatching(/core 3 did not acknowledge .* within 1000 ms/)]);
  expect([core.isSilent, port.clock]).toEqual([false, LIMIT_MS]);
});

test('one that stood still as long as the kernel did, and answers then, goes on', () => {
  port.onSleep = () => {
    if (port.clock > 0) gate.park();
    port.clock += 60_000;
  };
  expect(set.flush(mm, 0, 4096, false)).toBe(true);
  expect([ended, core.isSilent, port.slept.length]).toEqual([[], false, 2]);
});

test('a flush that may fail waits for a moment, and no second time', () => {
  expect(set.flush(mm, 0, 4096, true)).toBe(false);
  expect([ended, core.isSilent, port.slept]).toEqual([[], true, [20]]);
  expect(set.flush(mm, 0, 4096, true)).toBe(false);
  expect(port.slept).toEqual([20]);
  gate.park();
  expect(set.flush(mm, 0, 4096, true)).toBe(true);
  expect(core.isSilent).toBe(false);
});
