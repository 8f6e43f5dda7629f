/*
 * What a page takes from its address, and what it refuses with which words.
 */
import { describe, expect, test } from 'vitest';
import { AddressError, optionsFrom, usableStrategies } from '../../../examples/_shell/address.ts';

const read = (query: string) => optionsFrom(new URLSearchParams(query));

function refusal(query: string): AddressError {
  try {
    read(query);
  } catch (error) {
    if (error instanceof AddressError) return error;
    throw error;
  }
  throw new Error(`${query} was not refused`);
}

describe('the address', () => {
  test('chooses engine and strategy; without choices it is the WebGPU engine', () => {
    expect(read('')).toEqual({ engine: 'webgpu' });
    expect(read('strategy=runs')).toEqual({ engine: 'webgpu', strategy: 'runs' });
    expect(read('engine=cpu&manual')).toEqual({ engine: 'cpu' });
    expect(read('engine=cpu&strategy=cpu')).toEqual({ engine: 'cpu', strategy: 'cpu' });
  });

  test('may choose each strategy that is named as usable', () => {
    for (const engine of ['webgpu', 'cpu'] as const) {
      for (const strategy of usableStrategies(engine)) {
        expect(read(`engine=${engine}&strategy=${strategy}`)).toEqual({ engine, strategy });
      }
    }
    expect(usableStrategies('webgpu')).toEqual(['auto', 'commands', 'staging', 'runs', 'compute']);
    expect(usableStrategies('cpu')).toEqual(['auto', 'cpu']);
  });

  test('is refused a one-way strategy, with those that go both ways', () => {
    const { message, remedy } = refusal('strategy=writeBuffer');
    expect(message).toBe(
      "The strategy writeBuffer goes one way, to the device: it can't bring a page home.",
    );
    expect(remedy).toBe('Use one of: auto, commands, staging, runs, compute.');
  });

  test("is refused another engine's strategy", () => {
    expect(refusal('strategy=cpu').message).toMatch(/cpu can't carry pages on the webgpu engine/);
    expect(refusal('engine=cpu&strategy=runs').message).toMatch(/runs can't .* the cpu engine/);
    expect(refusal('engine=cpu&strategy=runs').remedy).toBe('Use one of: auto, cpu.');
  });

  test('is refused names that nothing has', () => {
    for (const name of ['nope', '', 'AUTO', 'toString']) {
      expect(refusal(`strategy=${name}`).message).toBe(`There is no strategy ${name}.`);
    }
    expect(refusal('engine=metal').message).toBe('There is no engine metal.');
    expect(refusal('engine=metal').remedy).toBe('Use one of: webgpu, cpu.');
  });
});
