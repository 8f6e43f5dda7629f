/*
 * What the contract suite needs to know about an engine that it runs on, and the bench that it puts
 * the engine on: shared memory, a model of it, and comparisons of everything with everything.
 */
import { expect } from 'vitest';
import type { MaybePromise } from '../../src/base/maybe.ts';
import { Prng } from '../../src/base/prng.ts';
import { CommandList } from '../../src/engine/command-list.ts';
import type { CopyEngine, FrameGeometry, StrategyName } from '../../src/engine/copy-engine.ts';
import type { FrameArea } from './frame-picks.ts';
import { MemoryModel } from './memory-model.ts';

/** An open engine and the ways around it that only tests have. */
export interface OpenedEngine {
  readonly engine: CopyEngine;
  /** Loses the device, as a crash of the driver would. */
  lose(): void;
  /** Errors that the device reported outside any submit; must stay empty. */
  strayErrors(): readonly string[];
  /** Waits for the kernels' status block; '' when no kernel refused a job. */
  kernelStatus(): Promise<string>;
  /** VRAM as it is, read without the engine; undefined where nobody but the engine can. */
  readVram?(): Promise<Uint32Array>;
  /** Writes one word of VRAM without the engine. */
  pokeVram?(frame: number, word: number, value: number): void;
}

/** Opens engines of one kind. */
export interface EngineHarness {
  readonly title: string;
  readonly strategies: readonly StrategyName[];
  /** Pages of VRAM, and of the part of RAM that jobs use: more than the largest staging slot. */
  readonly pages: number;
  /** Which strategies can do a direction; others must refuse it. */
  can(strategy: StrategyName, direction: Direction): boolean;
  open(ram: Uint8Array, geometry: FrameGeometry): Promise<OpenedEngine>;
}

/** Where pages go. */
export type Direction = 'up' | 'down' | 'within' | 'ram';

/** An engine, its memory, and the model of both. */
export class Bench {
  readonly geometry: FrameGeometry;
  readonly opened: OpenedEngine;
  readonly model: MemoryModel;
  /** RAM frames that tests use; the rest of RAM is the window through which VRAM is read. */
  readonly host: FrameArea;
  readonly vram: FrameArea;
  readonly ramWords: Uint32Array;
  private readonly window: number;

  private constructor(geometry: FrameGeometry, ram: Uint8Array, opened: OpenedEngine) {
    this.geometry = geometry;
    this.opened = opened;
    this.model = new MemoryModel(geometry);
    this.ramWords = new Uint32Array(ram.buffer, ram.byteOffset, geometry.hostFrames * 1024);
    this.window = geometry.hostFrames - geometry.vramFrames;
    this.host = { first: 0, count: this.window };
    this.vram = { first: geometry.hostFrames, count: geometry.vramFrames };
  }

  get engine(): CopyEngine {
    return this.opened.engine;
  }

  /** Opens an engine over fresh memory in which every page of RAM and VRAM holds noise. */
  static async open(harness: EngineHarness, pages: number, seed: number): Promise<Bench> {
    const geometry = { hostFrames: 2 * pages, vramFrames: pages };
    const ram = new Uint8Array(new SharedArrayBuffer(geometry.hostFrames * 4096));
    const opened = await harness.open(ram, geometry);
    const bench = new Bench(geometry, ram, opened);
    await bench.poison(seed);
    return bench;
  }

  /** Fills RAM and VRAM with noise, in the model too. */
  async poison(seed: number): Promise<void> {
    const { hostFrames, vramFrames } = this.geometry;
    fillNoise(this.ramWords, seed);
    const up = new CommandList(1);
    up.copy(this.window, hostFrames, vramFrames);
    expect(await this.engine.submit(up)).toBe(0);
    this.model.vram.set(this.ramWords.subarray(this.window * 1024));
    fillNoise(this.ramWords, seed + 1);
    this.model.ram.set(this.ramWords);
  }

  /** Submits a list that must succeed, updates the model, compares results and done bits. */
  async run(list: CommandList, strategy?: StrategyName): Promise<void> {
    const code = await this.engine.submit(list, strategy);
    expect(code, `${strategy}: ${this.opened.strayErrors().join('; ')}`).toBe(0);
    this.settle(list, this.model.apply(list));
  }

  /** Compares what a list answered with what it should have. */
  settle(list: CommandList, results: readonly number[]): void {
    expect(Array.from(list.result.subarray(0, list.length))).toEqual(results);
    expect(list.done.subarray(0, list.length).indexOf(0), 'a job is not done').toBe(-1);
  }

  /** Compares all of RAM and VRAM with the model, so every byte nobody named is a guard. */
  async compare(context = ''): Promise<void> {
    expectEqualWords(this.ramWords, this.model.ram, `${context} RAM`);
    expectEqualWords(await this.readVram(), this.model.vram, `${context} VRAM`);
    // Reading through the engine went through the window.
    this.model.ram.set(this.ramWords.subarray(this.window * 1024), this.window * 1024);
    expect(await this.opened.kernelStatus()).toBe('');
    expect(this.opened.strayErrors()).toEqual([]);
  }

  /** All of VRAM: without the engine where possible, else through the window. */
  async readVram(): Promise<Uint32Array> {
    if (this.opened.readVram !== undefined) return this.opened.readVram();
    const down = new CommandList(1);
    down.copy(this.geometry.hostFrames, this.window, this.geometry.vramFrames);
    expect(await this.engine.submit(down)).toBe(0);
    return this.ramWords.subarray(this.window * 1024);
  }
}

/** The answers of several submits, some of which may be there already. */
export async function settleAll(answers: readonly MaybePromise<number>[]): Promise<number[]> {
  const codes: number[] = [];
  for (const answer of answers) codes.push(await answer);
  return codes;
}

/** Fails with the first difference instead of printing millions of words. */
export function expectEqualWords(actual: Uint32Array, wanted: Uint32Array, what: string): void {
  expect(actual.length, what).toBe(wanted.length);
  for (let i = 0; i < wanted.length; i++) {
    if (actual[i] === wanted[i]) continue;
    const place = `${what}: page ${Math.floor(i / 1024)}, word ${i % 1024}`;
    expect(`${place} is ${actual[i]}`).toBe(`${place} is ${wanted[i]}`);
  }
}

/** Noise in which every word is different from its neighbours and from a page elsewhere. */
export function fillNoise(words: Uint32Array, seed: number): void {
  const base = new Prng(seed).nextU32();
  for (let i = 0; i < words.length; i++) {
    let x = Math.imul(i + base, 0x9e3779b9);
    x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d);
    words[i] = x ^ (x >>> 13);
  }
}
