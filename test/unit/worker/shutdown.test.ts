/** Ends that overlap: each one waits for what it promises to be over. */
import { beforeEach, expect, test } from 'vitest';
import type { CommandList } from '../../../src/engine/command-list.ts';
import type { StrategyName } from '../../../src/engine/copy-engine.ts';
import { makeRig, mapFilled, run } from '../driver/rig.ts';
import type { Rig } from '../driver/rig.ts';

let rig: Rig;
/** A page of the process, and a migration of it that lasts until `release`. */
let addr: number;
let migration: Promise<string>;
let release: () => void;

beforeEach(async () => {
  rig = await makeRig();
  addr = await mapFilled(rig, 1);
  release = holdNextSubmission();
  migration = run(rig.device, 'MIGRATE_TO_DEV', addr, 1);
  await settle();
});

function holdNextSubmission(): () => void {
  const { engine } = rig.machine.kernel;
  const submit = engine.submit.bind(engine);
  let open: () => void = () => undefined;
  let gate: Promise<void> | null = new Promise((resolve) => (open = resolve));
  engine.submit = async (list: CommandList, strategy?: StrategyName): Promise<number> => {
    const wait = gate;
    gate = null;
    await wait;
    return submit(list, strategy);
  };
  return () => open();
}

/** Lets everything run that needs no timer. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

/** Whether the promise has settled, once everything that can run has. */
async function isOver(promise: Promise<unknown>): Promise<boolean> {
  let over = false;
  void promise.finally(() => (over = true));
  await settle();
  return over;
}

test('a second close of a machine waits for the first', async () => {
  const first = rig.machine.close();
  const second = rig.machine.close();
  expect(await isOver(second)).toBe(false);
  release();
  await second;
  expect(rig.machine.kernel.sys.mms.size).toBe(0);
  expect(await migration).toBe('0 1 0');
  await first;
});

test('a machine closes after the processes that are exiting already', async () => {
  const exit = rig.process.exit();
  const close = rig.machine.close();
  expect(await isOver(close)).toBe(false);
  release();
  await close;
  expect(rig.machine.kernel.sys.mms.size).toBe(0);
  // The engine was still there for the command that the exit waited for.
  expect(await migration).toBe('0 1 0');
  await exit;
});

test('a RELEASE beside another one answers when the device is empty', async () => {
  release();
  await migration;
  const open = holdNextSubmission();
  const first = run(rig.device, 'RELEASE', 0, 1);
  const second = run(rig.device, 'RELEASE', 0, 1);
  expect(await isOver(second)).toBe(false);
  open();
  expect(await second).toBe('0 0 0');
  expect(rig.machine.kernel.devices[0]!.memory.pagesInUse).toBe(0);
  expect(await first).toBe('0 0 0');
  await rig.machine.close();
});
