/*
 * For fault-cli.test.ts: runs under each policy module that is named on the command line, as `npm
 * run fault` does, and prints what is said of each, a line each. In a process of its own, since
 * Vitest would transform the modules, and with them lines and columns.
 */
import { runFaults } from '../../cli/fault-run.ts';
import type { FaultRunOptions } from '../../cli/fault-run.ts';

for (const policy of process.argv.slice(2)) {
  const options = { workload: 'sweep', size: 1, policy, dedup: false };
  const said = await runFaults(options as FaultRunOptions).then(
    () => 'nothing',
    (error: Error) => `${error.name}: ${error.message}`,
  );
  process.stderr.write(`${said}\n`);
}
