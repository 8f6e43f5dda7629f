/*
 * Command lines: each mistake gives one line that says what to do, and each right one its values.
 */
import { spawnSync } from 'node:child_process';
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { helpText, parseCommandLine, UsageError } from '../../cli/args.ts';

const ROOT = resolve(import.meta.dirname, '../..');

const SPEC = {
  name: 'probe',
  summary: 'A command for tests.',
  options: {
    quick: { kind: 'flag', help: 'less' },
    json: { kind: 'text', placeholder: 'FILE', help: 'where to' },
    steps: { kind: 'number', placeholder: 'N', min: 1, max: 100, help: 'how many' },
    power: { kind: 'choice', choices: ['high', 'low'], help: 'which' },
    suite: { kind: 'list', choices: ['copy', 'migrate', 'fault'], help: 'what' },
    even: {
      kind: 'text',
      placeholder: 'N',
      help: 'an even number',
      refuse: (value: string) => (Number(value) % 2 === 0 ? undefined : 'takes an even number'),
    },
  },
} as const;

function parse(...argv: string[]) {
  const line = parseCommandLine(SPEC, argv);
  return line === 'help' ? line : line.values;
}

describe('right command lines', () => {
  test('without options, flags are false and values undefined', () => {
    expect(parse()).toEqual({ quick: false });
  });

  test('values come in both forms, converted', () => {
    const values = parse('--quick', '--json=a.json', '--steps', '7', '--suite', 'copy,fault');
    expect(values).toMatchObject({
      quick: true,
      json: 'a.json',
      steps: 7,
      suite: ['copy', 'fault'],
    });
  });

  test.each(['1', '100'])('both ends of a range are in it: %s', (steps) => {
    expect(parse('--steps', steps)).toMatchObject({ steps: Number(steps) });
  });

  test.each(['--help', '-h'])('%s asks for help, whatever else is there', (flag) => {
    expect(parse('--steps', '3', flag)).toBe('help');
  });

  test('arguments that are no options are taken where the command has them', () => {
    const line = parseCommandLine({ ...SPEC, positionals: 'names' }, ['a', '--quick', 'b']);
    expect(line).toMatchObject({ positionals: ['a', 'b'] });
  });
});

describe('wrong command lines', () => {
  test.each([
    [['--foo'], 'unknown option --foo (--help lists them all)'],
    [['--siute=copy'], 'unknown option --siute; did you mean --suite? (--help lists them all)'],
    [['--json'], '--json needs a value: write --json=VALUE (see --help)'],
    [['--json', '--quick'], '--json needs a value: write --json=VALUE (see --help)'],
    [['--json='], '--json needs a value (see --help)'],
    [['--quick=yes'], '--quick takes no value: write just --quick'],
    [['--steps', '0'], `--steps takes a whole number from 1 to 100, not '0'`],
    [['--steps', '101'], `--steps takes a whole number from 1 to 100, not '101'`],
    [['--steps', '1.5'], `--steps takes a whole number from 1 to 100, not '1.5'`],
    [['--steps', '-3'], `--steps takes a whole number from 1 to 100, not '-3'`],
    [['--steps', '--quick'], '--steps needs a value: write --steps=VALUE (see --help)'],
    [['--steps'], '--steps needs a value: write --steps=VALUE (see --help)'],
    [['--power', 'mid'], `--power takes high, low, not 'mid'`],
    [
      ['--suite', 'copy,fualt'],
      `--suite takes copy, migrate, fault, not 'fualt'; did you mean fault?`,
    ],
    [['--even', '3'], '--even takes an even number'],
    [
      ['extra'],
      "unexpected argument 'extra': options begin with --; " +
        'with npm: `npm run probe -- --OPTION VALUE` (see --help)',
    ],
  ])('%j', (argv, message) => {
    expect(() => parse(...argv)).toThrow(new UsageError(message));
  });
});

test('an option that npm kept for itself is named where its value comes alone', () => {
  const env = { npm_config_suite: 'true', npm_config_json: '' };
  expect(() => parseCommandLine(SPEC, ['copy'], env)).toThrow(
    'with npm: `npm run probe -- --suite copy`',
  );
});

describe('help', () => {
  test('names the command, its purpose and each option', () => {
    const text = helpText(SPEC);
    expect(text).toContain('usage: npm run probe [-- options]');
    expect(text).toContain('A command for tests.');
    for (const name of [...Object.keys(SPEC.options), 'help']) {
      expect(text).toMatch(new RegExp(`^  --${name}\\b`, 'm'));
    }
  });
});

describe('a command as a process', () => {
  const run = (...args: string[]) =>
    spawnSync(process.execPath, ['cli/run.mjs', ...args], { cwd: ROOT, encoding: 'utf8' });

  test.each(['test', 'shots', 'canaries', 'features'])(
    '%s --help prints help and exits with 0',
    (name) => {
      const { status, stdout, stderr } = run(name, '--help');
      expect(stderr).toBe('');
      expect(stdout).toContain(`usage: npm run ${name}`);
      expect(status).toBe(0);
    },
  );

  test.each(['test', 'shots', 'canaries'])(
    '%s --bogus prints one line and exits with 1',
    (name) => {
      const { status, stdout, stderr } = run(name, '--bogus');
      expect(stdout).toBe('');
      expect(stderr).toBe(`${name}: unknown option --bogus (--help lists them all)\n`);
      expect(status).toBe(1);
    },
  );

  test('an unknown canary gives the names of all, a line each', () => {
    const { status, stderr } = run('canaries', 'nope');
    const [first, ...names] = stderr.trimEnd().split('\n');
    expect(first).toBe(`canaries: there is no canary 'nope'; there are`);
    expect(names.length).toBeGreaterThan(1);
    expect(names.filter((name) => !/^  [a-z0-9-]+$/.test(name))).toEqual([]);
    expect(status).toBe(1);
  });

  test('an unknown command prints one line with the known ones and exits with 1', () => {
    const { status, stderr } = run('nonsense');
    expect(stderr).toMatch(/^webhmm: there is no command 'nonsense'; commands are: .*bench.*\n$/);
    expect(status).toBe(1);
  });

  test('a part of commands is not taken for one', () => {
    const { status, stderr } = run('args');
    expect(stderr).toContain('cli/args.ts is a part of commands, not one');
    expect(status).toBe(1);
  });
});
