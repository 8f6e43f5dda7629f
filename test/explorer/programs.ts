/*
 * The actors of an exploration: two cores, the kernel, and the host that ends threads of cores.
 */
import { isPending } from '../../src/base/maybe.ts';
import type { MaybePromise } from '../../src/base/maybe.ts';
import { WORDS_PER_PAGE } from '../../src/base/units.ts';
import { Core } from '../../src/cpu/core.ts';
import type { CoreImage } from '../../src/cpu/core.ts';
import { markCoreDead } from '../../src/cpu/shootdown.ts';
import { CoreEnded, CpuSignal } from '../../src/cpu/signals.ts';
import { findProblems } from '../../src/sim/check-invariants.ts';
import { Actor } from './actor.ts';
import { fingerprint } from './fingerprint.ts';
import { ExplorerMachine, PAGE_WORDS } from './machine.ts';
import type { Place } from './machine.ts';
import { ExplorerPort } from './port.ts';
import { CHOOSE, KILL, LOAD, WRITE, makeOp } from './replay.ts';
import type { Option, Replay } from './replay.ts';
import { KILLED } from './explorer.ts';
import type { Space } from './space.ts';
import { controlMap } from './words.ts';

export const CORES = 2;
/** Cores first, then these. */
export const KERNEL = CORES;
export const HOST = CORES + 1;
export const ACTORS = CORES + 2;

/** What a core does next: [what], with the word of the page that it is about, and the value. */
export type CoreStep =
  | readonly ['store', number, number]
  | readonly ['load', number]
  | readonly ['poll']
  /** Polls again and again until the kernel has done all it has to. */
  | readonly ['serve']
  | readonly ['park'];

/** Says which stores and loads are wrong now. Written to `forbidden NAME`. */
export const NO_STORES = 1;
export const NO_ACCESS = 2;

export interface CorePlan {
  readonly image: CoreImage;
  /** Address and name of the page it uses. */
  readonly addr: number;
  readonly name: string;
  readonly steps: readonly CoreStep[];
  readonly leafAt: number | null;
}

/** A program on a core. */
export function coreActor(space: Space, plan: CorePlan): Actor {
  const { slot } = plan.image;
  return new Actor(`core ${slot}`, (replay) => {
    const port = new ExplorerPort(replay, space, {
      isKernel: false,
      isRingVisible: false,
      leafAt: plan.leafAt,
    });
    const bell = {
      ring(): void {
        const writes = [space.at('bell'), 1];
        replay.effect(makeOp(WRITE, 'rings', { writes, isQuiet: true }));
      },
    };
    const core = new Core(plan.image, port, bell);
    const memory = new CoreMemory(replay, space, core, plan);
    try {
      core.resume();
      for (const [i, step] of plan.steps.entries()) {
        port.forget();
        replay.checkpoint(() => `${i}: ${fingerprint([core, port], NO_STATE)}`);
        memory.run(step);
      }
    } catch (error) {
      if (!(error instanceof CoreEnded)) throw error;
    }
    core.gate.park();
    const writes = [space.at(`core ${slot} is over`), 1];
    replay.effect(makeOp(WRITE, 'is over', { writes, isQuiet: true }));
  });
}

/** Properties of a core that say nothing about what comes next. */
const NO_STATE = new Set([
  'image',
  'control',
  'bell',
  'replay',
  'space',
  'options',
  'record',
  'words',
  'generation',
  'tables',
  'u8',
  'u16',
  'u32',
  'i32',
  'f32',
  'f64',
  'u64',
]);

class CoreMemory {
  private readonly replay: Replay;
  private readonly space: Space;
  private readonly core: Core;
  private readonly plan: CorePlan;

  constructor(replay: Replay, space: Space, core: Core, plan: CorePlan) {
    this.replay = replay;
    this.space = space;
    this.core = core;
    this.plan = plan;
  }

