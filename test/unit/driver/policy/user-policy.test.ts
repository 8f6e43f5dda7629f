/** A user's policy: what it may be, and what is said of one that throws or answers nonsense. */
import { describe, expect, test } from 'vitest';
import { StuckError } from '../../../../src/driver/policy/model-run.ts';
import { ACCESS_READ, ON_DEVICE, PolicyError } from '../../../../src/driver/policy/policy.ts';
import type {
  Cause,
  Decisions,
  FaultGroup,
  FaultPolicy,
  PolicyView,
  VictimRequest,
  Victims,
} from '../../../../src/driver/policy/policy.ts';
import { placeIn, policyErrorText } from '../../../../src/driver/policy/policy-error.ts';
import { userPolicy } from '../../../../src/driver/policy/user-policy.ts';
import { makeWorkload } from '../../../../src/driver/policy/workloads.ts';
import { blocks, drive, ModelRun, pageByPage, policyByName, runModel, traceOf } from './rig.ts';

const setup = { pageCount: 512, devicePages: 512, seed: 1 };
const good = pageByPage()(setup);
const trace = makeWorkload('sweep', { pages: 600 });

/** Runs a policy that answers as told. @returns the error */
function failure(over: Partial<FaultPolicy> | Record<string, unknown>, devicePages = 600): unknown {
  try {
    runModel(trace, userPolicy({ policy: { ...good, ...over } }, 'mine.js'), { devicePages });
  } catch (error) {
    return error;
  }
  return undefined;
}

describe('a module', () => {
  test('exports an object, or a function that makes one for the run', () => {
    for (const policy of [good, () => good]) {
      const { counts } = runModel(trace, userPolicy({ policy }, 'mine.js'));
      expect(counts.movedPages).toBe(600);
    }
  });

  test('may keep its state in a class, and go by the name of its file', () => {
    class Mine {
      private seen = 0;
      onFaults: FaultPolicy['onFaults'] = (faults, _view, answer) => {
        this.seen += faults.count;
        for (let i = 0; i < faults.count; i++) answer.migrate(faults.pages[i]!);
      };
      chooseVictims(): void {}
      get constants() {
        return { seen: this.seen };
      }
    }
    const result = runModel(trace, userPolicy({ default: () => new Mine() }, 'mine.js'));
    expect([result.policy, result.constants]).toEqual(['mine.js', { seen: 600 }]);
  });

  test.each([
    [undefined, 'exports no `policy`'],
    [{}, 'exports no `policy`'],
    [{ policy: 7 }, 'exports no `policy`'],
    [{ policy: {} }, 'has no method onFaults'],
    [{ policy: { ...good, chooseVictims: 1 } }, 'has no method chooseVictims'],
    [{ policy: { ...good, touched: 'often' } }, 'touched is no method'],
    [{ policy: () => null }, 'makes null, not an object'],
    [{ policy: () => ({ ...good, onFaults: undefined }) }, 'has no method onFaults'],
  ])('%j: %s', (module, message) => {
    expect(() => userPolicy(module, 'mine.js')(setup)).toThrow(message);
  });
});

describe('an error names policy, call and cause', () => {
  const boom = (): never => {
    throw new TypeError('boom');
  };
  test.each([
    ['onFaults', 600],
    ['chooseVictims', 300],
    ['arrived', 600],
    ['left', 300],
    ['touched', 600],
  ])('%s throws', (call, devicePages) => {
    const error = failure({ [call]: boom }, devicePages) as PolicyError;
    expect(error).toBeInstanceOf(PolicyError);
    expect([error.policy, error.call, error.cause]).toEqual([
      'page by page',
      call,
      new TypeError('boom'),
    ]);
    expect(error.message).toContain('throws: boom');
  });

  test.each([-1, 0.5, NaN, Infinity, 1e9, '7', null])('a page %s is named', (page) => {
    const onFaults: FaultPolicy['onFaults'] = (_faults, _view, answer) => {
      answer.migrate(page as number);
    };
    expect(failure({ onFaults })).toMatchObject({ call: 'onFaults' });
    const chooseVictims: FaultPolicy['chooseVictims'] = (_request, _view, victims) => {
      victims.evict(page as number);
    };
    expect(failure({ chooseVictims }, 300)).toMatchObject({ call: 'chooseVictims' });
  });

  test('a fault without an answer', () => {
    const error = failure({ onFaults() {} }) as PolicyError;
    expect(error.message).toMatch(/onFaults: leaves the fault on page \d+ without an answer/);
  });
});

