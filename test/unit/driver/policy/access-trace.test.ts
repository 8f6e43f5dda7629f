/** Access traces as text: what is written is read back; what is no trace is refused, with place. */
import { describe, expect, test } from 'vitest';
import {
  readTrace,
  traceToCsv,
  traceToJson,
} from '../../../../src/driver/policy/access-trace-text.ts';
import {
  BARRIER,
  footprint,
  plainRegion,
  TraceWriter,
} from '../../../../src/driver/policy/access-trace.ts';
import type { AccessTrace } from '../../../../src/driver/policy/access-trace.ts';
import { makeWorkload, WORKLOADS } from '../../../../src/driver/policy/workloads.ts';
import { pageByPage, runModel } from './rig.ts';

function plain(trace: AccessTrace): unknown {
  const { name, regions, workgroups, laneWorkgroup, laneStart, pages, access } = trace;
  return {
    name,
    regions,
    workgroups,
    lanes: [...laneWorkgroup],
    starts: [...laneStart],
    pages: [...pages],
    access: [...access],
  };
}

/** Two spaces, permissions, lanes and a barrier. */
function awkward(): AccessTrace {
  const fixed = { ...plainRegion(0, 10), isWritable: false, isMigratable: false };
  const writer = new TraceWriter('an awkward one', [fixed, plainRegion(512, 100, 3)]);
  writer.lane();
  writer.touch(3, 1);
  writer.barrier();
  writer.touch(4, 0);
  writer.lane(false);
  writer.touch(5, 1);
  writer.barrier();
  writer.lane();
  writer.touch(512, 2);
  writer.touch(513, 3);
  writer.touch(514, 4);
  return writer.finish();
}

test.each([
  ['CSV', traceToCsv],
  ['JSON', traceToJson],
])('%s: what is written is read back', (_, write) => {
  expect(plain(readTrace(write(awkward())))).toEqual(plain(awkward()));
  const matmul = makeWorkload('matmul', { pages: 300 });
  expect(plain(readTrace(write(matmul)))).toEqual(plain(matmul));
});

test('a trace that was written and read runs the same', () => {
  const trace = makeWorkload('bfs', { pages: 400 });
  const again = readTrace(traceToCsv(trace));
  const run = (one: AccessTrace) => JSON.stringify(runModel(one, pageByPage()));
  expect(run(again)).toBe(run(trace));
});

test('without regions, all pages up to the last are one writable region', () => {
  const trace = readTrace('workgroup,lane,page,access\r\n0,0,7,R\r\n\r\n0,0,2,W\r\n', 'mine');
  expect(trace.name).toBe('mine');
  expect(trace.regions).toEqual([plainRegion(0, 8)]);
});

test('workgroups may come in any order, with any numbers', () => {
  const trace = readTrace('workgroup,lane,page,access\n9,1,1,R\n4,0,2,R\n9,1,3,R\n');
  expect([trace.workgroups, [...trace.pages]]).toEqual([2, [1, 3, 2]]);
});

describe('what is no trace', () => {
  const head = 'workgroup,lane,page,access\n';
  test.each([
    ['', 'this is no access trace'],
    ['hello,world\n1,2', "line 1: expected the header 'workgroup,lane,page,access'"],
    [head, 'the trace has no access'],
    [`${head}0,0,1`, 'line 2: expected 4 fields'],
    [`${head}0,0,1,R\n0,0,x,R`, "line 3: page is a whole number up to 4194303, not 'x'"],
    [`${head}0,0,-1,R`, "not '-1'"],
    [`${head}0,0,1.5,R`, "not '1.5'"],
    [`${head}0,0,4194304,R`, "not '4194304'"],
    [`${head}0,0,1e3,R`, "not '1e3'"],
    [`${head}2147483648,0,1,R`, "workgroup is a whole number up to 2147483647, not '2147483648'"],
    [`${head}0,2147483648,1,R`, 'lane is a whole number up to 2147483647'],
    [`${head}0,0,1,X`, "line 2: access is R, W, A, S, P or B, not 'X'"],
    [`${head}0,0,1,`, "not ''"],
    [`# region 5,5\n${head}0,0,1,R`, 'line 1: region 5,5 is empty'],
    [`# region 0,9 wobbly\n${head}0,0,1,R`, "not 'wobbly'"],
    [`# region 0,9\n# region 8,20\n${head}0,0,1,R`, 'regions at pages 0 and 8 overlap'],
    [`# region 0,9\n# region 9,20 context=1\n${head}0,0,1,R`, 'begins at a 2 MiB block'],
    ['{"schema":1}', "schema is 'webhmm-access-trace-1'"],
    ['{"schema"', 'this is no JSON: line 1, column 10: the text ends too early'],
    ['{"schema": 1,\n "a": x}', 'this is no JSON: line 2, column 7: x is not expected'],
    ['[]', "schema is 'webhmm-access-trace-1', not ''"],
    ['"a"', 'a trace as JSON is an object, not \'"a"\''],
    ['{"schema":"webhmm-access-trace-1"}', 'accesses is a list'],
    ['{"schema":"webhmm-access-trace-1","accesses":[7]}', 'access 0: expected 4 fields'],
    ['{"schema":"webhmm-access-trace-1","accesses":[[0,0,{},"R"]]}', 'page is a whole number'],
    ['{"schema":"webhmm-access-trace-1","accesses":[],"regions":3}', 'regions is a list'],
  ])('%j: %s', (text, message) => {
    expect(() => readTrace(text)).toThrow(message);
  });
});

