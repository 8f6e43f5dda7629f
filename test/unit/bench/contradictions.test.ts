/*
 * Choices that contradict each other are found before a run that would measure nothing.
 */
import { describe, expect, test } from 'vitest';
import { contradictionIn } from '../../../bench/contradictions.ts';
import { GOAL_IDS, goalNeeds } from '../../../bench/goals.ts';
import type { RawGpu } from '../../../bench/raw-gpu.ts';
import { RunContext } from '../../../bench/run-context.ts';
import { listSteps } from '../../../bench/run-steps.ts';
import type { BenchOptions } from '../../../bench/types.ts';
import { Prng, bootMachine } from '../../../src/index.ts';
import { tinyPlan } from './tiny-plan.ts';

const what = (options: BenchOptions, inNode = false): string | undefined =>
  contradictionIn(options, inNode)?.what;

describe('choices that contradict each other', () => {
  test('a goal without its suite: the suite is named', () => {
    expect(contradictionIn({ suites: ['mm'], goals: ['G2'] })).toEqual({
      what: 'G2 needs the suite copy, which is not among the chosen ones',
      remedy: 'choose copy as well, or all suites',
    });
    expect(contradictionIn({ suites: ['mm'], goals: ['G11', 'G2', 'G3', 'G7'] })).toEqual({
      what:
        'G7 needs the suite migrate, G2, G3 need the suite copy, ' +
        'which is not among the chosen ones',
      remedy: 'choose migrate, copy as well, or all suites',
    });
  });

  test('a goal with its suite, or with no choice of suites, is none', () => {
    expect(contradictionIn({ suites: ['mm', 'copy'], goals: ['G2', 'G11'] })).toBeNull();
    expect(contradictionIn({ suites: [], goals: ['G2'] })).toBeNull();
    expect(contradictionIn({ suites: ['mm'] })).toBeNull();
  });

  test('none beside goals; alone it is right', () => {
    expect(what({ goals: ['G1', 'none'] })).toBe(
      'none stands for no goal at all, and G1 was named beside it',
    );
    expect(contradictionIn({ goals: ['none'], suites: ['mm'] })).toBeNull();
  });

  test('goals about a device on the CPU engine, unless their steps run there', () => {
    expect(what({ goals: ['G2', 'G11'], engine: 'cpu' })).toMatch(/^G2 needs a WebGPU adapter/);
    expect(contradictionIn({ goals: ['G1', 'G20', 'G11'], engine: 'cpu' })).toBeNull();
  });

  test('goals about cores in Node, not in a browser', () => {
    expect(what({ goals: ['G8'] }, true)).toMatch(/^G8 needs CPU cores, which are started in br/);
    expect(contradictionIn({ goals: ['G8'] })).toBeNull();
  });

  test.each([{ preset: 'nvbandwidth' }, { soakMinutes: 1 }] as const)(
    '%o leaves goals aside, so nothing contradicts',
    (options) => {
      expect(contradictionIn({ ...options, suites: ['mm'], goals: ['G2', 'none'] })).toBeNull();
    },
  );
});

describe('what a goal needs', () => {
  test('is what the steps of a run have, with a device and without', async () => {
    const plan = tinyPlan({ onlyGoals: GOAL_IDS });
    const { ramBytes, deviceBytes } = plan;
    const machine = await bootMachine({ engine: 'cpu', ramBytes, deviceBytes, devices: 2 });
    const { engine, sys } = machine.kernel;
    const copyMachine = { engine, ramWords: sys.ramWords, strayErrors: () => 0 };
    const given = { plan, machine, copyMachine, tickUs: 1, random: new Prng(1) };
    const nothing = { signal: undefined, heap: null, askMain: null };
    const ctx = new RunContext({ ...given, ...nothing }, () => {});
    // While steps are listed, it only counts whether there is one.
    const withDevice = listSteps(ctx, {} as RawGpu);
    const without = listSteps(ctx, null);
    for (const id of GOAL_IDS) {
      const { suite, device } = goalNeeds(id)!;
      const own = withDevice.filter(({ goals }) => goals.includes(id));
      expect(own.map((step) => step.suite)).toEqual([[suite]]);
      expect(without.some(({ goals }) => goals.includes(id))).toBe(!device);
    }
    await machine.close();
  });
});
