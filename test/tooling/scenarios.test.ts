/*
 * docs/scenarios.md says which tests play which scenario. A row without its test, a test without
 * its row and a group that no engine runs show here.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const TEST = resolve(import.meta.dirname, '..');
const SCENARIOS = 'contract/scenarios';
/** Files whose tests must all have their rows; elsewhere a title may begin as it likes. */
const FOLDERS = [SCENARIOS, 'unit/driver/policy'];
const COUNTS = { F: 12, M: 9, E: 7, T: 4, H: 4, A: 1, C: 7 };

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);
const IDS = [
  ...Object.entries(COUNTS).flatMap(([group, count]) => upTo(count).map((n) => group + n)),
  'P',
];

interface Row {
  readonly id: string;
  readonly oracle: string;
  readonly files: readonly string[];
}

/** Rows of the tables that begin with a scenario's number. */
function rowsOf(text: string): Row[] {
  return text.split('\n').flatMap((line) => {
    const [, id, what, oracle, tests] = line.split('|').map((cell) => cell.trim());
    if (id === undefined || !/^[A-Z]\d{0,2}$/.test(id)) return [];
    expect(what, line).not.toBe('');
    const files = [...(tests ?? '').matchAll(/`([^`]+)`/g)].map((match) => match[1]!);
    return [{ id, oracle: oracle ?? '', files }];
  });
}

/** Scenarios that titles of tests, or of cases of one, begin with; P1, P2 and so on are P. */
function scenariosIn(text: string): Set<string> {
  const found = [...text.matchAll(/[([]\s*['"`]([A-Z])(\d{0,2})[:,] /g)].map(([, group, number]) =>
    group === 'P' ? 'P' : `${group}${number}`,
  );
  return new Set(found.filter((id) => IDS.includes(id)));
}

const read = (path: string): string => readFileSync(join(TEST, path), 'utf8');
const rows = rowsOf(readFileSync(resolve(TEST, '../docs/scenarios.md'), 'utf8'));

test('every scenario has one row with an oracle and a test', () => {
  expect(rows.map(({ id }) => id).toSorted()).toEqual(IDS.toSorted());
  for (const { id, oracle, files } of rows) {
    expect([id, oracle.length > 10, files.length > 0]).toEqual([id, true, true]);
  }
});

test('each file of a row has a test of that number', () => {
  for (const { id, files } of rows) {
    for (const file of files) {
      expect(existsSync(join(TEST, file)), `${id}: ${file}`).toBe(true);
      expect([...scenariosIn(read(file))], `${file} of ${id}`).toContain(id);
    }
  }
});

test('each scenario that a file plays has the file in its row', () => {
  for (const folder of FOLDERS) {
    for (const name of readdirSync(join(TEST, folder)).filter((one) => one.endsWith('.ts'))) {
      const file = `${folder}/${name}`;
      for (const id of scenariosIn(read(file))) {
        const row = rows.find((one) => one.id === id);
        expect(row?.files, `row ${id} of docs/scenarios.md`).toContain(file);
      }
    }
  }
});

test('all groups run on the CPU engine, through Dawn and in a browser', () => {
  const groups = readdirSync(join(TEST, SCENARIOS)).filter(
    (one) => scenariosIn(read(`${SCENARIOS}/${one}`)).size > 0,
  );
  const all = read(`${SCENARIOS}/all.ts`);
  for (const group of groups.filter((one) => one !== 'copies.ts')) {
    expect(all, group).toContain(`'./${basename(group)}'`);
  }
  for (const entry of ['contract/scenarios-cpu', 'gpu/scenarios', 'browser/scenarios']) {
    const text = read(`${entry}.test.ts`);
    expect(text).toMatch(/describeScenarios\('(cpu|webgpu)'\)/);
    expect(text).toContain('describeCopyScenarios(');
  }
});

test('a title counts, a comment and another word do not', () => {
  expect([...scenariosIn("it('F1: x', f); test.each([['P3: y']])('%s')")]).toEqual(['F1', 'P']);
  expect([
    ...scenariosIn("// F2: y\nconst a = 'F99: z'; it('see F3: w', f); it('M1 x', f)"),
  ]).toEqual([]);
});
