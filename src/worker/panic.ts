/**
 * What becomes of a kernel that throws. Domain errors are numbers, so an exception means that the
 * emulator is broken, in the middle of something: the call is never answered and the machine ends.
 */
import type { Kernel } from './kernel.ts';

/** Why a kernel panicked, as plain data. */
export interface Panic {
  /** "KernelBug: I7: ..." */
  readonly why: string;
  readonly stack: string;
}

/** What is to be said about an exception. */
export function describePanic(error: unknown): Panic {
  if (!(error instanceof Error)) return { why: String(error), stack: '' };
  return { why: `${error.name}: ${error.message}`, stack: error.stack ?? '' };
}

/**
 * The kernel, with calls that panic instead of throwing. Its other properties are as they are.
 *
 * @param panic Called with the exception; it has to end the machine.
 */
export function guardKernel(kernel: Kernel, panic: (error: unknown) => void): Kernel {
  const calls = new Map<PropertyKey, unknown>();
  const stop = (error: unknown): Promise<never> => {
    panic(error);
    return new Promise(() => undefined);
  };
  const guard =
    (method: (...args: unknown[]) => unknown) =>
    (...args: unknown[]): unknown => {
      try {
        const result = method.apply(kernel, args);
        return result instanceof Promise ? result.catch(stop) : result;
      } catch (error) {
        return stop(error);
      }
    };
  return new Proxy(kernel, {
    get(target, name): unknown {
      const known = calls.get(name);
      if (known !== undefined) return known;
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== 'function') return member;
      const guarded = guard(member as (...args: unknown[]) => unknown);
      calls.set(name, guarded);
      return guarded;
    },
  });
}
