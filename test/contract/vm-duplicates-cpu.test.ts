/*
 * Read-mostly pages on the machine: HMM knows one place of a page, so they move, the books say so,
 * and the model of a machine without duplicates has the same numbers.
 */
import { expect, it } from 'vitest';
import { regionsOf } from '../../src/driver/context-regions.ts';
import { SPACE_PAGES } from '../../src/driver/context-map.ts';
import { ModelRun } from '../../src/driver/policy/model-run.ts';
import { policyByName } from '../../src/driver/policy/policies.ts';
import { IN_RAM, NO_HINTS, ON_DEVICE } from '../../src/driver/policy/policy.ts';
import { shapeCase } from '../../src/engine/vm/shapes.ts';
import { mapCase, openMachineRig, runServed } from '../vm/machine-run.ts';
import { expectMemory, oracleOf } from '../vm/oracle.ts';
import { traceOfCase } from './trace-equality.ts';

const BASE = 0x20_0000;
const PAGE = 4096;

it.each([true, false])('M8: pages under uvm, read-mostly: %s', async (readMostly) => {
  const rig = await openMachineRig('cpu', 64);
  const one = shapeCase('stencil', 8, BASE, 3);
  const addr = await mapCase(rig, one);
  const first = BASE / PAGE;
  const outer = first + one.bytes.length / PAGE;
  const hints = [{ first, outer, hints: { ...NO_HINTS, readMostly } }];
  const policy = policyByName('uvm');
  const { report, pager } = await runServed(rig, one, addr, { policy, hints });
  expect(report).toMatchObject({ outcome: 'done', killed: 0 });
  const { counts, space } = pager.service;
  expect([counts.duplicated, counts.duplicatesMoved > 0]).toEqual([0, readMostly]);
  for (let page = first; page < outer; page++) expect(space.where[page]).not.toBe(3);
  // Bytes that went home are bytes that were only there.
  expect(counts.bytesIn).toBe(counts.movedPages * PAGE);
  expectMemory(one, await rig.process.read(addr, one.bytes.length), oracleOf(one));
  await rig.machine.close();
});

it('the model has both copies, and without them moves the same pages', async () => {
  const rig = await openMachineRig('cpu', 64);
  const one = shapeCase('stencil', 8, BASE, 3);
  const addr = await mapCase(rig, one);
  const said = regionsOf(rig.mirror, (addr - BASE) / PAGE, SPACE_PAGES, 1);
  const regions = said.map((region) => ({ ...region, hints: { ...NO_HINTS, readMostly: true } }));
  const trace = await traceOfCase(one, regions, 1);
  const run = (duplicates: boolean): ModelRun => {
    const model = new ModelRun(trace, policyByName('uvm'), { duplicates, devicePages: 64 });
    while (!model.isDone) model.step();
    return model;
  };
  const [both, single] = [run(true), run(false)];
  expect(both.service.counts.duplicated).toBeGreaterThan(0);
  expect([...both.space.where]).toContain(IN_RAM | ON_DEVICE);
  expect([...single.space.where]).not.toContain(IN_RAM | ON_DEVICE);
  const { duplicated, duplicatesMoved } = single.service.counts;
  expect([duplicated, duplicatesMoved]).toEqual([0, both.service.counts.duplicated]);
  await rig.machine.close();
});
