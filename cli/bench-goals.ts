/*
 * `npm run bench -- goals`: what G1 to G20 and TLB stand for, which reports and options name by
 * these letters alone.
 */
import { GOALS } from '../bench/goals.ts';
import { textTable } from '../bench/report-text.ts';
import { readCommandLine } from './args.ts';
import { runCommand } from './cleanup.ts';

/** The command line of the list. */
export const GOALS_COMMAND = {
  name: 'bench',
  usage: 'npm run bench -- goals',
  summary:
    'Lists the goals: bounds that a run holds its own figures against, most of them ratios of\n' +
    'two sides measured in turn. A goal that is missed is a result, not a failure.',
  options: {},
} as const;

/** The list as text. */
export function goalsText(): string {
  const rows = GOALS.map(({ id, suite, title }) => [id, suite, title]);
  return `${textTable({ title: 'Goals', columns: ['goal', 'suite', 'what'], rows })}\n`;
}

export function goalsMain(argv: readonly string[]): Promise<never> {
  readCommandLine(GOALS_COMMAND, argv);
  return runCommand('bench', () => {
    process.stdout.write(goalsText());
    return Promise.resolve(0);
  });
}
