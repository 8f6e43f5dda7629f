/*
 * `npm run stress`: cores, devices and the kernel at the same memory, in real threads, for as long
 * as one likes. The test is that of test/stress, of which `npm test` runs some seconds: this
 * command is its front door, which is why it may import from there.
 *
 * Exit status 0: every store was accounted for, 1: one was not, or a mistake on the command line.
 */
import { pathToFileURL } from 'node:url';
import { resolve } from 'node:path';
import { STRESS_MACHINE, describeFigures, runStress } from '../test/stress/stress.ts';
import type { StressFigures } from '../test/stress/stress.ts';
import type { StressWindow } from '../test/stress/page.ts';
import { readCommandLine } from './args.ts';
import { watchPage } from './browser-page.ts';
import { openBrowser } from './browser.ts';
import { bundleRunsHere } from './chromium-bundle.ts';
import { runCommand, unlessStopped } from './cleanup.ts';
import { openNodeMachine } from './node-machine.ts';
import { startProgress } from './progress.ts';
import { openStressPage } from './stress-page.ts';

const PROGRAM = resolve(import.meta.dirname, '../test/fixtures/programs/stress.js');
const SECONDS = 60;
const LOAD_MS = 60_000;

interface Request {
  readonly seconds: number;
  readonly seed: number;
  readonly onProgress: (figures: StressFigures) => void;
}

export function main(): Promise<never> {
  const { values } = readCommandLine({
    name: 'stress',
    summary:
      'Four CPU cores load, store and add while their pages migrate to two devices and\n' +
      'back, are forked, write-protected and added to. Exit status 0: no store was lost,\n' +
      'no word torn, every sum exact.',
    options: {
      engine: {
        kind: 'choice',
        choices: ['cpu', 'node', 'chromium'],
        help:
          'what moves the pages: the CPU engine in Node (default),\n' +
          'Dawn in Node, or WebGPU in the bundled Chromium',
      },
      seconds: {
        kind: 'number',
        placeholder: 'N',
        min: 1,
        max: 86_400,
        help: `how long; default ${SECONDS}`,
      },
      seed: {
        kind: 'number',
        placeholder: 'S',
        min: 0,
        max: 2 ** 32 - 1,
        help: 'what is done; when, is up to the threads. Default: the clock',
      },
    },
  });
  return runCommand('stress', async () => {
    const { engine = 'cpu', seconds = SECONDS, seed = Date.now() % 2 ** 32 } = values;
    say(`stress: seed ${seed}`);
    const progress = startProgress('stress');
    const onProgress = (figures: StressFigures): void => progress.update(describeFigures(figures));
    const request = { seconds, seed, onProgress };
    const run = engine === 'chromium' ? runInBrowser(request) : runInNode(engine, request);
    const result = await run.finally(() => progress.end());
    await unlessStopped();
    if (typeof result === 'string') {
      say(`stress: ${result}`);
      say(`again:  npm run stress -- --engine ${engine} --seconds ${seconds} --seed ${seed}`);
      return 1;
    }
    process.stdout.write(`${describeFigures(result)}: nothing lost, nothing torn, sums exact\n`);
    return 0;
  });
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

async function runInNode(engine: string, request: Request): Promise<StressFigures | string> {
  const options = { ...STRESS_MACHINE, engine: engine === 'cpu' ? engine : 'webgpu' } as const;
  const machine = await openNodeMachine(options, say);
  try {
    return await runStress(machine, { ...request, program: pathToFileURL(PROGRAM).href });
  } catch (error) {
    return (error as Error).message;
  } finally {
    await machine.close();
  }
}

async function runInBrowser(request: Request): Promise<StressFigures | string> {
  const { seconds, seed, onProgress } = request;
  const browser = await openBrowser({ choice: bundleRunsHere() ? 'bundled' : 'auto', say });
  const site = await openStressPage();
  const page = await browser.newPage();
  try {
    await page.exposeFunction('stressProgress', onProgress);
    const guard = watchPage(page);
    await guard.race(page.goto(site.url, { timeout: LOAD_MS }));
    const isReady = (): unknown => 'stressRun' in globalThis;
    await guard.race(page.waitForFunction(isReady, undefined, { timeout: LOAD_MS }));
    const run = ([length, number]: readonly [number, number]): Promise<StressFigures | string> =>
      (globalThis as StressWindow).stressRun!(length, number);
    return await guard.race(page.evaluate(run, [seconds, seed] as const));
  } finally {
    await page.close();
    await site.close();
    await browser.close();
  }
}
