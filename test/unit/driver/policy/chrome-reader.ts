/** A reader of the trace event format, for tests of what is written in it. */

/** A slice, as a viewer shows it. */
export interface ReadSlice {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly children: ReadSlice[];
  readonly args: Readonly<Record<string, unknown>>;
}

/** Reads asynchronous slices by category and id, as the viewers do; throws on what they refuse. */
export function readSlices(text: string): ReadSlice[] {
  const file = JSON.parse(text) as { traceEvents: Record<string, unknown>[] };
  const open = new Map<string, ReadSlice[]>();
  const roots: ReadSlice[] = [];
  for (const event of file.traceEvents) {
    const { ph, ts, name, pid, tid } = event;
    if (typeof name !== 'string' || typeof ts !== 'number' || ts < 0) throw new Error('event');
    if (typeof pid !== 'number' || typeof tid !== 'number') throw new Error('track');
    if (ph === 'X' && !(Number(event['dur']) >= 0)) throw new Error('slice without length');
    if (ph !== 'b' && ph !== 'e') continue;
    const key = `${String(event['cat'])} ${String(event['id'])}`;
    const stack = open.get(key) ?? [];
    open.set(key, stack);
    if (ph === 'b') {
      const args = (event['args'] ?? {}) as Record<string, unknown>;
      const slice: ReadSlice = { name, from: ts, to: NaN, children: [], args };
      (stack.at(-1)?.children ?? roots).push(slice);
      stack.push(slice);
    } else {
      const slice = stack.pop();
      if (slice?.name !== name || ts < slice.from) throw new Error(`end of ${name}`);
      Object.assign(slice, { to: ts });
    }
  }
  if ([...open.values()].some((stack) => stack.length > 0)) throw new Error('slice without end');
  return roots;
}
