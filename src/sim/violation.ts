/** What a run is for: something that must never happen did. Its message says what. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** Throws `Violation`: the emulator is wrong, or what the simulator believes of it. */
export function violated(message: string): never {
  throw new Violation(message);
}
