/*
 * `npm run vm-costs`: what each kernel shape pays for virtual memory and for exactly-once.
 *
 * On a software adapter processor time is compared, since the adapter works in this process and
 * other programs' load then does not count; on graphics hardware it is wall time.
 */
import type { VmCost, VmWay } from '../bench/vm-costs.ts';
import { meanRatio, measureVmCost, quantileOf, ratioOf, VM_WAYS } from '../bench/vm-costs.ts';
import { SHAPE_NAMES } from '../src/index.ts';
import { isSoftware } from './adapter.ts';
import { inLines, readCommandLine, UsageError } from './args.ts';
import { runCommand } from './cleanup.ts';
import { openNodeGpu } from './node-gpu.ts';
import { outputFiles } from './output-file.ts';
import { runFaultCosts } from './vm-faults.ts';

/** Goals on a software adapter: geometric means over all shapes, without and with exactly-once. */
const GOALS: Partial<Record<VmWay, number>> = { mmu: 3.2, exact: 5 };

const SPEC = {
  name: 'vm-costs',
  summary:
    'Runs each kernel shape plainly, over virtual memory without exactly-once (mmu), with it\n' +
    '(exact) and with a log throughout (log), interleaved. A line a shape: what its first\n' +
    'attempt does (docs/device-faults-mechanism.md), time of the plain kernel (raw), and the\n' +
    'other three over it, medians with the 5th and 95th percentile. Exit status 1: the\n' +
    'geometric mean over all shapes misses its goal on a software adapter, 3.2 for mmu or 5\n' +
    'for exact.',
  options: {
    shape: {
      kind: 'text',
      placeholder: 'NAME',
      help: `this shape alone, one of\n${inLines(SHAPE_NAMES)}`,
    },
    workgroups: {
      kind: 'number',
      placeholder: 'N',
      min: 1,
      max: 16_384,
      help: 'of 64 invocations (1024)',
    },
    rounds: {
      kind: 'number',
      placeholder: 'N',
      min: 1,
      max: 1000,
      help: 'how often all sides are timed (11; with --faults 21)',
    },
    faults: {
      kind: 'flag',
      help:
        'what serving faults costs on wall time instead: one word a page\n' +
        'against the same copies and dispatches bare, the tree against no\n' +
        'prefetch, the curve over the window, pages per copy command',
    },
    size: {
      kind: 'number',
      placeholder: 'MIB',
      min: 1,
      max: 1024,
      help: 'with --faults: memory that is faulted in (64)',
    },
    json: { kind: 'text', placeholder: 'FILE', help: 'where all samples go' },
  },
} as const;

export async function main(): Promise<void> {
  await runCommand('vm-costs', async () => {
    const { values } = readCommandLine(SPEC);
    if (values.faults && values.json !== undefined) {
      throw new UsageError('--json is of what shapes cost; --faults has no samples to keep');
    }
    if (values.shape !== undefined && !SHAPE_NAMES.includes(values.shape)) {
      throw new UsageError(`--shape is one of ${SHAPE_NAMES.join(', ')}, not '${values.shape}'`);
    }
    const { json } = outputFiles({ json: values.json });
    const out = json?.isStdout === true ? process.stderr : process.stdout;
    const { gpu, adapter } = await openNodeGpu((line) => process.stderr.write(`${line}\n`));
    if (values.faults) return runFaultCosts(values.size ?? 64, values.rounds ?? 21);
    const device = await openDevice(gpu);
    const shapes = values.shape === undefined ? SHAPE_NAMES : [values.shape];
    const clock = isSoftware(adapter) ? processorTime : () => performance.now();
    const rounds = values.rounds ?? 11;
    const options = { shapes, workgroups: values.workgroups ?? 1024, rounds, clock };
    const costs: VmCost[] = [];
    for (const shape of shapes) {
      const cost = await measureVmCost(device, shape, options);
      costs.push(cost);
      out.write(`${lineOf(cost)}\n`);
    }
    device.destroy();
    json?.write(JSON.stringify(costs));
    return summary(costs, isSoftware(adapter) && costs.length > 1, out);
  });
}

async function openDevice(gpu: GPU): Promise<GPUDevice> {
  const adapter = await gpu.requestAdapter();
  const { maxStorageBufferBindingSize, maxBufferSize } = adapter!.limits;
  return adapter!.requestDevice({ requiredLimits: { maxStorageBufferBindingSize, maxBufferSize } });
}

/** Milliseconds that all threads of this process have worked. */
function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function lineOf(cost: VmCost): string {
  const ways = VM_WAYS.slice(1).map((way) => {
    const [low, high] = [0.05, 0.95].map((share) => quantileOf(cost.samples[way], share));
    const raw = quantileOf(cost.samples.raw, 0.5);
    const range = `[${(low! / raw).toFixed(1)}, ${(high! / raw).toFixed(1)}]`;
    return `${way} ${ratioOf(cost, way).toFixed(2)} ${range}`.padEnd(23);
  });
  const raw = quantileOf(cost.samples.raw, 0.5).toFixed(2);
  const head = `${cost.shape.padEnd(12)} ${cost.mode.padEnd(7)} raw ${raw.padStart(8)} ms`;
  return `${head}  ${ways.join(' ')}`;
}

/** Geometric means; the exit status. */
function summary(costs: readonly VmCost[], judged: boolean, out: NodeJS.WriteStream): number {
  let failed = 0;
  for (const way of VM_WAYS.slice(1)) {
    const mean = meanRatio(costs, way);
    const goal = GOALS[way];
    const misses = judged && goal !== undefined && mean > goal;
    if (misses) failed = 1;
    const verdict =
      judged && goal !== undefined ? ` ${misses ? 'FAIL' : 'PASS'} at most ${goal}` : '';
    out.write(`geometric mean, ${way}: ${mean.toFixed(2)}${verdict}\n`);
  }
  return failed;
}