describe('answers that can not be carried out', () => {
  test('victims that are not on the device, or that the batch uses, are passed over', () => {
    const chooseVictims: FaultPolicy['chooseVictims'] = (_request, view, victims) => {
      for (let page = 0; page < view.pageCount; page++) victims.evict(page);
    };
    const policy = userPolicy({ policy: { ...good, chooseVictims } }, 'mine.js');
    const run = new ModelRun(trace, policy, { devicePages: 300 });
    let wrong = 0;
    drive(run, ({ kind, pages, count }) => {
      if (kind !== 'evict') return;
      for (const page of pages.subarray(0, count)) {
        if (run.space.isProtected(page) || (run.space.where[page]! & ON_DEVICE) === 0) wrong++;
      }
    });
    expect([wrong, run.service.counts.evictedPages > 0]).toEqual([0, true]);
  });

  test('a policy that names everything gets nothing of the batch in service evicted', () => {
    const chooseVictims: FaultPolicy['chooseVictims'] = (_request, view, victims) => {
      for (let page = 0; page < view.pageCount; page++) victims.evict(page);
    };
    const lanes = Array.from({ length: 20 }, (_, i) => {
      return [[i < 10 ? i : 512 + i, ACCESS_READ] as const];
    });
    const policy = userPolicy({ policy: { ...good, chooseVictims } }, 'mine.js');
    const { counts } = runModel(traceOf(blocks(2), ...lanes), policy, { devicePages: 12 });
    expect([counts.batches, counts.evictedPages, counts.fallbacks]).toEqual([1, 0, 8]);
  });

  test('no victims at all: what has no room is served from RAM', () => {
    const policy = userPolicy({ policy: { ...good, chooseVictims() {} } }, 'mine.js');
    const { counts, accesses } = runModel(trace, policy, { devicePages: 100 });
    expect([counts.movedPages, counts.fallbacks, accesses]).toEqual([100, 500, 600]);
  });

  test('prefetching everything at every fault moves each page once', () => {
    const onFaults: FaultPolicy['onFaults'] = (_faults, view, answer) => {
      for (let page = 0; page < view.pageCount; page++) answer.migrate(page);
    };
    const { counts } = runModel(trace, userPolicy({ policy: { ...good, onFaults } }, 'mine.js'));
    expect([counts.movedPages, counts.batches]).toEqual([600, 1]);
  });

  test('throttling for ever ends the run, with the page', () => {
    const onFaults: FaultPolicy['onFaults'] = (faults, _view, answer) => {
      for (let i = 0; i < faults.count; i++) answer.throttle(faults.pages[i]!);
    };
    const one = traceOf(blocks(1), [[7, ACCESS_READ]]);
    const run = () => runModel(one, userPolicy({ policy: { ...good, onFaults } }, 'mine.js'));
    expect(run).toThrow(StuckError);
    expect(run).toThrow('page 7 keeps faulting');
  });
});

