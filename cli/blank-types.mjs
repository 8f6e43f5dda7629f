/*
 * Takes the types out of a TypeScript file by writing blanks over them: every line and column stays
 * where it was, so stacks need no source map, which would cost more to read than all the rest.
 *
 * It can do so because the project keeps to syntax whose removal leaves JavaScript (`tsconfig`'s
 * erasableSyntaxOnly), and puts semicolons. A test compares the outcome with the compiler's for
 * every file of the tree.
 *
 * Leaves out: decorators, and what no file here has; that is an error.
 */

/** Expressions of TypeScript's with one of JavaScript's inside. */
const WRAPPERS = new Set(['TSAsExpression', 'TSSatisfiesExpression', 'TSNonNullExpression']);
/** What is more than a type, and can't be taken away. */
const NOT_ERASABLE = new Set([
  'TSEnumDeclaration',
  'TSExportAssignment',
  'TSImportEqualsDeclaration',
  'TSParameterProperty',
  'TSTypeAssertion',
]);
const MODIFIERS = /\b(?:public|private|protected|readonly|override|abstract|declare)\b/g;

/**
 * Blanks the types of a program.
 *
 * @param text the TypeScript
 * @param program its syntax tree, with a node for each parenthesis
 * @throws SyntaxError where something has a meaning beyond types
 */
export function blankTypes(text, program) {
  return new Blanker(text).run(program);
}

class Blanker {
  /** What is written over, as pairs of start and end. */
  #ranges = [];
  /** Single characters that are put somewhere else. */
  #moved = new Map();
  #text;

  constructor(text) {
    this.#text = text;
  }

  run(program) {
    this.#visit(program);
    const text = this.#text;
    let out = '';
    let at = 0;
    for (const [start, end] of this.#ranges.toSorted((a, b) => a[0] - b[0])) {
      if (end <= at) continue;
      out += text.slice(at, Math.max(at, start));
      out += text.slice(Math.max(at, start), end).replace(/[^\n\r]/g, ' ');
      at = end;
    }
    out += text.slice(at);
    for (const [position, character] of this.#moved) {
      out = `${out.slice(0, position)}${character}${out.slice(position + 1)}`;
    }
    return out;
  }

  #blank(start, end) {
    if (end > start) this.#ranges.push([start, end]);
  }

  /** Blanks an element of a list with the comma behind it. */
  #blankElement({ start, end }) {
    const comma = /^\s*,/.exec(this.#text.slice(end, end + 200));
    this.#blank(start, end + (comma?.[0].length ?? 0));
  }

  #visitAll(node) {
    for (const key in node) {
      const value = node[key];
      if (typeof value !== 'object' || value === null) continue;
      if (Array.isArray(value)) for (const one of value) this.#visit(one);
      else this.#visit(value);
    }
  }

  #visit(node) {
    if (typeof node?.type !== 'string') return;
    if (this.#isOnlyType(node)) {
      this.#blank(node.start, node.end);
      return;
    }
    this.#visitOwn(node);
    this.#visitAll(node);
  }

  /** Whether nothing of a node is left in JavaScript. */
  #isOnlyType(node) {
    const { type } = node;
    if (NOT_ERASABLE.has(type)) throw new SyntaxError(`${type} is more than a type`);
    if (type.startsWith('TS')) return !WRAPPERS.has(type) && type !== 'TSInstantiationExpression';
    if (node.declare === true) return true;
    switch (type) {
      case 'ImportDeclaration':
        return node.importKind === 'type';
      case 'ExportAllDeclaration':
        return node.exportKind === 'type';
      case 'ExportNamedDeclaration': {
        const { declaration } = node;
        return node.exportKind === 'type' || (declaration && this.#isOnlyType(declaration));
      }
      case 'MethodDefinition':
        return node.value.type === 'TSEmptyBodyFunctionExpression';
      default:
        return false;
    }
  }

  /** What has to be done for a node itself, beside its parts. */
  #visitOwn(node) {
    switch (node.type) {
      case 'TSAsExpression':
      case 'TSSatisfiesExpression':
      case 'TSNonNullExpression':
        this.#blank(node.expression.end, node.end);
        break;
      case 'ImportSpecifier':
        if (node.importKind === 'type') this.#blankElement(node);
        break;
      case 'ExportSpecifier':
        if (node.exportKind === 'type') this.#blankElement(node);
        break;
      case 'Identifier':
        // Its end is behind a mark of an optional parameter, and behind its type.
        if (node.typeAnnotation || node.optional) {
          this.#blank(node.start + node.name.length, node.typeAnnotation?.end ?? node.end);
        }
        break;
      case 'VariableDeclarator':
        if (node.definite) this.#blankMark(node.id.start, node.id.typeAnnotation.start, '!');
        break;
      case 'ArrowFunctionExpression':
        this.#visitArrow(node);
        this.#visitParameters(node);
        break;
      case 'FunctionDeclaration':
      case 'FunctionExpression':
        this.#visitParameters(node);
        break;
      case 'ClassDeclaration':
      case 'ClassExpression':
        this.#visitClass(node);
        break;
      case 'MethodDefinition':
      case 'PropertyDefinition':
        this.#visitMember(node);
        break;
      default:
    }
  }

  /** Blanks a character that stands somewhere in a range. */
  #blankMark(start, end, mark) {
    const at = this.#text.slice(start, end).indexOf(mark);
    if (at >= 0) this.#blank(start + at, start + at + 1);
  }

  /** There may be no line break before an arrow: a parenthesis goes behind those of the type. */
  #visitArrow({ returnType }) {
    if (!returnType || !/[\n\r]/.test(this.#text.slice(returnType.start, returnType.end))) return;
    const at = this.#text.lastIndexOf(')', returnType.start);
    this.#blank(at, at + 1);
    this.#moved.set(returnType.end - 1, ')');
  }

  /** `this` among the parameters is only a type. */
  #visitParameters({ params }) {
    const first = params[0];
    if (first?.type === 'Identifier' && first.name === 'this') this.#blankElement(first);
  }

  #visitClass(node) {
    const { superClass, superTypeArguments, typeParameters, id, body } = node;
    if (node.abstract) this.#blankModifiers(node.start, id?.start ?? body.start);
    if (!node.implements?.length) return;
    const before = superTypeArguments ?? superClass ?? typeParameters ?? id;
    const from = before?.end ?? node.start;
    const at = this.#text.indexOf('implements', from);
    this.#blank(at, node.implements.at(-1).end);
  }

  #visitMember(node) {
    this.#blankModifiers(node.start, node.key.start);
    const next = node.typeAnnotation?.start ?? node.value?.start ?? node.end;
    if (node.optional) this.#blankMark(node.key.end, next, '?');
    if (node.definite) this.#blankMark(node.key.end, next, '!');
  }

  #blankModifiers(start, end) {
    for (const { index, 0: word } of this.#text.slice(start, end).matchAll(MODIFIERS)) {
      this.#blank(start + index, start + index + word.length);
    }
  }
}
