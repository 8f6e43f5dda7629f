/*
 * Command lines: one table per command gives its parser, its types and its `--help`.
 *
 * A wrong command line never shows a stack: it gives one line on stderr that says what is wrong and
 * what to do about it, and exit status 1. The parser is node:util's parseArgs in strict mode, so
 * `--name value`, `--name=value`, `--no-flag` is refused, and `--` ends the options.
 */
import { parseArgs } from 'node:util';

interface OptionBase {
  /** One line for `--help`. */
  readonly help: string;
}

/** An option that is there or not. */
export interface FlagOption extends OptionBase {
  readonly kind: 'flag';
}

/** An option whose value is any text, such as a file name. `placeholder` names it in `--help`. */
export interface TextOption extends OptionBase {
  readonly kind: 'text';
  readonly placeholder: string;
  /** Answers what is wrong with a value, in words that follow `--name`; undefined accepts it. */
  readonly refuse?: (value: string) => string | undefined;
}

/** An option whose value is a whole number from `min` to `max`. */
export interface NumberOption extends OptionBase {
  readonly kind: 'number';
  readonly placeholder: string;
  readonly min: number;
  readonly max: number;
}

/** An option whose value is one of a few words. */
export interface ChoiceOption<C extends string = string> extends OptionBase {
  readonly kind: 'choice';
  readonly choices: readonly C[];
}

/** An option whose value is some of a few words, separated by commas. */
export interface ListOption<C extends string = string> extends OptionBase {
  readonly kind: 'list';
  readonly choices: readonly C[];
  /** What `--help` shows in place of all choices. */
  readonly placeholder?: string;
}

export type Option = FlagOption | TextOption | NumberOption | ChoiceOption | ListOption;

export interface CommandSpec<T extends Readonly<Record<string, Option>>> {
  /** As after `npm run`. */
  readonly name: string;
  /** What the command does, in a line or a few. */
  readonly summary: string;
  readonly options: T;
  /** The whole usage line of `--help`, where it is not `npm run NAME [-- options]`. */
  readonly usage?: string;
  /** Names the arguments that are no options, as in `--help`; without it there may be none. */
  readonly positionals?: string;
}

type ValueOf<O extends Option> = O extends FlagOption
  ? boolean
  : O extends NumberOption
    ? number | undefined
    : O extends ListOption<infer C>
      ? C[] | undefined
      : O extends ChoiceOption<infer C>
        ? C | undefined
        : string | undefined;

/** Parsed options: flags are booleans, everything else is undefined where it was not given. */
export type OptionValues<T extends Readonly<Record<string, Option>>> = {
  readonly [K in keyof T]: ValueOf<T[K]>;
};

export interface CommandLine<T extends Readonly<Record<string, Option>>> {
  readonly values: OptionValues<T>;
  readonly positionals: readonly string[];
}

/** A command line that is wrong, or any other mistake of the user's: one line, no stack. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/**
 * Parses this process's command line. On `--help` it prints the help and ends the process with
 * status 0; on a mistake it prints one line and ends it with status 1.
 */
export function readCommandLine<const T extends Readonly<Record<string, Option>>>(
  spec: CommandSpec<T>,
  argv: readonly string[] = process.argv.slice(2),
): CommandLine<T> {
  try {
    const line = parseCommandLine(spec, argv, process.env);
    if (line !== 'help') {
      return line;
    }
    process.stdout.write(helpText(spec));
    return process.exit(0);
  } catch (error) {
    if (!(error instanceof UsageError)) {
      throw error;
    }
    process.stderr.write(`${spec.name}: ${error.message}\n`);
    return process.exit(1);
  }
}

/**
 * The pure part of readCommandLine().
 *
 * @param env the environment, in which npm leaves the options that it took for its own
 * @returns the values, or 'help' where `--help` or `-h` was given
 * @throws UsageError where the command line is wrong
 */
export function parseCommandLine<const T extends Readonly<Record<string, Option>>>(
  spec: CommandSpec<T>,
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
): CommandLine<T> | 'help' {
  const names = Object.keys(spec.options);
  const raw = parseRaw(spec, argv, names, env);
  if (raw.values['help'] === true) {
    return 'help';
  }
  const values: Record<string, unknown> = {};
  for (const name of names) {
    values[name] = convert(name, spec.options[name]!, raw.values[name]);
  }
  return { values: values as OptionValues<T>, positionals: raw.positionals };
}

/** The text of `--help`. */
export function helpText(spec: CommandSpec<Readonly<Record<string, Option>>>): string {
  const rows = Object.entries(spec.options).map(([name, option]) => [
    `--${name}${placeholder(option)}`,
    option.help,
  ]);
  rows.push(['--help', 'print this text']);
  const width = Math.min(34, Math.max(...rows.map((row) => row[0]!.length)));
  const indent = `\n${' '.repeat(width + 4)}`;
  const lines = rows.map(([left, help]) => {
    const gap = left!.length > width ? indent : ' '.repeat(width - left!.length + 2);
    return `  ${left!}${gap}${help!.replaceAll('\n', indent)}`;
  });
  const rest = spec.positionals === undefined ? '' : ` [${spec.positionals}]`;
  const usage = spec.usage ?? `npm run ${spec.name} [-- options${rest}]`;
  return `usage: ${usage}\n\n${spec.summary}\n\n${lines.join('\n')}\n`;
}