describe('a policy that writes what it is given', () => {
  type Views = { view: PolicyView | null };

  /** Page by page, every third one from RAM, with looks at everything on the way. */
  function curious(spoil: (view: PolicyView, faults?: FaultGroup) => void, seen?: Views) {
    const look = (view: PolicyView): void => {
      if (seen !== undefined) seen.view = view;
      spoil(view);
    };
    let next = 0;
    return {
      ...good,
      onFaults(faults: FaultGroup, view: PolicyView, answer: Decisions): void {
        for (let i = 0; i < faults.count; i++) {
          const page = faults.pages[i]!;
          if (page % 3 === 0) answer.remote(page);
          else if (page % 7 === 0) answer.duplicate(page);
          else answer.migrate(page);
        }
        look(view);
        spoil(view, faults);
      },
      chooseVictims(request: VictimRequest, view: PolicyView, victims: Victims): void {
        look(view);
        for (let i = 0; i < 600 && victims.count < request.pages; i++) {
          next = (next + 1) % 600;
          if (!view.isProtected(next)) victims.evict(next);
        }
      },
      arrived: (_page: number, _cause: Cause, view: PolicyView): void => look(view),
      left: (_page: number, _cause: Cause, view: PolicyView): void => look(view),
      touched: (_page: number, _access: number, view: PolicyView): void => look(view),
      remoteLimit(_page: number, view: PolicyView): number {
        look(view);
        return 3;
      },
    };
  }

  const twice = makeWorkload('sweep', { pages: 600, passes: 3 });
  const resultOf = (policy: unknown): unknown =>
    runModel(twice, userPolicy({ policy }, 'mine.js'), { devicePages: 300 });

  test('changes nothing of the run', () => {
    const quiet = resultOf(curious(() => undefined));
    const writing = resultOf(
      curious((view, faults) => {
        for (const array of [view.where, view.mapped, view.remote]) (array as Uint8Array).fill(3);
        if (faults === undefined) return;
        faults.pages.fill(-7);
        faults.access.fill(9);
        (faults as { count: number }).count = 0;
      }),
    );
    expect(writing).toEqual(quiet);
  });

  test('says what it keeps by a view of its own, and nothing else than yes or no', () => {
    const keeps = (page: number, view: PolicyView): unknown => {
      (view.where as Uint8Array).fill(0);
      return page === 3 ? 'yes' : page < 3;
    };
    const policy = userPolicy({ policy: { ...good, keeps } }, 'mine.js');
    const { service, space } = new ModelRun(trace, policy, { devicePages: 300 });
    expect([-1, 0, 2, 4, 600].map((page) => service.keeps(page))).toEqual([
      false,
      true,
      true,
      false,
      false,
    ]);
    expect(space.where.some((where) => where !== 0)).toBe(true);
    expect(() => service.keeps(3)).toThrow(
      'policy page by page, keeps: answers neither true nor false',
    );
    expect(failure({ keeps: 3 })).toHaveProperty(
      'message',
      'policy mine.js, module: keeps is no method',
    );
  });

  test('sees at any time what is so', () => {
    const seen: Views = { view: null };
    const policy = userPolicy({ policy: curious(() => undefined, seen) }, 'mine.js');
    const run = new ModelRun(twice, policy, { devicePages: 300 });
    let looks = 0;
    while (!run.isDone) {
      run.step();
      const { view } = seen;
      if (view === null) continue;
      looks++;
      const { where, mapped, remote, freePages, nowUs } = run.space;
      expect(Buffer.from(view.where).equals(where)).toBe(true);
      expect(Buffer.from(view.mapped).equals(mapped)).toBe(true);
      expect(Buffer.from(view.remote).equals(remote)).toBe(true);
      expect([view.freePages, view.nowUs]).toEqual([freePages, nowUs]);
    }
    expect(looks).toBeGreaterThan(5);
    expect(seen.view!.where).not.toBe(run.space.where);
  });

  test('one of our own looks at the books themselves', () => {
    const views: PolicyView[] = [];
    const factory = (): FaultPolicy => ({
      ...good,
      arrived: (_page, _cause, view) => views.push(view),
    });
    const run = new ModelRun(trace, factory, { devicePages: 600 });
    while (!run.isDone) run.step();
    expect(views[0]).toBe(run.space);
  });

  test.each<[string, (view: PolicyView) => void]>([
    ['freePages', (view) => void ((view as { freePages: number }).freePages = 9)],
    [
      'isWritable',
      (view) => void ((view.regionOf(0) as { isWritable: boolean }).isWritable = false),
    ],
    [
      'preferred',
      (view) => void ((view.regionOf(0)!.hints as { preferred: string }).preferred = 'ram'),
    ],
  ])('what is no copy can not be written: %s', (name, spoil) => {
    const error = failure(curious(spoil)) as PolicyError;
    expect(error).toBeInstanceOf(PolicyError);
    expect(error.message).toMatch(new RegExp(`policy page by page, onFaults: throws: .*${name}`));
  });

  test('regions are copies, the same at each look: whoever made them goes on using them', () => {
    const seen = new Set<unknown>();
    const regions = trace.regions.map((one) => ({ ...one, hints: { ...one.hints } }));
    const onFaults: FaultPolicy['onFaults'] = (faults, view, answer) => {
      seen.add(view.regionOf(faults.pages[0]!));
      good.onFaults(faults, view, answer);
    };
    runModel({ ...trace, regions }, userPolicy({ policy: { ...good, onFaults } }, 'mine.js'), {
      devicePages: 600,
    });
    expect([...seen]).toEqual(regions);
    expect(regions.some((one) => seen.has(one) || Object.isFrozen(one))).toBe(false);
    expect(regions.some((one) => Object.isFrozen(one.hints))).toBe(false);
  });

  test('nor are there other things to be called than answers', () => {
    const keys = (one: object): string[] => {
      const own = Object.getPrototypeOf(one) as object;
      return [...Object.keys(one), ...Object.getOwnPropertyNames(own)].toSorted();
    };
    let seen: string[][] = [];
    const onFaults: FaultPolicy['onFaults'] = (faults, view, answer) => {
      seen = [keys(view), keys(answer)];
      good.onFaults(faults, view, answer);
    };
    expect(failure({ ...good, onFaults })).toBeUndefined();
    expect(seen).toEqual([
      [
        'constructor',
        'devicePages',
        'freePages',
        'isProtected',
        'mapped',
        'nowUs',
        'pageCount',
        'regionOf',
        'remote',
        'residentIn',
        'where',
      ],
      ['constructor', 'duplicate', 'migrate', 'pin', 'remote', 'throttle'],
    ]);
  });
});

