/**
 * What the thread of a core does, in browsers and Node alike: builds the core from what its host
 * sent, runs the program, and reports.
 */
import { atomicsOf } from '../cpu/atomics-port.ts';
import { ControlMap } from '../cpu/control.ts';
import type { CoreImage } from '../cpu/core.ts';
import { portBell, wordBell } from '../cpu/doorbell.ts';
import type { BellPort } from '../cpu/doorbell.ts';
import { runProgram } from '../cpu/program.ts';
import { makeCpu } from '../cpu/fast-cpu.ts';
import type { CoreMessage } from '../cpu/program.ts';

/** What a core's thread is sent first. */
export interface CoreBoot {
  readonly image: CoreImage;
  /** URL of the program's module. */
  readonly entry: string;
  readonly args: unknown;
  /** The port that rings the kernel's doorbell; null where the kernel waits on a word. */
  readonly bell: BellPort | null;
  /** Name of the Web Lock that the thread holds as long as it lives; '' in Node. */
  readonly lock: string;
}

/** Runs the program that `boot` names. Resolves when it has ended and that was said. */
export async function runCore(boot: CoreBoot, send: (message: CoreMessage) => void): Promise<void> {
  const port = atomicsOf(() => performance.now());
  const { image, entry, args } = boot;
  const map = ControlMap.attach(image.control, image.ringCapacity);
  const { words } = map;
  const bell =
    boot.bell === null ? wordBell(words) : portBell(boot.bell, words, map.block(image.slot));
  const cpu = makeCpu(image, port, bell, send);
  send({ kind: 'exit', ...(await runProgram(cpu, () => load(entry), args)) });
}

/** Imports the program's module. A syntax error, which does not say where, is told the module. */
async function load(entry: string): Promise<unknown> {
  try {
    return (await import(/* @vite-ignore */ entry)) as unknown;
  } catch (error) {
    if (error instanceof SyntaxError && !String(error.stack).includes(entry)) {
      error.stack = `SyntaxError: ${error.message} (in ${entry}, or a module that it imports)`;
    }
    throw error;
  }
}
