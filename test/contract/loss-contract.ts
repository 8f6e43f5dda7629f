/*
 * What every engine owes when its device goes away: ENODEV for all that was pending and all that
 * comes, RAM as it was wherever a done bit is clear, and no error that nobody asked for.
 */
import { expect, it } from 'vitest';
import { errno } from '../../src/base/errno.ts';
import { CommandList } from '../../src/engine/command-list.ts';
import type { EngineHarness } from './engine-harness.ts';
import { Bench, expectEqualWords, settleAll } from './engine-harness.ts';

const PAGES = 1024;

/** Declares the loss tests; each opens an engine of its own. */
export function describeLoss(harness: EngineHarness): void {
  it('an engine that was not lost says so, and closes quietly', async () => {
    const bench = await Bench.open(harness, 16, 1);
    expect(bench.engine.isLost).toBe(false);
    await bench.compare();
    await bench.engine.close();
    expect(bench.opened.strayErrors()).toEqual([]);
    expect(bench.engine.isLost).toBe(true);
  });

  it('after a loss every submit answers ENODEV and nothing moves', async () => {
    const bench = await Bench.open(harness, 64, 2);
    bench.opened.lose();
    expect(await bench.engine.lost).not.toBe('');
    expect(bench.engine.isLost).toBe(true);
    const list = new CommandList(2);
    list.copy(bench.host.first, bench.host.first + 1);
    list.copy(bench.vram.first, bench.host.first + 2);
    expect(await bench.engine.submit(list)).toBe(errno.ENODEV);
    expect(Array.from(list.done)).toEqual([0, 0]);
    expectEqualWords(bench.ramWords, bench.model.ram, 'RAM');
    expect(bench.opened.strayErrors()).toEqual([]);
    await bench.engine.close();
  });

  it('a loss with lists in the air: done bits are true, RAM elsewhere is untouched', async () => {
    const bench = await Bench.open(harness, PAGES, 3);
    const lists: CommandList[] = [];
    const answers: (number | Promise<number>)[] = [];
    for (let i = 0; i < 4; i++) {
      const list = new CommandList(PAGES / 4);
      for (let page = 0; page < PAGES / 4; page++) {
        const frame = i * (PAGES / 4) + page;
        list.copy(bench.vram.first + frame, bench.host.first + frame);
      }
      lists.push(list);
      answers.push(bench.engine.submit(list));
    }
    // Some of it may have landed already; give the device a chance to be half-way.
    await Promise.resolve();
    bench.opened.lose();
    const codes = await settleAll(answers);
    lists.forEach((list, i) => {
      const complete = list.done.indexOf(0) < 0;
      expect(codes[i]).toBe(complete && codes[i] === 0 ? 0 : errno.ENODEV);
      for (let row = 0; row < list.length; row++) {
        if (list.done[row] === 1) {
          const words = bench.model.frame(list.source[row]!);
          bench.model.frame(list.target[row]!).set(words);
        }
      }
    });
    expectEqualWords(bench.ramWords, bench.model.ram, 'RAM');
    await bench.engine.close();
    expectEqualWords(bench.ramWords, bench.model.ram, 'RAM after close');
    expect(bench.opened.strayErrors()).toEqual([]);
  });

  it('a submit right behind a loss, before anybody heard of it, answers ENODEV', async () => {
    const bench = await Bench.open(harness, 64, 6);
    const up = new CommandList(1);
    up.copy(bench.host.first, bench.vram.first, 32);
    const down = new CommandList(1);
    down.copy(bench.vram.first, bench.host.first, 32);
    bench.opened.lose();
    const answers = [bench.engine.submit(down), bench.engine.submit(up)];
    expect(await settleAll(answers)).toEqual([errno.ENODEV, errno.ENODEV]);
    expectEqualWords(bench.ramWords, bench.model.ram, 'RAM');
    expect(bench.engine.isLost).toBe(true);
    await bench.engine.close();
    expect(bench.opened.strayErrors()).toEqual([]);
  });

  it('closing with lists in the air settles them', async () => {
    const bench = await Bench.open(harness, 256, 4);
    const list = new CommandList(1);
    list.copy(bench.vram.first, bench.host.first, 256);
    const answer = bench.engine.submit(list);
    const closed = bench.engine.close();
    const code = await answer;
    expect(code).toBe(list.done[0] === 1 ? 0 : errno.ENODEV);
    await closed;
    expect(await bench.engine.submit(list)).toBe(errno.ENODEV);
    expect(bench.opened.strayErrors()).toEqual([]);
  });

  it('markLost loses the engine once, with its message', async () => {
    const bench = await Bench.open(harness, 16, 5);
    bench.engine.markLost('pulled the plug');
    bench.engine.markLost('again');
    expect(await bench.engine.lost).toBe('pulled the plug');
    const list = new CommandList(1);
    list.copy(bench.host.first, bench.vram.first);
    expect(await bench.engine.submit(list)).toBe(errno.ENODEV);
    await bench.engine.close();
  });
}
