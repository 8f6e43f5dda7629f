/*
 * The parser of kernels: that of wgsl_reflect, with repairs. It was written for texts that compile;
 * a check must not be led astray by any text, nor take long for one.
 *
 * What is repaired: names such as `constructor`, which it took for keywords; cases of a switch, of
 * whose statements it kept two; a condition that only begins with a parenthesis; text that it left
 * out, from the first word on that begins no declaration. What it does beside parsing is switched
 * off: following calls, which never ends where functions call each other in a circle; computing
 * constants, for which memory may not suffice.
 *
 * Locking. None; pure. Source: our own.
 */
import { TokenType, WgslParser, WgslScanner } from 'wgsl_reflect/wgsl_reflect.module.js';
import type { Expression, Statement, Token } from 'wgsl_reflect/wgsl_reflect.module.js';

/**
 * WGSL's other line breaks and blanks, as plain ones: the scanner knows line feeds, tabs and spaces
 * only, and what it takes for a comment or for part of a name the compiler would read otherwise.
 * CR and LF together are one line break. Editors' byte order mark is dropped.
 */
export function plainBlanks(text: string): string {
  return text
    .replace(/^\uFEFF/, '')
    .replaceAll(/\r\n|[\r\v\f\u0085\u2028\u2029]/g, '\n')
    .replaceAll(/[\u200E\u200F]/g, ' ');
}

/**
 * A text with blanks in the place of its comments, which may be in each other; everything stays
 * where it is.
 *
 * @returns the place of a comment that has no end, if there is one
 */
export function withoutComments(text: string): string | number {
  const marks = /\/\/[^\n]*|\/\*|\*\//g;
  let code = '';
  let end = 0;
  let depth = 0;
  let start = 0;
  const blank = (to: number): void => {
    code += text.slice(end, start) + text.slice(start, to).replaceAll(/[^\n]/g, ' ');
    end = to;
  };
  for (let found = marks.exec(text); found !== null; found = marks.exec(text)) {
    const mark = found[0].slice(0, 2);
    if (mark === '//') {
      // Within a comment it is none of its own, and hides no end.
      if (depth > 0) marks.lastIndex = found.index + 1;
      else {
        start = found.index;
        blank(marks.lastIndex);
      }
    } else if (mark === '/*') {
      if (depth === 0) start = found.index;
      depth += 1;
    } else if (depth > 0) {
      depth -= 1;
      if (depth === 0) blank(marks.lastIndex);
    }
  }
  return depth > 0 ? start : code + text.slice(end);
}

const [NAME] = new WgslScanner('x').scanTokens();

/**
 * The tokens of a text. Throws a text that says what is no WGSL.
 *
 * @param text with plain blanks, without comments
 */
export function scanKernel(text: string): Token[] {
  const tokens = new WgslScanner(text).scanTokens();
  for (const token of tokens) {
    // Keywords are looked up in an object, which has more names than its own.
    if (!(token.type instanceof TokenType)) (token as { type: TokenType }).type = NAME!.type;
  }
  return tokens;
}

/** See the file header. */
export class KernelParser extends WgslParser {
  constructor() {
    super();
    this._exec.reflection.updateAST = () => undefined;
    this._exec.evalExpression = () => {
      throw new Error('constants are not computed');
    };
    // A use of a constant would have the constant's tree below it, and that those of others.
    this._context.constants.set = () => this._context.constants;
  }

  /** Parses all of it. Throws an error that names the line. */
  override parse(tokens: Token[]): Statement[] {
    const statements = super.parse(tokens);
    if (this._isAtEnd()) return statements;
    const token = this._peek();
    throw this._error(token, `${token.lexeme} begins no declaration`);
  }

  /** The token that it looks at. */
  get place(): number {
    return this._current;
  }

  override _case_body(): Statement[] {
    const body: Statement[] = [];
    for (let next = this._statement(); next !== null; next = this._statement()) {
      body.push(next as Statement);
    }
    return body;
  }

  override _optional_paren_expression(): Expression {
    return this._short_circuit_or_expression();
  }
}
