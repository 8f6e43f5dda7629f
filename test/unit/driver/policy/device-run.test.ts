/**
 * What a run of a device remembers of its invocations: those in flight, and no others.
 */
import { expect, test } from 'vitest';
import { plainRegion } from '../../../../src/driver/policy/access-trace.ts';
import { DeviceRun } from '../../../../src/driver/policy/device-run.ts';
import { FaultRing } from '../../../../src/driver/policy/fault-ring.ts';
import { FaultService } from '../../../../src/driver/policy/fault-service.ts';
import type { ServiceTraits } from '../../../../src/driver/policy/policy.ts';
import { Residency } from '../../../../src/driver/policy/residency.ts';
import {
  ACCESS_PREFETCH,
  ACCESS_READ,
  FAULT_ACCESS,
  FAULT_ADDRESS,
  FAULT_LANE,
  FAULT_OPERATION,
  FAULT_WORDS,
  FAULT_WORKGROUP,
} from '../../../../src/engine/vm/abi.ts';
import { REPORT_WORDS } from '../../../../src/engine/vm/vm-engine.ts';
import { pageByPage } from './rig.ts';

const LANES = 64;
const WINDOW = 4;

function runOf(
  isComplete: boolean,
  traits: Partial<ServiceTraits> = {},
): { run: DeviceRun; service: FaultService } {
  const space = new Residency([plainRegion(0, 512)], 512);
  const setup = { pageCount: 512, devicePages: 512, seed: 1 };
  const service = new FaultService(space, new FaultRing(4096), pageByPage()(setup), { traits });
  return { run: new DeviceRun(service, 0, isComplete, false), service };
}

type Row = readonly [workgroup: number, lane: number, access: number, operation: number];

function recordsOf(rows: readonly Row[]): Uint32Array {
  const records = new Uint32Array(rows.length * FAULT_WORDS);
  rows.forEach(([workgroup, lane, access, operation], i) => {
    records[i * FAULT_WORDS + FAULT_ADDRESS] = (workgroup % 512) * 4096;
    records[i * FAULT_WORDS + FAULT_ACCESS] = access;
    records[i * FAULT_WORDS + FAULT_WORKGROUP] = workgroup;
    records[i * FAULT_WORDS + FAULT_LANE] = lane;
    records[i * FAULT_WORDS + FAULT_OPERATION] = operation;
  });
  return records;
}

/** A pass in which all invocations of some workgroups stop, and report an access before. */
function passOf(
  first: number,
  operation: number,
): { records: Uint32Array; report: Uint32Array; inFlight: number[] } {
  const inFlight = Array.from({ length: WINDOW }, (_, i) => first + i);
  const rows: Row[] = [];
  const report: number[] = [];
  for (const workgroup of inFlight) {
    for (let lane = 0; lane < LANES; lane++) {
      rows.push([workgroup, lane, ACCESS_READ, operation]);
      report.push(workgroup, lane, (workgroup % 512) * 8 + ACCESS_READ);
      while (report.length % REPORT_WORDS !== 0) report.push(0);
    }
  }
  return { records: recordsOf(rows), report: Uint32Array.from(report), inFlight };
}

test.each([
  { reports: false, replay: 'batch' },
  { reports: true, replay: 'batch' },
  { reports: false, replay: 'ack' },
  { reports: true, replay: 'ack' },
] as const)(
  'a long run of many workgroups: what is remembered is what is in flight ($reports, $replay)',
  ({ reports, replay }) => {
    const { run, service } = runOf(true, { replay });
    let most = 0;
    for (let pass = 0; pass < 600; pass++) {
      const { records, report, inFlight } = passOf(pass * WINDOW, 1);
      run.begin();
      run.take(records, reports ? report : undefined, () => inFlight);
      run.end(false);
      most = Math.max(most, run.remembered);
      for (const _ of service.pass());
    }
    // Where each one stands, and where it waits, if single faults are acknowledged.
    expect(most).toBe((replay === 'ack' ? 2 : 1) * WINDOW * LANES);
    run.begin();
    run.take(new Uint32Array(0), undefined, () => []);
    run.end(false);
    expect(run.remembered).toBe(0);
  },
);

test('a workgroup in flight is not forgotten, though it has no record in a pass', () => {
  const { run } = runOf(true);
  run.take(recordsOf([[3, 0, ACCESS_READ, 7]]), undefined, () => [3]);
  run.end(false);
  run.take(recordsOf([]), undefined, () => [3]);
  run.end(false);
  // Its replay gives a hint again that it gave before it stopped.
  const before = run.remembered;
  run.take(recordsOf([[3, 0, ACCESS_PREFETCH, 5]]), undefined, () => [3]);
  expect(run.remembered).toBe(before);
  run.take(recordsOf([[3, 0, ACCESS_PREFETCH, 8]]), undefined, () => [3]);
  expect(run.remembered).toBe(before + 1);
});

test('a hint that is repeated while pages are lent is one', () => {
  const { run, service } = runOf(false);
  for (let pass = 0; pass < 50; pass++) {
    run.take(recordsOf([[1, 2, ACCESS_PREFETCH, 5]]), undefined, () => [1]);
    expect(run.remembered).toBe(1);
  }
  run.end(false);
  expect([run.remembered, service.ring.pending]).toEqual([0, 1]);
  run.take(recordsOf([[1, 2, ACCESS_PREFETCH, 5]]), undefined, () => [1]);
  expect(run.remembered).toBe(1);
});
