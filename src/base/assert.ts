/**
 * Assertions that stay on in production builds. A failed assertion means that the emulator itself
 * is wrong (never the user's input, which is answered with an errno), so it throws `KernelBug`:
 * nothing below the worker's top level catches it. Messages of invariants listed in
 * docs/invariants.md begin with their id ("I3: ...").
 */

/** A broken invariant of the emulator; the machine that threw it can't be trusted any more. */
export class KernelBug extends Error {
  override readonly name = 'KernelBug';
}

/**
 * Throws `KernelBug` unless `condition` holds. Keep one condition per call, so that the message
 * names what broke. The message must be a constant on hot paths: building one costs more than the
 * check.
 */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new KernelBug(message);
}

/** Throws `KernelBug`: for places that can't be reached. */
export function bug(message: string): never {
  throw new KernelBug(message);
}
