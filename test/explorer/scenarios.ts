/*
 * What happens to a page while two cores use it.
 */
import { isErr } from '../../src/base/errno.ts';
import { andThen } from '../../src/base/maybe.ts';
import type { MigrateVma } from '../../src/mm/migrate-types.ts';
import { PROT_READ } from '../../src/mm/mm-types.ts';
import type { MmStruct } from '../../src/mm/mm-types.ts';
import { dupMmap, mmput } from '../../src/mm/fork.ts';
import { doMunmap } from '../../src/mm/mmap.ts';
import { doMprotect } from '../../src/mm/mprotect.ts';
import { ACCESS_WRITE } from '../../src/mm/uaccess.ts';
import { vmaLookup } from '../../src/mm/vma-lookup.ts';
import { PAGE_SIZE } from '../../src/base/units.ts';
import type { Actor } from './actor.ts';
import { Explorer } from './explorer.ts';
import type { Exploration, Limits } from './explorer.ts';
import { ExplorerMachine, PAGE_WORDS, RW } from './machine.ts';
import type { Place } from './machine.ts';
import {
  ACTORS,
  CORES,
  KERNEL,
  NO_ACCESS,
  NO_STORES,
  coreActor,
  hostActor,
  kernelActor,
} from './programs.ts';
import type { CoreStep, KernelPlan, KernelStep } from './programs.ts';
import { Replay } from './replay.ts';
import { isLarge } from './size.ts';
import { Space } from './space.ts';
import { controlMap } from './words.ts';

const STATE_WORDS = 96;
/** What all loads of shared memory find before anything has happened. */
const NOTHING_YET = Array.from({ length: 100 }, () => 0);

export interface Scenario {
  readonly kernel: KernelPlan;
  /** What each core does, on the page of the place with that index. */
  readonly cores: readonly { readonly place: number; readonly steps: readonly CoreStep[] }[];
  readonly limits?: Partial<Limits>;
  /** Cores that may be killed at any time. */
  readonly mayKill?: readonly number[];
  /** Tables come and go: others may run before each load of a walk. */
  readonly hasTables?: boolean;
}

/** Explores a scenario. */
export async function explore(scenario: Scenario, limits: Partial<Limits> = {}): Promise<Result> {
  const space = new Space(ACTORS, STATE_WORDS);
  const { places, machine } = dryRun(scenario);
  const actors: Actor[] = [];
  for (const [i, { place, steps }] of scenario.cores.entries()) {
    const { addr, name, mm } = places[place]!;
    const { pageTables } = machine.sys;
    const leafAt = scenario.hasTables === true ? null : pageTables.pteOffset(mm.pgd, addr);
    actors.push(coreActor(space, { image: machine.images[i]!, addr, name, steps, leafAt }));
  }
  actors.push(kernelActor(space, scenario.kernel), hostActor(space));
  const start: number[] = [];
  for (const core of scenario.mayKill ?? []) start.push(space.at(`may kill ${core}`), 1);
  for (let i = scenario.cores.length; i < CORES; i++) start.push(space.at(`core ${i} is over`), 1);
  const all = { timeouts: 0, spurious: 0, states: 5_000_000, ...scenario.limits, ...limits };
  const found = await new Explorer(actors, space, all).explore(KERNEL, start);
  // Executions would not be alike where something had been written past the ports.
  if (controlMap.words.some((word) => word !== 0)) throw new Error('the control words are in use');
  return { ...found, replays: actors.map(({ replays }) => replays) };
}

export interface Result extends Exploration {
  readonly replays: readonly number[];
}

/** The machine as all executions find it, for what does not change. */
function dryRun(scenario: Scenario): { machine: ExplorerMachine; places: Place[] } {
  const machine = new ExplorerMachine(new Replay(NOTHING_YET), new Space(ACTORS, STATE_WORDS));
  return { machine, places: scenario.kernel.boot(machine) };
}

/** One process with two cores. */
function twoThreads(machine: ExplorerMachine): Place[] {
  const place = machine.addProcess(1, 'page');
  machine.addCore(place);
  machine.addCore(place);
  return [place];
}

/** What the two cores of a process do. */
const USERS: Scenario['cores'] = isLarge
  ? [
      {
        place: 0,
        steps: [['store', 0, 1], ['store', 0, 2], ['poll'], ['load', 1], ['store', 0, 3]],
      },
      { place: 0, steps: [['store', 1, 1], ['serve'], ['load', 0], ['store', 1, 2]] },
    ]
  : [
      { place: 0, steps: [['store', 0, 1], ['poll'], ['store', 0, 2]] },
      { place: 0, steps: [['store', 1, 1], ['serve'], ['load', 0]] },
    ];

const FEW_USERS: Scenario['cores'] = [
  {
    place: 0,
    steps: [
      ['store', 0, 1],
      ['store', 0, 2],
    ],
  },
  { place: 0, steps: [['load', 0]] },
];

const ONE_USER: Scenario['cores'] = [
  { place: 0, steps: [['store', 0, 1], ['poll'], ['store', 0, 2]] },
  { place: 0, steps: [] },
];

/** To the device; whoever touches the page brings it back. */
function migrateSteps(): KernelStep[] {
  return [
    {
      label: 'copies the page to the device',
      run: ({ device, notes }, [place]) =>
        andThen(place!.mm.mmapLock.readLock(), () => {
          const vma = vmaLookup(place!.mm, place!.addr)!;
          notes.set('args', device.begin(vma, place!.addr));
        }),
    },
    {
      label: 'finishes the migration',
      run: ({ device, notes }, [place]) => {
        device.end(notes.get('args') as MigrateVma);
        notes.delete('args');
        place!.mm.mmapLock.readUnlock();
      },
    },
  ];
}

