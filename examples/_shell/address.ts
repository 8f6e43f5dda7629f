/*
 * What the address of a page may choose: `?engine=cpu`, `?strategy=runs`. A choice that could not
 * carry pages to the device and home again is refused here, with the names of those that can.
 */
import type { MachineOptions, MachineReport, StrategyName } from '../../src/index.ts';

type EngineName = MachineReport['engine'];

/** The engine that a strategy carries pages on, both ways; null when it goes one way alone. */
const CARRIES_ON: Readonly<Record<StrategyName, EngineName | 'any' | null>> = {
  auto: 'any',
  commands: 'webgpu',
  staging: 'webgpu',
  runs: 'webgpu',
  compute: 'webgpu',
  // Writes from RAM to the device; nothing comes home by it.
  writeBuffer: null,
  cpu: 'cpu',
};
const STRATEGIES = Object.keys(CARRIES_ON) as StrategyName[];
const ENGINES: readonly EngineName[] = ['webgpu', 'cpu'];

/** The address asks for something that the page can't do. */
export class AddressError extends Error {
  override readonly name = 'AddressError';
  readonly remedy: string;

  constructor(cause: string, remedy: string) {
    super(cause);
    this.remedy = remedy;
  }
}

/** Strategies that carry pages to the device and home again on that engine, `auto` first. */
export function usableStrategies(engine: EngineName): StrategyName[] {
  return STRATEGIES.filter((name) => ['any', engine].includes(CARRIES_ON[name] ?? ''));
}

/** The machine options in an address. Throws AddressError for one that can't be used. */
export function optionsFrom(query: URLSearchParams): Pick<MachineOptions, 'engine' | 'strategy'> {
  const asked = query.get('engine') ?? 'webgpu';
  const engine = ENGINES.find((name) => name === asked);
  if (engine === undefined) {
    throw new AddressError(`There is no engine ${asked}.`, `Use one of: ${ENGINES.join(', ')}.`);
  }
  const wanted = query.get('strategy');
  if (wanted === null) return { engine };
  const usable = usableStrategies(engine);
  const strategy = usable.find((name) => name === wanted);
  if (strategy !== undefined) return { engine, strategy };
  throw new AddressError(refusal(wanted, engine), `Use one of: ${usable.join(', ')}.`);
}

function refusal(wanted: string, engine: EngineName): string {
  const known = STRATEGIES.find((name) => name === wanted);
  if (known === undefined) return `There is no strategy ${wanted}.`;
  if (CARRIES_ON[known] === null) {
    return `The strategy ${known} goes one way, to the device: it can't bring a page home.`;
  }
  return `The strategy ${known} can't carry pages on the ${engine} engine.`;
}
