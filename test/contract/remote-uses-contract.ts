/*
 * Scenario A1, access counters: what kernels do to pages that stay in RAM is counted by groups of
 * 64 KiB, and a range of 2 MiB that was used 256 times gives one notification. Oracle: the number
 * of operations that the kernel's text has.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AccessCounters } from '../../src/driver/policy/access-counters.ts';
import type { MachinePager } from '../../src/driver/machine-pager.ts';
import {
  arg,
  at,
  GID,
  kernelOf,
  load,
  op,
  reduce,
  store,
  v,
  when,
} from '../../src/engine/vm/ir.ts';
import type { VmStatement } from '../../src/engine/vm/ir.ts';
import { CaseBuilder } from '../../src/engine/vm/shapes.ts';
import type { UserPages } from '../../src/index.ts';
import { mapCase, openMachineRig, runOnMachine } from '../vm/machine-run.ts';
import type { MachineRig } from '../vm/machine-run.ts';
import { expectMemory, oracleOf } from '../vm/oracle.ts';

/** Address 0 of a range of 2 MiB. */
const BASE = 0x20_0000;
const FIRST_PAGE = BASE / 4096;
const RANGE = FIRST_PAGE / 512;
const PAGES = 40;

let rig: MachineRig;
let pinned: UserPages | undefined;

/** Declares the suite for a machine's engine. */
export function describeRemoteUses(engine: 'cpu' | 'webgpu'): void {
  describe(`A1, access counters: ${engine}`, () => {
    beforeEach(async () => {
      rig = await openMachineRig(engine, 64);
    });
    afterEach(async () => {
      await pinned?.release();
      pinned = undefined;
      await rig.machine.close();
    });
    describeNotifications();
    describeKinds();
  });
}

/** Adds to a word of page `page` in the first `lanes` of 256 invocations. */
function touching(page: number, lanes: number): VmStatement[] {
  const word = op(op(page, '*', 1024), '+', op(GID, '&', 15));
  return [when(op(GID, '<', lanes), [reduce('add', at(arg(0), word), 1)])];
}

/** Runs a kernel over 40 pages, pinned or not; answers its pager and the counters it fed. */
async function run(
  body: readonly VmStatement[],
  counters: AccessCounters,
  { isPinned = true, countsUses = true } = {},
): Promise<MachinePager> {
  const to = new CaseBuilder(BASE, 1);
  to.array(PAGES * 1024);
  const one = to.build('touch', kernelOf('touch', 64, body), 4);
  const addr = await mapCase(rig, one);
  await pinned?.release();
  pinned = isPinned ? await rig.process.pinUserPages(addr, PAGES) : undefined;
  const { report, pager } = await runOnMachine(
    rig,
    one,
    addr,
    // Before anything is lent.
    (_, { aperture }) => {
      aperture.uses.counters = counters;
    },
    { options: { countsUses } },
  );
  expect(report).toMatchObject({ outcome: 'done', killed: 0 });
  expectMemory(one, await rig.process.read(addr, one.bytes.length), oracleOf(one));
  return pager;
}

function describeNotifications(): void {
  it('256 touches give a notification, 255 give none', async () => {
    for (const [lanes, notifications] of [
      [255, 0],
      [256, 1],
    ] as const) {
      const counters = new AccessCounters(2048);
      const { aperture } = await run(touching(3, lanes), counters);
      expect(aperture.uses.total).toBe(lanes);
      expect(counters.usesOf(RANGE)).toBe(lanes);
      expect(counters.notifications.length).toBe(notifications);
    }
  });

  it('pages that are on the device are not counted', async () => {
    const counters = new AccessCounters(2048);
    const { aperture, stats } = await run(touching(3, 256), counters, { isPinned: false });
    expect(stats.mapped).toBe(1);
    expect(aperture.uses.total).toBe(0);
    expect(counters.usesOf(RANGE)).toBe(0);
  });

  it('one notification until the range is cleared, then another after 256 more', async () => {
    const counters = new AccessCounters(2048);
    await run(touching(0, 256), counters);
    await run(touching(0, 256), counters);
    expect(counters.notifications.length).toBe(1);
    counters.clear(RANGE);
    await run(touching(0, 255), counters);
    expect(counters.notifications.length).toBe(1);
    await run(touching(0, 1), counters);
    expect(counters.notifications.map(({ uses }) => uses)).toEqual([256, 256]);
  });

  it('a notification has a bit for each part of 64 KiB that was used', async () => {
    const counters = new AccessCounters(2048);
    const parts = [
      ...touching(1, 100),
      ...touching(15, 28),
      ...touching(16, 64),
      ...touching(39, 64),
    ];
    await run(parts, counters);
    expect(counters.notifications).toEqual([{ range: RANGE, uses: 256, parts: 0b111 }]);
  });
}

function describeKinds(): void {
  it('reads, writes and atomics are told apart, by groups of 64 KiB', async () => {
    const counters = new AccessCounters(2048);
    const { aperture } = await run(
      [
        load('x', at(arg(0), GID)),
        // Never, but nobody knows that before.
        when(op(v('x'), '==', 99), [store(at(arg(0), 0), 1)]),
        store(at(arg(0), op(GID, '+', 20 * 1024)), 5),
        when(op(GID, '<', 10), [reduce('max', at(arg(0), 36 * 1024), GID)]),
      ],
      counters,
    );
    const { reads } = aperture.uses.of(FIRST_PAGE);
    // An invocation that stopped at a later operation may have to read again.
    expect(reads).toBeGreaterThanOrEqual(256);
    expect(aperture.uses.of(FIRST_PAGE)).toEqual({ reads, writes: 0, atomics: 0 });
    const { writes } = aperture.uses.of(FIRST_PAGE + 16);
    expect(writes).toBeGreaterThanOrEqual(256);
    expect(aperture.uses.of(FIRST_PAGE + 31)).toEqual({ reads: 0, writes, atomics: 0 });
    expect(aperture.uses.of(FIRST_PAGE + 32)).toMatchObject({ reads: 0, writes: 0 });
    expect(aperture.uses.of(FIRST_PAGE + 32).atomics).toBeGreaterThanOrEqual(10);
    aperture.uses.clear(FIRST_PAGE);
    expect(aperture.uses.of(FIRST_PAGE).reads).toBe(0);
    expect(aperture.uses.of(FIRST_PAGE + 16).writes).toBe(writes);
  });

  it('what is lent for writing again and not written is not copied back', async () => {
    // Page 0 is written once, and goes on being lent for writing while others are asked for.
    const body: VmStatement[] = [reduce('add', at(arg(0), GID), 1)];
    for (let page = 1; page < 6; page++)
      body.push(load('x', at(arg(0), op(page * 1024, '+', v('x')))));
    const counted = await run(body, new AccessCounters(2048));
    const blind = await run(body, new AccessCounters(2048), { countsUses: false });
    expect(blind.aperture.uses.total).toBe(0);
    expect(counted.aperture.stats.written).toBeGreaterThan(0);
    expect(counted.aperture.stats.written).toBeLessThan(blind.aperture.stats.written);
  });
}
