/*
 * The copy-engine contract on the CPU engine with two more threads that copy within RAM.
 */
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { bundleNodeWorker } from '../../cli/node-worker.ts';
import { Prng } from '../../src/base/prng.ts';
import { CommandList } from '../../src/engine/command-list.ts';
import { CpuEngine } from '../../src/engine/cpu-engine.ts';
import { BOARD_PIECES, CHUNK_PAGES } from '../../src/worker/copy-board.ts';
import { CopyCrew } from '../../src/worker/copy-crew.ts';
import { copyThreadsOf } from '../../src/worker/copy-threads-node.ts';
import { describeCopyEngine } from './copy-engine-contract.ts';
import { expectEqualWords, fillNoise } from './engine-harness.ts';

const THREADS = 3;
const file = (await bundleNodeWorker('src/worker/copy-worker-node.ts')).href;
const opened: CpuEngine[] = [];

async function openEngine(ram: Uint8Array, hostFrames: number, vramFrames: number) {
  const hostCopiers = await CopyCrew.start(ram, THREADS, copyThreadsOf(file));
  // The lists of this suite are small.
  hostCopiers.leastShared = 2;
  const engine = new CpuEngine({ ram, geometry: { hostFrames, vramFrames }, hostCopiers });
  opened.push(engine);
  return engine;
}

afterAll(() => {
  for (const engine of opened) engine.close();
});

describeCopyEngine({
  title: 'CPU engine, three copy threads',
  strategies: ['cpu'],
  pages: 1024,
  can: () => true,
  async open(ram, geometry) {
    const engine = await openEngine(ram, geometry.hostFrames, geometry.vramFrames);
    return {
      engine,
      lose: () => engine.markLost('lost by a test'),
      strayErrors: () => [],
      kernelStatus: async () => '',
    };
  },
});

describe('copy threads', () => {
  it('do lists of all sizes, more rows than a board has pieces among them', async () => {
    const frames = 3 * BOARD_PIECES;
    const ram = new Uint8Array(new SharedArrayBuffer(2 * frames * 4096));
    const words = new Uint32Array(ram.buffer);
    const engine = await openEngine(ram, 2 * frames, 1);
    const wanted = new Uint32Array(words.length);
    const prng = new Prng(7);
    for (const [rows, pages] of [
      [1, 1],
      [1, 63],
      [1, 64],
      [1, 65],
      [5, 512],
      [BOARD_PIECES - 1, 1],
      [BOARD_PIECES, 1],
      [2 * BOARD_PIECES + 1, 1],
      [frames / 3, 3],
    ] as const) {
      fillNoise(words, rows * 1000 + pages);
      wanted.set(words);
      const order = prng.shuffle(Uint32Array.from({ length: rows }, (_, i) => i));
      const list = new CommandList(rows);
      for (let i = 0; i < rows; i++) {
        const to = frames + order[i]! * pages;
        // Every fifth is a clear.
        if (i % 5 === 4) {
          list.clear(to, pages);
          wanted.fill(0, to * 1024, (to + pages) * 1024);
        } else {
          list.copy(i * pages, to, pages);
          wanted.copyWithin(to * 1024, i * pages * 1024, (i + 1) * pages * 1024);
        }
      }
      expect(engine.submit(list)).toBe(0);
      expectEqualWords(words, wanted, `${rows} rows of ${pages}`);
      expect(list.done.indexOf(0)).toBe(-1);
    }
    expect(engine.stats.bytesInHost % 4096).toBe(0);
  });

  it('that are not to be used take nothing', async () => {
    const ram = new Uint8Array(new SharedArrayBuffer(2048 * 4096));
    const engine = await openEngine(ram, 2048, 1);
    const crew = engine.hostCopiers!;
    expect([crew.threads, crew.active]).toEqual([THREADS, THREADS]);
    crew.active = 1;
    const list = new CommandList(1);
    list.copy(0, 1024, 1024);
    ram[5] = 77;
    const taken = countOwnChunks(crew);
    expect(engine.submit(list)).toBe(0);
    expect(taken()).toBe(16);
    expect(ram[1024 * 4096 + 5]).toBe(77);
  });

  it('take part in large lists', async () => {
    const ram = new Uint8Array(new SharedArrayBuffer(8192 * 4096));
    const engine = await openEngine(ram, 8192, 1);
    const list = new CommandList(1);
    list.copy(0, 4096, 4096);
    const chunks = 4096 / CHUNK_PAGES;
    const taken = countOwnChunks(engine.hostCopiers!);
    // A host that gives the others no processor is no fault of theirs.
    for (let lists = 1; lists < 1000 && taken() === (lists - 1) * chunks; lists++) {
      expect(engine.submit(list)).toBe(0);
    }
    expect(taken() % chunks).not.toBe(0);
  });

  it('are left asleep by lists below 4 MiB', async () => {
    const ram = new Uint8Array(new SharedArrayBuffer(2048 * 4096));
    const crew = await CopyCrew.start(ram, THREADS, copyThreadsOf(file));
    const geometry = { hostFrames: 2048, vramFrames: 1 };
    const engine = new CpuEngine({ ram, geometry, hostCopiers: crew });
    opened.push(engine);
    const taken = countOwnChunks(crew);
    for (const pages of [1, 64, 1023 - CHUNK_PAGES]) {
      const before = taken();
      const list = new CommandList(1);
      list.copy(0, 1024, pages);
      expect(engine.submit(list)).toBe(0);
      expect(taken() - before).toBe(Math.ceil(pages / CHUNK_PAGES));
    }
  });

  it('which can not be started say so', async () => {
    const ram = new Uint8Array(new SharedArrayBuffer(4096));
    const missing = pathToFileURL('/nowhere/copy-worker.js').href;
    await expect(CopyCrew.start(ram, 2, copyThreadsOf(missing))).rejects.toThrow(
      'a copy thread can not be started',
    );
  });
});

/** How many chunks this thread itself does from now on. */
function countOwnChunks(crew: object): () => number {
  const inside = crew as { runChunk: (chunk: number) => void };
  const { runChunk } = inside;
  let count = 0;
  inside.runChunk = (chunk) => {
    count += 1;
    runChunk(chunk);
  };
  return () => count;
}
