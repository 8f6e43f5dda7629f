/*
 * Stands between the benchmark and its CPU engine: sees each list on its way, and may answer in
 * the engine's place. `vi.restoreAllMocks()` takes it away.
 */
import { vi } from 'vitest';
import type { CommandList } from '../../../src/engine/command-list.ts';
import type { StrategyName } from '../../../src/engine/copy-engine.ts';
import { CpuEngine } from '../../../src/engine/cpu-engine.ts';

type Submit = (this: CpuEngine, list: CommandList, strategy?: StrategyName) => number;

/** The engine's own, also where it is intercepted already. */
const submit: Submit = Reflect.get(CpuEngine.prototype, 'submit');

/**
 * Puts `see` before each submit of any CPU engine.
 *
 * @param see Answers a status in place of the engine, or null for the engine's own.
 */
export function interceptSubmit(
  see: (engine: CpuEngine, list: CommandList, strategy: StrategyName) => number | null,
): void {
  vi.spyOn(CpuEngine.prototype, 'submit').mockImplementation(function (
    this: CpuEngine,
    list,
    strategy = 'auto',
  ) {
    return see(this, list, strategy) ?? submit.call(this, list, strategy);
  });
}
