/*
 * The tokens of a kernel as wgsl_reflect's parser knows them. It has keywords for what are names in
 * WGSL (`bitcast`, `workgroup`, `read`); so a word is one of its keywords only where it can be
 * meant as such, and a name elsewhere. What the parser knows nothing of and the tree does not need
 * is left out: the comma behind the last of a list, and the arguments of attributes.
 *
 * Locking. None; pure. Source: our own.
 */
import { Token, TokenTypes } from 'wgsl_reflect/wgsl_reflect.module.js';
import type { TokenType } from 'wgsl_reflect/wgsl_reflect.module.js';
import type { WgslToken } from './wgsl-scanner.ts';

const { tokens: marks, keywords } = TokenTypes;
const WORDS = new Map<string, TokenType>(Object.entries(keywords));
const MARKS = new Map<string, TokenType>([
  ...Object.entries(TokenTypes.simpleTokens),
  ...Object.entries(TokenTypes.literalTokens),
]);
/** Types that have parameters between brackets. */
const WITH_LIST: ReadonlySet<string> = new Set([
  'array',
  'ptr',
  ...TokenTypes.template_types.map(({ name }) => name),
]);
/** Words that mean something between the brackets of `var`, of pointers and of textures. */
const IN_LIST: ReadonlySet<string> = new Set(
  [...TokenTypes.storage_class, ...TokenTypes.access_mode, ...TokenTypes.texel_format].map(
    ({ name }) => name,
  ),
);

/**
 * Translates tokens.
 *
 * @param tokens all of a text, the empty one at the end too
 */
export function parserTokens(tokens: readonly WgslToken[]): Token[] {
  const made: Token[] = [];
  /** Before each open bracket of a list, the word that it belongs to. */
  const owners: string[] = [];
  let braces = 0;
  for (let index = 0; index < tokens.length; index++) {
    const token = tokens[index]!;
    const { text, isBracket } = token;
    if (text === '{') braces += 1;
    if (text === '}') braces -= 1;
    if (isBracket && text === '<') owners.push(tokens[index - 1]!.text);
    if (isBracket && text === '>') owners.pop();
    const next = tokens[index + 1];
    if (text === ',' && next?.isBracket === true && next.text === '>') continue;
    const isAttribute = tokens[index - 1]?.text === '@';
    const takesList = next?.isBracket === true && next.text === '<';
    const type = isAttribute
      ? marks.ident
      : typeOf(token, takesList, owners.at(-1) ?? '', braces > 0);
    made.push(new Token(type, text, token.line, token.start, token.end));
    // `a--1` has no decrement in it: that ends a statement.
    if (text === '--' && !/^[;)]$/.test(next?.text ?? ';')) {
      made.splice(-1, 1, ...twoMinuses(token));
    }
    if (isAttribute && next?.text === '(') index = closing(tokens, index + 1);
  }
  return made;
}

function typeOf(
  { text, kind }: WgslToken,
  takesList: boolean,
  owner: string,
  inFunction: boolean,
): TokenType {
  switch (kind) {
    case 'keyword':
      // The parser knows assertions in functions by an older name.
      return text === 'const_assert' && inFunction ? keywords.static_assert : WORDS.get(text)!;
    case 'name': {
      const isType = takesList && WITH_LIST.has(text);
      const isWord = IN_LIST.has(text) && /^(var|ptr|texture_\w+)$/.test(owner);
      return isType || isWord ? WORDS.get(text)! : marks.ident;
    }
    case 'number':
      if (text.endsWith('u')) return marks.uint_literal;
      return /^(0[xX][0-9a-fA-F]+|[0-9]+)i?$/.test(text)
        ? marks.int_literal
        : marks.decimal_float_literal;
    case 'mark':
      return MARKS.get(text)!;
    case 'end':
      return TokenTypes.eof;
  }
}

function twoMinuses({ line, start, end }: WgslToken): Token[] {
  const minus = marks.minus;
  return [
    new Token(minus, '-', line, start, start + 1),
    new Token(minus, '-', line, start + 1, end),
  ];
}

/** The parenthesis that ends an attribute's arguments; where none does, the attribute itself. */
function closing(tokens: readonly WgslToken[], open: number): number {
  let depth = 0;
  for (let at = open; at < tokens.length; at++) {
    const { text } = tokens[at]!;
    if (text === '(') depth += 1;
    if (text === ')') depth -= 1;
    if (depth === 0) return at;
    if (text === ';' || text === '{' || text === '}') break;
  }
  return open - 1;
}
