/** What becomes of calls and programs of a page when the kernel panics, or its worker ends. */
import { expect, test } from 'vitest';
import { Machine, MachineError } from '../../src/index.ts';
import type { Process } from '../../src/index.ts';
import { connectKernel } from '../../src/worker/connect.ts';
import type { Platform } from '../../src/worker/platform.ts';
import { hostPlatform } from '../../src/worker/platform-web.ts';

/** The platform of a page, with another kernel worker. */
function brokenPlatform(): Platform {
  return {
    async startKernel(options) {
      const Own = globalThis.Worker;
      const url = new URL('./broken-kernel-worker.ts', import.meta.url);
      const broken = new Own(url, { type: 'module' });
      globalThis.Worker = function () {
        globalThis.Worker = Own;
        return broken;
      } as unknown as typeof Worker;
      return hostPlatform.startKernel(options);
    },
  };
}

const thrown = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no error',
    (error: unknown) => error,
  );

const PANIC = /kernel panic: KernelBug: I0: broken in a .*create another machine/;
const WAYS: readonly [string, (process: Process) => Promise<void>, RegExp][] = [
  ['a broken invariant in a call', (process) => process.oomReap(), PANIC],
  ['a broken invariant outside of calls', (process) => process.poison(0), PANIC],
  ['a worker that ends', (process) => process.clearRefs(1), /died: its worker ended/],
];

test.for(WAYS)('%s ends the machine', async ([, breakIt, message]) => {
  const { link, report } = await connectKernel(brokenPlatform(), {
    engine: 'cpu',
    ramBytes: 2 ** 24,
  });
  const machine = new Machine(link, report);
  const process = await machine.spawn();
  const url = new URL('../fixtures/programs/wait.js', import.meta.url);
  const program = await process.run(url);
  const error = await thrown(breakIt(process));
  expect(error).toBeInstanceOf(MachineError);
  expect(String(error)).toMatch(message);
  expect(String(await thrown(machine.spawn()))).toMatch(message);
  expect(await program.exited).toMatchObject({ status: -1, signal: 'SIGKILL' });
  await machine.close();
});
