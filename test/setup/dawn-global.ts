/*
 * Runs once before the project `dawn`: names the adapter, so that a pass on a software adapter is
 * never taken for one on hardware.
 */
import type { TestProject } from 'vitest/node';
import { describeAdapter } from '../../cli/adapter.ts';

export function setup(project: TestProject): void {
  const adapter = project.config.provide.dawnAdapter;
  if (adapter) {
    process.stderr.write(`dawn: ${describeAdapter(adapter)}\n`);
  }
}
