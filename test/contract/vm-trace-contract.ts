/*
 * What trace-equality.ts says, over policies, kernels and sizes of device memory.
 */
import { describe, expect, it } from 'vitest';
import { regionsOf } from '../../src/driver/context-regions.ts';
import { SPACE_PAGES } from '../../src/driver/context-map.ts';
import type { AccessTrace } from '../../src/driver/policy/access-trace.ts';
import { readTrace, traceToCsv } from '../../src/driver/policy/access-trace-text.ts';
import { POLICIES, policyByName } from '../../src/driver/policy/policies.ts';
import type { PolicyName } from '../../src/driver/policy/policies.ts';
import { shapeCase } from '../../src/engine/vm/shapes.ts';
import type { VmCase } from '../../src/engine/vm/shapes.ts';
import { mapCase, openMachineRig } from '../vm/machine-run.ts';
import type { MachineRig } from '../vm/machine-run.ts';
import { WIDE_NAMES, wideCase } from '../vm/wide-kernels.ts';
import { expectSameRuns, traceOfCase } from './trace-equality.ts';

const BASE = 0x20_0000;
/** Pages of the kernels' arrays: two blocks, the second one in part. */
const PAGES = 700;
/** Shapes whose accesses do not depend on the order of invocations. */
const SHAPES = ['elementwise', 'stencil', 'accumulate', 'chase', 'reduction', 'matmul', 'exchange'];

const LARGE = { ramBytes: 16 * 1024 * 1024 };

interface Mapped {
  readonly one: VmCase;
  readonly addr: number;
  readonly trace: AccessTrace;
}

async function mapAndRecord(rig: MachineRig, one: VmCase): Promise<Mapped> {
  const addr = await mapCase(rig, one);
  const regions = regionsOf(rig.mirror, (addr - BASE) / 4096, SPACE_PAGES, 1);
  return { one, addr, trace: await traceOfCase(one, regions, 1) };
}

/** Of the wide kernels those whose run does not hang on uses of remote pages, which go unseen. */
const WIDE_UNSEEN = ['column', 'stages', 'drawn'];

/**
 * On a GPU, whose runs take long, one policy for each mechanism: blocks and a detector of
 * thrashing, windows, ranges all or nothing, nothing moved at all, neighbours, single pages.
 * `sl64k` and `random` differ from `tbn` in the pages that they choose, which no engine sees;
 * `adaptive` hangs on uses of remote pages, which a GPU does not report.
 */
const GPU_POLICIES = ['uvm', 'kfd', 'xe', 'nouveau', 'tbn', 'none'] as const;
/** Of these those that run all kernels; of the others one with evictions is enough. */
const GPU_LONG: readonly PolicyName[] = ['uvm', 'kfd'];

/** Declares the suite for a machine's engine. */
export function describeVmTraces(engine: 'cpu' | 'webgpu'): void {
  const isCpu = engine === 'cpu';
  const policies = isCpu ? POLICIES : GPU_POLICIES;
  describe(`recorded traces and real runs: ${engine}`, { timeout: 300_000 }, () => {
    it.each(policies)(
      '%s: a trace gives the faults, batches and bytes of the real run',
      async (name) => {
        const policy = policyByName(name);
        const isShort = !isCpu && !GPU_LONG.includes(name);
        for (const devicePages of isShort ? [512] : [1024, 512]) {
          const rig = await openMachineRig(engine, devicePages, 0, LARGE);
          for (const kernel of isCpu ? WIDE_NAMES : isShort ? ['column'] : WIDE_UNSEEN) {
            const { one, addr, trace } = await mapAndRecord(rig, wideCase(kernel, PAGES, BASE));
            const options = { policy, window: 16, devicePages, reports: isCpu };
            const pager = await expectSameRuns(rig, one, addr, trace, options);
            // The numbers are those of pages that really moved.
            const { movedPages, evictedPages } = pager.service.counts;
            expect(pager.stats).toMatchObject({ in: movedPages, out: evictedPages });
            await rig.process.munmap(addr, one.bytes.length);
          }
          await rig.machine.close();
        }
      },
    );
    if (isCpu) describeShapes(policies);
  });
}

function describeShapes(policies: readonly PolicyName[]): void {
  it('the traces do not depend on the order of invocations, and come back from text', async () => {
    const rig = await openMachineRig('cpu', 8, 0, LARGE);
    const wide = WIDE_NAMES.map((name) => wideCase(name, PAGES, BASE));
    for (const one of [...SHAPES.map((name) => shapeCase(name, 8, BASE, 3)), ...wide]) {
      const { addr, trace } = await mapAndRecord(rig, one);
      const again = await traceOfCase(one, trace.regions, 2);
      expect(traceToCsv(again) === traceToCsv(trace), one.name).toBe(true);
      expect(traceToCsv(readTrace(traceToCsv(trace))) === traceToCsv(trace), one.name).toBe(true);
      await rig.process.munmap(addr, one.bytes.length);
    }
    await rig.machine.close();
  });

  it.each(policies)('%s: every shape, with each window and with dedup', async (name) => {
    const policy = policyByName(name);
    const rig = await openMachineRig('cpu', 64, 0, LARGE);
    for (const shape of SHAPES) {
      const { one, addr, trace } = await mapAndRecord(rig, shapeCase(shape, 8, BASE, 3));
      for (const [window, dedup] of [
        [1, false],
        [3, true],
        [8, false],
      ] as const) {
        await expectSameRuns(rig, one, addr, trace, { policy, window, dedup, devicePages: 64 });
        await bringHome(rig, addr, one.bytes.length);
      }
      await rig.process.munmap(addr, one.bytes.length);
    }
    await rig.machine.close();
  });
}

/** The CPU takes all pages back and writes them, so that the next run begins like the first. */
async function bringHome({ process }: MachineRig, addr: number, length: number): Promise<void> {
  await process.write(addr, await process.read(addr, length));
}
