/*
 * Lists that copy single pages: where the pages end, and by how many commands. Moves inside VRAM,
 * over several flights, go the short way in one arena and the long one in several.
 */
import { describe, expect, it } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { CommandList } from '../../src/engine/command-list.ts';
import { HOST, openSmall } from '../contract/refused-submissions.ts';

const WORDS = 1024;
const PAGES = 320;
/** Moves go from the first pages of VRAM to these. */
const TARGETS = HOST + 512;
const CLUSTER = 8;

/** Where each page goes: clusters of neighbours stay together, or every page for itself. */
function places(random: Prng, isClustered: boolean): number[] {
  const unit = isClustered ? CLUSTER : 1;
  const units = random.shuffle(Uint32Array.from({ length: PAGES / unit }, (_, i) => i));
  return Array.from(
    { length: PAGES },
    (_, page) => units[Math.floor(page / unit)]! * unit + (page % unit),
  );
}

describe.each([
  ['one arena', 2 ** 22],
  ['four arenas', 2 ** 20],
])('single pages moved in %s', (_, maxArenaBytes) => {
  it.each([
    ['runs', true],
    ['runs', false],
    ['commands', true],
    ['staging', false],
    ['compute', true],
  ] as const)('by %s, clustered %s: each is where it belongs', async (strategy, isClustered) => {
    const options = { checked: true, slotPages: [16], lanes: 3, maxArenaBytes };
    const { engine, words } = await openSmall(options);
    const seed = 5;
    const random = new Prng(seed);
    const to = places(random, isClustered);
    const up = new CommandList(1);
    up.copy(0, HOST, PAGES);
    expect(await engine.submit(up, 'staging')).toBe(0);
    const moves = new CommandList(PAGES);
    for (const page of random.shuffle(Uint32Array.from({ length: PAGES }, (__, i) => i))) {
      moves.copy(HOST + page, TARGETS + to[page]!);
    }
    const before = { ...engine.stats };
    expect(await engine.submit(moves, strategy)).toBe(0);
    expect([...moves.done].every((done) => done === 1)).toBe(true);
    const commands = engine.stats.copyCommands - before.copyCommands;
    if (strategy === 'compute') expect(commands).toBe(0);
    // Through the bounce buffer each page, or each cluster, needs two commands.
    else if (maxArenaBytes === 2 ** 22 && strategy === 'runs' && isClustered) {
      expect(commands).toBeLessThanOrEqual((2 * PAGES) / CLUSTER);
    } else if (maxArenaBytes === 2 ** 22 && strategy !== 'runs') {
      expect(commands).toBe(2 * PAGES);
    }
    const down = new CommandList(1);
    down.copy(TARGETS, HOST - PAGES, PAGES);
    expect(await engine.submit(down, 'staging')).toBe(0);
    const wrong = to.filter((place, page) => {
      const at = (HOST - PAGES + place) * WORDS;
      return words[at] !== page * WORDS || words[at + WORDS - 1] !== page * WORDS + WORDS - 1;
    });
    expect(wrong, `seed ${seed}`).toEqual([]);
    await engine.close();
  });
});

it('pages whose places in two arenas follow each other take two commands', async () => {
  const options = { checked: true, slotPages: [16], lanes: 3, maxArenaBytes: 2 ** 20 };
  const { engine, words } = await openSmall(options);
  const up = new CommandList(2);
  const down = new CommandList(2);
  [HOST + 5, HOST + 256 + 6].forEach((frame, page) => {
    up.copy(page + 1, frame);
    down.copy(frame, HOST - 1 - page);
  });
  for (const list of [up, down]) {
    const before = engine.stats.copyCommands;
    expect(await engine.submit(list, 'runs')).toBe(0);
    expect(engine.stats.copyCommands - before).toBe(2);
  }
  expect(words[(HOST - 1) * WORDS]).toBe(WORDS);
  expect(words[(HOST - 2) * WORDS]).toBe(2 * WORDS);
  await engine.close();
});