  run(step: CoreStep): void {
    try {
      if (step[0] === 'store') this.store(step[1], step[2]);
      else if (step[0] === 'load') this.load(step[1]);
      else if (step[0] === 'poll') this.core.poll();
      else if (step[0] === 'serve') this.serve();
      else this.core.parked(() => undefined);
    } catch (error) {
      // The program goes on without this access.
      if (!(error instanceof CpuSignal)) throw error;
    }
  }

  private serve(): void {
    const { space, plan, replay } = this;
    const { slot } = plan.image;
    const nudge = space.at(`core ${slot} nudge`);
    const over = space.at('kernel has done all');
    const options: Option[] = [
      {
        label: 'polls',
        isPossible: (words) => words[nudge] !== 0,
        writes: [],
      },
      { label: 'goes on', isPossible: (words) => words[over] === 1, writes: [] },
    ];
    while (replay.value(makeOp(CHOOSE, 'serves', { options })) === 0) this.core.poll();
  }

  private store(word: number, value: number): void {
    const { space, plan } = this;
    const at = this.core.writeWordAt(plan.addr + word * 4);
    const { name, frame } = placeOf(at);
    const writes = [space.at(name), value, space.at(`expect ${plan.name} ${word}`), value];
    const check = this.allowed(frame, NO_STORES | NO_ACCESS);
    this.replay.effect(makeOp(WRITE, `stores ${value} to ${name}`, { writes, check }));
  }

  private load(word: number): void {
    const { space, plan } = this;
    const at = this.core.readWordAt(plan.addr + word * 4);
    const { name, frame } = placeOf(at);
    const expected = space.at(`expect ${plan.name} ${word}`);
    const allowed = this.allowed(frame, NO_ACCESS);
    const check = (words: Int32Array, result: number): string => {
      if (result !== words[expected]) return `reads ${result} where ${words[expected]} was stored`;
      return allowed(words);
    };
    this.replay.value(makeOp(LOAD, `loads from ${name}`, { at: space.at(name), check }));
  }

  /** Whether the core may use that frame, as things are then. */
  private allowed(frame: number, kinds: number): (words: Int32Array) => string {
    const inUse = this.space.at('frames in use');
    const forbidden = this.space.at(`forbidden ${this.plan.name}`);
    return (words) => {
      if (((words[inUse]! >>> frame) & 1) === 0) return `frame ${frame} is free`;
      return (words[forbidden]! & kinds) === 0 ? '' : 'after the permission was taken away';
    };
  }
}

function placeOf(at: number): { name: string; frame: number } {
  const frame = Math.floor(at / WORDS_PER_PAGE);
  return { name: `frame ${frame} word ${at % WORDS_PER_PAGE}`, frame };
}

/** Something that the kernel does of itself, whenever it comes to it. */
export interface KernelStep {
  readonly label: string;
  readonly run: (machine: ExplorerMachine, places: readonly Place[]) => MaybePromise<void>;
}

/** What the kernel has to do in an exploration. */
export interface KernelPlan {
  /** Processes and cores, as the exploration finds them. */
  readonly boot: (machine: ExplorerMachine) => Place[];
  /** Made anew for each execution. */
  readonly steps: () => readonly KernelStep[];
  /** Called at the end, in addition to the checks of all places. */
  readonly finish?: (machine: ExplorerMachine, places: readonly Place[]) => void;
}

/** The kernel's event loop: messages and its own work in any order, one after the other. */
export function kernelActor(space: Space, plan: KernelPlan): Actor {
  return new Actor('kernel', async (replay) => {
    const machine = new ExplorerMachine(replay, space);
    const places = plan.boot(machine);
    const steps = plan.steps();
    let next = 0;
    let waiting = 0;
    let isDone = false;
    for (;;) {
      await microtasks();
      if (next === steps.length && waiting === 0 && !isDone) {
        isDone = true;
        machine.mark('kernel has done all', 1);
      }
      machine.port.forget();
      replay.checkpoint(() =>
        waiting > 0 || machine.isWaiting ? null : `${next}: ${machine.fingerprint()}`,
      );
      const options = kernelOptions(space, waiting === 0 ? steps[next] : undefined, {
        isOver: next === steps.length && waiting === 0,
      });
      const choice = replay.value(makeOp(CHOOSE, 'next message', { options }));
      if (choice === DRAIN) machine.drain();
      else if (choice === FINISH) break;
      else if (choice < FINISH) machine.cores.end(choice - END_CORE);
      else {
        const done = steps[next++]!.run(machine, places);
        if (!isPending(done)) continue;
        waiting++;
        void done.then(() => void waiting--);
      }
    }
    for (const place of places) checkPlace(machine, place);
    plan.finish?.(machine, places);
    const problems = findProblems(machine.sys);
    if (problems.length > 0) throw new Error(problems.join('\n'));
    machine.mark('kernel is over', 1);
  });
}