export const migration: Scenario = {
  kernel: { boot: twoThreads, steps: migrateSteps },
  cores: USERS,
};

/** What a child was given must be what the parent had at some moment of the fork. */
const forkPlan: KernelPlan = {
  boot: twoThreads,
  steps: () => [
    {
      label: 'forks',
      run: (machine, [place]) => {
        machine.notes.set('before', machine.expected(place!));
        return andThen(dupMmap(place!.mm), (child) => noteChild(machine, place!, child));
      },
    },
  ],
  finish: (machine, [place]) => {
    const frame = machine.touch(machine.notes.get('child') as MmStruct, place!.addr);
    for (let i = 0; i < PAGE_WORDS; i++) {
      const [is, was] = [machine.loadWord(frame, i), machine.peek(`child ${i}`)];
      if (is !== was) throw new Error(`the child had ${was} at its birth, and ${is} now`);
    }
  },
};

/** What a child is given is what the parent had at some moment of the fork. */
function noteChild(machine: ExplorerMachine, place: Place, child: MmStruct | number): void {
  if (typeof child === 'number') throw new Error('fork failed');
  const { notes } = machine;
  const before = notes.get('before') as number[];
  const after = machine.expected(place);
  const frame = machine.touch(child, place.addr);
  for (let i = 0; i < PAGE_WORDS; i++) {
    const value = machine.peek(`frame ${frame} word ${i}`);
    if (value < before[i]! || value > after[i]!) {
      throw new Error(`the child has ${value}, not ${before[i]} to ${after[i]}`);
    }
    machine.mark(`child ${i}`, value);
  }
  notes.delete('before');
  notes.set('child', child);
}

export const fork: Scenario = {
  kernel: forkPlan,
  cores: USERS,
};

export const mprotect: Scenario = {
  kernel: {
    boot: twoThreads,
    steps: () => [
      {
        label: 'takes the right to store away',
        run: (machine, [place]) =>
          andThen(doMprotect(place!.mm, place!.addr, PAGE_SIZE, PROT_READ), (status) => {
            if (isErr(status)) throw new Error('mprotect failed');
            machine.mark('forbidden page', NO_STORES);
          }),
      },
      {
        label: 'gives it back',
        run: (machine, [place]) => {
          machine.mark('forbidden page', 0);
          return andThen(doMprotect(place!.mm, place!.addr, PAGE_SIZE, RW), () => undefined);
        },
      },
    ],
  },
  cores: USERS,
};

export const unpark: Scenario = {
  kernel: { boot: twoThreads, steps: migrateSteps },
  cores: [
    { place: 0, steps: [['store', 0, 1], ['park'], ['store', 0, 2]] },
    {
      place: 0,
      steps: isLarge
        ? [
            ['store', 1, 1],
            ['load', 0],
          ]
        : [['store', 1, 1]],
    },
  ],
};

/** As migration, but a flush may give up, and sleeps may end for no reason. */
export const refusal: Scenario = {
  ...migration,
  limits: { timeouts: 1, spurious: 1 },
  cores: isLarge ? FEW_USERS : ONE_USER,
};

/** A process is killed, its core at any point, and another one is given its memory. */
export const kill: Scenario = {
  kernel: {
    boot: (machine) => {
      const places = [machine.addProcess(1, 'page'), machine.addProcess(2, 'other', false)];
      for (const place of places) machine.addCore(place);
      return places;
    },
    steps: () => [
      {
        label: 'ends process 1',
        run: (machine, [place]) =>
          machine.cores.endAll(1).then(() => {
            machine.mark('forbidden page', NO_ACCESS);
            return mmput(place!.mm);
          }),
      },
    ],
  },
  mayKill: [0],
  cores: [
    { place: 0, steps: [['store', 0, 1], ['poll'], ['store', 0, 2]] },
    { place: 1, steps: [['store', 0, 7], ['store', 1, 8], ['poll'], ['load', 0], ['load', 1]] },
  ],
};

const unmapPlan: KernelPlan = {
  boot: (machine) => [...twoThreads(machine), machine.addProcess(2, 'other', false)],
  steps: () => [
    {
      label: 'unmaps the page',
      run: (machine, [place]) =>
        andThen(doMunmap(place!.mm, place!.addr, PAGE_SIZE), () => {
          machine.mark('forbidden page', NO_ACCESS);
        }),
    },
    {
      label: 'gives another process a page',
      run: (machine, [, other]) => {
        const frame = machine.touch(other!.mm, other!.addr, ACCESS_WRITE);
        for (let i = 0; i < PAGE_WORDS; i++) {
          machine.storeWord(frame, i, 9);
          machine.mark(`expect other ${i}`, 9);
        }
      },
    },
  ],
};

/** A page goes, and another process is given its frame. */
export const unmap: Scenario = {
  kernel: unmapPlan,
  cores: isLarge
    ? FEW_USERS
    : [
        { place: 0, steps: [['store', 0, 1]] },
        { place: 0, steps: [['load', 0]] },
      ],
};

/** The same, and a core may not answer in time: it is ended. */
export const silence: Scenario = {
  kernel: unmapPlan,
  limits: { timeouts: 1 },
  cores: isLarge ? FEW_USERS : ONE_USER,
};

/** Page tables go, too, while cores walk through them. */
export const tables: Scenario = {
  kernel: unmapPlan,
  hasTables: true,
  cores: [
    { place: 0, steps: [['store', 0, 1]] },
    { place: 0, steps: isLarge ? [['load', 0]] : [] },
  ],
};
