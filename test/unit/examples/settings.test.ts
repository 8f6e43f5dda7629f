/*
 * Settings of a page in its address: what is read, what is written, and what is refused with which
 * words.
 */
import { describe, expect, test } from 'vitest';
import { AddressError } from '../../../examples/_shell/address.ts';
import { COST_TERMS, costFrom, costText } from '../../../examples/_shell/cost-text.ts';
import {
  choice,
  leniently,
  list,
  queryOf,
  settingsFrom,
  text,
  whole,
} from '../../../examples/_shell/settings.ts';
import { COST_MODEL } from '../../../src/index.ts';

const FIELDS = {
  fruit: choice(['apple', 'pear'] as const, 'pear'),
  herbs: list(['sage', 'thyme', 'mint'] as const, ['sage', 'mint']),
  count: whole(3, 1, 10),
  passes: whole(null, 1, 5),
  cost: text('', (given) => void costFrom(given)),
} as const;

const read = (query: string) => settingsFrom(FIELDS, new URLSearchParams(query));

function refusal(query: string): AddressError {
  try {
    read(query);
  } catch (error) {
    if (error instanceof AddressError) return error;
    throw error;
  }
  throw new Error(`${query} was not refused`);
}

describe("a page's settings", () => {
  test('have their defaults where the address does not name them', () => {
    const expected = { fruit: 'pear', herbs: ['sage', 'mint'], count: 3, passes: null, cost: '' };
    expect(read('engine=cpu')).toEqual(expected);
  });

  test('come from the address and go back into it', () => {
    for (const query of [
      '',
      'fruit=apple',
      'herbs=mint',
      'herbs=',
      'count=10&passes=5',
      'fruit=apple&herbs=thyme%2Cmint&count=1&passes=1&cost=farFaultUs%3A20',
    ]) {
      expect(queryOf(FIELDS, read(query)).toString()).toBe(query);
    }
    expect(read('herbs=')).toMatchObject({ herbs: [] });
  });

  test('that have their defaults are left out of the address', () => {
    expect(queryOf(FIELDS, read('fruit=pear&count=3&herbs=sage,mint&passes=')).toString()).toBe('');
  });

  test('are refused names that nothing has', () => {
    expect(refusal('fruit=plum').message).toBe("There is no fruit 'plum'.");
    expect(refusal('fruit=').remedy).toBe('Use one of: apple, pear.');
    expect(refusal('herbs=sage,basil').message).toBe("There is no herbs 'basil'.");
  });

  test('are refused numbers that are none, or outside of their range', () => {
    for (const given of ['0', '11', '-1', '1.5', '1e0', 'NaN', ' 2', '', '0x3']) {
      expect(refusal(`count=${given}`).remedy).toBe('Use a whole number from 1 to 10.');
    }
    expect(read('count=1').count).toBe(1);
    expect(read('count=10').count).toBe(10);
    expect(refusal('passes=6').message).toBe("'6' is no passes.");
  });

  test('what can not be is left out and named, the rest is taken', () => {
    const query = 'fruit=plum&herbs=thyme&count=11&passes=2&cost=price:1&engine=steam';
    const { settings, problems } = leniently(FIELDS, new URLSearchParams(query));
    const expected = { fruit: 'pear', herbs: ['thyme'], count: 3, passes: 2, cost: '' };
    expect(settings).toEqual(expected);
    expect(problems.map(({ message }) => message)).toEqual([
      "There is no fruit 'plum'.",
      "'11' is no count.",
      expect.stringMatching(/^cost: .*price/),
    ]);
    expect(leniently(FIELDS, new URLSearchParams('count=4')).problems).toEqual([]);
  });

  test('are refused costs that can not be, with the term', () => {
    expect(refusal('cost=farFaultUs:-1').message).toMatch(/farFaultUs must be a number, 0 or more/);
    expect(refusal('cost=farFaultUs:').message).toMatch(/farFaultUs must be a number/);
    expect(refusal('cost=farFaultUs').message).toMatch(/farFaultUs must be a number/);
    expect(refusal('cost=linkGiBs:0').message).toMatch(/linkGiBs must be more than 0/);
    expect(refusal('cost=price:1').message).toMatch(/knows no cost 'price'/);
  });
});

describe('a cost model as text', () => {
  test('has the terms that differ from the defaults', () => {
    expect(costText(COST_MODEL)).toBe('');
    expect(costText({ ...COST_MODEL, farFaultUs: 20, linkGiBs: 24.5 })).toBe(
      'farFaultUs:20,linkGiBs:24.5',
    );
  });

  test('comes back as it was, each term of it', () => {
    expect(costFrom('')).toEqual(COST_MODEL);
    for (const term of COST_TERMS) {
      const cost = { ...COST_MODEL, [term]: COST_MODEL[term] + 0.125 };
      expect(costFrom(costText(cost))).toEqual(cost);
    }
  });

  test('has words for each term that there is', () => {
    expect(COST_TERMS.toSorted()).toEqual(Object.keys(COST_MODEL).toSorted());
  });
});
