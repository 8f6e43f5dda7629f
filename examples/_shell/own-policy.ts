/*
 * A visitor's policy: a module's text, where it comes from, and what is wrong with it at which
 * line.
 */
import { PolicyError } from '../../src/index.ts';

/** What editors of policies begin with. */
export const SAMPLE_POLICY = `// Moves the faulted page and its neighbour.
export const policy = ({ devicePages }) => ({
  name: 'two pages at a time',
  onFaults(faults, view, answer) {
    for (let i = 0; i < faults.count; i++) {
      const page = faults.pages[i];
      answer.migrate(page);
      if (view.regionOf(page + 1) !== undefined) {
        answer.migrate(page + 1);
      }
    }
  },
  chooseVictims(request, view, victims) {
    for (let page = 0; page < view.pageCount; page++) {
      if (victims.count >= request.pages) return;
      const isHere = (view.where[page] & 2) !== 0;
      if (isHere && !view.isProtected(page)) victims.evict(page);
    }
  },
});
`;

/** What ended a run. */
export interface PolicyFailure {
  readonly message: string;
  /** In the user's module, from 1; null where that is not known. */
  readonly line: number | null;
  /** The user's module can't be loaded: the page looks for the line. */
  readonly isSyntax: boolean;
}

/** The address of a module with that text; to be revoked. */
export function moduleUrl(code: string): string {
  return URL.createObjectURL(new Blob([code], { type: 'text/javascript' }));
}

/**
 * What to say of something that was thrown.
 *
 * @param url the address of the user's module; lines of it are looked for in the stack
 */
export function failureOf(error: unknown, url: string | null): PolicyFailure {
  const isPolicy = error instanceof PolicyError;
  const cause = isPolicy && error.cause !== undefined ? error.cause : error;
  const message = error instanceof Error ? error.message : String(error);
  // Errors are the user's own, too: their stack may be anything.
  const given: unknown = cause instanceof Error ? cause.stack : '';
  const stack = typeof given === 'string' ? given : '';
  return {
    message,
    line: url === null ? null : lineIn(stack, url),
    isSyntax: !isPolicy && cause instanceof SyntaxError,
  };
}

/** The first line of a stack that is in the module at `url`. */
export function lineIn(stack: string, url: string): number | null {
  const at = stack.indexOf(`${url}:`);
  if (at < 0) return null;
  const line = Number.parseInt(stack.slice(at + url.length + 1), 10);
  return Number.isNaN(line) ? null : line;
}

/**
 * Where a module does not parse. What import() throws does not say it; the error event of a worker
 * that begins with it does, but only for a script. So the module is made one, line by line, in the
 * body of a function that nobody calls.
 */
export function lineOfSyntax(code: string): Promise<number | null> {
  const url = moduleUrl(asScript(code));
  return new Promise((resolve) => {
    const probe = new Worker(url);
    const end = (line: number | null): void => {
      probe.terminate();
      URL.revokeObjectURL(url);
      resolve(line);
    };
    const timer = setTimeout(() => end(null), 1000);
    probe.onerror = (event) => {
      event.preventDefault();
      clearTimeout(timer);
      end(event.lineno > 0 ? event.lineno : null);
    };
  });
}

/** A module as a function in a script, with the same lines. */
export function asScript(code: string): string {
  const body = code
    .replaceAll(/^([ \t]*)export\s+default\b/gm, '$1void')
    .replaceAll(/^([ \t]*)export\b/gm, '$1');
  return `async function probe() {${body}\n}`;
}
