/*
 * Random programs on two to four address spaces and two devices, against a map of bytes. After
 * every command all bytes and all invariants are checked.
 *
 * A failure prints seed, path and replayPath of fast-check and the commands, shrunk. MODEL_SEED=n
 * repeats a seed, MODEL_RUNS=n runs that many programs.
 */
import * as fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { PROT_EXEC, PROT_READ, PROT_WRITE } from '../../src/mm/mm-types.ts';
import { checkStep } from './check-step.ts';
import { DeviceClaim } from './commands/device-claim.ts';
import { DeviceLoad } from './commands/device-load.ts';
import { DeviceStore } from './commands/device-store.ts';
import { Evict } from './commands/evict.ts';
import { Exit } from './commands/exit.ts';
import { Fork } from './commands/fork.ts';
import { Load } from './commands/load.ts';
import { MigrateToDevice } from './commands/migrate-to-device.ts';
import { MigrateToSystem } from './commands/migrate-to-system.ts';
import { Mmap } from './commands/mmap.ts';
import { Mprotect } from './commands/mprotect.ts';
import { Mremap } from './commands/mremap.ts';
import { Munmap } from './commands/munmap.ts';
import { Pin } from './commands/pin.ts';
import { PinStore } from './commands/pin-store.ts';
import { RIVALS, Race } from './commands/race.ts';
import { Store } from './commands/store.ts';
import { Unpin } from './commands/unpin.ts';
import { Zap } from './commands/zap.ts';
import { installLockdep } from './lockdep.ts';
import { DEVICES, Machine } from './machine.ts';
import type { Tally } from './machine.ts';
import { ARENA_PAGES, OBJECTS, OBJECT_PAGES, PIN_SLOTS, PROCESS_SLOTS, newModel } from './model.ts';

const SEED = Number(process.env['MODEL_SEED'] ?? 20_261_121);
const RUNS = Number(process.env['MODEL_RUNS'] ?? 120);
const MAX_COMMANDS = 60;

/** The first two are there from the start. */
const slot = fc.constantFrom(0, 0, 1, ...Array.from({ length: PROCESS_SLOTS }, (_, i) => i));
const page = fc.nat(ARENA_PAGES - 1);
const pages = fc.integer({ min: 1, max: ARENA_PAGES });
const minor = fc.nat(DEVICES - 1);
const pin = fc.nat(PIN_SLOTS - 1);
const value = fc.integer({ min: 1, max: 255 });
/** Mostly the device only has the pages: what it adds changes every word. */
const claimValue = fc.constantFrom(0, 0, 0, 1);
const offset = fc.constantFrom(0, 1, 1000, 4095);
/** Mostly memory that can be used. */
const prot = fc.constantFrom(
  PROT_READ | PROT_WRITE,
  PROT_READ | PROT_WRITE,
  PROT_READ | PROT_WRITE,
  PROT_READ,
  PROT_WRITE,
  PROT_EXEC,
  0,
);
const range = { slot, page, pages };
const deviceRange = { ...range, minor };

const mmapArgs = fc.record({
  ...range,
  prot,
  isShared: fc.boolean(),
  object: fc.constantFrom(-1, -1, -1, ...Array.from({ length: OBJECTS }, (_, i) => i)),
  pgoff: fc.nat(OBJECT_PAGES - 1),
});
const storeArgs = fc.record({
  slot,
  page,
  offset,
  value,
  isStarved: fc.constantFrom(false, false, false, true),
});
const raceArgs = fc.record({
  ...deviceRange,
  value,
  delays: fc.nat(),
  rivals: fc.subarray([...RIVALS]),
});

const load = fc.record({ slot, page, offset }).map((args) => new Load(args));
const store = storeArgs.map((args) => new Store(args));
const migrate = fc.record(deviceRange).map((args) => new MigrateToDevice(args));
const mmap = mmapArgs.map((args) => new Mmap(args));
const race = raceArgs.map((args) => new Race(args));

/** Those that are listed twice come twice as often. */
const commands = [
  mmap,
  mmap,
  fc.record(range).map((args) => new Munmap(args)),
  fc.record({ ...range, prot }).map((args) => new Mprotect(args)),
  fc.record({ ...range, target: page, dontUnmap: fc.boolean() }).map((args) => new Mremap(args)),
  load,
  load,
  store,
  store,
  store,
  fc.record({ slot }).map((args) => new Fork(args)),
  fc.record({ slot, closeFirst: fc.boolean() }).map((args) => new Exit(args)),
  migrate,
  migrate,
  fc.record(deviceRange).map((args) => new MigrateToSystem(args)),
  fc.record({ minor }).map((args) => new Evict(args)),
  fc.record(deviceRange).map((args) => new DeviceLoad(args)),
  fc.record({ ...deviceRange, value }).map((args) => new DeviceStore(args)),
  fc.record({ ...deviceRange, value: claimValue }).map((args) => new DeviceClaim(args)),
  fc.record({ slot, page, pin }).map((args) => new Pin(args)),
  fc.record({ pin, offset, value }).map((args) => new PinStore(args)),
  fc.record({ pin }).map((args) => new Unpin(args)),
  fc.record(range).map((args) => new Zap(args)),
  race,
  race,
];

beforeAll(installLockdep);

test('random programs see the bytes that they wrote, and every invariant holds', async () => {
  const tally: Tally = {
    commands: 0,
    pagesToDevice: 0,
    pagesToCoherent: 0,
    deviceFaults: 0,
    evictions: 0,
    races: 0,
    claims: 0,
  };
  const program = fc.commands(commands, { maxCommands: MAX_COMMANDS, size: 'max' });
  const property = fc.asyncProperty(program, fc.nat(), async (steps, delays) => {
    const machine = new Machine(delays, tally);
    const model = newModel();
    await fc.asyncModelRun(() => ({ model, real: machine }), steps);
    await machine.shutDown();
    model.processes.fill(null);
    model.pins.fill(null);
    checkStep(model, machine);
    expect(machine.devices.map(({ memory }) => memory.pagesInUse)).toEqual([0, 0, 0]);
    expect(machine.sys.pageTables.tablesInUse).toBe(0);
  });
  await fc.assert(property, { seed: SEED, numRuns: RUNS });
  // Not vacuous: all of this did happen, and often.
  expect(tally.commands).toBeGreaterThan(RUNS * 10);
  const { pagesToDevice, pagesToCoherent, deviceFaults, evictions, races, claims } = tally;
  const counts = [pagesToDevice, pagesToCoherent, deviceFaults, evictions, races, claims];
  for (const count of counts) {
    expect(count, JSON.stringify(tally)).toBeGreaterThan(RUNS / 3);
  }
}, 120_000);