/** Names in lines of a help text. */
export function inLines(names: readonly string[]): string {
  const lines: string[] = [];
  for (let at = 0; at < names.length; at += 6) lines.push(names.slice(at, at + 6).join(', '));
  return lines.join(',\n');
}

interface RawCommandLine {
  readonly values: Record<string, string | boolean | undefined>;
  readonly positionals: string[];
}

function parseRaw(
  spec: CommandSpec<Readonly<Record<string, Option>>>,
  argv: readonly string[],
  names: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): RawCommandLine {
  const table: Record<string, { type: 'string' | 'boolean'; short?: string }> = {
    help: { type: 'boolean', short: 'h' },
  };
  for (const name of names) {
    table[name] = { type: spec.options[name]!.kind === 'flag' ? 'boolean' : 'string' };
  }
  try {
    const parsed = parseArgs({ args: [...argv], options: table, allowPositionals: true });
    const extra = parsed.positionals[0];
    if (spec.positionals === undefined && extra !== undefined) {
      throw new UsageError(
        `unexpected argument '${extra}': options begin with --; ` +
          `with npm: \`npm run ${spec.name} -- ${meant(names, extra, env)}\` (see --help)`,
      );
    }
    return parsed;
  } catch (error) {
    throw error instanceof UsageError ? error : new UsageError(explain(error, argv, spec));
  }
}

/**
 * What was probably meant by an argument without option. `npm run x --name value` gives only the
 * value to the command; npm keeps the name, as npm_config_name=true.
 */
function meant(
  names: readonly string[],
  extra: string,
  env: Readonly<Record<string, string | undefined>>,
): string {
  const kept = names.find((name) => env[`npm_config_${name.replaceAll('-', '_')}`] === 'true');
  return kept === undefined ? '--OPTION VALUE' : `--${kept} ${extra}`;
}

/** Turns parseArgs' exception into our line. Its codes are documented; its messages are not. */
function explain(
  error: unknown,
  argv: readonly string[],
  spec: CommandSpec<Readonly<Record<string, Option>>>,
): string {
  const names = Object.keys(spec.options);
  const { code, message } = error as NodeJS.ErrnoException;
  const quoted = /'([^']*)'/.exec(message)?.[1] ?? '';
  const name = /--?[^\s=<,]+/.exec(quoted)?.[0] ?? quoted;
  if (code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION') {
    const near = nearest(name.replace(/^-+/, ''), names);
    const hint = near === undefined ? '' : `; did you mean --${near}?`;
    return `unknown option ${name}${hint} (--help lists them all)`;
  }
  if (code === 'ERR_PARSE_ARGS_INVALID_OPTION_VALUE') {
    const long = /--[^\s=<,']+/.exec(message)?.[0] ?? name;
    const option = spec.options[long.slice(2)];
    const value = argv[argv.indexOf(long) + 1];
    if (option?.kind === 'number' && value !== undefined && /^-\d/.test(value)) {
      return `${long} ${numberRefusal(option, value)}`;
    }
    return /does not take/.test(message)
      ? `${long} takes no value: write just ${long}`
      : `${long} needs a value: write ${long}=VALUE (see --help)`;
  }
  return `can't read '${argv.join(' ')}': ${message} (see --help)`;
}

function convert(name: string, option: Option, raw: string | boolean | undefined): unknown {
  if (option.kind === 'flag') {
    return raw === true;
  }
  if (raw === undefined || typeof raw === 'boolean') {
    return undefined;
  }
  switch (option.kind) {
    case 'text': {
      const refusal = raw === '' ? 'needs a value (see --help)' : option.refuse?.(raw);
      return refusal === undefined ? raw : refuse(name, refusal);
    }
    case 'number':
      return convertNumber(name, option, raw);
    case 'choice':
      return convertWord(name, option.choices, raw);
    case 'list':
      return raw.split(',').map((word) => convertWord(name, option.choices, word.trim()));
  }
}

function convertNumber(name: string, option: NumberOption, raw: string): number {
  const value = Number(raw);
  const whole = /^\d+$/.test(raw) && value >= option.min && value <= option.max;
  return whole ? value : refuse(name, numberRefusal(option, raw));
}

function numberRefusal({ min, max }: NumberOption, raw: string): string {
  return `takes a whole number from ${min} to ${max}, not '${raw}'`;
}

function convertWord(name: string, choices: readonly string[], raw: string): string {
  const near = nearest(raw, choices);
  const hint = near === undefined ? '' : `; did you mean ${near}?`;
  return choices.includes(raw)
    ? raw
    : refuse(name, `takes ${choices.join(', ')}, not '${raw}'${hint}`);
}

function refuse(name: string, why: string): never {
  throw new UsageError(`--${name} ${why}`);
}

function placeholder(option: Option): string {
  switch (option.kind) {
    case 'flag':
      return '';
    case 'text':
    case 'number':
      return ` ${option.placeholder}`;
    case 'choice':
      return ` ${option.choices.join('|')}`;
    case 'list':
      return ` ${option.placeholder ?? option.choices.join(',')}`;
  }
}

/** The word within two edits of `word`, for "did you mean". */
function nearest(word: string, words: readonly string[]): string | undefined {
  const ranked = words.map((other) => ({ other, edits: editDistance(word, other) }));
  const best = ranked.toSorted((a, b) => a.edits - b.edits)[0];
  return best !== undefined && best.edits <= 2 && best.edits < best.other.length
    ? best.other
    : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