test('a policy that answers later is refused, and its own failure is heard', () => {
  const late: unknown = () => Promise.reject(new Error('late'));
  const error = failure({ onFaults: late }) as PolicyError;
  expect(error.message).toContain('answers with a promise');
});

test('a failed run leaves others alone', () => {
  const before = JSON.stringify(runModel(trace, policyByName('uvm')));
  expect(failure({ onFaults() {} })).toBeInstanceOf(PolicyError);
  expect(JSON.stringify(runModel(trace, policyByName('uvm')))).toBe(before);
});

describe('the place of a mistake', () => {
  const URL_OF = 'http://localhost:5173/mine.mjs';
  const withStack = (stack: string, cause?: unknown): Error =>
    Object.assign(new Error('no idea', { cause }), { stack });

  test.each([
    ['Error: no idea\n    at helper (OTHER:9:9)\n    at Object.onFaults (URL:2:28)', '2:28'],
    ['helper@OTHER:9:9\nonFaults@URL?t=17:3:4\n', '3:4'],
    ['URL:7\nimport x;\n^^^\nSyntaxError: no', '7'],
    ['Error: no idea\n    at helper (URL.map:9:9)', ''],
    ['', ''],
  ])('%j: %j', (stack, place) => {
    const text = stack.replaceAll('URL', URL_OF).replaceAll('OTHER', 'http://localhost/o.mjs');
    expect(placeIn(withStack(text), URL_OF)).toBe(place);
  });

  test('is where the policy threw, before where that was noticed', () => {
    const inner = withStack(`at ${URL_OF}:4:5`);
    expect(placeIn(withStack(`at ${URL_OF}:1:1`, inner), URL_OF)).toBe('4:5');
    expect(placeIn(withStack(`at ${URL_OF}:1:1`, withStack('')), URL_OF)).toBe('1:1');
    expect(placeIn('no error', URL_OF)).toBe('');
  });

  test('is named with its file; a policy that comes with WebHMM has none', () => {
    const error = withStack(`at ${URL_OF}:4:5`);
    expect(policyErrorText(error, URL_OF)).toBe('no idea (mine.mjs:4:5)');
    expect(policyErrorText(error, 'http://x/other.mjs')).toBe('no idea (other.mjs)');
    expect(policyErrorText(error, 'blob:http://x/0-1')).toBe('no idea');
    const inText = withStack('at blob:http://x/0-1:4:5');
    expect(policyErrorText(inText, 'blob:http://x/0-1')).toBe('no idea (line 4, column 5)');
    expect(policyErrorText(error, 'uvm')).toBe('no idea');
  });
});
