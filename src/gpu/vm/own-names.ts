/*
 * Names of the prelude's that a kernel uses again for something of its own. In a function that is
 * nobody's business; at module scope it would change what the prelude means by `max` or by
 * `var<private>`. So such a name gets an ending, wherever it is in the kernel: at module scope it
 * means nothing else in the whole text.
 *
 * Locking. None; pure. Source: our own; WGSL's rules of scope.
 */
import type { Insert } from './guard-writes.ts';
import { PRELUDE_USES } from './public-names.ts';
import type { WgslToken } from './wgsl-scanner.ts';

/** A text's tokens with endings. */
export interface OwnNames {
  /** Their places are those without endings. */
  readonly tokens: readonly WgslToken[];
  readonly renames: readonly Insert[];
  /** A message with the names that the kernel has. */
  readonly asWritten: (message: string) => string;
}

/** Gives endings to the names that a text declares and the prelude uses. */
export function withOwnNames(tokens: readonly WgslToken[]): OwnNames {
  const own = new Set(moduleNames(tokens).filter((name) => PRELUDE_USES.has(name)));
  if (own.size === 0) return { tokens, renames: [], asWritten: (message) => message };
  const ending = unusedEnding(tokens);
  const isOwn = ({ kind, text }: WgslToken): boolean => kind === 'name' && own.has(text);
  const endings = new RegExp(`\\b(${[...own].join('|')})${ending}\\b`, 'g');
  return {
    tokens: tokens.map((token) => (isOwn(token) ? { ...token, text: token.text + ending } : token)),
    renames: tokens.filter(isOwn).map(({ end }) => ({ at: end, text: ending })),
    asWritten: (message) => message.replaceAll(endings, '$1'),
  };
}

/** What a text declares at module scope. */
export function moduleNames(tokens: readonly WgslToken[]): string[] {
  const names: string[] = [];
  let depth = 0;
  for (const [index, { text, kind }] of tokens.entries()) {
    if (text === '{') depth += 1;
    if (text === '}') depth -= 1;
    if (depth > 0 || kind !== 'keyword') continue;
    let next = index + 1;
    if (text === 'var' && tokens[next]?.isBracket === true) {
      while (next < tokens.length && tokens[next]!.text !== '>') next += 1;
      next += 1;
    } else if (!/^(var|fn|struct|alias|const|override)$/.test(text)) continue;
    const name = tokens[next];
    if (name?.kind === 'name') names.push(name.text);
  }
  return names;
}

/** An ending that no name of the text has. */
function unusedEnding(tokens: readonly WgslToken[]): string {
  for (let number = 1; ; number++) {
    const ending = `_own${number}`;
    if (!tokens.some(({ text }) => text.endsWith(ending))) return ending;
  }
}
