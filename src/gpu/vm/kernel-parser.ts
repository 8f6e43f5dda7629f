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
