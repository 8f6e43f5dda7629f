/*
 * Decides how the first attempt of a kernel keeps exactly-once, from the order of its operations.
 *
 *   direct  Each invocation has at most one effect, after which nothing can stop it. Whoever stops
 *           has done nothing yet and begins again.
 *   defer   All effects come after everything that gives a value: they are kept back (up to four)
 *           and done together at the end.
 *   log     Anything else: every result is written to the log.
 *
 * A replay always uses the log, so that one page of device memory is enough for any kernel. The
 * analysis looks at all paths and takes the worst: a wrong `log` costs time, nothing else can be
 * wrong.
 *
 * Locking. None; pure. Source: our own.
 */
import { PUBLIC_NAMES } from './public-names.ts';
import type { VmOperation } from './public-names.ts';
import { givesValue } from './shared-atomics.ts';
import type { Tree } from './wgsl-tree.ts';
import { below, nodesIn } from './wgsl-tree.ts';

/** Effects that the first attempt can keep back. */
export const MAX_KEPT = 4;

/** What the order of operations allows. */
export interface EffectOrder {
  readonly mode: 'direct' | 'defer' | 'log';
  /** `defer`: how many effects at most; else 0. */
  readonly kept: number;
  /** Words that one invocation logs at most; `undefined` where a loop or a cycle makes it open. */
  readonly logWords: number | undefined;
  /** Barriers are used. */
  readonly meets: boolean;
  /** Memory has to be atomic. */
  readonly atomic: boolean;
  /** Checkpoints are used. */
  readonly checks: boolean;
}

/** Effects and log words on the worst path so far. */
interface Path {
  readonly effects: number;
  readonly words: number;
}

/**
 * Analyses a kernel.
 *
 * @param functions all functions of the text by name; `kernel` is where it begins
 * @param names their names, each behind those of the functions that it calls
 * @param shares whether atomics on workgroup memory are operations: then a workgroup stops as a
 * whole. They never stop a first attempt without a log, and what they did in one is forgotten
 */
export function effectOrder(
  functions: ReadonlyMap<string, Tree>,
  names: readonly string[],
  shares = false,
): EffectOrder {
  const known: Known = new Map();
  for (const name of names) {
    const body = nodesIn(functions.get(name)!.fields['body']);
    const walks = [0, 1].map((effects) => {
      const walker = new Walker(known, shares);
      const { effects: after, words } = walker.list(body, { effects, words: 0 });
      return { does: walker.does, effects: after - effects, words };
    });
    known.set(name, [walks[0]!, walks[1]!]);
  }
  const { does, effects, words } = known.get('kernel')?.[0] ?? NOTHING;
  const { meets, storageBarrier, hazard, plain, open, atomic, checks } = does;
  const logWords = open ? undefined : words;
  const base = { logWords, meets: meets || shares, atomic, checks };
  // What lies before a checkpoint is done, so nothing can be kept back past it.
  if (hazard || checks || storageBarrier || effects > MAX_KEPT)
    return { ...base, mode: 'log', kept: 0 };
  if (effects <= 1 && !base.meets) return { ...base, mode: 'direct', kept: 0 };
  if (plain) return { ...base, mode: 'log', kept: 0 };
  return { ...base, mode: 'defer', kept: Math.max(1, effects) };
}

/** What happens on some path. */
interface Does {
  /** A barrier, or `vm_uniform`. */
  readonly meets: boolean;
  readonly storageBarrier: boolean;
  /** Something that gives a value, or meets others, may come after an effect. */
  readonly hazard: boolean;
  /** There is an effect that can't be kept back. */
  readonly plain: boolean;
  /** The log has no bound. */
  readonly open: boolean;
  readonly atomic: boolean;
  readonly checks: boolean;
}

/** What a function does, and by how much a path through it grows at most. */
interface Summary extends Path {
  readonly does: Does;
}

/** By function: where no effect came before it, and where one did. Nothing else matters to it. */
type Known = Map<string, readonly [Summary, Summary]>;