test.each([
  ['workgroups 0,0', 'this is no JSON: line 1, column 1: w is not expected'],
  ['', 'this is no JSON: line 1, column 1: the text ends too early'],
  ['null', "a trace as JSON is an object, not 'null'"],
  ['7', "a trace as JSON is an object, not '7'"],
  ['\u0000\u0001', 'this is no JSON: line 1, column 1: ? is not expected'],
])('%j in a file that is called JSON is bad JSON', (text, message) => {
  expect(() => readTrace(text, 'mine.json')).toThrow(message);
  expect(() => readTrace(text, 'mine.csv')).not.toThrow(message);
});

test('a trace is read by what it is, whatever its file is called', () => {
  const trace = plain(awkward());
  for (const name of ['mine.json', 'mine.csv', 'mine']) {
    expect(plain(readTrace(traceToCsv(awkward()), name))).toEqual(trace);
    expect(plain(readTrace(traceToJson(awkward()), name))).toEqual(trace);
  }
});

test('workgroups may have any number that a launch gives them', () => {
  const most = 2 ** 31 - 1;
  const csv = `workgroup,lane,page,access\n${most},${most},1,R\n0,0,2,W\n`;
  const { workgroups, pages } = readTrace(csv);
  expect([workgroups, [...pages]]).toEqual([2, [1, 2]]);
});

test('a barrier holds the lanes of its workgroup, not those of others', () => {
  const trace = readTrace(
    'workgroup,lane,page,access\n0,0,1,R\n0,0,0,B\n0,0,2,R\n' +
      '0,1,3,R\n0,1,4,R\n0,1,0,B\n1,0,5,R\n1,0,6,R\n',
  );
  expect(trace.access.filter((one) => one === BARRIER).length).toBe(2);
  const batches: number[][] = [];
  const policy = pageByPage({
    onFaults(faults, _view, answer) {
      batches.push([...faults.pages.subarray(0, faults.count)]);
      for (let i = 0; i < faults.count; i++) answer.migrate(faults.pages[i]!);
    },
  });
  runModel(trace, policy);
  // Lane 0 waits at the barrier until lane 1 is there, two faults later.
  expect(batches).toEqual([[1, 3, 5], [4, 6], [2]]);
});

test.each(WORKLOADS)(
  'workload %s: about as many pages as asked for, all in its regions',
  (name) => {
    const trace = makeWorkload(name, { pages: 1000 });
    expect(footprint(trace)).toBeGreaterThan(500);
    expect(footprint(trace)).toBeLessThan(1100);
    const inside = [...trace.pages].every((page, i) => {
      const isPlace = trace.regions.some((one) => page >= one.first && page < one.outer);
      return isPlace || trace.access[i] === BARRIER;
    });
    expect(inside).toBe(true);
    expect(plain(makeWorkload(name, { pages: 1000 }))).toEqual(plain(trace));
  },
);

test('repeated accesses of a lane are left out, unless they need more permission', () => {
  const writer = new TraceWriter('test', [plainRegion(0, 4)]);
  writer.lane();
  for (const access of [1, 1, 2, 1, 2]) writer.touch(0, access);
  writer.lane(false);
  writer.touch(0, 1);
  expect([...writer.finish().access]).toEqual([1, 2, 1]);
});
