/*
 * Texts of kernels before anybody parses them: blanks and comments.
 *
 * Locking. None; pure. Source: our own; WGSL's blanks and comments.
 */

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
