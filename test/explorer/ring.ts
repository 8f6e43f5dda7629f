/*
 * The ring of a core alone: one writer, one reader, room for two records; its counters are about to
 * wrap.
 */
import { RECORD_FAULT, newRecord, popRecord } from '../../src/cpu/fault-ring.ts';
import { clearRing, pushOrDrop, pushOrWait } from '../../src/cpu/fault-ring.ts';
import type { RingRecord } from '../../src/cpu/fault-ring.ts';
import { Actor } from './actor.ts';
import { Explorer, KILLED } from './explorer.ts';
import type { Exploration, Limits } from './explorer.ts';
import { ExplorerPort } from './port.ts';
import { CHOOSE, KILL, LOAD, WRITE, makeOp } from './replay.ts';
import type { Option, Replay } from './replay.ts';
import { Space } from './space.ts';
import { controlMap } from './words.ts';

const WRITER = 0;
const READER = 1;
const ACTORS = 3;
/** Numbers of records wrap after this one. */
const FIRST = 2 ** 31 - 1;
const PORT = { isKernel: false, isRingVisible: true, isPayloadVisible: true, leafAt: null };

export interface RingScenario {
  readonly records: number;
  readonly whenFull: 'wait' | 'drop';
  /** The writer may be ended at any time; another one gets its ring and writes as much. */
  readonly mayKill?: boolean;
  readonly limits?: Partial<Limits>;
}

/** Record with that number: different in each field. */
function recordOf(number: number): RingRecord {
  const address = (number + 1) * 2 ** 34 + number + 3;
  return { kind: RECORD_FAULT, slot: 0, access: number + 1, address, length: number + 2 };
}

/** Explores it. */
export function exploreRing(scenario: RingScenario): Promise<Exploration> {
  const space = new Space(ACTORS, 40);
  const actors = [writer(space, scenario), reader(space, scenario), host(space)];
  const start = [space.at('core 0 ring head'), FIRST, space.at('core 0 ring tail'), FIRST];
  start.push(space.at('may kill'), scenario.mayKill === true ? 1 : 0);
  const limits = { timeouts: 0, spurious: 0, states: 8_000_000, ...scenario.limits };
  return new Explorer(actors, space, limits).explore(READER, start);
}

function push(port: ExplorerPort, { whenFull }: RingScenario, number: number): void {
  if (whenFull === 'drop') pushOrDrop(port, controlMap, recordOf(number));
  else pushOrWait(port, controlMap, recordOf(number));
}

function writer(space: Space, scenario: RingScenario): Actor {
  return new Actor('writer', (replay) => {
    const port = new ExplorerPort(replay, space, PORT);
    for (let i = 0; i < scenario.records; i++) {
      replay.checkpoint(() => `${i}`);
      push(port, scenario, i);
    }
    const writes = [space.at('writer is over'), 1];
    replay.effect(makeOp(WRITE, 'is over', { writes, isQuiet: true }));
  });
}

/** Option 0 is to read. */
const BURY = 1;
const STOP = 2;

function reader(space: Space, scenario: RingScenario): Actor {
  return new Actor('reader', (replay) => {
    const port = new ExplorerPort(replay, space, PORT);
    const record = newRecord();
    let [count, last] = [0, -1];
    for (;;) {
      replay.checkpoint(() => `${count} ${last}`);
      const choice = replay.value(makeOp(CHOOSE, 'waits', { options: readerOptions(space) }));
      if (choice === STOP) break;
      if (choice === BURY) return serveNext(replay, space, port, scenario);
      while (popRecord(port, controlMap, 0, record)) {
        count++;
        last = checkRecord(record, last, scenario);
      }
    }
    const at = space.at('core 0 ring dropped');
    const dropped = replay.value(makeOp(LOAD, '(dropped)', { at }));
    if (count !== scenario.records - dropped) {
      throw new Error(`${count} records came of ${scenario.records}, ${dropped} were dropped`);
    }
    replay.effect(makeOp(WRITE, 'is over', { writes: [space.at('reader is over'), 1] }));
  });
}

/** The core is dead: whoever gets its slot next has an empty ring. */
function serveNext(replay: Replay, space: Space, port: ExplorerPort, scenario: RingScenario): void {
  clearRing(port, controlMap, 0);
  const record = newRecord();
  if (popRecord(port, controlMap, 0, record)) throw new Error('a record of a dead core');
  for (let i = 0; i < scenario.records; i++) {
    push(port, scenario, 100 + i);
    if (!popRecord(port, controlMap, 0, record)) throw new Error('no record');
    checkRecord(record, 99 + i, scenario);
  }
  replay.effect(makeOp(WRITE, 'is over', { writes: [space.at('reader is over'), 1] }));
}

/** A record is whole, and after all that was written before. @returns its number. */
function checkRecord(record: RingRecord, last: number, { whenFull }: RingScenario): number {
  const number = record.access - 1;
  if (JSON.stringify(record) !== JSON.stringify(recordOf(number))) {
    throw new Error(`torn: ${JSON.stringify(record)}`);
  }
  if (number <= last || (whenFull === 'wait' && number !== last + 1)) {
    throw new Error(`record ${number} comes after ${last}`);
  }
  return number;
}

function readerOptions(space: Space): Option[] {
  const [head, tail] = [space.at('core 0 ring head'), space.at('core 0 ring tail')];
  const [over, dead] = [space.at('writer is over'), space.at('dead')];
  const isThere = (words: Int32Array): boolean => words[head] !== words[tail];
  return [
    { label: 'reads', isPossible: isThere, writes: [] },
    { label: 'hears of a death', isPossible: (words) => words[dead] === 1, writes: [dead, 2] },
    {
      label: 'looks at what came',
      isPossible: (words) =>
        !isThere(words) && words[over] === 1 && words[ACTORS + WRITER] !== KILLED,
      writes: [],
    },
  ];
}

/** Ends the writer. */
function host(space: Space): Actor {
  return new Actor('host', (replay) => {
    const [may, over] = [space.at('may kill'), space.at('reader is over')];
    const options: Option[] = [
      {
        label: 'ends the writer',
        isPossible: (words) => words[may] === 1 && words[space.at('writer is over')] === 0,
        writes: [may, 0],
      },
      { label: 'all is over', isPossible: (words) => words[over] === 1, writes: [] },
    ];
    while (replay.value(makeOp(CHOOSE, 'waits', { options })) === 0) {
      replay.effect(makeOp(KILL, 'ends its thread', { a: WRITER, isQuiet: true }));
      replay.effect(makeOp(WRITE, 'reports its death', { writes: [space.at('dead'), 1] }));
    }
  });
}
