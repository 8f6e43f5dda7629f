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
 */
export function effectOrder(functions: ReadonlyMap<string, Tree>): EffectOrder {
  const walker = new Walker(functions);
  const start = functions.get('kernel');
  const end = start === undefined ? ZERO : walker.body(start, ZERO);
  const { meets, storageBarrier, hazard, plain, open, atomic, checks } = walker;
  const logWords = open ? undefined : end.words;
  const base = { logWords, meets, atomic, checks };
  // What lies before a checkpoint is done, so nothing can be kept back past it.
  if (hazard || checks || storageBarrier || end.effects > MAX_KEPT)
    return { ...base, mode: 'log', kept: 0 };
  if (end.effects <= 1 && !meets) return { ...base, mode: 'direct', kept: 0 };
  if (plain) return { ...base, mode: 'log', kept: 0 };
  return { ...base, mode: 'defer', kept: Math.max(1, end.effects) };
}

const ZERO: Path = { effects: 0, words: 0 };

class Walker {
  /** A barrier, or `vm_uniform`. */
  meets = false;
  storageBarrier = false;
  /** Something that gives a value, or meets others, may come after an effect. */
  hazard = false;
  /** There is an effect that can't be kept back. */
  plain = false;
  /** The log has no bound. */
  open = false;
  atomic = false;
  checks = false;
  private readonly functions: ReadonlyMap<string, Tree>;
  private depth = 0;

  constructor(functions: ReadonlyMap<string, Tree>) {
    this.functions = functions;
  }

  body(one: Tree, path: Path): Path {
    return this.list(nodesIn(one.fields['body']), path);
  }

  private list(nodes: readonly Tree[], path: Path): Path {
    let here = path;
    for (const one of nodes) here = this.node(one, here);
    return here;
  }

  private node(one: Tree, path: Path): Path {
    const field = (name: string): Tree[] => nodesIn(one.fields[name]);
    switch (one.kind) {
      case 'if': {
        const start = this.list(field('condition'), path);
        const ways = [this.list(field('body'), start), this.list(field('else'), start)];
        for (const other of field('elseif')) ways.push(this.list(below(other), start));
        return ways.reduce(worse, start);
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
      case 'callExpr':
        return this.call(one.name, this.list(field('args'), path));
      default:
        return this.list(below(one), path);
    }
  }

  /** Goes round twice: what grows the second time has no bound. */
  private loop(round: readonly Tree[], path: Path): Path {
    const once = this.list(round, path);
    const twice = this.list(round, once);
    if (twice.words > once.words) this.open = true;
    const effects = twice.effects > once.effects ? Infinity : once.effects;
    return { effects, words: once.words };
  }

  private call(name: string, path: Path): Path {
    const known = PUBLIC_NAMES.get(name);
    if (known !== undefined) return this.operation(name, known, path);
    const called = this.functions.get(name);
    // Recursion is refused by the compiler; this only keeps the walk finite.
    if (called === undefined || this.depth > 32) return path;
    this.depth += 1;
    const after = this.body(called, path);
    this.depth -= 1;
    return after;
  }

  private operation(name: string, one: VmOperation, path: Path): Path {
    if (one.atomic) this.atomic = true;
    if (name === 'vm_checkpoint' || name === 'vm_restore') this.checks = true;
    if (one.does === 'meet') this.meets = true;
    if (name === 'vm_storage_barrier') this.storageBarrier = true;
    const stops = one.does === 'load' || one.does === 'both' || one.does === 'meet';
    if (stops && path.effects > 0) this.hazard = true;
    if (one.does === 'effect' || one.does === 'both') {
      if (!one.deferrable) this.plain = true;
      return { effects: path.effects + 1, words: path.words + one.logs };
    }
    return { effects: path.effects, words: path.words + one.logs };
  }
}

function worse(a: Path, b: Path): Path {
  return { effects: Math.max(a.effects, b.effects), words: Math.max(a.words, b.words) };
}
