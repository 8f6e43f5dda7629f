/*
 * `npm run fault`: device faults on the virtual clock.
 *
 * `--prefetch JSON` answers one prefetch decision, so that an algorithm can be compared with its
 * source. The answer is JSON on stdout; a mistake is one line on stderr, and exit status 1.
 */
import { answerPrefetchQuery, QueryError } from '../src/index.ts';
import { readCommandLine, UsageError } from './args.ts';
import { runCommand } from './cleanup.ts';

const SPEC = {
  name: 'fault',
  summary: 'Device faults under the placement policies of several drivers, on a virtual clock.',
  options: {
    prefetch: {
      kind: 'text',
      placeholder: 'JSON',
      help:
        'one prefetch decision in a 2 MiB block of pages 0 to 511: {"policy", "resident",\n' +
        '"faulted", "thrashing", "region", "threshold", "sequence"}, all optional;\n' +
        'pages are numbers or pairs [first, end); prints {"moved", "faults"}',
    },
  },
} as const;

export function main(): Promise<never> {
  const { values } = readCommandLine(SPEC);
  return runCommand('fault', async () => {
    if (values.prefetch !== undefined) {
      process.stdout.write(`${JSON.stringify(prefetch(values.prefetch))}\n`);
      return 0;
    }
    throw new UsageError('nothing to do: give --prefetch JSON (see --help)');
  });
}

function prefetch(text: string): unknown {
  let query: unknown;
  try {
    query = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`--prefetch takes JSON: ${(error as Error).message}`);
  }
  try {
    return answerPrefetchQuery(query);
  } catch (error) {
    throw error instanceof QueryError ? new UsageError(`--prefetch: ${error.message}`) : error;
  }
}
