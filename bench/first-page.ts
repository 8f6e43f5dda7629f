/**
 * What a batch costs those who wait for it: whole migrations to the device by batch, how long all
 * of it takes and when its first page can be used (what a reviewer of the kernel's batch copies
 * asked for), beside a CPU that copies as many scattered pages within RAM.
 */
import { PAGE_SIZE } from '../src/index.ts';
import { CPU_COPY, FIRST_PAGE } from './first-page-cells.ts';
import { copyPools, takeCopy } from './copy-suite.ts';
import type { RunContext } from './run-context.ts';
import { sampleOperation } from './sampler.ts';
import type { Sampled } from './sampler.ts';

/**
 * Adds the cell of the first pages of migrations whose own cell is there.
 *
 * @param firsts Microseconds until the first page was usable, of each migration, warm-up included.
 */
export function addFirstPages(
  ctx: RunContext,
  pages: number,
  whole: Sampled,
  firsts: readonly number[],
): void {
  const count = whole.samples.length;
  // The last migrations are the timed ones.
  const samples = count === 0 ? [] : firsts.slice(-count);
  const params = { what: 'first page', batch: pages, pages, strategy: 'auto' };
  const spec = { suite: 'migrate' as const, id: `${FIRST_PAGE}${pages}`, params };
  const { dropped, chained, failure } = whole;
  const sampled = { samples, dropped, chained, failure, phases: null };
  ctx.addCell({ ...spec, unit: 'us', bytes: 0, pages: 0 }, sampled);
}

/** Cells that runCpuCurve() adds. */
export function countCpuCurveCells(ctx: RunContext): number {
  return ctx.plan.migrate.batches.length;
}

/** Measures the CPU's copies. Adds its cells to `ctx`; no process may be alive. */
export async function runCpuCurve(ctx: RunContext): Promise<void> {
  const { batches, box } = ctx.plan.migrate;
  for (const pages of batches) {
    const id = `${CPU_COPY}${pages}`;
    await ctx.say('migrate', id);
    const cell = { direction: 'in-host', strategy: 'cpu', folioBytes: PAGE_SIZE } as const;
    const copy = takeCopy(ctx, copyPools(ctx), { ...cell, batch: pages });
    if (copy === null) {
      ctx.omit(id, 'does not fit the machine');
      continue;
    }
    const sampled = await sampleOperation(copy, box, ctx.tickUs, ctx.signal);
    const params = { what: 'CPU copy', batch: pages, pages, strategy: 'cpu' };
    const { bytes } = copy;
    ctx.addCell({ suite: 'migrate', id, params, unit: 'us', bytes, pages }, sampled);
  }
}