const QUIET: Does = {
  meets: false,
  storageBarrier: false,
  hazard: false,
  plain: false,
  open: false,
  atomic: false,
  checks: false,
};
const NOTHING: Summary = { does: QUIET, effects: 0, words: 0 };

class Walker {
  does: Does = QUIET;
  private readonly known: Known;
  private readonly shares: boolean;

  constructor(known: Known, shares: boolean) {
    this.known = known;
    this.shares = shares;
  }

  list(nodes: readonly Tree[], path: Path): Path {
    let here = path;
    for (const one of nodes) here = this.node(one, here);
    return here;
  }

  private node(one: Tree, path: Path): Path {
    const field = (name: string): Tree[] => nodesIn(one.fields[name]);
    switch (one.kind) {
      case 'if': {
        let here = this.list(field('condition'), path);
        const ways = [this.list(field('body'), here)];
        // The conditions before it precede each else-if, and the last way out.
        for (const other of field('elseif')) {
          here = this.list(nodesIn(other.fields['condition']), here);
          ways.push(this.list(nodesIn(other.fields['body']), here));
        }
        ways.push(this.list(field('else'), here));
        return ways.reduce(worse, here);
      }
      case 'switch': {
        const start = this.list(field('condition'), path);
        // A case is all that it holds, in order; cases exclude each other.
        return field('cases')
          .map((other) => this.list(below(other), start))
          .reduce(worse, start);
      }
      case 'for': {
        const start = this.list(field('init'), path);
        return this.loop([...field('condition'), ...field('body'), ...field('increment')], start);
      }
      case 'while':
        return this.loop([...field('condition'), ...field('body')], path);
      case 'loop':
        return this.loop([...field('body'), ...field('continuing')], path);
      case 'call':
      case 'callExpr': {
        const isLogged = this.shares && givesValue(one.name, one.kind === 'call');
        const here = this.call(one.name, this.list(field('args'), path));
        return isLogged ? { effects: here.effects, words: here.words + 1 } : here;
      }
      default:
        return this.list(below(one), path);
    }
  }

  /** What a round grows by has no bound; what comes first in it comes after its effects, too. */
  private loop(round: readonly Tree[], path: Path): Path {
    const once = this.list(round, path);
    if (once.words > path.words) this.note({ open: true });
    if (once.effects === path.effects) return once;
    // Loops in each other would go round 2^depth times, if there were more to see.
    if (path.effects === 0) this.list(round, once);
    return { effects: Infinity, words: once.words };
  }

  private call(name: string, path: Path): Path {
    const operation = PUBLIC_NAMES.get(name);
    if (operation !== undefined) return this.operation(name, operation, path);
    const called = this.known.get(name)?.[path.effects > 0 ? 1 : 0];
    if (called === undefined) return path;
    this.note(called.does);
    return { effects: path.effects + called.effects, words: path.words + called.words };
  }

  private operation(name: string, one: VmOperation, path: Path): Path {
    const hasEffect = one.does === 'effect' || one.does === 'both';
    const stops = one.does === 'load' || one.does === 'both' || one.does === 'meet';
    this.note({
      atomic: one.atomic,
      checks: name === 'vm_checkpoint' || name === 'vm_restore',
      meets: one.does === 'meet',
      storageBarrier: name === 'vm_storage_barrier',
      hazard: stops && path.effects > 0,
      plain: hasEffect && !one.deferrable,
    });
    return { effects: path.effects + (hasEffect ? 1 : 0), words: path.words + one.logs };
  }

  private note(more: Partial<Does>): void {
    const { does } = this;
    this.does = {
      meets: does.meets || more.meets === true,
      storageBarrier: does.storageBarrier || more.storageBarrier === true,
      hazard: does.hazard || more.hazard === true,
      plain: does.plain || more.plain === true,
      open: does.open || more.open === true,
      atomic: does.atomic || more.atomic === true,
      checks: does.checks || more.checks === true,
    };
  }
}

function worse(a: Path, b: Path): Path {
  return { effects: Math.max(a.effects, b.effects), words: Math.max(a.words, b.words) };
}
