/*
 * The tokens of a kernel as WGSL defines them: what a word is, where a number ends, and which `<`
 * and `>` are brackets of a template list. A check that cut a text otherwise than the compiler does
 * would refuse good kernels, and might be led past something in a bad one.
 *
 * Keywords are WGSL's own, and no others: `workgroup`, `read` or `bitcast` are names that anybody
 * may use again.
 *
 * Locking. None; pure. Source: our own; WGSL's sections on tokens and on template lists.
 */

/** A token of a text. */
export interface WgslToken {
  readonly text: string;
  readonly kind: 'keyword' | 'name' | 'number' | 'mark' | 'end';
  /** Of `<` and `>`: it is a bracket of a template list. */
  readonly isBracket: boolean;
  /** From 1. */
  readonly line: number;
  /** Where it begins and ends in the text. */
  readonly start: number;
  readonly end: number;
}

/** A text that has no tokens at this place. */
export class NoToken extends Error {
  readonly line: number;
  readonly start: number;

  constructor(line: number, start: number, character: string) {
    const isPlain = /^[\x21-\x7E]$/.test(character);
    super(isPlain ? `${character} is no part of WGSL` : 'there is a character that no name has');
    this.line = line;
    this.start = start;
  }
}

const KEYWORDS = new Set(
  (
    'alias break case const const_assert continue continuing default diagnostic discard else ' +
    'enable false fn for if let loop override requires return struct switch true var while'
  ).split(' '),
);

const BLANKS = /[ \t\n]*/y;
const WORD = /[\p{XID_Start}_]\p{XID_Continue}*/uy;
const DECIMAL = '[0-9]';
const HEX = '[0-9a-fA-F]';
const TENS = `(?:[eE][+-]?${DECIMAL}+)`;
const TWOS = `(?:[pP][+-]?${DECIMAL}+[fh]?)`;
/** The longer forms first: they begin like the shorter ones. */
const NUMBER = new RegExp(
  [
    `0[xX](?:${HEX}*\\.${HEX}+|${HEX}+\\.${HEX}*)${TWOS}?`,
    `0[xX]${HEX}+${TWOS}`,
    `0[xX]${HEX}+[iu]?`,
    `(?:${DECIMAL}*\\.${DECIMAL}+|${DECIMAL}+\\.${DECIMAL}*)${TENS}?[fh]?`,
    `${DECIMAL}+${TENS}[fh]?`,
    `(?:0|[1-9]${DECIMAL}*)[iufh]?`,
  ].join('|'),
  'y',
);
/** Marks but for those that begin with `>`, which may have to end a list. */
const MARK = /<<=|->|&&|\|\||--|\+\+|[=!<]=|<<|[-+*/%&|^]=|[-+*/%&|^=!<.,;:(){}[\]@~]/y;
const GREATER = />>=|>>|>=|>/y;

/** A token that is being made: a `<` becomes a bracket when its `>` is found. */
type Made = { -readonly [field in keyof WgslToken]: WgslToken[field] };

/** A `<` behind a name, and in how many brackets it is. */
interface Open {
  readonly token: Made;
  readonly depth: number;
}

/**
 * Cuts a text.
 *
 * @param code without comments, with plain blanks (kernel-text.ts)
 * @returns its tokens and behind them an empty one. Throws `NoToken`.
 *
 * Context: pure; takes a time that grows with the text's length.
 */
export function scanWgsl(code: string): WgslToken[] {
  return new Scan(code).tokens();
}

class Scan {
  private readonly code: string;
  private readonly made: Made[] = [];
  /** Each `<` that may begin a list, the innermost last. */
  private readonly open: Open[] = [];
  private depth = 0;
  private place = 0;
  private line = 1;

  constructor(code: string) {
    this.code = code;
  }

  tokens(): WgslToken[] {
    for (;;) {
      this.skipBlanks();
      if (this.place >= this.code.length) break;
      const begin = this.code[this.place]!;
      if (begin === '>') this.greater();
      else if (!this.word() && !this.number() && !this.mark()) {
        throw new NoToken(this.line, this.place, begin);
      }
    }
    this.add('', 'end');
    return this.made;
  }

  private skipBlanks(): void {
    const blanks = this.match(BLANKS)!;
    for (let at = blanks.indexOf('\n'); at >= 0; at = blanks.indexOf('\n', at + 1)) this.line += 1;
    this.place += blanks.length;
  }

  private word(): boolean {
    const text = this.match(WORD);
    if (text === undefined) return false;
    this.add(text, KEYWORDS.has(text) ? 'keyword' : 'name');
    return true;
  }

  private number(): boolean {
    const text = this.match(NUMBER);
    if (text === undefined) return false;
    this.add(text, 'number');
    return true;
  }

  private mark(): boolean {
    const text = this.match(MARK);
    if (text === undefined) return false;
    const before = this.made.at(-1);
    const token = this.add(text, 'mark');
    switch (text) {
      case '<':
        if (before?.kind === 'name' || before?.text === 'var') {
          this.open.push({ token, depth: this.depth });
        }
        break;
      case '(':
      case '[':
        this.depth += 1;
        break;
      case ')':
      case ']':
        this.dropOpen();
        this.depth = Math.max(0, this.depth - 1);
        break;
      case '&&':
      case '||':
        // `a < b || c > d` compares twice.
        this.dropOpen();
        break;
      case ';':
      case ':':
      case '{':
      case '=':
        // No list goes on past the end of a statement or of an expression.
        this.open.length = 0;
        this.depth = 0;
        break;
      default:
    }
    return true;
  }

  /** A `>` ends the list that began at this depth, if one did, or is part of an operator. */
  private greater(): void {
    const last = this.open.at(-1);
    if (last === undefined || last.depth !== this.depth) {
      this.add(this.match(GREATER)!, 'mark');
      return;
    }
    this.open.pop();
    last.token.isBracket = true;
    this.add('>', 'mark').isBracket = true;
  }

  /** Forgets each `<` within the innermost brackets. */
  private dropOpen(): void {
    while (this.open.at(-1)?.depth === this.depth) this.open.pop();
  }

  private match(form: RegExp): string | undefined {
    form.lastIndex = this.place;
    return form.exec(this.code)?.[0];
  }

  private add(text: string, kind: WgslToken['kind']): Made {
    const start = this.place;
    this.place += text.length;
    const token = { text, kind, isBracket: false, line: this.line, start, end: this.place };
    this.made.push(token);
    return token;
  }
}
