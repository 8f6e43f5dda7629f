/** Callers without types: whether something is an object at all, a pointer that can be read. */
export function isRecord(request: unknown): request is object {
  return typeof request === 'object' && request !== null;
}
