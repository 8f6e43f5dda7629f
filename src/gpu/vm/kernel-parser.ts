/*
 * The parser of kernels: that of wgsl_reflect, with repairs. It was written for texts that compile;
 * a check must not be led astray by any text, nor take long for one, nor refuse what a compiler
 * takes. Its scanner is not used: see wgsl-scanner.ts.
 *
 * What is repaired: cases of a switch, of whose statements it kept two, and what may select one; a
 * loop that begins with `i++`; a condition that only begins with a parenthesis; types of constants
 * that are declared further down; text that it left out, from the first word on that begins no
 * declaration. What it does beside parsing is switched off: following calls, which never ends where
 * functions call each other in a circle; computing constants, for which memory may not suffice.
 *
 * Locking. None; pure. Source: our own.
 */
import { DefaultSelector, TokenTypes, WgslParser } from 'wgsl_reflect/wgsl_reflect.module.js';
import type { Const, Expression, Statement, Token, Var } from 'wgsl_reflect/wgsl_reflect.module.js';

const { tokens, keywords } = TokenTypes;

/** See the file header. */
export class KernelParser extends WgslParser {
  constructor() {
    super();
    this._exec.reflection.updateAST = () => undefined;
    this._exec.evalExpression = () => {
      throw new Error('constants are not computed');
    };
  }

  /** Parses all of it. Throws an error that names the line. */
  override parse(all: Token[]): Statement[] {
    const statements = super.parse(all);
    if (this._isAtEnd()) return statements;
    const token = this._peek();
    throw this._error(token, `${token.lexeme} begins no declaration`);
  }

  /** The token that it looks at; before the first, none. */
  get token(): Token | undefined {
    return this._tokens[this._current];
  }

  override _case_selectors(): Expression[] {
    const selectors: Expression[] = [];
    do {
      // A comma may stand behind the last.
      if (this._check([tokens.colon, tokens.brace_left, tokens.attr])) break;
      const isDefault = this._match(keywords.default);
      selectors.push(
        isDefault ? this._updateNode(new DefaultSelector()) : this._short_circuit_or_expression(),
      );
    } while (this._match(tokens.comma));
    return selectors;
  }

  override _case_body(): Statement[] {
    const body: Statement[] = [];
    for (let next = this._statement(); next !== null; next = this._statement()) {
      body.push(next as Statement);
    }
    return body;
  }

  override _for_init(): Statement | null {
    return (
      this._variable_statement() ??
      this._increment_decrement_statement() ??
      this._func_call_statement() ??
      this._assignment_statement()
    );
  }

  override _optional_paren_expression(): Expression {
    return this._short_circuit_or_expression();
  }

  /** What type a value has is the compiler's business: it may be declared further down. */
  override _global_variable_decl(): Var | null {
    return this._variable_statement();
  }

  override _global_const_decl(): Const | null {
    return this._variable_statement() as Const | null;
  }

  override _validateTypeRange(): void {}
}