const DRAIN = 0;
const END_CORE = 1;
const FINISH = END_CORE + CORES;
const STEP = FINISH + 1;

function kernelOptions(
  space: Space,
  step: KernelStep | undefined,
  { isOver }: { isOver: boolean },
): Option[] {
  const bell = space.at('bell');
  const options: Option[] = [];
  options[DRAIN] = {
    label: 'hears the bell',
    isPossible: (words) => words[bell] === 1,
    writes: [bell, 0],
  };
  const overs: number[] = [];
  for (let i = 0; i < CORES; i++) {
    const dead = space.at(`core ${i} is dead`);
    overs.push(space.at(`core ${i} is over`));
    options[END_CORE + i] = {
      label: `hears that core ${i} is dead`,
      isPossible: (words) => words[dead] === 1,
      writes: [dead, 2],
    };
  }
  options[FINISH] = {
    label: 'looks at all pages',
    isPossible: (words) =>
      isOver &&
      overs.every((at, i) => words[at] === 1 || words[ACTORS + i] === KILLED) &&
      words[bell] === 0,
    writes: [],
  };
  if (step !== undefined) {
    options[STEP] = { label: step.label, isPossible: () => true, writes: [] };
  }
  return options;
}

/** What cores have stored to a page is there. */
function checkPlace(machine: ExplorerMachine, place: Place): void {
  if (machine.peek(`forbidden ${place.name}`) === NO_ACCESS) return;
  const frame = machine.touch(place.mm, place.addr);
  const expected = machine.expected(place);
  for (let i = 0; i < PAGE_WORDS; i++) {
    const value = machine.loadWord(frame, i);
    if (value === expected[i]) continue;
    throw new Error(`lost: word ${i} of ${place.name} is ${value} instead of ${expected[i]}`);
  }
}

/** Lets all run that waits for nothing but its turn. */
async function microtasks(): Promise<void> {
  for (let i = 0; i < 24; i++) await Promise.resolve();
}

/** The thread that ends others: because the kernel asked for it, or at any time if it may. */
export function hostActor(space: Space): Actor {
  return new Actor('host', (replay) => {
    const options = { isKernel: false, isRingVisible: false, leafAt: -1 };
    const port = new ExplorerPort(replay, space, options);
    for (;;) {
      const choice = replay.value(makeOp(CHOOSE, 'next message', { options: hostOptions(space) }));
      if (choice === CORES) return;
      replay.effect(
        makeOp(KILL, `ends the thread of core ${choice}`, { a: choice, isQuiet: true }),
      );
      const { words } = controlMap;
      markCoreDead(port, words, controlMap.block(choice));
      const writes = [space.at(`core ${choice} is dead`), 1];
      replay.effect(makeOp(WRITE, `reports the death of core ${choice}`, { writes }));
    }
  });
}

function hostOptions(space: Space): Option[] {
  const over = space.at('kernel is over');
  const options: Option[] = [];
  for (let i = 0; i < CORES; i++) {
    const condemned = space.at(`condemned ${i}`);
    const mayKill = space.at(`may kill ${i}`);
    options[i] = {
      label: `core ${i} is to end`,
      isPossible: (words) =>
        words[condemned]! + words[mayKill]! > 0 && words[ACTORS + i] !== KILLED,
      writes: [condemned, 0, mayKill, 0],
    };
  }
  options[CORES] = { label: 'all is over', isPossible: (words) => words[over] === 1, writes: [] };
  return options;
}
